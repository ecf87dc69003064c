//! Volumes that are not what node.toml says, or not there: not one byte is written to them, and who needs them waits.

use super::listing::volume_sum;
use super::{SOON, boot, complaints, is_healthy, line_of, named, service, stage};
use harness::stage::Stage;
use std::process::Command;

fn volume(name: &str, device: &str, rest: &str) -> String {
    format!("[volumes.{name}]\ndevice = \"{device}\"\nmount = \"/mnt/{name}\"\nwait = \"1s\"\n{rest}\n")
}

fn make(program: &str, stage: &Stage) {
    let device = if program == "mkfs.ext4" { stage.volume.device() } else { stage.more_volumes[0].device() };
    let made = Command::new(program).arg(device).output().unwrap();
    assert!(made.status.success(), "{made:?}");
}

#[test]
fn foreign_and_absent_volumes_are_left_alone_and_hold_up_only_who_needs_them() {
    let Some(mut stage) = stage() else { return };
    stage.attach().unwrap();
    make("mkfs.ext4", &stage);
    make("mkfs.vfat", &stage);
    let sums = [volume_sum(&stage.volume), volume_sum(&stage.more_volumes[0])];
    let using = |name: &str, port| service(name, port, &format!("mounts = [\"/mnt/{name}:/data\"]"));
    let node_toml = [
        stage.agent_section(),
        volume("foreign", "/dev/sdf", ""),
        volume("dos", "/dev/sdg", ""),
        volume("late", "/dev/sdh", ""),
        volume("scratch", "/dev/sdi", "optional = true"),
        service("plain", 80, ""),
        using("foreign", 81),
        using("dos", 82),
        using("late", 83),
        using("scratch", 84),
    ]
    .concat();
    let (code, output) = boot(&mut stage, &node_toml);
    assert_eq!(code, 1, "{output}");
    let status = stage
        .wait_for_status("the services without those volumes to be healthy", SOON, |status| {
            is_healthy(status, "plain")
        })
        .unwrap();
    let log = complaints(&stage);
    for (code, name, wanted) in [
        ("volume_foreign", "foreign", ["ext4", "xfs"]),
        ("volume_foreign", "dos", ["vfat", "xfs"]),
        ("volume_absent", "late", ["attached as sdh", "1 s"]),
        ("volume_absent", "scratch", ["attached as sdi", "1 s"]),
    ] {
        let line = line_of(&status, code, &format!("volume {name}"));
        assert!(wanted.iter().all(|word| line.contains(word)), "{wanted:?}: {line}");
        let logged: Vec<_> = log.iter().filter(|line| line.contains(&format!("volume {name}"))).collect();
        assert!(logged.len() == 1 && logged[0].contains("(hint: "), "{name}: {log:#?}");
    }
    for name in ["foreign", "dos", "late"] {
        assert_eq!(named(&status, name)["state"], "waiting", "{status:#}");
        let why = stage.instance().run(["agentctl", "explain", name]).expect_success();
        assert!(why.contains(&format!("waits: volume {name} is not mounted")), "{why}");
        assert_ne!(stage.instance().shell(&format!("findmnt /mnt/{name}")).code(), 0);
    }
    assert_eq!(stage.instance().run(["agentctl", "status"]).code(), 1);
    let after = [volume_sum(&stage.volume), volume_sum(&stage.more_volumes[0])];
    assert_eq!(sums, after, "a foreign volume was written to");
}

#[test]
fn a_node_can_do_without_an_optional_volume() {
    let Some(mut stage) = stage() else { return };
    let node_toml =
        [stage.agent_section(), volume("scratch", "/dev/sdi", "optional = true"), service("plain", 80, "")]
            .concat();
    let (code, output) = boot(&mut stage, &node_toml);
    assert_eq!(code, 0, "{output}");
    let status = stage
        .wait_for_status("the service to be healthy", SOON, |status| is_healthy(status, "plain"))
        .unwrap();
    line_of(&status, "volume_absent", "volume scratch");
}
