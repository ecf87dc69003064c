//! The ways in which a node gets its configuration, on whole instances with the files of packaging/ as they are: a
//! node.toml as user data, as one part of it, in the image, and by a script beside the unit; and what becomes of user
//! data that is wrong. The script that fetches everything is in `failures` and `examples`.

#![expect(clippy::unwrap_used, reason = "a stage that cannot be set, or a wait that ends, is a failed test")]

use harness::images::Recipe;
use harness::requirements::{is_on_path, is_root, skipped};
use harness::stage::Stage;
use harness::wait::wait_for;
use serde_json::Value;
use std::time::Duration;

const PLAIN: &str = include_str!("../../packaging/cloud-init/node.toml");
const MIME: &str = include_str!("../../packaging/cloud-init/user-data.mime");
/// From a boot to a healthy service, and whatever else waits for nothing but this node.
const SOON: Duration = Duration::from_secs(90);

/// A stage with an image under the name that the examples of user data have; `None` where the host cannot have one.
fn stage() -> Option<Stage> {
    if !is_root() {
        skipped("not root");
        return None;
    }
    let needed = ["systemd-nspawn", "debootstrap", "docker-registry", "losetup", "ip", "nsenter"];
    if let Some(missing) = needed.into_iter().find(|program| !is_on_path(program)) {
        skipped(&format!("no {missing} on this host"));
        return None;
    }
    if !harness::stage::dist().join("node-bootstrap").is_file() {
        skipped("nothing in target/dist; run make dist");
        return None;
    }
    let stage = Stage::set(|_| {}).unwrap();
    let mut recipe = Recipe::of_program("/sample-app", stage.sample().to_vec()).env("VERSION", "one");
    recipe.exposed_ports = vec!["8000/tcp".to_owned()];
    stage.push_to("web", &recipe.build().unwrap(), "latest").unwrap();
    Some(stage)
}

fn is_ready(status: &Value) -> bool {
    status["node"]["state"] == "ready" && status["services"][0]["health"] == "passing"
}

#[track_caller]
fn becomes_ready(stage: &Stage) {
    let ready = stage.wait_for_status("the node to be ready", SOON, is_ready);
    let status = ready.unwrap_or_else(|error| panic!("{error}\n{}", story(stage)));
    assert_eq!(status["problems"], serde_json::json!([]), "{status:#}");
    assert!(stage.get("/health").is_ok_and(|(code, _)| code == 200));
}

fn story(stage: &Stage) -> String {
    let journal = stage.instance().run(["journalctl", "-u", "node-bootstrap", "--no-pager"]);
    format!("{}\n--- console\n{}", journal.stdout, stage.instance().console())
}

/// One property of a unit.
fn property(stage: &Stage, unit: &str, name: &str) -> String {
    stage.instance().run(["systemctl", "show", "-P", name, unit]).expect_success().trim().to_owned()
}

/// Waits for the unit to have ended, and returns the exit code of its program.
#[track_caller]
fn unit_ends(stage: &Stage) -> i32 {
    let ended = wait_for("node-bootstrap.service to end", SOON, || {
        let state = property(stage, "node-bootstrap.service", "SubState");
        if ["exited", "failed"].contains(&state.as_str()) { Ok(()) } else { Err(state) }
    });
    ended.unwrap_or_else(|error| panic!("{error}\n{}", story(stage)));
    property(stage, "node-bootstrap.service", "ExecMainStatus").parse().unwrap()
}

fn installed(stage: &Stage) -> String {
    stage.instance().run(["cat", "/etc/node-agent/node.toml"]).stdout
}

#[test]
fn a_baked_node_takes_user_data_for_its_node_toml_and_a_wrong_one_changes_nothing() {
    let Some(mut stage) = stage() else { return };
    stage.bake(None).unwrap();
    stage.boot_baked(Some(PLAIN)).unwrap();
    becomes_ready(&stage);
    assert_eq!(unit_ends(&stage), 0, "{}", story(&stage));
    assert_eq!(installed(&stage), PLAIN);

    let wrong = PLAIN.replace("80:8000", "80:99999").replace("health = ", "helath = ");
    stage.boot_baked(Some(&wrong)).unwrap();
    assert_eq!(unit_ends(&stage), 78, "{}", story(&stage));
    let status = stage.wait_for_status("the service to be healthy", SOON, |status| {
        status["services"][0]["health"] == "passing" && status["problems"][0].is_object()
    });
    let status = status.unwrap_or_else(|error| panic!("{error}\n{}", story(&stage)));
    let problem = &status["problems"][0];
    assert_eq!(problem["code"], "configuration_invalid", "{status:#}");
    assert!(
        problem["message"].as_str().is_some_and(|text| text.starts_with("<user data>:4:")),
        "{problem:#}"
    );
    assert!(problem["hint"].is_string(), "{problem:#}");
    assert_eq!(installed(&stage), PLAIN);
    let shown = stage.instance().run(["agentctl", "status"]);
    assert!(shown.code() == 1 && shown.stdout.contains("<user data>:4:"), "{shown}");
    let console = stage.instance().console();
    assert!(console.contains("<user data>:4:") && console.contains("<user data>:5:1:"), "{console}");

    let new = PLAIN.replace("80:8000", "8080:8000");
    stage.boot_baked(Some(&new)).unwrap();
    assert_eq!(unit_ends(&stage), 0, "{}", story(&stage));
    assert_eq!(installed(&stage), new);
    wait_for("the service on its new port", SOON, || match stage.get_at(8080, "/health") {
        Ok((200, _)) => Ok(()),
        other => Err(format!("{other:?}\n{}", story(&stage))),
    })
    .unwrap();
}

#[test]
fn a_baked_node_takes_its_part_of_user_data_and_the_script_runs_beside_it() {
    let Some(mut stage) = stage() else { return };
    stage.bake(None).unwrap();
    stage.boot_baked(Some(MIME)).unwrap();
    becomes_ready(&stage);
    assert_eq!(unit_ends(&stage), 0, "{}", story(&stage));
    let (code, output) = stage.wait_for_user_data(SOON).unwrap();
    assert_eq!(code, 0, "{output}");
    stage.instance().run(["test", "-d", "/srv/uploads"]).expect_success();
    let text = installed(&stage);
    assert!(text.starts_with("[services.web]\n") && !text.contains("--part"), "{text}");
}

#[test]
fn a_file_in_the_image_is_enough() {
    let Some(mut stage) = stage() else { return };
    stage.bake(Some(PLAIN)).unwrap();
    stage.boot_baked(None).unwrap();
    becomes_ready(&stage);
    assert_eq!(unit_ends(&stage), 0, "{}", story(&stage));
    let plan = stage.instance().run(["node-bootstrap", "plan"]);
    assert!(plan.stdout.contains("the installed one is valid; there is no user data"), "{plan}");
}

/// The unit ends at once, having found nothing; the script that brings a configuration comes after it.
#[test]
fn a_script_brings_the_configuration_after_the_unit_has_found_none() {
    let Some(mut stage) = stage() else { return };
    stage.bake(None).unwrap();
    let script = format!(
        "#!/bin/sh\nuntil [ \"$(systemctl show -P SubState node-bootstrap)\" = exited ]; do sleep 0.1; done\n\
         exec node-bootstrap run --config - <<'EOF'\n{PLAIN}EOF\n"
    );
    stage.boot_baked(Some(&script)).unwrap();
    let (code, output) = stage.wait_for_user_data(SOON).unwrap();
    assert_eq!(code, 0, "{output}\n{}", story(&stage));
    assert_eq!(unit_ends(&stage), 0);
    assert!(story(&stage).contains("user data is a script; there is nothing to do"), "{}", story(&stage));
    becomes_ready(&stage);

    stage.boot_baked(Some(&script)).unwrap();
    becomes_ready(&stage);
    assert_eq!(unit_ends(&stage), 0, "{}", story(&stage));
}

/// A volume is awaited for minutes; the machine is reachable meanwhile.
#[test]
fn a_volume_that_is_awaited_holds_up_nobody_else() {
    let Some(mut stage) = stage() else { return };
    let unit = |after: &str| {
        format!(
            "[Unit]\nAfter={after}\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n\
             [Install]\nWantedBy=multi-user.target\n"
        )
    };
    // Amazon's agent comes after the network; cloud-init's last stage on Debian and Ubuntu after the target itself.
    let units = [("remote-access", "network-online.target"), ("last-stage", "multi-user.target")];
    for (name, after) in units {
        let path = format!("/etc/systemd/system/{name}.service");
        stage.description().files.push((path, unit(after).into_bytes(), 0o644));
    }
    let awaited = "[volumes.models]\ndevice = \"/dev/sdh\"\nmount = \"/mnt/models\"\nwait = \"5m\"\n";
    stage.bake(Some(&format!("{PLAIN}{awaited}"))).unwrap();
    stage.instance().run(["systemctl", "enable", "remote-access", "last-stage"]).expect_success();
    stage.boot_baked(None).unwrap();
    wait_for("the units of the boot", SOON, || {
        let names = ["remote-access.service", "last-stage.service", "multi-user.target"];
        let states = names.map(|name| property(&stage, name, "ActiveState"));
        if states.iter().all(|state| state == "active") { Ok(()) } else { Err(format!("{states:?}")) }
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", story(&stage)));
    let state = property(&stage, "node-bootstrap.service", "ActiveState");
    assert_eq!(state, "activating", "the volume is still awaited: {}", story(&stage));
    let steps = wait_for("the wait to be said", SOON, || {
        let console = stage.instance().console();
        if console.contains("sdh") { Ok(console) } else { Err(story(&stage)) }
    });
    assert!(steps.unwrap().contains("volume models"));
}
