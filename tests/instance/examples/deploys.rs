//! Deploys over SSM Run Command to the nodes of the examples fastapi and rag: the script and the document of
//! packaging/ssm, which know nothing but `agentctl`.

use super::deployment::{Deployment, push};
use super::ollama::{BAKED, publish};
use harness::instance::Answer;
use harness::stage::Stage;
use serde_json::Value;

const SCRIPT: &str = include_str!("../../../packaging/ssm/deploy.sh");
const DOCUMENT: &str = include_str!("../../../packaging/ssm/deploy.json");

/// What Run Command keeps of each output (SSM, SendCommand: StandardOutputContent).
const KEPT: usize = 24_000;

/// Both ways to run it: the file, and the document's own lines with its parameters filled in.
fn by_script(stage: &Stage, service: &str, image: &str) -> Answer {
    let line = format!("cat > /tmp/deploy.sh && exec sh /tmp/deploy.sh {service} {image} 60");
    stage.instance().run_with_input(["sh", "-c", &line], SCRIPT.as_bytes())
}

fn by_document(stage: &Stage, service: &str, image: &str) -> Answer {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let lines = document["mainSteps"][0]["inputs"]["runCommand"].as_array().unwrap();
    let script = lines.iter().map(|line| line.as_str().unwrap()).collect::<Vec<_>>().join("\n");
    let parameters = [("Service", service), ("Image", image), ("Seconds", "60")];
    let script = parameters
        .iter()
        .fold(script, |script, (name, value)| script.replace(&format!("{{{{ {name} }}}}"), value));
    assert!(!script.contains("{{"), "a parameter is not filled in: {script}");
    stage
        .instance()
        .run_with_input(["sh", "-c", "cat > /tmp/_script.sh && exec sh /tmp/_script.sh"], script.as_bytes())
}

/// A good image is deployed, a bad one is refused by exit code and text, a wrong name is wrong usage or a refusal, and the
/// node serves all the while.
fn deploys(stage: &Stage, service: &str, repository: &str, health: &[(&str, &str)]) {
    let version = |tag: &str, mode: &str| {
        let told: Vec<(&str, &str)> =
            health.iter().copied().chain([("VERSION", tag), ("MODE", mode)]).collect();
        push(stage, repository, tag, &told);
    };
    version("v2", "healthy");
    version("v3", "exit");
    version("v4", "healthy");
    let good = by_script(stage, service, "v2");
    assert_eq!(good.code(), 0, "{good}");
    let bad = by_document(stage, service, "v3");
    assert_eq!(bad.code(), 1, "{bad}");
    let text = format!("{}{}", bad.stdout, bad.stderr);
    for words in ["exited with code 1", "the last lines of", "never again"] {
        assert!(text.contains(words), "no {words:?}: {bad}");
    }
    assert!(bad.stdout.len() < KEPT && bad.stderr.len() < KEPT, "cut by Run Command: {bad}");
    let again = by_document(stage, service, "v4");
    assert_eq!(again.code(), 0, "{again}");
    let unknown = by_script(stage, service, "no-such-tag");
    assert_eq!(unknown.code(), 1, "{unknown}");
    assert!(unknown.stderr.contains("ImageNotFoundException"), "{unknown}");
    let nobody = by_script(stage, "nobody", "v2");
    assert_eq!(nobody.code(), 1, "{nobody}");
    assert!(nobody.stderr.contains("there is no service nobody"), "{nobody}");
    stage.instance().run(["systemctl", "stop", "node-agent"]).expect_success();
    let away = by_script(stage, service, "v2");
    assert_eq!(away.code(), 3, "{away}");
}

/// What an example waits for is for real images; these are quick.
const QUICK: &str = "min_healthy = \"2s\"\ndeadline = \"20s\"\ndrain = \"1s\"\n";

#[test]
fn run_command_deploys_to_the_fastapi_node_and_reports_what_became_of_it() {
    let Some(mut deployment) = Deployment::of("fastapi") else { return };
    deployment.secret("fastapi/production", &["DATABASE_URL"]);
    deployment.image("fastapi-app-repo", "latest", &[("VERSION", "one")]);
    deployment.file("/etc/node-agent/node.d/90-quick.toml", &format!("[services.api.update]\n{QUICK}"));
    let node = deployment.start();
    deploys(&node.stage, "api", "fastapi-app-repo", &[]);
}

#[test]
fn run_command_deploys_to_the_rag_node_beside_its_model_server() {
    let Some(mut deployment) = Deployment::of("rag") else { return };
    publish(&mut deployment, &["llama3.2:3b"]);
    for (path, bytes) in deployment.stage().models().files("llama3.2:3b") {
        deployment.stage().description().files.push((format!("{BAKED}/{path}"), bytes, 0o644));
    }
    deployment.stage().push_model_server("0.5.4", &[]).unwrap();
    let health = [("PORT", "8001"), ("HEALTH_PATH", "/collection")];
    deployment.image("rag-app", "latest", &health);
    deployment.file("/etc/node-agent/node.d/90-quick.toml", &format!("[services.app.update]\n{QUICK}"));
    let node = deployment.start();
    deploys(&node.stage, "app", "rag-app", &health);
}
