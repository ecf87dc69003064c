//! A configuration that cannot be: refused whole, having changed nothing; and a plan, which changes nothing either.

use super::{boot, listing, service, stage};
use std::time::Duration;

const FIVE_MISTAKES: &str = r#"[volumes.models]
device = "/dev/nvme1n1"
mount = "mnt/models"

[services.web]
imgae = "nginx:latest"
ports = ["80:99999"]
environment_from = ["app"]
"#;

/// Line and column of each, and a word of it.
const WANTED: [(&str, &str); 5] =
    [("2:", "/dev/nvme1n1"), ("3:", "mnt/models"), ("6:1", "imgae"), ("7:", "99999"), ("8:", "app")];

#[test]
fn five_mistakes_are_five_lines_and_nothing_has_changed() {
    let Some(mut stage) = stage() else { return };
    let (code, output) = boot(&mut stage, FIVE_MISTAKES);
    assert_eq!(code, 78, "{output}");
    settled(&stage);
    let lines: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
    assert_eq!(lines.len(), WANTED.len(), "one line for each mistake:\n{output}");
    for ((place, word), line) in WANTED.iter().zip(&lines) {
        assert!(
            line.contains(&format!("<standard input>:{place}")) && line.contains(word),
            "{place} {word}: {line}"
        );
        assert!(line.len() < 240, "nobody reads this: {line}");
    }
    let before = listing::of(&stage);
    for nothing in
        ["etc/node-agent", "var/lib/node-agent", "usr/bin/node-agent", "mnt", "var/log/node-bootstrap.log"]
    {
        assert!(!before.contains_key(nothing), "{nothing} is there: {}", before[nothing]);
    }
    let again = stage.bootstrap("run", FIVE_MISTAKES);
    assert_eq!(again.code(), 78, "{again}");
    assert_eq!(again.stderr.lines().count(), WANTED.len(), "{again}");
    let plan = stage.bootstrap("plan", FIVE_MISTAKES);
    assert_eq!((plan.code(), plan.stdout.as_str()), (78, ""), "{plan}");
    let after = listing::of(&stage);
    assert!(before == after, "changed: {:#?}", listing::differences(&before, &after));
    assert_eq!(stage.instance().run(["agentctl", "status"]).code(), 127, "there is no agent");
}

#[test]
fn a_plan_on_a_blank_instance_says_what_would_be_done_and_does_nothing() {
    let Some(mut stage) = stage() else { return };
    let good = format!(
        "{}[volumes.models]\ndevice = \"/dev/sdf\"\nmount = \"/mnt/models\"\n[secrets.app]\nid = \"{}\"\n{}",
        stage.agent_section(),
        harness::stage::SECRET,
        service("web", 80, "environment_from = [\"app\"]\nmounts = [\"/mnt/models:/models\"]")
    );
    // User data ends early, and leaves the program there.
    let (code, output) = boot(&mut stage, "[node]\nnmae = \"x\"\n");
    assert_eq!(code, 78, "{output}");
    settled(&stage);
    let before = listing::of(&stage);
    let plan = stage.bootstrap("plan", &good);
    assert_eq!(plan.code(), 0, "{plan}");
    let json = stage
        .instance()
        .run_with_input(["node-bootstrap", "plan", "--json", "--config", "-"], good.as_bytes());
    let after = listing::of(&stage);
    assert!(before == after, "changed: {:#?}", listing::differences(&before, &after));
    for said in [
        ("configuration", "install the given configuration"),
        ("metadata", "i-0123456789abcdef0"),
        ("volume models", "xfs"),
        ("secret app", harness::stage::SECRET),
        ("docker", "the engine answers"),
        ("agent", "node-agent-"),
        ("start agent", "start it"),
    ] {
        let found =
            plan.stdout.lines().any(|line| line.trim_start().starts_with(said.0) && line.contains(said.1));
        assert!(found, "{said:?} is missing: {plan}");
    }
    let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json.code(), 0, "{json}");
    assert!(document["steps"].as_array().is_some_and(|steps| steps.len() >= 9), "{document:#}");
}

/// Waits until the boot is over: what other units write at boot is not ours.
#[track_caller]
fn settled(stage: &harness::stage::Stage) {
    harness::wait::wait_for("the boot to be over", Duration::from_secs(60), || {
        let answer =
            stage.instance().shell("systemctl is-system-running; docker info >/dev/null && echo engine");
        let over = answer.stdout.starts_with("degraded") || answer.stdout.starts_with("running");
        if over && answer.stdout.contains("engine") { Ok(()) } else { Err(answer.to_string()) }
    })
    .unwrap();
}
