//! Registries, at the wire: one fake server is the metadata service, ECR and the Docker engine at once.

use super::*;
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use node::config::settings::ImageVersion;
use node::environment::Environment;
use node::fault::with_hint;
use node::imds;
use node::paths::Paths;
use node::secrets::SecretValue;
use secrecy::SecretSlice;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const ECR_HOST: &str = "123456789012.dkr.ecr.eu-north-1.amazonaws.com";

#[derive(Default)]
struct Script {
    /// Answers to the next `DescribeImages`.
    images: VecDeque<(u16, Value)>,
    /// Answers to the next distribution inspects; 200 with [`DIGEST`] when there is none.
    distribution: VecDeque<(u16, Value)>,
    /// Target and body of every call to ECR, with the credential scope it was signed for.
    calls: Vec<(String, Value, String)>,
    /// Path and decoded login of every distribution inspect.
    inspected: Vec<(String, Value)>,
    tokens: usize,
}

struct Outside {
    endpoint: String,
    script: Arc<Mutex<Script>>,
    server: JoinHandle<()>,
    root: tempfile::TempDir,
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Outside {
    async fn start() -> Outside {
        let script = Arc::new(Mutex::new(Script::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&script));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Outside { endpoint, script, server, root: tempfile::tempdir().unwrap() }
    }

    fn store(&self) -> Store {
        Store::new(&Paths::under(self.root.path()))
    }

    async fn registries(&self, authentication: &[(&str, RegistryAuth)]) -> Registries {
        let url = format!("http://{}", self.endpoint);
        let pairs = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.clone()), ("AWS_ENDPOINT_URL_ECR", url)];
        let environment: Environment =
            pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let config =
            node::cloud::sdk_config(&imds::Client::new(&environment), "eu-north-1", &environment).await;
        let docker = Docker::connect(Some(&format!("tcp://{}", self.endpoint))).unwrap();
        let authentication =
            authentication.iter().map(|(host, way)| ((*host).to_owned(), way.clone())).collect();
        Registries::new(authentication, &facts(), Ecr::new(&config), docker, self.store())
    }
}

fn facts() -> Facts {
    Facts {
        instance_id: "i-0123456789abcdef0".into(),
        instance_type: "t3.small".into(),
        region: "eu-north-1".into(),
        availability_zone: "eu-north-1a".into(),
        account: "123456789012".into(),
        image_id: "ami-0abc".into(),
        tags: BTreeMap::new(),
    }
}

fn image(registry: &str, version: ImageVersion) -> ImageReference {
    ImageReference { registry: registry.into(), repository: "team/app".into(), version }
}

fn tagged(registry: &str) -> ImageReference {
    image(registry, ImageVersion::Tag("latest".into()))
}

async fn answer(State(script): State<Arc<Mutex<Script>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let mut script = script.lock().unwrap();
    match parts.uri.path() {
        "/latest/api/token" => "token".into_response(),
        "/latest/meta-data/iam/security-credentials/" => "node".into_response(),
        "/latest/meta-data/iam/security-credentials/node" => {
            json!({"Code": "Success", "AccessKeyId": "ASIAROLE", "SecretAccessKey": "k", "Token": "t",
                "Expiration": "2099-01-01T00:00:00Z"})
            .to_string()
            .into_response()
        }
        "/_ping" => ([("api-version", "1.41")], "OK").into_response(),
        "/" => {
            let target = header("x-amz-target").unwrap();
            let operation = target.rsplit('.').next().unwrap().to_owned();
            let scope = header("authorization").unwrap();
            script.calls.push((operation.clone(), serde_json::from_slice(&body).unwrap(), scope));
            let (status, body) = if operation == "GetAuthorizationToken" {
                script.tokens += 1;
                (200, token(script.tokens))
            } else {
                script.images.pop_front().expect("an answer to DescribeImages")
            };
            (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response()
        }
        path if path.contains("/distribution/") => {
            let login = header("x-registry-auth").map_or(Value::Null, |value| login_in(&value));
            script.inspected.push((path.to_owned(), login));
            let inspect =
                json!({"Descriptor": {"mediaType": "m", "digest": DIGEST, "size": 1}, "Platforms": []});
            let (status, body) = script.distribution.pop_front().unwrap_or((200, inspect));
            (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
        }
        path => panic!("unexpected {} {path}", parts.method),
    }
}

/// As moto gives it: it ended in 2015.
fn token(number: usize) -> Value {
    let token = STANDARD.encode(format!("AWS:password:{number}"));
    json!({"authorizationData": [{"authorizationToken": token, "expiresAt": 1_420_070_400.0, "proxyEndpoint": "x"}]})
}

/// What the engine makes of the header, which it reads as base64url only: `Null` for an anonymous request.
fn login_in(header: &str) -> Value {
    let decoded = URL_SAFE.decode(header).unwrap_or_default();
    let login: Value = serde_json::from_slice(&decoded).unwrap_or_default();
    if login["username"].is_null() { Value::Null } else { json!([login["username"], login["password"]]) }
}

fn password(login: &Login) -> (String, String) {
    (login.username.clone(), login.password.expose_secret().to_owned())
}

#[tokio::test]
async fn ecr_says_what_a_tag_names_and_when_it_was_pushed() {
    let outside = Outside::start().await;
    let detail = json!({"imageDetails": [{"registryId": "123456789012", "imageDigest": DIGEST,
        "imagePushedAt": 1_767_225_600.0, "imageSizeInBytes": 4096, "imageTags": ["latest"]}]});
    outside.script.lock().unwrap().images.push_back((200, detail));
    let resolved = outside.registries(&[]).await.resolve(&tagged(ECR_HOST)).await.unwrap();
    let pushed_at = Some("2026-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(resolved, Resolved { digest: DIGEST.into(), pushed_at, size_bytes: Some(4096) });
    let script = outside.script.lock().unwrap();
    let (operation, body, _) = &script.calls[0];
    assert_eq!(operation, "DescribeImages");
    assert_eq!(
        *body,
        json!({"registryId": "123456789012", "repositoryName": "team/app", "imageIds": [{"imageTag": "latest"}]})
    );
}

#[tokio::test]
async fn a_registry_in_another_account_and_region_is_asked_there() {
    let outside = Outside::start().await;
    let detail = json!({"imageDetails": [{"imageDigest": DIGEST}]});
    outside.script.lock().unwrap().images.push_back((200, detail));
    let host = "999999999999.dkr.ecr.us-west-2.amazonaws.com";
    let registries = outside.registries(&[]).await;
    registries.resolve(&tagged(host)).await.unwrap();
    registries.login(&tagged(host)).await.unwrap();
    let script = outside.script.lock().unwrap();
    assert_eq!(script.calls[0].1["registryId"], "999999999999");
    assert!(script.calls.iter().all(|(_, _, scope)| scope.contains("/us-west-2/ecr/")), "{:?}", script.calls);
}

#[tokio::test]
async fn refusals_of_ecr_are_one_line_with_a_code_and_what_to_do() {
    for (code, wanted, hint) in [
        ("ImageNotFoundException", "image_not_found", "push it"),
        ("RepositoryNotFoundException", "repository_not_found", "correct account"),
        ("AccessDeniedException", "registry_denied", "ecr:DescribeImages"),
        ("ThrottlingException", "registry_throttled", ""),
        ("InvalidParameterException", "registry_refused", ""),
    ] {
        let outside = Outside::start().await;
        let refusal = (400, json!({"__type": code, "message": "words"}));
        outside.script.lock().unwrap().images.extend([refusal.clone(), refusal.clone(), refusal]);
        let error = outside.registries(&[]).await.resolve(&tagged(ECR_HOST)).await.unwrap_err();
        assert_eq!(error.code, wanted, "{error:?}");
        let line = with_hint(&error);
        assert!(line.starts_with(&format!("cannot look up {ECR_HOST}/team/app:latest: ")), "{line}");
        assert!(line.contains(hint) && line.contains(code), "{line}");
    }
}

#[tokio::test]
async fn an_image_that_is_archived_or_not_listed_cannot_be_taken() {
    let archived = json!({"imageDetails": [{"imageDigest": DIGEST, "imageStatus": "ARCHIVED"}]});
    for (answer, wanted) in [(archived, "image_archived"), (json!({"imageDetails": []}), "image_not_found")] {
        let outside = Outside::start().await;
        outside.script.lock().unwrap().images.push_back((200, answer));
        let error = outside.registries(&[]).await.resolve(&tagged(ECR_HOST)).await.unwrap_err();
        assert_eq!(error.code, wanted, "{error:?}");
    }
}

#[tokio::test]
async fn a_digest_is_looked_up_so_that_one_that_is_gone_is_known_before_the_pull() {
    let outside = Outside::start().await;
    let registries = outside.registries(&[]).await;
    let pinned = |registry| image(registry, ImageVersion::Digest(DIGEST.into()));
    let there = json!({"imageDetails": [{"imageDigest": DIGEST, "imageSizeInBytes": 4096}]});
    let gone = json!({"__type": "ImageNotFoundException", "message": "no such image"});
    outside.script.lock().unwrap().images.extend([(200, there), (400, gone)]);
    let resolved = registries.resolve(&pinned(ECR_HOST)).await.unwrap();
    assert_eq!(resolved, Resolved { digest: DIGEST.into(), pushed_at: None, size_bytes: Some(4096) });
    let error = registries.resolve(&pinned(ECR_HOST)).await.unwrap_err();
    assert_eq!(error.code, "image_not_found", "{error:?}");
    registries.resolve(&pinned("docker.io")).await.unwrap();
    let script = outside.script.lock().unwrap();
    let asked = script.calls.iter().filter(|(operation, ..)| operation == "DescribeImages");
    let ids: Vec<_> = asked.map(|(_, body, _)| body["imageIds"].clone()).collect();
    assert_eq!(ids, [json!([{"imageDigest": DIGEST}]), json!([{"imageDigest": DIGEST}])]);
    let path = format!("/v1.41/distribution/docker.io/team/app@{DIGEST}/json");
    assert_eq!(script.inspected[0].0.replace("%40", "@").replace("%3A", ":"), path);
}

#[tokio::test]
async fn a_token_that_ended_in_2015_is_asked_for_once_and_again_when_it_is_refused() {
    let outside = Outside::start().await;
    let registries = outside.registries(&[]).await;
    for _ in 0..3 {
        let login = registries.login(&tagged(ECR_HOST)).await.unwrap().unwrap();
        assert_eq!(password(&login), ("AWS".to_owned(), "password:1".to_owned()));
        assert!(!format!("{login:?}").contains("password:1"));
    }
    registries.forget(&tagged(ECR_HOST));
    let login = registries.login(&tagged(ECR_HOST)).await.unwrap().unwrap();
    assert_eq!(password(&login).1, "password:2");
}

#[tokio::test]
async fn a_mirror_that_takes_the_tokens_of_ecr_is_asked_through_the_engine() {
    let outside = Outside::start().await;
    let registries = outside.registries(&[("localhost:5000", RegistryAuth::Ecr)]).await;
    let denied = (403, json!({"message": "errors:\ndenied: Your authorization token has expired."}));
    outside.script.lock().unwrap().distribution.push_back(denied);
    let resolved = registries.resolve(&tagged("localhost:5000")).await.unwrap();
    assert_eq!(resolved, Resolved { digest: DIGEST.into(), pushed_at: None, size_bytes: None });
    let script = outside.script.lock().unwrap();
    let path = "/v1.41/distribution/localhost:5000/team/app:latest/json".to_owned();
    let logins = ["password:1", "password:2"].map(|password| (path.clone(), json!(["AWS", password])));
    assert_eq!(script.inspected, logins, "once with the old token, once with a new one");
}

#[tokio::test]
async fn other_registries_are_asked_anonymously_and_refusals_say_so() {
    let outside = Outside::start().await;
    let registries = outside.registries(&[(ECR_HOST, RegistryAuth::None)]).await;
    registries.resolve(&tagged("docker.io")).await.unwrap();
    assert!(registries.login(&tagged(ECR_HOST)).await.unwrap().is_none());
    let denied = (403, json!({"message": "denied: requested access to the resource is denied"}));
    outside.script.lock().unwrap().distribution.push_back(denied);
    let error = registries.resolve(&tagged("docker.io")).await.unwrap_err();
    assert_eq!(error.code, "registry_denied", "{error:?}");
    assert!(error.message.contains("docker.io/team/app:latest"), "{error}");
    let script = outside.script.lock().unwrap();
    assert!(script.calls.is_empty());
    assert!(script.inspected.iter().all(|(_, login)| login.is_null()), "{:?}", script.inspected);
}

#[tokio::test]
async fn a_registry_with_a_secret_gets_its_user_name_and_password() {
    /// Its base64 and base64url differ.
    const PASSWORD: &str = "planted-~~~???>>>é";
    let outside = Outside::start().await;
    let auth = RegistryAuth::Secret("hub".into());
    let registries = outside.registries(&[("registry.example", auth)]).await;
    let error = registries.login(&tagged("registry.example")).await.unwrap_err();
    assert_eq!(error.code, "secret_missing");
    for (version, keys, wanted) in [
        ("v1", vec![("username", "robot")], Err("secret_key_missing")),
        ("v2", vec![("username", "robot"), ("password", PASSWORD)], Ok(PASSWORD)),
    ] {
        let secret = |text: &str| SecretSlice::from(text.as_bytes().to_vec());
        let values = keys.into_iter().map(|(key, value)| (key.to_owned(), secret(value))).collect();
        let fetched_at = "2026-01-02T03:04:05Z".parse().unwrap();
        let value = SecretValue { name: "hub".into(), version_id: version.into(), fetched_at, values };
        outside.store().write(&value).unwrap();
        let login = registries.login(&tagged("registry.example")).await;
        assert!(!format!("{login:?}").contains("planted"));
        let told = login.as_ref().map(|login| login.as_ref().unwrap().password.expose_secret());
        assert_eq!(told.map_err(|error| error.code), wanted);
    }
    registries.resolve(&tagged("registry.example")).await.unwrap();
    assert_eq!(outside.script.lock().unwrap().inspected[0].1, json!(["robot", PASSWORD]));
}
