//! `agentctl bundle` on a node whose secrets are marked and planted wherever an operator, an application or a log driver
//! might leave them.

use super::scene::Scene;
use super::scene::web::Web;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::stage::MARKED_VALUE;
use std::collections::BTreeMap;
use std::io::Read;

/// In node.toml as a literal, where it does not belong.
const LITERAL: &str = "planted-literal-9d1e";
/// In a URL.
const OF_URL: &str = "planted-in-url-77aa";
const ACCESS_KEY: &str = "AKIAPLANTEDPLANTED12";

fn unpacked(bytes: &[u8]) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().mode().unwrap(), 0o600);
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let (_, name) = path.split_once('/').unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        files.insert(name.to_owned(), text);
    }
    files
}

#[test]
fn a_bundle_holds_what_is_needed_and_no_secret_in_any_form() {
    let Some(mut scene) = Scene::set() else { return };
    scene.push("one", "healthy");
    let more = format!(
        "environment_from = [\"app\"]\nenvironment = {{ DB_PASSWORD = \"{LITERAL}\", BROKER = \"redis://u:{OF_URL}@r:1\" }}"
    );
    let web = Web { more: &more, sections: "[secrets.app]\nid = \"stage-secrets\"\n", ..Web::default() };
    let node_toml = web.node_toml(&scene.stage);
    scene.boot(&node_toml);
    scene.serves("one");
    plant(&scene);
    let files = made(&scene);
    holds_what_is_needed(&files);
    holds_no_secret(&files);
    other_places(&scene);
}

/// As somebody debugging a login would.
fn plant(scene: &Scene) {
    let encoded = STANDARD.encode(MARKED_VALUE);
    let planted = format!(
        "echo 'SECRET_KEY is {MARKED_VALUE}' >> /var/log/node-bootstrap.log; \
         echo '{{\"note\": \"{encoded}\", \"key\": \"{ACCESS_KEY}\"}}' > /var/lib/node-agent/note.json; \
         agentctl update web --to {MARKED_VALUE}; true"
    );
    scene.stage.instance().shell(&planted).expect_success();
    // The command that was mistyped is in the agent's own journal, with who gave it.
    let journal =
        scene.stage.instance().run(["journalctl", "--no-pager", "-u", "node-agent"]).expect_success();
    assert!(journal.contains(MARKED_VALUE), "{journal}");
}

/// Refused to others, and made for root.
fn made(scene: &Scene) -> BTreeMap<String, String> {
    let instance = scene.stage.instance();
    let refused =
        instance.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "agentctl", "bundle"]);
    assert_eq!(refused.code(), 1, "{refused}");
    assert!(refused.stderr.contains("run it as root"), "{refused}");

    let answer = instance.shell("cd /tmp && agentctl bundle --output /root/b.tar.gz");
    assert_eq!(answer.code(), 0, "{answer}");
    assert!(answer.stdout.contains("without the values of secrets"), "{answer}");
    let path = instance.root().join("root/b.tar.gz");
    let files = unpacked(&std::fs::read(&path).unwrap_or_else(|error| panic!("{error}: {answer}")));
    println!("{} files, {} bytes", files.len(), files.values().map(String::len).sum::<usize>());
    files
}

fn holds_what_is_needed(files: &BTreeMap<String, String>) {
    for name in [
        "README.txt",
        "agent/status.json",
        "agent/explain.json",
        "agent/config.json",
        "doctor.json",
        "etc/node-agent/node.toml",
        "run/node-agent/handoff.json",
        "var/log/node-bootstrap.log",
        "journal/node-agent.txt",
        "host/units.txt",
        "host/room.txt",
        "docker/containers.txt",
    ] {
        assert!(files.get(name).is_some_and(|text| text.len() > 20), "{name}: {:?}", files.keys());
    }
    assert!(files["README.txt"].contains("values of secrets"), "{}", files["README.txt"]);
    let doctor: serde_json::Value = serde_json::from_str(&files["doctor.json"]).unwrap();
    assert!(doctor["findings"].as_array().is_some_and(|findings| findings.len() > 15), "{doctor:#}");
}

fn holds_no_secret(files: &BTreeMap<String, String>) {
    let encoded = STANDARD.encode(MARKED_VALUE);
    let hexadecimal: String = MARKED_VALUE.bytes().map(|byte| format!("{byte:02x}")).collect();
    for (name, text) in files {
        for secret in
            [MARKED_VALUE, LITERAL, OF_URL, ACCESS_KEY, &encoded, &hexadecimal, "marked-5e1f3c-client-id"]
        {
            assert!(!text.contains(secret), "{name} holds {secret}");
        }
    }
    // What is taken out is named, and the rest is there.
    assert!(files["var/log/node-bootstrap.log"].contains("SECRET_KEY is [secret app/SECRET_KEY]"));
    assert!(
        files["etc/node-agent/node.toml"].contains("redis://u:[password]@r:1"),
        "{}",
        files["etc/node-agent/node.toml"]
    );
    assert!(files["etc/node-agent/node.toml"].contains("environment_from = [\"app\"]"));
}

/// The default place, and nothing left of a bundle that could not be written.
fn other_places(scene: &Scene) {
    let instance = scene.stage.instance();
    let named =
        instance.shell("cd /tmp && agentctl bundle && ls /tmp/node-agent-i-*.tar.gz").expect_success();
    assert!(named.contains("/tmp/node-agent-i-"), "{named}");
    let nowhere = instance.run(["agentctl", "bundle", "--output", "/no/such/folder/b.tar.gz"]);
    assert_eq!(nowhere.code(), 1, "{nowhere}");
    assert!(nowhere.stderr.contains("cannot write /no/such/folder/b.tar.gz"), "{nowhere}");
}
