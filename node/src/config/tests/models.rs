//! `[models]`: what is filled in, where a service has its models on the host, and several files.

use super::{check, facts, lines, settings, source};
use crate::config::settings::{ModelServer, Models, Prewarm, Reclaim, Smoke};
use crate::config::{Draft, Mistakes, Settings};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn models(text: &str) -> Models {
    settings(text).models.unwrap_or_else(|| panic!("no models in {text}"))
}

fn url(text: &str) -> ModelServer {
    ModelServer::Url(text.to_owned())
}

fn service(name: &str, port: u16) -> ModelServer {
    ModelServer::Service { name: name.to_owned(), port }
}

#[test]
fn without_the_section_the_agent_looks_after_no_models() {
    assert_eq!(settings("[services.ollama]\nimage = \"a\"").models, None);
}

#[test]
fn with_nothing_but_the_section_every_default_is_filled_in() {
    let models = models("[models]");
    assert_eq!((&models.server, &models.directory), (&url("http://127.0.0.1:11434"), &None));
    assert!(models.pull.is_empty(), "a node may just show what its server has");
    assert_eq!((models.every, models.reserve_bytes), (Some(HOUR), 2 << 30));
    assert_eq!((models.reclaim, models.unused_for), (Reclaim::Ours, 168 * HOUR));
    assert_eq!((models.prewarm, models.load_deadline), (Prewarm::Unlimited, 30 * MINUTE));
}

#[test]
fn a_model_with_only_a_name_is_followed_and_not_waited_for() {
    let models = models("[models.pull.mistral]");
    let model = &models.pull["mistral"];
    assert_eq!(model.reference.full(), "registry.ollama.ai/library/mistral:latest");
    assert_eq!((model.keep_loaded, model.required), (false, false));
    assert_eq!((&model.digest, &model.smoke), (&None, &None));
}

#[test]
fn every_key_says_what_it_says() {
    let digest = format!("sha256:{}", "0a".repeat(32));
    let models = models(&format!(
        r#"
[models]
server = "https://models.internal/"
directory = "/srv/models/"
every = "never"
reserve = "0"
reclaim = "never"
unused_for = "0s"
prewarm = "100m"
load_deadline = "90s"
[models.pull."llama3.2:3b"]
digest = "{digest}"
keep_loaded = true
smoke = {{ prompt = "2 + 2?", expect = "4" }}
[models.pull."http://models.internal:5000/team/tuned:v2"]
keep_loaded = true
required = false
smoke = {{ prompt = "hello", within = "10s" }}
[models.pull.nomic-embed-text]
required = true
"#
    ));
    assert_eq!(models.server, url("https://models.internal"));
    assert_eq!(models.directory.as_deref(), Some("/srv/models"));
    assert_eq!((models.every, models.reserve_bytes), (None, 0));
    assert_eq!((models.reclaim, models.unused_for), (Reclaim::Never, Duration::ZERO));
    assert_eq!(models.prewarm, Prewarm::BytesPerSecond(100 << 20));
    assert_eq!(models.load_deadline, Duration::from_secs(90));
    let smoke = |prompt: &str, expect: Option<&str>, within| {
        Some(Smoke { prompt: prompt.to_owned(), expect: expect.map(str::to_owned), within })
    };
    let llama = &models.pull["llama3.2:3b"];
    assert_eq!(llama.digest, Some(digest));
    assert_eq!((llama.keep_loaded, llama.required), (true, true), "what is kept loaded is waited for");
    assert_eq!(llama.smoke, smoke("2 + 2?", Some("4"), 2 * MINUTE));
    let tuned = &models.pull["http://models.internal:5000/team/tuned:v2"];
    assert!(tuned.reference.insecure);
    assert_eq!((tuned.keep_loaded, tuned.required), (true, false), "unless it says so");
    assert_eq!(tuned.smoke, smoke("hello", None, Duration::from_secs(10)));
    let embed = &models.pull["nomic-embed-text"];
    assert_eq!((embed.keep_loaded, embed.required), (false, true));
}

#[test]
fn reading_ahead_is_unlimited_off_or_at_a_rate() {
    for (text, wanted) in [
        ("unlimited", Prewarm::Unlimited),
        ("off", Prewarm::Off),
        ("1m", Prewarm::BytesPerSecond(1 << 20)),
        ("1g", Prewarm::BytesPerSecond(1 << 30)),
    ] {
        assert_eq!(models(&format!("[models]\nprewarm = \"{text}\"")).prewarm, wanted, "{text}");
    }
}

#[test]
fn the_service_ollama_serves_where_there_is_one_and_nothing_else_is_written() {
    let services = "[services.ollama]\nimage = \"a\"\nmounts = [\"/mnt/models:/root/.ollama\"]\n[services.other]\nimage = \"a\"\nmounts = [\"/mnt/other:/root/.ollama\"]\n";
    for (section, server, directory) in [
        ("[models]", service("ollama", 11434), Some("/mnt/models/models")),
        ("[models]\nserver = \"ollama\"", service("ollama", 11434), Some("/mnt/models/models")),
        ("[models]\nserver = \"other\"", service("other", 11434), Some("/mnt/other/models")),
        ("[models]\nserver = \"http://10.0.0.5:80\"", url("http://10.0.0.5:80"), None),
    ] {
        let models = models(&format!("{services}{section}"));
        assert_eq!((models.server, models.directory.as_deref()), (server, directory), "{section}");
    }
    let other = "[services.other]\nimage = \"a\"\n[models]";
    assert_eq!(models(other).server, url("http://127.0.0.1:11434"), "no service is taken for a server");
}

/// The models of a service with these lines.
fn served(lines: &str) -> Models {
    models(&format!("[models]\n[services.ollama]\nimage = \"a\"\n{lines}\n"))
}

#[test]
fn the_folder_of_a_service_is_where_its_mounts_lead_on_the_host() {
    for (lines, folder) in [
        ("mounts = [\"/mnt/models:/root/.ollama\"]", "/mnt/models/models"),
        ("mounts = [\"/mnt/models/:/root/.ollama/models/\"]", "/mnt/models"),
        ("mounts = [\"/mnt/root:/root\"]", "/mnt/root/.ollama/models"),
        ("mounts = [\"/:/root\"]", "/.ollama/models"),
        ("mounts = [\"/a:/root\", \"/b:/root/.ollama\", \"/c:/root/.ollama-other\"]", "/b/models"),
        ("mounts = [\"/b:/root/.ollama\", \"/a:/root\"]", "/b/models"),
        ("mounts = [\"/a:/root:ro\", \"/b:/root/.ollama\"]", "/b/models"),
        ("environment.OLLAMA_MODELS = \"/models\"\nmounts = [\"/mnt/m:/models\"]", "/mnt/m"),
        ("environment.OLLAMA_MODELS = \"/data/x/\"\nmounts = [\"/mnt/m:/data\"]", "/mnt/m/x"),
        ("environment.OLLAMA_MODELS = \"/host\"\nmounts = [\"/:/host\"]", "/"),
        ("environment.HOME = \"/home/o\"\nmounts = [\"/mnt/m:/home/o\"]", "/mnt/m/.ollama/models"),
        ("environment.HOME = \"/\"\nmounts = [\"/mnt/m:/.ollama\"]", "/mnt/m/models"),
        ("user = \"0:0\"\nmounts = [\"/mnt/m:/root/.ollama\"]", "/mnt/m/models"),
        ("user = \"root\"\nmounts = [\"/mnt/m:/root/.ollama\"]", "/mnt/m/models"),
        ("user = \"1000\"\nenvironment.OLLAMA_MODELS = \"/models\"\nmounts = [\"/mnt/m:/models\"]", "/mnt/m"),
    ] {
        assert_eq!(served(lines).directory.as_deref(), Some(folder), "{lines}");
    }
}

#[test]
fn the_port_of_a_service_is_that_of_its_ollama_host() {
    for (host, network, port) in [
        (None, "node", 11434),
        (None, "host", 11434),
        (Some("0.0.0.0:11434"), "node", 11434),
        (Some(":8080"), "node", 8080),
        (Some("0.0.0.0"), "host", 11434),
        (Some("http://0.0.0.0:8080"), "node", 8080),
        (Some("http://0.0.0.0"), "node", 80),
        (Some("[::]:9000"), "host", 9000),
        (Some("127.0.0.1:9000"), "host", 9000),
        (Some("localhost"), "host", 11434),
        (Some(""), "host", 11434),
        (Some("ollama:9000"), "node", 9000),
    ] {
        let host = host.map(|host| format!("environment.OLLAMA_HOST = \"{host}\"\n")).unwrap_or_default();
        let lines = format!("{host}network = \"{network}\"\nmounts = [\"/mnt/m:/root/.ollama\"]");
        assert_eq!(served(&lines).server, service("ollama", port), "{lines}");
    }
}

const BASE: &str = "[models]\nserver = \"http://127.0.0.1:11434\"\n[models.pull.\"llama3.2:3b\"]\nkeep_loaded = true\nsmoke = { prompt = \"hello\" }\n";

/// node.toml, and the lock file as it lies in node.d.
fn locked(base: &str, lock: &str) -> Result<Settings, Mistakes> {
    Draft::parse(vec![source("node.toml", base), source("node.d/90-models.toml", lock)])?.settings(&facts())
}

#[test]
fn a_lock_file_pins_what_node_toml_follows_and_changes_nothing_else() {
    let digest = format!("sha256:{}", "b".repeat(64));
    let lock = format!("[models.pull.\"llama3.2:3b\"]\ndigest = \"{digest}\"\n");
    let locked = locked(BASE, &lock).unwrap().models.unwrap();
    let mut wanted = models(BASE);
    wanted.pull.get_mut("llama3.2:3b").unwrap().digest = Some(digest);
    assert_eq!(locked, wanted);
    assert!(locked.pull["llama3.2:3b"].keep_loaded);
}

#[test]
fn a_lock_file_that_spells_a_name_otherwise_is_told_so_in_its_own_line() {
    let lock = format!("[models.pull.\"library/llama3.2:3b\"]\ndigest = \"sha256:{}\"\n", "b".repeat(64));
    assert_eq!(
        lines(locked(BASE, &lock)),
        [
            "node.d/90-models.toml:1:14: `library/llama3.2:3b` is the same model as `llama3.2:3b` (hint: write all of it under one name, spelt the same in every file)"
        ]
    );
}

#[test]
fn what_a_tag_of_the_instance_decides_is_not_guessed_before_there_is_one() {
    let text = "[models]\nserver = \"${tag:Stage}\"\nreserve = \"${tag:Room}\"\n[services.prod]\nimage = \"a\"\nenvironment.OLLAMA_MODELS = \"/${tag:Stage}\"\nmounts = [\"/mnt/m:/prod\"]\n";
    assert_eq!(check(text), [""; 0]);
    let text = text.replace("${tag:Room}", "1g");
    assert_eq!(check(&text), [""; 0]);
    let models = models(&text);
    assert_eq!((models.server, models.directory.as_deref()), (service("prod", 11434), Some("/mnt/m")));
}
