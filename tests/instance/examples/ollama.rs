//! ollama-chat and rag: a model server that only its neighbours reach, and the applications that wait for it.

use super::deployment::Deployment;
use super::node::Node;
use serde_json::Value;

/// What Ollama's image does: its port and, at `/`, that it runs.
const OLLAMA: [(&str, &str); 2] = [("PORT", "11434"), ("NAME", "Ollama is running")];
const MODEL: &str = "/var/lib/ollama/models/manifests/registry.ollama.ai/library/llama3.2/3b";

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

#[test]
fn ollama_chat_keeps_its_models_on_the_volume_and_starts_in_order() {
    let Some(mut deployment) = Deployment::of("ollama-chat") else { return };
    deployment.stage().cloud.state().tags.get_or_insert_default().insert("Name".into(), "ollama-chat".into());
    deployment.image("ollama/ollama", "0.5.4", &OLLAMA);
    deployment.image("ollama-chat-backend", "latest", &[]);
    deployment.image("ollama-chat-frontend", "latest", &[("PORT", "3000")]);
    let node = deployment.start();

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
    let group = "/aws/ec2/ollama-chat";
    node.ships(group, 30, &["ollama", "backend", "frontend"]);
    starts_after(&node, "backend", "ollama", group);
    starts_after(&node, "frontend", "backend", group);
    for service in ["ollama", "backend", "frontend"] {
        node.is_confined(service);
    }
}

#[test]
fn rag_comes_up_from_a_baked_image_under_the_name_of_its_instance() {
    let Some(mut deployment) = Deployment::of("rag") else { return };
    deployment.stage().cloud.state().tags = None;
    deployment.file(MODEL, "{}");
    deployment.image("ollama/ollama", "0.5.4", &OLLAMA);
    deployment.image("rag-app", "latest", &[("PORT", "8001"), ("HEALTH_PATH", "/collection")]);
    let node = deployment.start();

    node.answers(8001, "/collection");
    assert!(node.answers(8001, "/reach?OLLAMA_HOST").contains("200 OK"));
    assert_eq!(node.status["node"]["name"], node.stage.cloud.state().instance.id.as_str());
    let ollama = node.container("ollama");
    assert_eq!(mount(&ollama, "/root/.ollama")["Source"], "/var/lib/ollama");
    let model = MODEL.replace("/var/lib/ollama", "/root/.ollama");
    node.shell(&format!("test -s /proc/{}/root{model}", ollama["State"]["Pid"])).expect_success();
    node.ships("/aws/ec2/rag", 30, &["ollama", "app"]);
    starts_after(&node, "app", "ollama", "/aws/ec2/rag");
    node.is_confined("app");
}
