//! User data and the unit start bootstrap at the same moment: one works, the other waits and finds the work done, also
//! when the first is killed in the middle.

use super::{SOON, boot_log, is_ready, service, stage};
use harness::local_cloud::{Fault, FaultKind};
use harness::stage::Stage;
use harness::wait::wait_for;

/// An installed node without its agent, so that there is work; the unit's bootstrap is started and hangs at the download.
fn at_work(stage: &mut Stage) -> String {
    let volume = "[volumes.models]\ndevice = \"/dev/sdf\"\nmount = \"/mnt/models\"\n";
    let node_toml = [stage.agent_section(), volume.to_owned(), service("web", 80, "")].concat();
    let (code, output) = super::boot(stage, &node_toml);
    assert_eq!(code, 0, "{output}");
    stage.wait_for_status("the node to be ready", SOON, is_ready).unwrap();
    stage
        .instance()
        .shell("systemctl stop node-agent && rm /usr/bin/node-agent && rm /var/log/node-bootstrap.log")
        .expect_success();
    stage.cloud.fault(Fault::on("files", FaultKind::Stall { after_bytes: 1000 }).times(1));
    stage.instance().run(["systemctl", "restart", "--no-block", "node-bootstrap"]).expect_success();
    wait_for("the unit's bootstrap to be at work", SOON, || {
        let log = boot_log(stage);
        if log.contains("agent: fetches") { Ok(()) } else { Err(log) }
    })
    .unwrap();
    node_toml
}

fn count(log: &str, words: &str) -> usize {
    log.lines().filter(|line| line.contains(words)).count()
}

#[test]
fn the_second_one_finishes_what_the_first_was_killed_in() {
    let Some(mut stage) = stage() else { return };
    let node_toml = at_work(&mut stage);
    let instance = stage.instance();
    let mut second = instance.enter();
    let endpoint = format!("AWS_ENDPOINT_URL={}", stage.cloud.aws_url());
    std::fs::write(instance.root().join("etc/second.toml"), format!("{node_toml}\n")).unwrap();
    let line = "node-bootstrap run --config - < /etc/second.toml > /var/log/second.log 2>&1";
    let mut second = second.args(["env", &endpoint, "sh", "-c", line]).spawn().unwrap();
    wait_for("the second one to wait", SOON, || {
        let log = instance.shell("cat /var/log/second.log").stdout;
        if log.contains("another node-bootstrap is at work; waits for it") { Ok(()) } else { Err(log) }
    })
    .unwrap();
    assert_eq!(count(&boot_log(&stage), "agent: fetches"), 1, "one works");
    instance.run(["systemctl", "kill", "--signal=KILL", "node-bootstrap"]).expect_success();
    let ended = second.wait().unwrap();
    let log = boot_log(&stage);
    assert!(ended.success(), "{log}");
    assert_eq!(count(&log, "agent: fetches"), 2, "the second does what was left: {log}");
    assert_eq!(count(&log, "agent: installed"), 1, "{log}");
    assert_eq!(count(&log, "volume models: begins"), 0, "the volume was there: {log}");
    stage.wait_for_status("the node to be ready", SOON, is_ready).unwrap();
}

#[test]
fn two_at_the_same_moment_do_the_work_once() {
    let Some(mut stage) = stage() else { return };
    let node_toml = [stage.agent_section(), service("web", 80, "")].concat();
    let script = stage.user_data(&node_toml);
    let script = script.replacen("exec node-bootstrap run --config -", "cat > /etc/both.toml", 1);
    let both = "node-bootstrap run --config /etc/both.toml & first=$!\n\
                node-bootstrap run --config /etc/both.toml & second=$!\nwait $first\nwait $second\n";
    stage.boot_with(&format!("{script}{both}")).unwrap();
    let (code, output) = stage.wait_for_user_data(super::BOOTSTRAP_DEADLINE).unwrap();
    assert_eq!(code, 0, "{output}");
    let log = boot_log(&stage);
    assert_eq!(count(&log, "agent: fetches"), 1, "{log}");
    assert_eq!(count(&log, "agent: node-agent-"), 1, "the other finds it installed: {log}");
    assert_eq!(count(&log, "this node is ready"), 2, "{log}");
    assert_eq!(count(&log, "start agent: it runs and is ready"), 1, "{log}");
    stage.wait_for_status("the node to be ready", SOON, is_ready).unwrap();
}
