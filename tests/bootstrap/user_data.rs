//! node-bootstrap without `--config`: user data, the installed file, or nothing; exit codes, what it says, what it
//! changes.

#![expect(clippy::unwrap_used, reason = "a failing test panics with its story")]

#[expect(dead_code, reason = "shared with the other suites, which use more of it")]
mod world;

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use world::{World, is_root};

const OLD: &str = "[services.web]\nimage = \"nginx:1\"\n";
const NEW: &str =
    "# node.toml\n[services.web]\nimage = \"nginx:2\"\nenvironment = { TOKEN = \"marked-literal-9c1\" }\n";
const WRONG: &str =
    "[services.web]\nimage = \"nginx:3\"\nimag = \"marked-literal-9c1\"\nports = [\"99999:1\"]\n";
/// As the unit runs it.
const UNIT: [&str; 2] = ["run", "--if-configured"];

fn set_user_data(world: &World, user_data: impl AsRef<[u8]>) {
    let bytes = user_data.as_ref().to_vec();
    world.cloud.answers.lock().unwrap().files.insert("/latest/user-data".to_owned(), bytes);
}

fn install(world: &World, text: &str) {
    world.write_file("etc/node-agent/node.toml", text, 0o640);
}

fn installed(world: &World) -> String {
    world.read_inside("/etc/node-agent/node.toml")
}

fn mime(text: &str) -> String {
    format!(
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/x-shellscript\n\n\
         #!/bin/sh\n--x\nContent-Disposition: attachment; filename=\"node.toml\"\n\n{text}\n--x--\n"
    )
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Outcome and reason of the step `configuration`.
fn configuration_step(world: &World) -> (String, String) {
    let handoff = world.handoff();
    let steps = handoff["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["name"] == "configuration").unwrap();
    let text = |key: &str| step[key].as_str().unwrap().to_owned();
    (text("outcome"), text("reason"))
}

#[test]
fn without_any_configuration_the_unit_ends_well_and_a_person_is_told_what_to_do() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let before = world.written();
    for (user_data, why) in [
        (None, "there is no user data"),
        (Some("#!/bin/sh\n"), "user data is a script"),
        (Some("TOKEN=marked-literal-9c1\n"), "user data is text without a section of node.toml"),
    ] {
        if let Some(user_data) = user_data {
            set_user_data(&world, user_data);
        }
        for (arguments, code) in [(&UNIT[..], 0), (&["run"], 78), (&["plan"], 78)] {
            let run = world.bootstrap(arguments, "");
            assert_eq!(run.expect(code).stderr.lines().count(), 1, "{}", run.story());
            assert!(
                run.stderr.contains("no /etc/node-agent/node.toml") && run.stderr.contains(why),
                "{}",
                run.story()
            );
            assert_eq!(run.stderr.contains("(hint: "), code == 78, "{}", run.story());
            assert!(!run.stderr.contains("marked-literal"), "{}", run.story());
        }
    }
    assert_eq!(world.written(), before);
}

#[test]
fn user_data_that_is_a_node_toml_is_installed_whatever_it_is_wrapped_in() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    for user_data in [NEW.as_bytes().to_vec(), mime(NEW).into_bytes(), gzip(NEW), gzip(&mime(NEW))] {
        install(&world, OLD);
        set_user_data(&world, &user_data);
        let plan = world.bootstrap(&["plan"], "");
        assert!(
            plan.expect(0).stdout.contains("replace the installed configuration with the node.toml"),
            "{}",
            plan.story()
        );
        assert_eq!(installed(&world), OLD);
        let run = world.bootstrap(&UNIT, "");
        run.expect(0);
        assert_eq!(installed(&world), NEW);
        assert_eq!(configuration_step(&world).0, "done");
        let said = format!("{}{}", run.story(), world.read_inside("/var/log/node-bootstrap.log"));
        assert!(!said.contains("marked-literal"), "{said}");
        world.bootstrap(&UNIT, "").expect(0);
        assert_eq!(configuration_step(&world).0, "unchanged");
    }
}

#[test]
fn what_is_given_by_hand_comes_before_user_data_and_drop_ins_stay_in_force() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    set_user_data(&world, NEW);
    world.bootstrap(&["run", "--config", "-"], OLD).expect(0);
    assert_eq!(installed(&world), OLD);
    world.write_file("etc/node-agent/node.d/50-site.toml", "[services.web]\nimag = 1\n", 0o640);
    let run = world.bootstrap(&["run"], "");
    assert!(run.expect(78).stderr.contains("/etc/node-agent/node.d/50-site.toml:2:1"), "{}", run.story());
    assert_eq!(installed(&world), OLD);
}

#[test]
fn wrong_user_data_leaves_a_working_node_as_it_was_and_says_every_mistake() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    install(&world, OLD);
    world.bootstrap(&UNIT, "").expect(0);
    set_user_data(&world, WRONG);
    let run = world.bootstrap(&UNIT, "");
    run.expect(78);
    for place in ["<user data>:3:1:", "<user data>:4:"] {
        assert!(run.stderr.contains(place), "{place}: {}", run.story());
        assert!(world.read_inside("/var/log/node-bootstrap.log").contains(place));
    }
    let handoff = world.handoff();
    let problem = &handoff["problems"][0];
    assert_eq!(problem["code"], "configuration_invalid", "{handoff:#}");
    assert!(problem["message"].as_str().unwrap().starts_with("<user data>:3:1: "), "{problem:#}");
    assert!(problem["hint"].is_string(), "{problem:#}");
    assert_eq!(configuration_step(&world).0, "failed");
    assert_eq!(installed(&world), OLD);
    assert_eq!(world.read_inside("/run/agent-starts").trim(), "1", "the agent was left alone");
    assert!(!run.story().contains("marked-literal"), "{}", run.story());
    let plan = world.bootstrap(&["plan"], "");
    assert!(plan.expect(78).stdout.starts_with("configuration"), "{}", plan.story());
    assert!(plan.stdout.contains("REFUSE") && plan.stderr.contains("<user data>:4:"), "{}", plan.story());

    set_user_data(&world, "#!/bin/sh\n");
    world.bootstrap(&UNIT, "").expect(0);
    assert_eq!(world.handoff()["problems"], serde_json::json!([]));
}

#[test]
fn wrong_user_data_with_nothing_installed_changes_nothing() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    set_user_data(&world, WRONG);
    let before = world.written();
    let run = world.bootstrap(&UNIT, "");
    assert_eq!(run.expect(78).stderr.lines().count(), 2, "{}", run.story());
    set_user_data(&world, mime(NEW).replace("--x--", "--x\nContent-Type: text/x-node-toml\n\n[node]\n--x--"));
    let run = world.bootstrap(&UNIT, "");
    assert!(run.expect(78).stderr.contains("more than one part of it is a node.toml"), "{}", run.story());
    let mut after = world.written();
    after.retain(|path| !path.ends_with("/systemctl.log"));
    assert_eq!(after, before);
}

#[test]
fn a_silent_metadata_service_leaves_the_installed_configuration_in_force() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    world.cloud.answers.lock().unwrap().metadata_disabled = true;
    let unit = world.bootstrap(&UNIT, "");
    assert!(unit.expect(1).stderr.contains("user data is not known"), "{}", unit.story());
    install(&world, OLD);
    world.bootstrap(&UNIT, "").expect(1);
    let (outcome, reason) = configuration_step(&world);
    assert_eq!(outcome, "unchanged");
    assert!(reason.starts_with("the installed one is valid; user data is not known: "), "{reason}");
}
