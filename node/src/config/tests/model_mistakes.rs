//! `[models]`: one mistake at a time, and many at once.

use super::check;

/// Checks that each text has exactly this mistake.
fn each(cases: &[(&str, &str)]) {
    for (text, wanted) in cases {
        assert_eq!(check(text), [*wanted], "\n{text}");
    }
}

/// The same for the lines of a service that serves models; the first of them is in line 3.
fn each_service(cases: &[(&str, &str)]) {
    for (lines, wanted) in cases {
        let text = format!("[services.ollama]\nimage = \"a\"\n{lines}\n[models]\n");
        assert_eq!(check(&text), [*wanted], "\n{text}");
    }
}

#[test]
fn keys_and_kinds_that_are_not_known_are_refused() {
    each(&[
        ("[modles]", "1:2: unknown key `modles` (hint: did you mean `models`?)"),
        ("[models]\nservr = \"x\"", "2:1: unknown key `servr` in [models] (hint: did you mean `server`?)"),
        (
            "[models.pull.a]\nkeep_load = true",
            "2:1: unknown key `keep_load` in [models.pull.a] (hint: did you mean `keep_loaded`?)",
        ),
        ("[models.pull]\na = true", "2:5: `a` in [models.pull] must be a table, not a boolean"),
        (
            "[models]\nreserve = 2",
            "2:11: `reserve` in [models] must be a string, not an integer (hint: put it in quotes: \"2\")",
        ),
        (
            "[models]\nreclaim = \"our\"",
            "2:11: `reclaim` in [models] must be \"ours\" or \"all\" or \"never\", not \"our\" (hint: did you mean \"ours\"?)",
        ),
        (
            "[models.pull.a]\nrequired = \"no\"",
            "2:12: `required` in [models.pull.a] must be a boolean, not a string (hint: write true or false, without quotes)",
        ),
    ]);
}

#[test]
fn ranges_are_said_with_the_hint() {
    each(&[
        (
            "[models]\nevery = \"0s\"",
            "2:9: \"0s\" is out of range (hint: write a duration from 1s to 720h such as \"60s\", or \"never\")",
        ),
        (
            "[models]\nreserve = \"2 GB\"",
            "2:11: \"2 GB\" is not a size (hint: write a size such as \"512m\", \"2g\" or \"1073741824\")",
        ),
        (
            "[models]\nunused_for = \"9000h\"",
            "2:14: \"9000h\" is out of range (hint: write a duration from 0s to 8760h)",
        ),
        (
            "[models]\nload_deadline = \"0s\"",
            "2:17: \"0s\" is out of range (hint: write a duration from 1s to 24h)",
        ),
        (
            "[models]\nprewarm = \"100k\"",
            "2:11: \"100k\" per second is out of range (hint: write \"unlimited\", \"off\", or so much per second from \"1m\", such as \"100m\")",
        ),
        (
            "[models]\nprewarm = \"on\"",
            "2:11: \"on\" is no rate (hint: write \"unlimited\", \"off\", or so much per second from \"1m\", such as \"100m\")",
        ),
        (
            "[models.pull.a]\nsmoke = { prompt = \"x\", within = \"11m\" }",
            "2:34: \"11m\" is out of range (hint: write a duration from 1s to 10m)",
        ),
    ]);
}

#[test]
fn names_of_models_are_refused_at_their_key() {
    let long = format!("[models.pull.\"a:{}\"]", "x".repeat(61));
    let too_long = format!(
        "1:14: the tag of `a:{}` is longer than 60 characters: versions are kept under longer ones",
        "x".repeat(61)
    );
    each(&[
        ("[models.pull.\"llama3 \"]", "1:14: \"llama3 \" is not a model: its name has a ' '"),
        (
            "[models.pull.\"llama3@sha256:00\"]",
            "1:14: \"llama3@sha256:00\" is not a model: the server reads no digest in a name (hint: write the name with its tag, and the digest as `digest = \"sha256:…\"`)",
        ),
        ("[models.pull.\"\"]", "1:14: \"\" is not a model: its name is empty"),
        (
            "[models.pull.\"llama3:8b.kept-0123456789ab\"]",
            "1:14: the tag of `llama3:8b.kept-0123456789ab` has `.kept-` in it: such names are the agent's own, for versions that it keeps (hint: write the tag without it, and the version as `digest = \"sha256:…\"`)",
        ),
        (&long, &too_long),
    ]);
    assert_eq!(check(&format!("[models.pull.\"a:{}\"]", "x".repeat(60))), [""; 0]);
}

#[test]
fn two_names_of_one_model_are_one_mistake_at_the_second() {
    let hint = "(hint: write all of it under one name, spelt the same in every file)";
    for (first, second) in [
        ("llama3", "llama3:latest"),
        ("llama3:latest", "llama3"),
        ("library/llama3", "llama3"),
        ("registry.ollama.ai/library/llama3", "https://registry.ollama.ai/library/llama3:latest"),
        ("http://h.internal/n/m:v1", "h.internal/n/m:v1"),
        ("hf.co/team/Tuned-GGUF:Q4_K_M", "hf.co/team/tuned-gguf:q4_k_m"),
    ] {
        let text =
            format!("[models.pull.\"{first}\"]\n[models.pull.\"{second}\"]\n[models.pull.\"llama3:8b\"]\n");
        assert_eq!(check(&text), [format!("2:14: `{second}` is the same model as `{first}` {hint}")]);
    }
}

#[test]
fn digests_are_whole_or_refused() {
    let hint = "(hint: copy it from models.lock, which the agent writes into its state folder)";
    for digest in ["", "sha256:", "sha256:00ab", &"a".repeat(64), &format!("sha256:{}", "A".repeat(64))] {
        assert_eq!(
            check(&format!("[models.pull.a]\ndigest = \"{digest}\"")),
            [format!("2:10: a digest is sha256: and 64 hexadecimal digits in lower case {hint}")]
        );
    }
}

#[test]
fn a_smoke_test_needs_something_to_ask() {
    each(&[
        ("[models.pull.a]\nsmoke = {}", "2:9: `prompt` is missing in [models.pull.a.smoke]"),
        ("[models.pull.a]\nsmoke = { prompt = \" \" }", "2:20: `prompt` is empty"),
        ("[models.pull.a]\nsmoke = { prompt = \"x\", expect = \"\" }", "2:34: `expect` is empty"),
        ("[models.pull.a]\nsmoke = \"x\"", "2:9: `smoke` in [models.pull.a] must be a table, not a string"),
    ]);
}

#[test]
fn a_server_is_a_service_that_exists_or_a_url() {
    let service = "[services.ollama]\nimage = \"a\"\nmounts = [\"/m:/root/.ollama\"]\n[models]\nserver = ";
    let hint = "(hint: write http://HOST:PORT, such as \"http://127.0.0.1:11434\")";
    let about = "5:10: the address of the model server";
    for (server, wanted) in [
        ("olama", "5:10: there is no [services.olama] (hint: did you mean `ollama`?)".to_owned()),
        ("x", "5:10: there is no [services.x]".to_owned()),
        (
            "127.0.0.1:11434",
            "5:10: \"127.0.0.1:11434\" is neither the name of a service nor a URL (hint: write \"http://127.0.0.1:11434\")".to_owned(),
        ),
        (
            "models.internal",
            "5:10: \"models.internal\" is neither the name of a service nor a URL (hint: write \"http://models.internal\")".to_owned(),
        ),
        (
            "",
            "5:10: \"\" is neither the name of a service nor a URL (hint: write the name of a service, or http://HOST:PORT)".to_owned(),
        ),
        ("ftp://h", format!("{about} begins with neither http:// nor https:// {hint}")),
        ("http://u:hidden@h", format!("{about} has a user name or password in it {hint}")),
        ("http://h/v1", format!("{about} has a path {hint}")),
    ] {
        assert_eq!(check(&format!("{service}\"{server}\"")), [wanted]);
    }
}

#[test]
fn a_service_that_nobody_would_reach_is_refused() {
    let mounts = "mounts = [\"/m:/root/.ollama\"]\n";
    let with = |lines: &str| format!("{mounts}{lines}");
    each_service(&[
        (
            &with("environment.OLLAMA_HOST = \"127.0.0.1:9000\""),
            "4:27: `ollama` would listen at \"127.0.0.1:9000\": nobody outside its container gets there (hint: write \"0.0.0.0:9000\")",
        ),
        (
            &with("environment = { OLLAMA_HOST = \"localhost\" }"),
            "4:31: `ollama` would listen at \"localhost\": nobody outside its container gets there (hint: write \"0.0.0.0:11434\")",
        ),
        (
            &with("environment.OLLAMA_HOST = \"\""),
            "4:27: `ollama` would listen at \"\": nobody outside its container gets there (hint: write \"0.0.0.0:11434\")",
        ),
        (
            &with("network = \"host\"\nenvironment.OLLAMA_HOST = \"10.0.0.5:11434\""),
            "5:27: `ollama` would listen at \"10.0.0.5:11434\": the agent asks at 127.0.0.1 (hint: write \"127.0.0.1:11434\")",
        ),
        (
            &with("environment.OLLAMA_HOST = \"0.0.0.0:x\""),
            "4:27: \"0.0.0.0:x\" is not an address to listen on: `x` is not a number from 1 to 65535 (hint: write \"0.0.0.0:11434\", or leave it out)",
        ),
        (
            &with("environment.OLLAMA_HOST = { secret = \"s\", key = \"k\" }\n[secrets.s]\nid = \"s\""),
            "4:27: `OLLAMA_HOST` of a service that serves models cannot come from a secret: the agent has to know it (hint: write it as a text)",
        ),
    ]);
}

#[test]
fn models_that_would_not_outlive_their_container_are_refused() {
    each_service(&[
        (
            "",
            "1:1: the models of `ollama` would lie inside its container, in /root/.ollama/models, and be lost with it (hint: mount a folder of the host there: mounts = [\"/mnt/models:/root/.ollama\"])",
        ),
        (
            "mounts = [\"/m:/root/.ollama-other\"]",
            "3:10: the models of `ollama` would lie inside its container, in /root/.ollama/models, and be lost with it (hint: mount a folder of the host there: mounts = [\"/mnt/models:/root/.ollama\"])",
        ),
        (
            "mounts = [\"/m:/root/.ollama\"]\nenvironment.OLLAMA_MODELS = \"/models\"",
            "3:10: the models of `ollama` would lie inside its container, in /models, and be lost with it (hint: mount a folder of the host there: mounts = [\"/mnt/models:/models\"])",
        ),
        (
            "mounts = [\"/etc/ssl:/etc/ssl:ro\", \"/m:/root/.ollama:ro\"]",
            "3:35: `ollama` cannot write to the mount that its models are on (hint: leave out `:ro`)",
        ),
        (
            "mounts = [\"/m:/root/.ollama\", \"/b:/root/.ollama/models/blobs\"]",
            "3:31: a mount inside the models' folder /root/.ollama/models of `ollama`: they would lie in two places (hint: mount the folder as a whole)",
        ),
        (
            "mounts = [\"/m:/models\"]\nenvironment.OLLAMA_MODELS = \"models\"",
            "4:29: \"models\" is not an absolute path (hint: begin it with /)",
        ),
        (
            "mounts = [\"/m:/root/.ollama\"]\nuser = \"1000:1000\"",
            "4:8: `ollama` does not run as root, and nothing says where it has its models (hint: write OLLAMA_MODELS = \"/models\" in [services.ollama.environment], and a mount that leads there)",
        ),
    ]);
}

#[test]
fn the_folder_is_written_for_a_url_only() {
    each(&[
        (
            "[services.ollama]\nimage = \"a\"\nmounts = [\"/m:/root/.ollama\"]\n[models]\ndirectory = \"/m/models\"",
            "5:1: `directory` is not written for a service: `ollama` has its models where its mounts lead (hint: leave it out; where they lie in the container is `OLLAMA_MODELS` in [services.ollama.environment])",
        ),
        (
            "[models]\ndirectory = \"models\"",
            "2:13: \"models\" is not an absolute path (hint: begin it with /)",
        ),
    ]);
}

#[test]
fn nothing_follows_from_what_is_refused_elsewhere() {
    each(&[
        (
            "[services.ollama]\nimage = \"a\"\nmount = [\"/m:/root/.ollama\"]\n[models]",
            "3:1: unknown key `mount` in [services.ollama] (hint: did you mean `mounts`?)",
        ),
        (
            "[services.ollama]\nimage = \"a\"\nmounts = [\"/m\"]\n[models]",
            "3:11: \"/m\" is not a mount: it has not two paths (hint: write \"/HOST/PATH:/CONTAINER/PATH\", or with \":ro\" at the end)",
        ),
        (
            "[services.ollama]\nimage = \"a\"\nmounts = [5]\n[models]",
            "3:11: `mounts[0]` in [services.ollama] must be a string, not an integer (hint: put it in quotes: \"5\")",
        ),
        (
            "[services.ollama]\nimage = \"a\"\nenvironmant = { OLLAMA_MODELS = \"/models\" }\nmounts = [\"/m:/models\"]\n[models]",
            "3:1: unknown key `environmant` in [services.ollama] (hint: did you mean `environment`?)",
        ),
        (
            "[services.ollama]\nimage = \"a\"\nenvironment.OLLAMA_MODELS = 5\nmounts = [\"/m:/models\"]\n[models]",
            "3:29: `OLLAMA_MODELS` in [services.ollama.environment] must be a string or a table, not an integer (hint: put it in quotes: \"5\")",
        ),
        ("services = 5\n[models]\nserver = \"ollama\"", "1:12: `services` must be a table, not an integer"),
        ("services.ollama = 5\n[models]", "1:19: `ollama` in [services] must be a table, not an integer"),
        (
            "[models]\nservre = \"http://h\"\n[services.ollama]\nimage = \"a\"",
            "2:1: unknown key `servre` in [models] (hint: did you mean `server`?)",
        ),
    ]);
}

#[test]
fn mistakes_of_the_section_and_of_the_service_are_all_in_one_list() {
    let text = r#"[models]
server = "ollama"
directory = "/x"
every = "soon"
reserve = "much"
prewarm = "fast"
load_deadline = "1"
unused_for = "x"
[models.pull."a b"]
digest = "x"
smoke = { prompt = "", within = "0s" }
[models.pull.c]
[models.pull."c:latest"]
digest = "y"
[services.ollama]
image = "a"
environment = { OLLAMA_HOST = "127.0.0.1" }
mounts = ["/m:/root/.ollama:ro"]
"#;
    let lines = check(text);
    let positions: Vec<_> = lines.iter().map(|line| line.split(": ").next().unwrap_or_default()).collect();
    let wanted = [
        "3:1", "4:9", "5:11", "6:11", "7:17", "8:14", "9:14", "10:10", "11:20", "11:33", "13:14", "14:10",
        "17:31", "18:11",
    ];
    assert_eq!(positions, wanted, "{lines:#?}");
}
