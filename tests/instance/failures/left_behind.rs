//! A test that panics leaves nothing on the host.

use super::{boot, service, stage};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

#[test]
fn a_test_that_panics_leaves_nothing_on_the_host() {
    let Some(stage) = stage() else { return };
    let node_toml = format!(
        "{}[volumes.models]\ndevice = \"/dev/sdf\"\nmount = \"/mnt/models\"\n{}",
        stage.agent_section(),
        service("web", 80, "mounts = [\"/mnt/models:/models\"]")
    );
    let mut id = String::new();
    let file = stage.volume.file().to_owned();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut stage = stage;
        let (code, output) = boot(&mut stage, &node_toml);
        id = stage.instance().id().to_owned();
        assert_eq!(code, 0, "{output}");
        stage.wait_for_status("the node to be ready", super::SOON, super::is_ready).unwrap();
        panic!("as a failing test does, with a container running and a volume mounted");
    }));
    let words = panicked.expect_err("it panicked").downcast::<&str>();
    assert!(words.is_ok_and(|words| words.starts_with("as a failing test")), "another panic came first");
    assert!(!id.is_empty());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&id), "mounts: {mounts}");
    assert!(!Path::new("/run/netns").join(&id).exists());
    let groups = Command::new("find").args(["/sys/fs/cgroup", "-name", &format!("*{id}*")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&groups.stdout), "", "control groups");
    let loops =
        Command::new("losetup").args(["--list", "--noheadings", "--output", "BACK-FILE"]).output().unwrap();
    let loops = String::from_utf8_lossy(&loops.stdout);
    assert!(!file.exists() && !loops.contains(&*file.to_string_lossy()), "loop devices: {loops}");
    let machines = Command::new("ps").args(["-e", "-o", "args"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&machines.stdout).contains(&id), "processes");
}
