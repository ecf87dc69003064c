//! ollama-chat and rag: a model server that only its neighbours reach, its models, and the applications that wait for it.

use super::deployment::Deployment;
use super::node::Node;
use harness::model_registry::Model;
use serde_json::{Value, json};
use std::cell::Cell;
use std::time::Duration;

const WEIGHTS: u64 = 3 << 20;
/// The reserve that a node has by itself fits it.
pub(super) const VOLUME_BYTES: u64 = 4 << 30;
/// Until what the node is not ready without is there too.
const SOON: Duration = Duration::from_secs(60);
/// Where rag's image has its models.
pub(super) const BAKED: &str = "/var/lib/ollama/models";
/// Long enough to be seen.
const SLOW_LOAD: &str = r#"[{"kind": "slow_load", "seconds": 15, "times": 1}]"#;

/// When the service's container was started, as the engine writes it: text of one length, so that it sorts.
fn started(node: &Node, service: &str) -> String {
    node.container(service)["State"]["StartedAt"].as_str().unwrap()[..23].to_owned()
}

#[track_caller]
fn starts_after(node: &Node, service: &str, needed: &str, group: &str) {
    assert!(started(node, needed) < started(node, service), "{service} started before {needed}");
    // Healthy, not only started: the agent had asked it before.
    let asked = node.shipped(group, needed).into_iter().find(|line| line["event"] == "request");
    let asked = asked.map(|line| line["time"].as_str().unwrap_or_default()[..23].to_owned());
    assert!(asked.as_ref() < Some(&started(node, service)), "{needed} was asked at {asked:?}");
}

fn mount<'a>(container: &'a Value, destination: &str) -> &'a Value {
    let mounts = container["Mounts"].as_array().unwrap();
    mounts.iter().find(|mount| mount["Destination"] == destination).unwrap_or(&Value::Null)
}

/// The example's models at their registry; an embedding one where its name says so.
pub(super) fn publish(deployment: &mut Deployment, names: &[&str]) -> Vec<String> {
    let models = deployment.stage().models();
    let publish = |(seed, name): (u64, &&str)| {
        let embeds = name.contains("embed");
        let model = if embeds { Model::of_embeddings(seed, WEIGHTS) } else { Model::new(seed, WEIGHTS) };
        models.push(name, &model)
    };
    (1..).zip(names).map(publish).collect()
}

pub(super) fn model<'a>(models: &'a Value, name: &str) -> &'a Value {
    let models = models.as_array().map(Vec::as_slice).unwrap_or_default();
    models.iter().find(|model| model["name"] == name).unwrap_or(&Value::Null)
}

/// `agentctl models` for programs and for people: that model in that state, of that version.
#[track_caller]
fn tells(node: &Node, name: &str, state: &str, digest: &str) {
    let told: Value = serde_json::from_str(&node.shell("agentctl models --json").expect_success()).unwrap();
    let model = model(&told["models"], name);
    assert_eq!((&model["state"], &model["digest"]), (&json!(state), &json!(digest)), "{told:#}");
    let short = &digest["sha256:".len()..][..12];
    let page = node.shell("agentctl models").expect_success();
    let row = page.lines().find(|line| line.starts_with(name));
    assert!(row.is_some_and(|row| row.contains(state) && row.contains(short)), "{name} {state}:\n{page}");
}

/// The server does not clean up by itself: the layers of kept versions are ours.
#[track_caller]
pub(super) fn leaves_cleaning_to_the_agent(node: &Node) {
    let pid = &node.container("ollama")["State"]["Pid"];
    node.shell(&format!("tr '\\0' '\\n' < /proc/{pid}/environ | grep -x OLLAMA_NOPRUNE=1")).expect_success();
}

/// Of the statuses before the node was ready: how many had the server up and the model not in memory.
#[derive(Default)]
pub(super) struct Seen(Cell<u32>);

impl Seen {
    pub(super) fn look(&self, status: &Value, name: &str) {
        let loaded = model(&status["models"], name)["state"] == "loaded";
        let ready = status["node"]["state"] == "ready";
        assert!(loaded || !ready, "ready without {name} in memory: {status:#}");
        let services = status["services"].as_array().map(Vec::as_slice).unwrap_or_default();
        let running = |service: &Value| service["name"] == "ollama" && service["state"] == "running";
        if services.iter().any(running) && !loaded {
            self.0.set(self.0.get() + 1);
        }
    }
}

#[test]
fn ollama_chat_keeps_its_models_on_the_volume_and_starts_in_order() {
    let Some(mut deployment) = Deployment::of("ollama-chat") else { return };
    deployment.stage().cloud.state().tags.get_or_insert_default().insert("Name".into(), "ollama-chat".into());
    deployment.stage().renew_volume_with(VOLUME_BYTES).unwrap();
    let names = ["llama2:7b", "nomic-embed-text:latest"];
    let digests = publish(&mut deployment, &names);
    deployment.stage().push_model_server("0.5.4", &[("DOUBLE_FAULTS", SLOW_LOAD)]).unwrap();
    deployment.image("ollama-chat-backend", "latest", &[]);
    deployment.image("ollama-chat-frontend", "latest", &[("PORT", "3000")]);
    let seen = Seen::default();
    let node = deployment.start_seeing(|status| seen.look(status, names[0]));
    assert!(seen.0.get() > 0, "the node was never seen waiting for its model");

    node.answers(8000, "/health");
    node.answers(3000, "/");
    assert!(node.answers(8000, "/reach?OLLAMA_BASE_URL").contains("200 OK"));
    assert!(node.answers(3000, "/reach?BACKEND_URL").contains("200 OK"));
    assert!(node.stage.get_at(11434, "/").is_err(), "the model server is not published");
    let volume = node.shell("findmnt -n -o FSTYPE,TARGET /mnt/ollama-models").expect_success();
    assert_eq!(volume.split_whitespace().collect::<Vec<_>>(), ["xfs", "/mnt/ollama-models"]);
    assert_eq!(node.status["volumes"][0]["mount"], "/mnt/ollama-models");
    let ollama = node.container("ollama");
    assert_eq!(mount(&ollama, "/root/.ollama")["Source"], "/mnt/ollama-models");
    assert_eq!(mount(&ollama, "/root/.ollama")["RW"], true);
    has_its_models(&node, &names, &digests);
    let group = "/aws/ec2/ollama-chat";
    node.ships(group, 30, &["ollama", "backend", "frontend"]);
    starts_after(&node, "backend", "ollama", group);
    starts_after(&node, "frontend", "backend", group);
    for service in ["ollama", "backend", "frontend"] {
        node.is_confined(service);
    }
}

/// ollama-chat's: one in memory, one on the volume, both under the names and digests of their registry.
#[track_caller]
fn has_its_models(node: &Node, names: &[&str], digests: &[String]) {
    let present = |status: &Value| model(&status["models"], names[1])["state"] == "present";
    node.stage.wait_for_status("the other model to be there", SOON, present).unwrap();
    tells(node, names[0], "loaded", &digests[0]);
    tells(node, names[1], "present", &digests[1]);
    leaves_cleaning_to_the_agent(node);
    are_on_the_volume(node, names, digests);
    for digest in digests {
        let lock = node.shell("cat /var/lib/node-agent/models.lock").expect_success();
        assert!(lock.contains(digest), "{digest}: {lock}");
    }
}

/// The manifest of each is on the volume, byte for byte.
#[track_caller]
pub(super) fn are_on_the_volume(node: &Node, names: &[&str], digests: &[String]) {
    for (name, digest) in names.iter().zip(digests) {
        let file = format!("manifests/registry.ollama.ai/library/{}", name.replacen(':', "/", 1));
        let sum = node.shell(&format!("sha256sum /mnt/ollama-models/models/{file}")).expect_success();
        assert_eq!(sum.split_whitespace().next(), digest.strip_prefix("sha256:"), "{name}: {sum}");
    }
}

#[test]
fn rag_comes_up_from_a_baked_image_under_the_name_of_its_instance() {
    let Some(mut deployment) = Deployment::of("rag") else { return };
    deployment.stage().cloud.state().tags = None;
    let digests = publish(&mut deployment, &["llama3.2:3b"]);
    for (path, bytes) in deployment.stage().models().files("llama3.2:3b") {
        deployment.stage().description().files.push((format!("{BAKED}/{path}"), bytes, 0o644));
    }
    deployment.stage().push_model_server("0.5.4", &[("DOUBLE_FAULTS", SLOW_LOAD)]).unwrap();
    deployment.image("rag-app", "latest", &[("PORT", "8001"), ("HEALTH_PATH", "/collection")]);
    let seen = Seen::default();
    let node = deployment.start_seeing(|status| seen.look(status, "llama3.2:3b"));
    assert!(seen.0.get() > 0, "the node was never seen waiting for its model");

    node.answers(8001, "/collection");
    assert!(node.answers(8001, "/reach?OLLAMA_HOST").contains("200 OK"));
    assert_eq!(node.status["node"]["name"], node.stage.cloud.state().instance.id.as_str());
    let ollama = node.container("ollama");
    assert_eq!(mount(&ollama, "/root/.ollama")["Source"], "/var/lib/ollama");
    tells(&node, "llama3.2:3b", "loaded", &digests[0]);
    leaves_cleaning_to_the_agent(&node);
    node.ships("/aws/ec2/rag", 30, &["ollama", "app"]);
    starts_after(&node, "app", "ollama", "/aws/ec2/rag");
    node.is_confined("app");
    // Last: all the time the registry was there to be asked.
    assert_eq!(node.stage.models().served(), [], "the image has all that it needs");
}
