//! Images made on the spot, pushed into the real docker-registry, and pulled
//! through the gate by those who hold an ECR token.

#![expect(clippy::unwrap_used, reason = "a failed step of a test ends it")]
#![expect(clippy::disallowed_methods, reason = "runs skopeo, and signs with the time of day")]

mod signing;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::images::{Recipe, Registry};
use harness::local_cloud::{Bind, Config, Fault, FaultKind, LocalCloud};
use harness::processes::Process;
use harness::registry::RegistryBackend;
use harness::requirements::{is_on_path, skipped};
use serde_json::{Value, json};

struct Bench {
    cloud: LocalCloud,
    backend: RegistryBackend,
}

/// A cloud before a real registry; `None`, said aloud, where there is none.
async fn bench() -> Option<Bench> {
    if !RegistryBackend::is_installed() {
        skipped("docker-registry is not installed");
        return None;
    }
    let backend = RegistryBackend::start().unwrap();
    let config = Config {
        registry: Some(Bind::loopback()),
        registry_plain: Some(Bind::loopback()),
        registry_backend: Some(backend.url().to_owned()),
        ..Config::default()
    };
    Some(Bench { cloud: LocalCloud::start(config).await.unwrap(), backend })
}

fn app(version: &str) -> Recipe {
    Recipe::of_program("/app", b"not a program".to_vec()).env("VERSION", version)
}

async fn ecr(cloud: &LocalCloud, operation: &str, input: Value) -> Value {
    let target = format!("AmazonEC2ContainerRegistry_V20150921.{operation}");
    signing::call(cloud, "ecr", &target, &input).await.json()
}

/// `AWS:<password>` as GetAuthorizationToken gives it.
async fn login(cloud: &LocalCloud) -> String {
    let answer = ecr(cloud, "GetAuthorizationToken", json!({})).await;
    let token = answer["authorizationData"][0]["authorizationToken"].as_str().unwrap();
    String::from_utf8(STANDARD.decode(token).unwrap()).unwrap()
}

async fn gate(cloud: &LocalCloud, path: &str, login: Option<&str>) -> harness::http::Answer {
    let url = format!("http://{}{path}", cloud.registry_plain());
    let basic = login.map(|login| format!("Basic {}", STANDARD.encode(login)));
    let headers: Vec<(&str, &str)> = basic.iter().map(|basic| ("authorization", basic.as_str())).collect();
    harness::http::HttpClient::default().send("GET", &url, &headers, String::new()).await.unwrap()
}

#[tokio::test]
async fn the_gate_opens_to_a_valid_token_only() {
    let Some(Bench { cloud, backend: _backend }) = bench().await else { return };
    let refused = gate(&cloud, "/v2/", None).await;
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").ends_with("service=\"ecr.amazonaws.com\""));
    assert_eq!(gate(&cloud, "/v2/", Some("AWS:guess")).await.status, 401);
    let login = login(&cloud).await;
    assert_eq!(gate(&cloud, "/v2/", Some(&login)).await.status, 200);
    cloud.state().registry_tokens.expire(jiff::Timestamp::now());
    let expired = gate(&cloud, "/v2/", Some(&login)).await;
    assert_eq!(expired.status, 403);
    assert!(expired.text().contains("has expired"), "{}", expired.text());
}

#[tokio::test]
async fn the_same_image_twice_is_one_digest_and_a_moved_tag_shows_in_describe_images() {
    let Some(Bench { cloud, backend }) = bench().await else { return };
    let registry = backend.images();
    let (one, two) = (app("1").build().unwrap(), app("2").build().unwrap());
    let first = registry.push(&one, "team/app", "latest").await.unwrap();
    assert_eq!((&first, &registry.push(&one, "team/app", "v1").await.unwrap()), (&one.digest, &first));
    let ask = |tag: &'static str| {
        let cloud = &cloud;
        let input = json!({"repositoryName": "team/app", "imageIds": [{"imageTag": tag}]});
        async move { ecr(cloud, "DescribeImages", input).await["imageDetails"][0].clone() }
    };
    let detail = ask("latest").await;
    assert_eq!((&detail["imageDigest"], &detail["imageTags"]), (&json!(first), &json!(["latest", "v1"])));
    assert!(detail["imageSizeInBytes"].as_u64().unwrap() > 100, "{detail}");
    registry.push(&two, "team/app", "latest").await.unwrap();
    let moved = ask("latest").await;
    assert_eq!(moved["imageDigest"], json!(two.digest));
    assert_eq!(ask("v1").await["imagePushedAt"], detail["imagePushedAt"]);
    registry.retag("team/app", &first, "latest").await.unwrap();
    assert_eq!(ask("latest").await["imageDigest"], json!(first));
}

#[tokio::test]
async fn what_is_not_there_has_the_right_error() {
    let Some(Bench { cloud, backend }) = bench().await else { return };
    let input = |repository: &str| json!({"repositoryName": repository, "imageIds": [{"imageTag": "none"}]});
    let error = ecr(&cloud, "DescribeImages", input("nothing")).await;
    assert_eq!(error["__type"], "RepositoryNotFoundException");
    let registry = backend.images();
    let digest = registry.push(&app("1").build().unwrap(), "app", "latest").await.unwrap();
    assert_eq!(ecr(&cloud, "DescribeImages", input("app")).await["__type"], "ImageNotFoundException");
    registry.delete("app", &digest).await.unwrap();
    assert!(registry.retag("app", "latest", "old").await.unwrap_err().to_string().contains("404"));
}

#[tokio::test]
async fn a_pull_fails_when_a_blob_breaks_off() {
    let Some(Bench { cloud, backend }) = bench().await else { return };
    let digest = backend.images().push(&app("1").build().unwrap(), "app", "latest").await.unwrap();
    let login = login(&cloud).await;
    let path = format!("/v2/app/manifests/{digest}");
    cloud.fault(Fault::on("registry", FaultKind::Throttle).operation("GetManifest").times(1));
    assert_eq!(gate(&cloud, &path, Some(&login)).await.status, 429);
    let manifest = gate(&cloud, &path, Some(&login)).await;
    assert_eq!(manifest.header("docker-content-digest"), digest);
    let layer = manifest.json()["layers"][0]["digest"].as_str().unwrap().to_owned();
    cloud.fault(Fault::on("registry", FaultKind::Truncate { after_bytes: 20 }).operation("/v2/app/blobs"));
    let url = format!("http://{}/v2/app/blobs/{layer}", cloud.registry_plain());
    let basic = format!("Basic {}", STANDARD.encode(&login));
    let headers = [("authorization", basic.as_str())];
    let answer = harness::http::HttpClient::default().send("GET", &url, &headers, String::new()).await;
    assert!(answer.is_err(), "a cut blob arrived whole");
}

/// Copies with skopeo over TLS, trusting the cloud's authority only.
fn skopeo(cloud: &LocalCloud, login: &str, reference: &str, folder: &Path) -> (bool, String) {
    let trust = folder.join("trust");
    std::fs::create_dir_all(&trust).unwrap();
    std::fs::write(trust.join("ca.crt"), cloud.authority_pem()).unwrap();
    let mut command = Command::new("skopeo");
    command.args(["copy", "--insecure-policy", "--src-creds", login]).arg("--src-cert-dir").arg(&trust);
    let host = cloud.registry_url().replace("https://", "");
    command
        .arg(format!("docker://{host}/{reference}"))
        .arg(format!("dir:{}", folder.join("image").display()));
    let mut process = Process::start("skopeo", command).unwrap();
    let status = process.wait_for_exit(Duration::from_secs(60)).unwrap();
    (status.success(), process.output())
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_pulls_an_image_and_picks_its_architecture_from_an_index() {
    let Some(Bench { cloud, backend }) = bench().await else { return };
    if !is_on_path("skopeo") {
        skipped("skopeo is not installed");
        return;
    }
    let registry: Registry = backend.images();
    let arm = Recipe { architecture: "arm64".into(), ..app("arm") };
    let images = [app("1").build().unwrap(), arm.build().unwrap()];
    let index = registry.push_index(&images, "app", "latest").await.unwrap();
    assert!(images.iter().all(|image| image.digest != index));
    let login = login(&cloud).await;
    let folder = tempfile::tempdir().unwrap();
    let (pulled, output) = skopeo(&cloud, &login, "app:latest", folder.path());
    assert!(pulled, "{output}");
    let manifest = std::fs::read(folder.path().join("image/manifest.json")).unwrap();
    assert_eq!(manifest, images[0].manifest, "the manifest of this architecture");
    cloud.state().registry_tokens.expire(jiff::Timestamp::now());
    let (pulled, output) = skopeo(&cloud, &login, "app:latest", folder.path());
    assert!(!pulled && output.contains("expired"), "{output}");
}
