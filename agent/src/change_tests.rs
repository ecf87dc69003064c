//! Two configurations, and what is said of the step from one to the other.

use super::*;
use node::config::{Draft, Source};
use node::identity::Facts;

const BASE: &str = r#"
[docker]
install = false
[secrets.app]
id = "app"
[services.api]
image = "localhost:5000/api:one"
ports = ["80:8000"]
environment = { A = "1" }
[services.api.health]
http = "/health"
[services.worker]
image = "localhost:5000/worker:one"
[models]
server = "http://127.0.0.1:11434"
[models.pull."llama3.2:3b"]
[logs]
group = "/group"
"#;

fn resolve(text: &str) -> Resolved {
    let facts = Facts {
        instance_id: "i-0123456789abcdef0".to_owned(),
        instance_type: "t3.small".to_owned(),
        region: "eu-north-1".to_owned(),
        availability_zone: "eu-north-1a".to_owned(),
        account: "123456789012".to_owned(),
        image_id: "ami-0".to_owned(),
        tags: BTreeMap::new(),
    };
    let source = Source { name: "n".to_owned(), text: text.to_owned() };
    let resolved = Draft::parse(vec![source]).and_then(|draft| draft.resolve(&facts));
    resolved.unwrap_or_else(|mistakes| panic!("{:#?}\n{text}", mistakes.lines().collect::<Vec<_>>()))
}

/// What comes of one replacement in the text.
fn changed(from: &str, to: &str) -> (Change, BTreeSet<Tasks>) {
    assert!(BASE.contains(from), "{from}");
    let (old, new) = (resolve(BASE), resolve(&BASE.replace(from, to)));
    let secrets = BTreeMap::from([("app".to_owned(), "v1".to_owned())]);
    let change = Change::between(&old, &new, Present { volumes: &[], secrets: &secrets });
    (change, begin_anew(&old.settings, &new.settings))
}

fn keys(change: &Change) -> Vec<&str> {
    change.keys.iter().map(|key| key.key.as_str()).collect()
}

#[test]
fn comments_order_and_spelling_are_nothing() {
    for (from, to) in [
        ("[logs]", "# shipped\n[logs]"),
        ("[models.pull.\"llama3.2:3b\"]", "[models.pull]\n\"llama3.2:3b\" = { keep_loaded = false }"),
        ("[services.api.health]", "[services.api.update]\nevery = \"1m\"\n[services.api.health]"),
    ] {
        let (change, tasks) = changed(from, to);
        assert!(change.is_nothing() && tasks.is_empty(), "{from}: {change:?}");
        assert_eq!(change.summary(), "nothing has changed");
    }
}

#[test]
fn each_service_meets_the_fate_that_the_planner_has_for_it() {
    let worker = "[services.worker]\nimage = \"localhost:5000/worker:one\"\n";
    for (from, to, name, fate) in [
        ("{ A = \"1\" }", "{ A = \"2\" }", "api", Fate::BlueGreen),
        ("\"80:8000\"", "\"81:8000\"", "api", Fate::BlueGreen),
        ("worker:one\"", "worker:one\"\nread_only = true", "worker", Fate::Recreated),
        ("worker:one\"", "worker:two\"", "worker", Fate::Image),
        ("worker:one\"", "worker:one\"\nstop_timeout = \"9s\"", "worker", Fate::Kept),
        ("worker:one\"", "worker:one\"\nenvironment_from = [\"app\"]", "worker", Fate::Recreated),
        ("http = \"/health\"", "http = \"/health\"\ninterval = \"3s\"", "api", Fate::Kept),
        (worker, "", "worker", Fate::Removed),
        ("[logs]", "[services.new]\nimage = \"new\"\n[logs]", "new", Fate::Started),
    ] {
        let (change, tasks) = changed(from, to);
        let told: Vec<_> = change.services.iter().map(|it| (it.name.as_str(), it.fate)).collect();
        assert_eq!(told, [(name, fate)], "{to}");
        assert!(change.sections.is_empty() && change.bootstrap.is_empty(), "{change:?}");
        assert!(tasks.is_empty(), "services are followed without ending anything: {to} {tasks:?}");
        assert!(change.summary().starts_with(&format!("service {name} ")), "{}", change.summary());
    }
}

#[test]
fn other_sections_end_only_the_tasks_that_are_theirs() {
    for (from, to, section, tasks) in [
        ("group = \"/group\"", "group = \"/other\"", "logs", &[Tasks::Telemetry][..]),
        ("[logs]\ngroup = \"/group\"\n", "", "logs", &[Tasks::Telemetry]),
        ("[logs]", "[metrics]\n[logs]", "metrics", &[Tasks::Telemetry]),
        ("[docker]", "[node]\nname = \"x\"\n[docker]", "node", &[Tasks::Telemetry]),
        (
            "[logs]",
            "[registries.\"localhost:5000\"]\nauth = \"none\"\n[logs]",
            "registries",
            &[Tasks::Services],
        ),
        ("id = \"app\"", "id = \"other\"", "secrets", &[Tasks::Services]),
        ("11434\"", "11435\"", "models", &[Tasks::Models]),
        ("[docker]", "[images]\nreclaim = \"never\"\n[docker]", "images", &[]),
    ] {
        let (change, anew) = changed(from, to);
        let told: Vec<_> = change.sections.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(told, [section], "{to}: {change:?}");
        assert_eq!(anew.into_iter().collect::<Vec<_>>(), tasks, "{to}");
        assert!(change.services.is_empty(), "{change:?}");
    }
}

#[test]
fn what_is_shipped_of_a_service_and_what_serves_models_concern_other_tasks_too() {
    let (change, tasks) = changed("[services.worker]", "[services.api.logs]\nrepeat = 3\n[services.worker]");
    assert_eq!(change.services[0].fate, Fate::Kept);
    assert_eq!(tasks.into_iter().collect::<Vec<_>>(), [Tasks::Telemetry]);
}

#[test]
fn what_only_bootstrap_does_is_said_with_what_to_run() {
    let (change, tasks) = changed(
        "install = false",
        "install = true\n[volumes.data]\ndevice = \"/dev/sdf\"\nmount = \"/data\"",
    );
    assert_eq!(change.bootstrap, ["docker", "volumes"]);
    assert!(tasks.is_empty(), "{tasks:?}");
    let summary = change.summary();
    assert!(summary.contains("[docker] and [volumes]") && summary.contains(BOOTSTRAP_HINT), "{summary}");
}

#[test]
fn keys_are_told_as_they_are_typed_and_a_whole_table_is_one() {
    let (change, _) = changed("{ A = \"1\" }", "{ A = \"2\", B = \"3\" }");
    assert_eq!(keys(&change), ["services.api.environment.A", "services.api.environment.B"]);
    assert_eq!((&change.keys[0].old, &change.keys[0].new), (&Some("1".into()), &Some("2".into())));
    assert_eq!((&change.keys[1].old, &change.keys[1].new), (&None, &Some("3".into())));
    let (change, _) = changed("[models.pull.\"llama3.2:3b\"]", "[models.pull.\"qwen3:8b\"]");
    assert_eq!(keys(&change), ["models.pull.\"llama3.2:3b\"", "models.pull.\"qwen3:8b\""]);
    let (change, _) = changed("[logs]\ngroup = \"/group\"\n", "");
    assert_eq!(keys(&change), ["logs"]);
}
