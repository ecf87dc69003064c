//! Secrets through whole runs: asked for at once, kept in memory only, and refused where there is no memory to keep
//! them in.

#![expect(clippy::unwrap_used, reason = "a failing test panics with its story")]

#[expect(dead_code, reason = "shared with the other suites, which use more of it")]
mod world;

use world::{World, is_root};

const SERVICE: &str = "[services.web]\nimage = \"nginx:1\"\n";
const HIDDEN: &str = "marked-value-5d20";
const SECRETS: usize = 6;

/// So many secrets in Secrets Manager, and the node.toml that asks for them.
fn with_secrets(world: &World) -> String {
    let mut answers = world.cloud.answers.lock().unwrap();
    let sections = (0..SECRETS).map(|number| {
        let secret = ("v1".to_owned(), format!("{{\"KEY\":\"{HIDDEN}-{number}\"}}"));
        answers.secrets.insert(format!("id-{number}"), secret);
        format!("[secrets.s{number}]\nid = \"id-{number}\"\nrequire = [\"KEY\"]\n")
    });
    sections.collect::<String>() + SERVICE
}

#[test]
fn all_secrets_are_asked_for_at_once_and_lie_closed_in_memory() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    let configuration = with_secrets(&world);
    world.cloud.gathering.of(SECRETS);
    let run = world.bootstrap(&["run", "--config", "-"], &configuration);
    run.expect(0);
    assert_eq!(world.cloud.gathering.most(), SECRETS, "requests that were there at once");
    let folder = "/run/node-agent/secrets";
    let found = world.inside("stat", &["-f", "-c", "%T", folder]);
    assert_eq!(String::from_utf8_lossy(&found.stdout), "tmpfs\n");
    let found = world.inside("stat", &["-c", "%a %u:%g", folder]);
    assert_eq!(String::from_utf8_lossy(&found.stdout), "700 0:0\n");
    let value = world.read_inside(&format!("{folder}/s3/current/KEY"));
    assert_eq!(value, format!("{HIDDEN}-3"));
}

/// Without the right to mount, and /run on a disk: as in a container.
#[test]
fn no_value_is_written_where_it_could_reach_a_disk() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    world.write_file("etc/given.toml", &with_secrets(&world), 0o600);
    let kind = world.inside("stat", &["-f", "-c", "%T", "/run"]);
    let kind = String::from_utf8_lossy(&kind.stdout).trim().to_owned();
    if kind == "tmpfs" {
        world::skip("temporary files are in memory on this host");
        return;
    }
    let program = env!("CARGO_BIN_EXE_node-bootstrap");
    let run = world
        .inside("setpriv", &["--bounding-set", "-sys_admin", program, "run", "--config", "/etc/given.toml"]);
    let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert_eq!(run.status.code(), Some(1), "{said}");
    let handoff = world.handoff();
    let problems = handoff["problems"].as_array().unwrap();
    let refused = problems.iter().filter(|problem| problem["code"] == "secrets_folder").count();
    assert_eq!(refused, SECRETS, "{handoff:#}\n{said}");
    assert!(said.contains("cannot mount a tmpfs at /run/node-agent/secrets"), "{said}");
    let found =
        world.inside("grep", &["-rl", HIDDEN, "/run", "/etc/node-agent", "/var/lib/node-agent", "/var/log"]);
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "files that hold a value");
    assert!(!said.contains(HIDDEN), "{said}");
}
