//! One mistake at a time: text, then the line that a person reads.

use super::check;

/// Checks that each text has exactly this mistake.
fn each(cases: &[(&str, &str)]) {
    for (text, wanted) in cases {
        assert_eq!(check(text), [*wanted], "\n{text}");
    }
}

#[test]
fn unknown_keys_are_refused_with_a_suggestion() {
    each(&[
        ("[nod]", "1:2: unknown key `nod` (hint: did you mean `node`?)"),
        ("zzz = 1", "1:1: unknown key `zzz`"),
        ("[node]\nnmae = \"x\"", "2:1: unknown key `nmae` in [node] (hint: did you mean `name`?)"),
        (
            "[services.api]\nimage = \"a\"\n  imgae = \"x\"",
            "3:3: unknown key `imgae` in [services.api] (hint: did you mean `image`?)",
        ),
        (
            "[services.api]\nimage = \"a\"\ninterval = \"5s\"",
            "3:1: unknown key `interval` in [services.api] (hint: `interval` belongs in [services.NAME.health])",
        ),
        (
            "retention_days = 3",
            "1:1: unknown key `retention_days` (hint: `retention_days` belongs in [logs])",
        ),
        (
            "[services.api]\nimage = \"a\"\nenvironment = { \"ä\" = \"ö\", B = { secrt = \"x\", key = \"k\" } }\n[secrets.x]\nid = \"x\"",
            "3:34: unknown key `secrt` in [services.api.environment.B] (hint: did you mean `secret`?)",
        ),
        (
            "[registries.\"localhost:5000\"]\nauth = \"none\"\nuser = \"x\"",
            "3:1: unknown key `user` in [registries.\"localhost:5000\"] (hint: `user` belongs in [services.NAME])",
        ),
    ]);
}

#[test]
fn metrics() {
    let listen = "(hint: write IP:PORT, such as \"127.0.0.1:9464\" or \"[::]:9464\")";
    for text in
        ["9464", ":9464", "localhost:9464", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "::1:9464", ""]
    {
        let wanted = format!("2:10: \"{text}\" is not an address to listen on {listen}");
        assert_eq!(check(&format!("[metrics]\nlisten = \"{text}\"")), [wanted]);
    }
    each(&[
        (
            "[services.a]\nimage = \"a\"\nports = [\"9464:80\"]\n[metrics]",
            "4:1: port 9464 is already taken by the service `a` (hint: write another port)",
        ),
        (
            "[metrics]\ncloudwatch = true",
            "2:14: metrics go to CloudWatch with the logs, and there is no [logs] (hint: write [logs] with a `group`)",
        ),
        (
            "[metrics]\ncloudwatch = true\n[logs]\ngruop = \"g\"",
            "4:1: unknown key `gruop` in [logs] (hint: did you mean `group`?)",
        ),
        ("[metrics]\nevery = \"5s\"", "2:9: \"5s\" is out of range (hint: write a duration from 10s to 1h)"),
        ("[metrics]\nevery = \"2h\"", "2:9: \"2h\" is out of range (hint: write a duration from 10s to 1h)"),
        (
            "[metrics]\nnamespace = \"my nodes\"",
            "2:13: \"my nodes\" cannot name a namespace (hint: 1 to 255 of a-z, A-Z, 0-9, . _ - / # and :)",
        ),
        (
            "[metrics]\nnamespace = \"AWS/EC2\"",
            "2:13: \"AWS/EC2\" cannot name a namespace: AWS keeps it for itself (hint: write one of your own, such as \"NodeAgent\")",
        ),
    ]);
    // A port of UDP is another one.
    assert_eq!(check("[services.a]\nimage = \"a\"\nports = [\"9464:80/udp\"]\n[metrics]"), [""; 0]);
}

#[test]
fn nothing_follows_from_a_misspelt_key() {
    each(&[
        (
            "[services.api]\nimagee = \"x\"",
            "2:1: unknown key `imagee` in [services.api] (hint: did you mean `image`?)",
        ),
        (
            "[volumes.a]\ndevise = \"/dev/sdf\"\nmount = \"/a\"",
            "2:1: unknown key `devise` in [volumes.a] (hint: did you mean `device`?)",
        ),
        (
            "[secrts.app]\nid = \"x\"\n[services.api]\nimage = \"a\"\nsecret_files = [\"app\"]",
            "1:2: unknown key `secrts` (hint: did you mean `secrets`?)",
        ),
        (
            "[services.api]\nimage = \"a\"\nprots = [\"80:80\"]\nhealth.http = \"/\"",
            "3:1: unknown key `prots` in [services.api] (hint: did you mean `ports`?)",
        ),
    ]);
}

#[test]
fn values_of_the_wrong_kind_are_refused_and_nothing_follows_from_it() {
    each(&[
        ("services = 5", "1:12: `services` must be a table, not an integer"),
        (
            "[docker]\ninstall = \"yes\"",
            "2:11: `install` in [docker] must be a boolean, not a string (hint: write true or false, without quotes)",
        ),
        (
            "[services.api]\nimage = 5",
            "2:9: `image` in [services.api] must be a string, not an integer (hint: put it in quotes: \"5\")",
        ),
        (
            "[services.api]\nimage = \"a\"\nports = [\"80:80\", 81]\nhealth.http = \"/\"",
            "3:19: `ports[1]` in [services.api] must be a string, not an integer (hint: put it in quotes: \"81\")",
        ),
        (
            "[services.api]\nimage = \"a\"\nports = \"80:80\"\nhealth.http = \"/\"",
            "3:9: `ports` in [services.api] must be an array, not a string (hint: put it in brackets: [\"…\"])",
        ),
        (
            "[services.api]\nimage = \"a\"\nenvironment = { A = 4 }",
            "3:21: `A` in [services.api.environment] must be a string or a table, not an integer (hint: put it in quotes: \"4\")",
        ),
        (
            "[services.api]\nimage = \"a\"\nhealth = { retries = \"3\" }",
            "3:22: `retries` in [services.api.health] must be an integer, not a string (hint: leave out the quotes: 3)",
        ),
        ("[logs]\ngroup = 1979-05-27", "2:9: `group` in [logs] must be a string, not a date or time"),
        ("[services.api]\nimage = \"a\"\ncpus = inf", "3:8: `inf` is not a finite number"),
        (
            "[logs]\ngroup = \"g\"\nretention_days = 99999999999999999999",
            "3:18: `99999999999999999999` is too large",
        ),
        (
            "[secrets]\napp = 5\n[services.api]\nimage = \"a\"\nenvironment_from = [\"app\"]",
            "2:7: `app` in [secrets] must be a table, not an integer",
        ),
        (
            "[services.api]\nimage = \"a\"\nnetwork = \"hots\"",
            "3:11: `network` in [services.api] must be \"node\" or \"host\", not \"hots\" (hint: did you mean \"host\"?)",
        ),
        (
            "[registries.\"localhost:5000\"]\nauth = \"basic\"",
            "2:8: `auth` in [registries.\"localhost:5000\"] must be \"ecr\" or \"none\", not \"basic\"",
        ),
    ]);
}

#[test]
fn required_keys_are_missing_at_their_table() {
    each(&[
        ("\n[services.api]\nports = []", "2:1: `image` is missing in [services.api]"),
        ("[logs]", "1:1: `group` is missing in [logs]"),
        ("[services]\napi = { ports = [] }", "2:7: `image` is missing in [services.api]"),
        ("services.api.ports = []", "1:10: `image` is missing in [services.api]"),
        ("[agent]\nurl = \"https://example.com/a\"", "1:1: `sha256` is missing in [agent]"),
        (
            "[volumes.data]\nmount = \"/data\"",
            "1:1: neither `device` nor `volume_id` says which volume it is (hint: write device = \"/dev/sdf\", the name that it is attached under)",
        ),
    ]);
}

#[test]
fn names_that_point_at_nothing_are_refused() {
    each(&[
        (
            "[secrets.app]\nid = \"x\"\n[services.api]\nimage = \"a\"\nenvironment_from = [\"ap\"]",
            "5:21: there is no [secrets.ap] (hint: did you mean `app`?)",
        ),
        ("[services.api]\nimage = \"a\"\nsecret_files = [\"x\"]", "3:17: there is no [secrets.x]"),
        (
            "[services.api]\nimage = \"a\"\nenvironment.A = { secret = \"x\", key = \"K\" }",
            "3:28: there is no [secrets.x]",
        ),
        ("[services.api]\nimage = \"a\"\ndepends_on = [\"db\"]", "3:15: there is no [services.db]"),
        ("[registries.\"localhost:5000\"]\nauth = { secret = \"x\" }", "2:19: there is no [secrets.x]"),
    ]);
}

#[test]
fn health_checks_that_cannot_be_asked_are_refused() {
    each(&[
        (
            "[services.api]\nimage = \"a\"\nhealth.http = \"/health\"",
            "3:15: \"/health\" needs the service's first TCP port, and it publishes none (hint: write the port of the container, such as \"8000/health\")",
        ),
        (
            "[services.api]\nimage = \"a\"\nhealth = { tcp = 80, http = \"80/\" }",
            "3:22: only one of `http`, `tcp` and `exec` can be asked (hint: leave the others out)",
        ),
        ("[services.api]\nimage = \"a\"\nhealth.tcp = 0", "3:14: `0` is not a number from 1 to 65535"),
        (
            "[services.api]\nimage = \"a\"\nhealth.exec = []",
            "3:15: the command is empty (hint: write exec = [\"PROGRAM\", \"ARGUMENT\"])",
        ),
        (
            "[services.api]\nimage = \"a\"\nhealth.retries = 0",
            "3:18: 0 retries are out of range (hint: write a number from 1 to 100)",
        ),
        (
            "[services.api]\nimage = \"a\"\nhealth.interval = \"1ms\"",
            "3:19: \"1ms\" is out of range (hint: write a duration from 100ms to 1h)",
        ),
        (
            "[services.api]\nimage = \"a\"\nupdate.every = \"5\"",
            "3:16: \"5\" is not a duration (hint: write a duration from 1s to 720h such as \"60s\", or \"never\")",
        ),
        (
            "[services.api]\nimage = \"a\"\nupdate.deadline = \"5s\"",
            "3:19: no update can pass: it has to be healthy for 10s within 5s (hint: make `deadline` longer than `min_healthy`)",
        ),
    ]);
}

#[test]
fn things_of_which_there_can_be_one_are_refused_twice() {
    each(&[
        (
            "[services.b]\nimage = \"a\"\nports = [\"80:1\"]\n[services.a]\nimage = \"a\"\nports = [\"80:2/udp\", \"80:3\"]",
            "6:22: host port 80 (TCP) of `a` is already taken by `b`",
        ),
        (
            "[services.a]\nimage = \"a\"\nports = [\"80:1\", \"80:2\"]",
            "3:18: host port 80 (TCP) is published twice by `a`",
        ),
        (
            "[volumes.a]\ndevice = \"/dev/sdf\"\nmount = \"/a\"\n[volumes.b]\ndevice = \"/dev/sdg\"\nmount = \"/a/\"",
            "6:9: volume `a` is already mounted there, `b` cannot be it too",
        ),
        (
            "[volumes.a]\ndevice = \"/dev/sdf\"\nmount = \"/a\"\n[volumes.b]\ndevice = \"xvdf\"\nmount = \"/b\"",
            "5:10: volume `a` is already this volume, `b` cannot be it too",
        ),
        (
            "[volumes.a]\ndevice = \"/dev/sdf\"\nvolume_id = \"vol-0123456789abcdef0\"\nmount = \"/a\"",
            "3:1: `device` and `volume_id` are both written (hint: leave one out)",
        ),
        (
            "[services.a]\nimage = \"a\"\nmounts = [\"/a:/x\", \"/b:/x/\"]",
            "3:20: `/x` in the container is already taken by another mount",
        ),
        (
            "[services.a]\nimage = \"a\"\nnetwork = \"host\"\nports = [\"80:80\"]",
            "4:1: `ports` cannot be published on the host's network: each port of the container is open there (hint: leave out `ports`, or `network = \"host\"`)",
        ),
    ]);
}

#[test]
fn dependencies_in_a_circle_are_named() {
    let service = |name: &str, on: &str| format!("[services.{name}]\nimage = \"a\"\ndepends_on = [{on}]\n");
    let text =
        [service("a", "\"b\""), service("b", "\"d\", \"c\""), service("c", "\"a\""), service("d", "\"d\"")];
    assert_eq!(
        check(&text.concat()),
        [
            "3:15: `a` would wait for itself: a -> b -> c -> a (hint: take one of these out of its `depends_on`)",
            "12:15: `d` would wait for itself: d -> d (hint: take one of these out of its `depends_on`)",
        ]
    );
}

#[test]
fn formats_are_refused_at_their_value() {
    each(&[
        (
            "[volumes.a]\ndevice = \"/dev/nvme1n1\"\nmount = \"/a\"",
            "2:10: \"/dev/nvme1n1\" is not an attach name: names of NVMe devices change from boot to boot (hint: write the attach name such as \"/dev/sdf\", or volume_id)",
        ),
        (
            "[services.Api]\nimage = \"a\"",
            "1:11: `Api` cannot name a service: it has other characters than are allowed (hint: up to 63 of a-z, 0-9 and -, not - at the start)",
        ),
        (
            "[logs]\ngroup = \"g\"\nretention_days = 31",
            "3:18: CloudWatch Logs cannot keep logs for 31 days (hint: write 60, or another of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)",
        ),
        (
            "[agent]\nurl = \"https://user:hidden@example.com/a\"\nsha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"",
            "2:7: the address has a user name or password in it (hint: use an address that the node's role or network may read)",
        ),
        (
            "[registries.\"https://example.com\"]\nauth = \"ecr\"",
            "1:13: `https://example.com` is not the host of a registry: only HOST or HOST:PORT is (hint: leave out the scheme and the path)",
        ),
        (
            "[services.api]\nimage = \"a\"\nmounts = [\"/mnt/a:b\"]",
            "3:11: not a mount: \"b\" is not an absolute path (hint: write \"/HOST/PATH:/CONTAINER/PATH\", or with \":ro\" at the end)",
        ),
    ]);
}

#[test]
fn columns_count_characters_also_after_wide_ones() {
    assert_eq!(
        check("[services.a]\nimage = \"a\"\nenvironment = { \"日本\" = \"語\", B = 5 }"),
        [
            "3:33: `B` in [services.a.environment] must be a string or a table, not an integer (hint: put it in quotes: \"5\")"
        ]
    );
}
