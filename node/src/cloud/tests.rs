//! Secrets Manager and the credentials, at the wire.

use super::secrets_manager::{FetchError, SecretsManager};
use super::*;
use crate::config::settings;
use crate::fault::{Hint, one_line, with_hint};
use crate::imds::fake::FakeImds;
use crate::secrets::SecretValue;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret;
use std::io::Write;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const ROLES: &str = "meta-data/iam/security-credentials/";
const ROLE: &str = "meta-data/iam/security-credentials/node";
const CREDENTIALS: &str = r#"{"Code": "Success", "LastUpdated": "2026-01-01T00:00:00Z", "Type": "AWS-HMAC",
    "AccessKeyId": "ASIAFROMROLE", "SecretAccessKey": "key", "Token": "session", "Expiration": "2099-01-01T00:00:00Z"}"#;

/// Credentials of a process whose environment has none.
#[derive(Debug)]
struct NoVariables;

impl aws_credential_types::provider::ProvideCredentials for NoVariables {
    fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let error = aws_credential_types::provider::error::CredentialsError::not_loaded_no_source();
        aws_credential_types::provider::future::ProvideCredentials::ready(Err(error))
    }
}

/// Secrets Manager with one answer; it ends with the value.
struct FakeSecrets {
    endpoint: String,
    requests: Arc<Mutex<Vec<(String, String)>>>,
    server: JoinHandle<()>,
}

impl Drop for FakeSecrets {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Clone)]
struct Answer {
    status: StatusCode,
    body: String,
    requests: Arc<Mutex<Vec<(String, String)>>>,
}

impl FakeSecrets {
    async fn start(status: u16, body: String) -> FakeSecrets {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let status = StatusCode::from_u16(status).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let answer = Answer { status, body, requests: Arc::clone(&requests) };
        let router = Router::new().fallback(respond).with_state(answer);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        FakeSecrets { endpoint, requests, server }
    }
}

async fn respond(State(answer): State<Answer>, headers: HeaderMap, body: Bytes) -> Response {
    let text =
        |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = String::from_utf8(body.to_vec()).unwrap();
    answer.requests.lock().unwrap().push((format!("{} {body}", text("x-amz-target")), text("authorization")));
    (answer.status, [("content-type", "application/x-amz-json-1.1")], answer.body).into_response()
}

struct Cloud {
    imds: FakeImds,
    secrets: FakeSecrets,
}

impl Cloud {
    async fn answering(status: u16, body: serde_json::Value) -> Cloud {
        let imds = FakeImds::start(&[(ROLES, "node"), (ROLE, CREDENTIALS)]).await;
        Cloud { imds, secrets: FakeSecrets::start(status, body.to_string()).await }
    }

    async fn with_secret(value: &str) -> Cloud {
        Cloud::answering(200, serde_json::json!({"Name": "x", "VersionId": "v-1", "SecretString": value}))
            .await
    }

    async fn failing(code: &str, message: &str) -> Cloud {
        Cloud::answering(400, serde_json::json!({"__type": code, "message": message})).await
    }

    async fn fetch(&self, require: &[&str]) -> Result<SecretValue, FetchError> {
        let pairs = [
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(), self.imds.endpoint.clone()),
            ("AWS_ENDPOINT_URL".to_owned(), "http://127.0.0.1:1".to_owned()),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER".to_owned(), self.secrets.endpoint.clone()),
        ];
        let environment: Environment = pairs.into_iter().collect();
        let imds = imds::Client::new(&environment).with_patience(imds::Patience::of(Duration::ZERO));
        let credentials = NodeCredentials::new(SharedCredentialsProvider::new(NoVariables), &imds);
        let config = sdk_config_with(credentials, "eu-north-1", &environment);
        let secret = settings::Secret {
            id: "algoitny-secrets".into(),
            require: require.iter().map(|key| (*key).to_owned()).collect(),
            restart_on_change: true,
        };
        SecretsManager::new(&config).fetch("app", &secret, "2026-01-02T03:04:05Z".parse().unwrap()).await
    }
}

#[tokio::test]
async fn a_secret_is_read_with_credentials_of_the_instance_role() {
    let cloud = Cloud::with_secret(r#"{"SECRET_KEY": "s3cret", "PORT": 8000}"#).await;
    let value = cloud.fetch(&["SECRET_KEY"]).await.unwrap();
    assert_eq!((value.name.as_str(), value.version_id.as_str()), ("app", "v-1"));
    assert_eq!(value.values["SECRET_KEY"].expose_secret(), b"s3cret");
    assert_eq!(value.values["PORT"].expose_secret(), b"8000");
    let requests = cloud.secrets.requests.lock().unwrap();
    let (call, authorization) = &requests[0];
    assert_eq!(call, "secretsmanager.GetSecretValue {\"SecretId\":\"algoitny-secrets\"}");
    assert!(authorization.contains("Credential=ASIAFROMROLE/"), "{authorization}");
    assert!(authorization.contains("/eu-north-1/secretsmanager/"), "{authorization}");
}

#[tokio::test]
async fn bytes_and_plain_text_are_the_one_key_value() {
    let cloud = Cloud::answering(200, serde_json::json!({"VersionId": "v-1", "SecretBinary": "AP8K"})).await;
    assert_eq!(cloud.fetch(&[]).await.unwrap().values["value"].expose_secret(), [0, 255, 10]);
    let cloud = Cloud::with_secret("hunter2").await;
    assert_eq!(cloud.fetch(&["value"]).await.unwrap().values["value"].expose_secret(), b"hunter2");
}

#[tokio::test]
async fn each_refusal_is_one_line_with_a_code_and_what_to_do() {
    let denied = "User: arn:aws:sts::1:assumed-role/node/i-1 is not authorized to perform: secretsmanager:GetSecretValue";
    let about_kms = "Access to KMS is not allowed";
    for (code, message, wanted, line, hint) in [
        (
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret.",
            "secret_missing",
            "secret app (algoitny-secrets) does not exist",
            "create it in eu-north-1",
        ),
        (
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT",
            "secret_empty",
            "secret app (algoitny-secrets) has no current value",
            "put-secret-value",
        ),
        (
            "InvalidRequestException",
            "You can't perform this operation on the secret because it was marked for deletion.",
            "secret_deleted",
            "secret app (algoitny-secrets) is scheduled for deletion",
            "restore-secret",
        ),
        (
            "AccessDeniedException",
            denied,
            "secret_denied",
            "secret app (algoitny-secrets) may not be read: AccessDeniedException: User: arn",
            "secretsmanager:GetSecretValue",
        ),
        ("AccessDeniedException", about_kms, "secret_denied", "may not be read", "kms:Decrypt"),
        ("DecryptionFailure", "cannot decrypt", "secret_denied", "may not be read", "kms:Decrypt"),
        (
            "ExpiredTokenException",
            "The security token included in the request is expired",
            "secret_denied",
            "expired",
            "clock",
        ),
        ("InvalidParameterException", "odd", "secret_refused", "InvalidParameterException: odd", ""),
    ] {
        let error = Cloud::failing(code, message).await.fetch(&[]).await.unwrap_err();
        assert_eq!(error.code(), wanted, "{error:?}");
        assert!(one_line(&error).contains(line), "{}", one_line(&error));
        assert!(error.hint().unwrap_or_default().contains(hint), "{:?}", error.hint());
        assert!(!error.may_pass());
    }
}

#[tokio::test]
async fn throttling_and_outages_may_pass_and_are_tried_three_times() {
    let cloud = Cloud::failing("ThrottlingException", "Rate exceeded").await;
    let error = cloud.fetch(&[]).await.unwrap_err();
    assert_eq!((error.code(), error.may_pass()), ("secret_throttled", true));
    assert_eq!(cloud.secrets.requests.lock().unwrap().len(), 3);

    let cloud = Cloud::answering(500, serde_json::json!({"__type": "InternalServiceError"})).await;
    let error = cloud.fetch(&[]).await.unwrap_err();
    assert_eq!((error.code(), error.may_pass()), ("secret_unreachable", true));

    let mut cloud = Cloud::with_secret("x").await;
    cloud.secrets.endpoint = "http://127.0.0.1:1".into();
    let error = cloud.fetch(&[]).await.unwrap_err();
    assert_eq!((error.code(), error.may_pass()), ("secret_unreachable", true));
    assert!(one_line(&error).contains("Connection refused"), "{}", one_line(&error));
}

#[tokio::test]
async fn an_instance_without_a_role_is_told_so() {
    let cloud = Cloud::with_secret("x").await;
    cloud.imds.script.lock().unwrap().values.clear();
    let error = cloud.fetch(&[]).await.unwrap_err();
    assert_eq!(error.code(), "aws_credentials_missing");
    assert_eq!(
        with_hint(&error),
        "secret app (algoitny-secrets) cannot be read: no AWS credentials: no IAM role is attached to the instance \
         (hint: attach an instance profile with a role (it works without a restart))"
    );
}

#[tokio::test]
async fn a_role_whose_credentials_are_refused_or_malformed_is_named() {
    for document in [r#"{"Code": "AssumeRoleUnauthorizedAccess"}"#, "no json", r#"{"Code": "Success"}"#] {
        let cloud = Cloud::with_secret("x").await;
        cloud.imds.script.lock().unwrap().values.insert(ROLE.into(), document.into());
        let error = cloud.fetch(&[]).await.unwrap_err();
        assert_eq!(error.code(), "aws_credentials_missing");
        assert!(one_line(&error).contains("no credentials for the role node"), "{}", one_line(&error));
    }
}

#[tokio::test]
async fn all_missing_keys_are_named_at_once() {
    let cloud = Cloud::with_secret(r#"{"A": "planted-marker"}"#).await;
    let error = cloud.fetch(&["A", "GOOGLE_CLIENT_ID", "SECRET_KEY"]).await.unwrap_err();
    assert_eq!(error.code(), "secret_key_missing");
    assert_eq!(
        one_line(&error),
        "secret app (algoitny-secrets) lacks the required keys GOOGLE_CLIENT_ID, SECRET_KEY"
    );
}

#[tokio::test]
async fn a_secret_that_is_too_large_is_refused() {
    let error = Cloud::with_secret(&"x".repeat((64 << 10) + 1)).await.fetch(&[]).await.unwrap_err();
    assert_eq!(error.code(), "secret_too_large");
}

#[tokio::test]
async fn credentials_are_used_through_an_outage_of_the_metadata_service_and_not_beyond_their_end() {
    use aws_credential_types::provider::ProvideCredentials;
    for (expiration, usable) in [("2099-01-01T00:00:00Z", true), ("2020-01-01T00:00:00Z", false)] {
        let document = CREDENTIALS.replace("2099-01-01T00:00:00Z", expiration);
        let imds = FakeImds::start(&[(ROLES, "node"), (ROLE, &document)]).await;
        let client = imds::Client::new(&imds.environment());
        let credentials = NodeCredentials::new(SharedCredentialsProvider::new(NoVariables), &client);
        credentials.provide_credentials().await.unwrap();
        imds.script.lock().unwrap().get_statuses.push_back(403);
        let answer = credentials.provide_credentials().await;
        assert_eq!(answer.is_ok(), usable, "{expiration}: {answer:?}");
    }
}

#[test]
fn credentials_of_the_environment_come_first() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        use aws_credential_types::provider::ProvideCredentials;
        let imds = FakeImds::start(&[(ROLES, "node"), (ROLE, CREDENTIALS)]).await;
        let variables = aws_credential_types::Credentials::new("AKIAVARIABLE", "key", None, None, "test");
        let client = imds::Client::new(&imds.environment());
        let credentials = NodeCredentials::new(SharedCredentialsProvider::new(variables), &client);
        assert_eq!(credentials.provide_credentials().await.unwrap().access_key_id(), "AKIAVARIABLE");
        assert!(imds.script.lock().unwrap().requests.is_empty());
    });
}

/// Everything that is logged while it lives, at the finest level.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_planted_value_is_in_no_log_error_or_debug() {
    const PLANTED: &str = "planted-7f3a";
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let object = format!(r#"{{"A": "{PLANTED}", "B": {{"nested": "{PLANTED}"}}}}"#);
    let mut printed = format!("{:?}", Cloud::with_secret(&object).await.fetch(&["A"]).await.unwrap());
    let broken = serde_json::json!({"VersionId": 7, "SecretString": PLANTED});
    let failures = [
        Cloud::with_secret(&object).await.fetch(&["C"]).await,
        Cloud::with_secret(&format!("{{\"a/b\": \"{PLANTED}\"}}")).await.fetch(&[]).await,
        Cloud::with_secret(&PLANTED.repeat(9000)).await.fetch(&[]).await,
        Cloud::answering(200, broken).await.fetch(&[]).await,
        Cloud::answering(200, serde_json::json!({"SecretString": PLANTED})).await.fetch(&[]).await,
    ];
    for failure in failures {
        let error = failure.unwrap_err();
        printed.push_str(&format!("{error:?} {error:#?} {} {}", with_hint(&error), one_line(&error)));
    }
    drop(guard);
    let logged = String::from_utf8_lossy(&captured.0.lock().unwrap()).into_owned();
    assert!(logged.len() > 1000, "nothing was captured: {logged}");
    for (place, text) in [("errors", &printed), ("the log", &logged)] {
        let line = text.lines().find(|line| line.contains(PLANTED));
        assert_eq!(line, None, "found in {place}");
    }
}
