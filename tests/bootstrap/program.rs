//! node-bootstrap from outside: exit codes, what it prints, what it writes and what it leaves alone.

#![expect(clippy::unwrap_used, reason = "a failing test panics with its story")]

#[expect(dead_code, reason = "shared with the other suites, which use more of it")]
mod world;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use world::{World, is_root};

const SERVICE: &str = "[services.web]\nimage = \"nginx:1\"\n";
const HIDDEN: &str = "marked-value-7f3a";

fn with_secret(world: &World, version: &str) {
    let secret = (version.to_owned(), format!("{{\"SECRET_KEY\":\"{HIDDEN}\"}}"));
    world.cloud.answers.lock().unwrap().secrets.insert("app-secrets".to_owned(), secret);
}

fn outcome<'handoff>(handoff: &'handoff serde_json::Value, step: &str) -> &'handoff str {
    let steps = handoff["steps"].as_array().unwrap();
    let found = steps.iter().find(|candidate| candidate["name"] == step);
    found.unwrap_or_else(|| panic!("no step {step} in {handoff:#}"))["outcome"].as_str().unwrap()
}

#[test]
fn wrong_usage_ends_with_2() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.bootstrap(&["walk"], "").expect(2);
    world.bootstrap(&["run", "--force"], "").expect(2);
    let version = world.bootstrap(&["--version"], "");
    assert_eq!(version.expect(0).stdout, format!("node-bootstrap {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn five_mistakes_are_five_lines_and_nothing_is_changed() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let before = world.written();
    let configuration = "[services.web]\n\
        imag = \"nginx:1\"\n\
        image = \"nginx:1\"\n\
        ports = [\"99999:1\"]\n\
        stop_timeout = \"soon\"\n\
        [volumes.models]\n\
        device = \"/dev/nvme1n1\"\n\
        mount = \"mnt\"\n";
    let run = world.bootstrap(&["run", "--config", "-"], configuration);
    let lines: Vec<&str> = run.expect(78).stderr.lines().collect();
    assert_eq!(lines.len(), 5, "{}", run.story());
    let expected = ["2:1:", "4:", "5:", "7:", "8:"];
    for (line, position) in lines.iter().zip(expected) {
        assert!(line.starts_with(&format!("<standard input>:{position}")), "{line} is not at {position}");
    }
    assert_eq!(world.written(), before);
}

#[test]
fn a_first_run_does_everything_and_a_second_one_nothing() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    with_secret(&world, "v1");
    let configuration = format!("[secrets.app]\nid = \"app-secrets\"\nrequire = [\"SECRET_KEY\"]\n{SERVICE}");
    let first = world.bootstrap(&["run", "--config", "-"], &configuration);
    first.expect(0);
    let handoff = world.handoff();
    assert_eq!(handoff["identity"]["instance_id"], "i-0123456789abcdef0");
    assert_eq!(handoff["secrets"][0]["version_id"], "v1");
    for (step, expected) in [
        ("configuration", "done"),
        ("secret app", "done"),
        ("docker", "unchanged"),
        ("agent", "unchanged"),
        ("start agent", "done"),
    ] {
        assert_eq!(outcome(&handoff, step), expected, "{step}\n{}", first.story());
    }
    assert_eq!(world.read_inside("/etc/node-agent/node.toml"), configuration);
    assert!(world.read_inside("/run/node-agent/environment").contains("AWS_ENDPOINT_URL="));
    let kind = world.inside("stat", &["-f", "-c", "%T", "/run/node-agent/secrets"]);
    assert_eq!(String::from_utf8_lossy(&kind.stdout).trim(), "tmpfs");

    let second = world.bootstrap(&["run"], "");
    second.expect(0);
    let handoff = world.handoff();
    for step in handoff["steps"].as_array().unwrap() {
        assert!(step["outcome"] == "unchanged" || step["name"] == "units", "{step:#}\n{}", second.story());
    }
    assert_eq!(world.read_inside("/run/agent-starts").trim(), "1", "the agent was started once");
    let said =
        format!("{}{}{}", first.story(), second.story(), world.read_inside("/var/log/node-bootstrap.log"));
    assert!(!said.contains(HIDDEN) && !handoff.to_string().contains(HIDDEN), "a secret value was printed");
}

#[test]
fn a_new_secret_version_or_configuration_starts_the_agent_again() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    with_secret(&world, "v1");
    let configuration = format!("[secrets.app]\nid = \"app-secrets\"\n{SERVICE}");
    world.bootstrap(&["run", "--config", "-"], &configuration).expect(0);
    with_secret(&world, "v2");
    world.bootstrap(&["run"], "").expect(0);
    assert_eq!(world.read_inside("/run/agent-starts").trim(), "2");
    world.bootstrap(&["run", "--config", "-"], &format!("{configuration}command = [\"x\"]\n")).expect(0);
    assert_eq!(world.read_inside("/run/agent-starts").trim(), "3");
    let calls = world.read_inside("/run/systemctl.log");
    assert!(!calls.contains("daemon-reload"), "{calls}");
    assert!(
        calls
            .lines()
            .filter(|call| call.starts_with("start") || call.starts_with("restart"))
            .all(|call| call.contains("--no-block")),
        "{calls}"
    );
}

#[test]
fn a_missing_secret_is_a_problem_and_the_rest_is_done() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    let run =
        world.bootstrap(&["run", "--config", "-"], &format!("[secrets.app]\nid = \"nowhere\"\n{SERVICE}"));
    run.expect(1);
    let handoff = world.handoff();
    assert_eq!(outcome(&handoff, "secret app"), "failed");
    assert_eq!(outcome(&handoff, "start agent"), "done");
    let problem = &handoff["problems"][0];
    assert_eq!(problem["code"], "secret_missing", "{handoff:#}");
    assert!(problem["message"].as_str().unwrap().contains("nowhere"));
}

#[test]
fn a_refused_refresh_keeps_the_last_good_version() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    with_secret(&world, "v1");
    let configuration = format!("[secrets.app]\nid = \"app-secrets\"\n{SERVICE}");
    world.bootstrap(&["run", "--config", "-"], &configuration).expect(0);
    world.cloud.answers.lock().unwrap().secrets.clear();
    world.bootstrap(&["run"], "").expect(1);
    assert_eq!(world.handoff()["secrets"][0]["version_id"], "v1");
    assert_eq!(world.read_inside("/run/agent-starts").trim(), "1", "nothing changed for the agent");
}

#[test]
fn without_metadata_the_agent_is_started_and_the_problem_is_handed_over() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    world.cloud.answers.lock().unwrap().metadata_disabled = true;
    let run = world.bootstrap(&["run", "--config", "-"], SERVICE);
    run.expect(1);
    let handoff = world.handoff();
    assert_eq!(handoff["identity"], serde_json::Value::Null);
    assert_eq!(handoff["problems"][0]["code"], "imds_unreachable");
    assert!(handoff["problems"][0]["hint"].is_string(), "{handoff:#}");
    assert_eq!(outcome(&handoff, "docker"), "skipped");
    assert_eq!(outcome(&handoff, "start agent"), "done");
}

#[test]
fn metadata_that_fails_later_in_a_boot_is_known_from_the_handoff() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    world.bootstrap(&["run", "--config", "-"], SERVICE).expect(0);
    world.cloud.answers.lock().unwrap().metadata_disabled = true;
    world.bootstrap(&["run"], "").expect(1);
    let handoff = world.handoff();
    assert_eq!(handoff["identity"]["instance_id"], "i-0123456789abcdef0");
    assert_eq!(outcome(&handoff, "docker"), "unchanged");
}

#[test]
fn a_plan_prints_every_step_and_changes_nothing() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    let before = world.written();
    let configuration = format!(
        "[secrets.app]\nid = \"app-secrets\"\n{SERVICE}\
         [volumes.models]\ndevice = \"/dev/sdf\"\nmount = \"/mnt/models\"\n"
    );
    let run = world.bootstrap(&["plan", "--json", "--config", "-"], &configuration);
    let plan: serde_json::Value = serde_json::from_str(&run.expect(0).stdout).unwrap();
    let names: Vec<&str> =
        plan["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "configuration",
            "metadata",
            "volume models",
            "secret app",
            "docker",
            "agent",
            "units",
            "handoff",
            "start agent"
        ]
    );
    let text = world.bootstrap(&["plan", "--config", "-"], &configuration);
    assert!(text.expect(0).stdout.contains("nothing is attached as sdf"), "{}", text.story());
    let mut after = world.written();
    after.retain(|path| !path.ends_with("/systemctl.log"));
    assert_eq!(after, before);
}

#[test]
fn an_artifact_is_fetched_checked_and_installed_once() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    let tarball = release("#!/bin/sh\necho new\n");
    let sha256: String = Sha256::digest(&tarball).iter().map(|byte| format!("{byte:02x}")).collect();
    world.cloud.answers.lock().unwrap().files.insert("/agent.tar.gz".to_owned(), tarball);
    let url = format!("{}/agent.tar.gz", world.cloud.endpoint);
    let configuration = |sha256: &str| format!("[agent]\nurl = \"{url}\"\nsha256 = \"{sha256}\"\n{SERVICE}");

    let refused = world.bootstrap(&["run", "--config", "-"], &configuration(&"0".repeat(64)));
    refused.expect(1);
    assert_eq!(world.handoff()["problems"][0]["code"], "agent_not_installed", "{}", refused.story());
    assert_eq!(world.read_inside("/usr/bin/node-agent"), "#!/bin/sh\n");

    world.bootstrap(&["run", "--config", "-"], &configuration(&sha256)).expect(0);
    assert_eq!(outcome(&world.handoff(), "agent"), "done");
    assert_eq!(world.read_inside("/usr/bin/node-agent"), "#!/bin/sh\necho new\n");
    assert_eq!(world.read_inside("/usr/lib/node-agent/previous/usr/bin/node-agent"), "#!/bin/sh\n");
    assert_eq!(world.read_inside("/etc/systemd/system/node-bootstrap.service"), "unit\n");
    let link = "/etc/systemd/system/multi-user.target.wants/node-bootstrap.service";
    assert!(world.inside("test", &["-L", link]).status.success(), "the unit is not enabled");

    world.bootstrap(&["run"], "").expect(0);
    assert_eq!(outcome(&world.handoff(), "agent"), "unchanged");
}

fn release(agent: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, content) in [("bin/node-agent", agent), ("systemd/node-bootstrap.service", "unit\n")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        builder.append_data(&mut header, format!("node-agent-9-x86_64/{path}"), content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

#[test]
fn two_at_once_do_the_work_once() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    with_secret(&world, "v1");
    let configuration = format!("[secrets.app]\nid = \"app-secrets\"\n{SERVICE}");
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| world.bootstrap(&["run", "--config", "-"], &configuration)))
            .collect();
        for run in runs {
            run.join().unwrap().expect(0);
        }
    });
    assert_eq!(world.read_inside("/run/agent-starts").trim(), "1");
}
