//! A metadata service that does not answer: on the first boot, and on a node that has worked before.

use super::{SOON, boot, complaints, is_ready, line_of, service, stage};
use harness::local_cloud::{Fault, FaultKind};
use harness::stage::Stage;
use std::time::{Duration, Instant};

/// Its patience is 60 s; then everything that can be done without an identity.
const BOUND: Duration = Duration::from_secs(100);

/// The metadata service hangs, but for the two requests with which user data comes.
fn hang_after_user_data(stage: &Stage) {
    for operation in ["PutToken", "Get"] {
        let fault = Fault::on("imds", FaultKind::Hang).operation(operation);
        stage.cloud.fault(Fault { skip: 1, ..fault });
    }
}

fn handoff(stage: &Stage) -> serde_json::Value {
    let text = stage.instance().run(["cat", "/run/node-agent/handoff.json"]).expect_success();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn without_metadata_bootstrap_ends_in_bounded_time_and_a_later_run_heals_the_node() {
    let Some(mut stage) = stage() else { return };
    let node_toml = format!("{}{}", stage.agent_section(), service("web", 80, ""));
    hang_after_user_data(&stage);
    let started = Instant::now();
    stage.boot(&node_toml).unwrap();
    let (code, output) = stage.wait_for_user_data(BOUND).unwrap();
    assert_eq!(code, 1, "{output}");
    assert!(started.elapsed() < BOUND);
    let log = complaints(&stage);
    assert!(log.iter().any(|line| line.contains("169.254.169.254") && line.contains("(hint: ")), "{log:#?}");
    let handoff = handoff(&stage);
    assert_eq!(handoff["identity"], serde_json::Value::Null, "{handoff:#}");
    let line = line_of(&handoff, "imds_unreachable", "instance metadata service");
    assert!(line.contains("169.254.169.254"), "{line}");
    for step in ["volumes", "secrets", "docker"] {
        let skipped = handoff["steps"].as_array().into_iter().flatten();
        let skipped = skipped.into_iter().any(|found| found["name"] == step && found["outcome"] == "skipped");
        assert!(skipped, "{step}: {handoff:#}");
    }
    assert!(
        output.contains("skipped") && output.contains("it is not known which instance this is"),
        "{output}"
    );

    stage.cloud.clear_faults();
    let again = stage.bootstrap_again();
    assert_eq!(again.code(), 0, "{again}");
    stage.wait_for_status("the node to be ready", SOON, is_ready).unwrap();
}

#[test]
fn a_node_that_reboots_without_metadata_says_so_and_goes_on_when_it_is_back() {
    let Some(mut stage) = stage() else { return };
    let node_toml = format!("{}{}", stage.agent_section(), service("web", 80, ""));
    let (code, output) = boot(&mut stage, &node_toml);
    assert_eq!(code, 0, "{output}");
    stage.wait_for_status("the node to be ready", SOON, is_ready).unwrap();

    stage.cloud.fault(Fault::on("imds", FaultKind::Reset));
    stage.reboot().unwrap();
    let status = stage
        .wait_for_status("the node to say what is wrong", BOUND, |status| {
            super::problem(status, "identity_unknown", "").is_some()
        })
        .unwrap();
    let line = line_of(&status, "identity_unknown", "169.254.169.254");
    assert!(line.contains("the instance is unknown"), "{line}");
    let answer = stage.instance().run(["agentctl", "status"]);
    assert_eq!(answer.code(), 1, "{answer}");

    stage.cloud.clear_faults();
    stage.wait_for_status("the node to be ready by itself", SOON, is_ready).unwrap();
}
