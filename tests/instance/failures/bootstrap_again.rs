//! Bootstrap a second time, and the whole node a second time: nothing that was right is touched.

use super::{SOON, boot, container_of, is_ready, service, stage};
use harness::instance::Answer;
use harness::stage::{SECRET, Stage};

fn volume_uuid(stage: &Stage) -> String {
    stage.instance().shell("findmnt -n -o UUID,TARGET /mnt/models").expect_success()
}

#[test]
fn a_second_run_and_a_reboot_find_everything_and_change_nothing() {
    let Some(mut stage) = stage() else { return };
    let node_toml = format!(
        "{}[volumes.models]\ndevice = \"/dev/sdf\"\nmount = \"/mnt/models\"\n[secrets.app]\nid = \"{SECRET}\"\n{}",
        stage.agent_section(),
        service("web", 80, "environment_from = [\"app\"]\nmounts = [\"/mnt/models:/models\"]")
    );
    let (code, output) = boot(&mut stage, &node_toml);
    assert_eq!(code, 0, "{output}");
    let status = stage.wait_for_status("the node to be ready", SOON, is_ready).unwrap();
    let (container, uuid) = (container_of(&status, "web"), volume_uuid(&stage));
    stage.instance().shell("echo precious > /mnt/models/file && sync").expect_success();
    let agent = stage.instance().run(["systemctl", "show", "-p", "MainPID", "node-agent"]).expect_success();

    // As user data has it: a here-document ends with a line break.
    let given = format!("{node_toml}\n");
    changed_nothing(&stage, &stage.bootstrap_again());
    changed_nothing(&stage, &stage.bootstrap("run", &given));
    let status = stage.wait_for_status("the node to be ready", SOON, is_ready).unwrap();
    assert_eq!((container_of(&status, "web"), volume_uuid(&stage)), (container, uuid.clone()));
    assert_eq!(
        stage.instance().run(["systemctl", "show", "-p", "MainPID", "node-agent"]).expect_success(),
        agent
    );

    stage.reboot().unwrap();
    let status = stage.wait_for_status("the node to be ready after a reboot", SOON, is_ready).unwrap();
    assert_eq!(status["problems"], serde_json::json!([]));
    assert_eq!(volume_uuid(&stage), uuid);
    assert_eq!(stage.instance().shell("cat /mnt/models/file").expect_success(), "precious\n");
    let bootstrap = stage.instance().run(["systemctl", "show", "-p", "Result,ActiveState", "node-bootstrap"]);
    let bootstrap = bootstrap.expect_success();
    assert!(bootstrap.contains("Result=success"), "{bootstrap}");
    assert!(stage.get("/health").is_ok_and(|(code, _)| code == 200));
}

#[track_caller]
fn changed_nothing(stage: &Stage, run: &Answer) {
    assert_eq!(run.code(), 0, "{run}");
    let steps = handoff_steps(stage);
    assert!(steps.len() >= 9 && steps.iter().all(|(_, outcome)| outcome == "unchanged"), "{steps:?}\n{run}");
}

fn handoff_steps(stage: &Stage) -> Vec<(String, String)> {
    let text = stage.instance().run(["cat", "/run/node-agent/handoff.json"]).expect_success();
    let handoff: serde_json::Value = serde_json::from_str(&text).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let steps = handoff["steps"].as_array().into_iter().flatten();
    steps.map(|step| (text(&step["name"]), text(&step["outcome"]))).collect()
}
