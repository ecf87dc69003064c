//! The stand-in for the model server as a service of an instance, with the registry of models around it.

#![expect(clippy::unwrap_used, reason = "a failed step of a test ends it")]

use std::time::Duration;

use harness::model_registry::Model;
use harness::requirements::{is_on_path, is_root, skipped};
use harness::stage::Stage;

const DEADLINE: Duration = Duration::from_secs(120);
const MEBIBYTE: u64 = 1 << 20;
const NODE: &str = r#"
[volumes.models]
device = "/dev/sdf"
mount = "/mnt/models"

[services.ollama]
image = "${account}.dkr.ecr.${region}.amazonaws.com/ollama/ollama:1"
mounts = ["/mnt/models:/root/.ollama"]
ports = ["11434:11434"]
health.http = "11434/"
"#;

fn stage() -> Option<Stage> {
    let needed = ["systemd-nspawn", "debootstrap", "docker-registry", "losetup", "ip", "nsenter"];
    let missing = needed.into_iter().find(|program| !is_on_path(program));
    let built = harness::stage::dist().join("node-bootstrap").is_file()
        && harness::stage::workspace().join("target/tools/model-double").is_file();
    match (is_root(), missing, built) {
        (false, ..) => skipped("not root"),
        (_, Some(missing), _) => skipped(&format!("no {missing} on this host")),
        (.., false) => skipped("nothing in target/dist or target/tools; run make dist"),
        _ => return Some(Stage::set(|_| {}).unwrap()),
    }
    None
}

#[test]
fn models_are_had_by_the_node_over_tls_and_by_its_server_and_a_gpu_is_seen_in_the_container() {
    let Some(mut stage) = stage() else { return };
    let digest = stage.models().push("llama3.2:3b", &Model::new(1, 20 * MEBIBYTE));
    stage.push_model_server("1", &[("DOUBLE_VRAM", "8000000000")]).unwrap();
    let node = format!("{}{NODE}", stage.agent_section());
    stage.boot(&node).unwrap();
    let (code, output) = stage.wait_for_user_data(DEADLINE).unwrap();
    assert_eq!(code, 0, "{output}");
    stage
        .wait_for_status("the server to be healthy", DEADLINE, |status| {
            status["services"][0]["health"] == "passing"
        })
        .unwrap();
    let shell = |line: &str| stage.instance().shell(line);

    // As the system trusts: no certificate is named.
    let manifest = "https://registry.ollama.ai/v2/library/llama3.2/manifests/3b";
    let sum = shell(&format!("curl -sS --fail {manifest} | sha256sum")).expect_success();
    assert_eq!(format!("sha256:{}", sum.split_whitespace().next().unwrap()), digest);
    assert_eq!(stage.cloud.requests("models", "GetManifest"), 1);

    let api = "http://127.0.0.1:11434";
    let pulled =
        shell(&format!("curl -sS {api}/api/pull -d '{{\"model\": \"llama3.2:3b\"}}'")).expect_success();
    assert!(pulled.trim_end().ends_with(r#"{"status":"success"}"#), "{pulled}");
    let tags = shell(&format!("curl -sS {api}/api/tags")).expect_success();
    assert!(tags.contains(digest.trim_start_matches("sha256:")), "{tags}");
    let blobs = shell("ls /mnt/models/models/blobs").expect_success();
    assert_eq!(blobs.lines().count(), stage.models().layers("llama3.2:3b").len(), "{blobs}");

    let container = shell("docker ps --quiet").expect_success();
    let look = format!("docker exec {} nvidia-smi -L", container.trim());
    assert!(shell(&look).expect_success().starts_with("GPU 0: "));
    let fault = r#"{"kind": "gpu_lost", "until_restart": true}"#;
    shell(&format!("curl -sS --fail {api}/double/faults -d '{fault}'")).expect_success();
    let lost = shell(&look);
    assert_eq!((lost.code(), lost.stdout.trim()), (255, "Failed to initialize NVML: Unknown Error"));
    shell(&format!("docker restart --time 5 {}", container.trim())).expect_success();
    assert!(shell(&look).expect_success().starts_with("GPU 0: "));
}
