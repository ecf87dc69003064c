//! The client against a metadata service at the wire.

use super::fake::{FakeImds, environment_of};
use super::*;
use crate::fault::{Hint, one_line};

const DOCUMENT: &str = r#"{"accountId":"123456789012","architecture":"x86_64","availabilityZone":"eu-north-1b",
  "billingProducts":null,"imageId":"ami-0abc","instanceId":"i-0123456789abcdef0","instanceType":"t3.small",
  "pendingTime":"2026-01-01T00:00:00Z","privateIp":"10.0.0.5","region":"eu-north-1","version":"2017-09-30"}"#;

fn once(fake: &FakeImds) -> Client {
    Client::new(&fake.environment()).with_patience(Patience::of(Duration::ZERO))
}

#[tokio::test]
async fn fifty_requests_on_a_cold_client_ask_for_one_token() {
    let fake = FakeImds::start(&[("meta-data/instance-id", "i-1")]).await;
    let client = Client::new(&fake.environment());
    let requests: Vec<_> = (0..50)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.get("meta-data/instance-id").await })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap().as_deref(), Some("i-1"));
    }
    let script = fake.script.lock().unwrap();
    assert_eq!((script.count(&Method::PUT), script.count(&Method::GET)), (1, 50));
    assert!(script.requests.iter().all(|(method, _, token)| *method == Method::PUT || *token));
}

#[tokio::test]
async fn a_refused_token_is_replaced_without_a_failure() {
    let fake = FakeImds::start(&[("meta-data/instance-id", "i-1")]).await;
    let client = once(&fake);
    client.get("meta-data/instance-id").await.unwrap();
    fake.script.lock().unwrap().tokens.clear();
    assert_eq!(client.get("meta-data/instance-id").await.unwrap().as_deref(), Some("i-1"));
    assert_eq!(fake.script.lock().unwrap().count(&Method::PUT), 2);
}

#[tokio::test]
async fn fresh_tokens_that_are_refused_at_early_boot_are_tried_again() {
    let fake = FakeImds::start(&[("meta-data/instance-id", "i-1")]).await;
    fake.script.lock().unwrap().get_statuses.extend([401, 401, 401]);
    let client = Client::new(&fake.environment());
    assert_eq!(client.get("meta-data/instance-id").await.unwrap().as_deref(), Some("i-1"));
}

#[tokio::test]
async fn an_endpoint_without_version_2_is_an_error_and_version_1_is_never_tried() {
    let fake = FakeImds::start(&[("meta-data/instance-id", "i-1")]).await;
    fake.script.lock().unwrap().put_statuses.push_back(404);
    let error = Client::new(&fake.environment()).get("meta-data/instance-id").await.unwrap_err();
    assert_eq!(error.code(), "imds_refused");
    assert!(error.hint().unwrap().contains("version 1 is never used"), "{error:?}");
    assert_eq!(fake.script.lock().unwrap().count(&Method::GET), 0);
}

#[tokio::test]
async fn a_disabled_service_is_said_at_once_with_what_to_set() {
    let fake = FakeImds::start(&[]).await;
    fake.script.lock().unwrap().put_statuses.push_back(403);
    let error = Client::new(&fake.environment()).get("meta-data/instance-id").await.unwrap_err();
    assert_eq!(
        one_line(&error),
        format!(
            "cannot get a session token of the instance metadata service at {}: it is disabled or not allowed (403)",
            fake.endpoint
        )
    );
    assert!(error.hint().unwrap().contains("http_endpoint"));
    assert_eq!(fake.script.lock().unwrap().requests.len(), 1);
}

#[tokio::test]
async fn failures_that_pass_are_tried_again() {
    let fake = FakeImds::start(&[("meta-data/instance-id", "i-1")]).await;
    fake.script.lock().unwrap().put_statuses.push_back(503);
    fake.script.lock().unwrap().get_statuses.push_back(429);
    let client = Client::new(&fake.environment());
    assert_eq!(client.get("meta-data/instance-id").await.unwrap().as_deref(), Some("i-1"));
}

#[tokio::test]
async fn what_does_not_exist_is_none() {
    let fake = FakeImds::start(&[]).await;
    assert_eq!(once(&fake).get("meta-data/spot/instance-action").await.unwrap(), None);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let fake = FakeImds::start(&[("elsewhere", "trap")]).await;
    fake.script.lock().unwrap().get_statuses.push_back(302);
    let error = once(&fake).get("meta-data/instance-id").await.unwrap_err();
    assert!(matches!(error, ImdsError::Status { status: 302, .. }), "{error:?}");
}

#[tokio::test]
async fn a_token_that_never_comes_ends_at_the_deadline_with_the_hop_limit_as_hint() {
    let fake = FakeImds::start(&[]).await;
    fake.script.lock().unwrap().silent = true;
    let client = once(&fake);
    let request = tokio::spawn(async move { client.get("meta-data/instance-id").await });
    fake.asked.notified().await;
    tokio::time::pause();
    let error = request.await.unwrap().unwrap_err();
    assert!(matches!(error, ImdsError::Unreachable { timed_out: true, .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("http_put_response_hop_limit"));
}

#[tokio::test]
async fn nothing_listening_is_unreachable_and_names_the_endpoint() {
    let client =
        Client::new(&environment_of("http://127.0.0.1:1")).with_patience(Patience::of(Duration::ZERO));
    let error = client.get("meta-data/instance-id").await.unwrap_err();
    assert_eq!(error.code(), "imds_unreachable");
    let line = one_line(&error);
    assert!(line.starts_with("cannot get a session token") && line.contains("http://127.0.0.1:1"), "{line}");
    assert!(line.contains("refused"), "{line}");
}

#[tokio::test]
async fn an_endpoint_that_is_no_plain_http_url_is_named() {
    for endpoint in ["https://127.0.0.1", "169.254.169.254", "file:///etc/passwd", "http://"] {
        let error = Client::new(&environment_of(endpoint)).get("meta-data/instance-id").await.unwrap_err();
        assert_eq!(error.code(), "imds_endpoint_invalid", "{endpoint}: {error}");
    }
}

#[tokio::test]
async fn an_ipv6_endpoint_works() {
    let fake = FakeImds::start_at("[::1]:0", &[("meta-data/instance-id", "i-6")]).await;
    assert_eq!(once(&fake).get("meta-data/instance-id").await.unwrap().as_deref(), Some("i-6"));
}

#[tokio::test]
async fn facts_come_from_the_identity_document_and_the_tags_that_exist() {
    let fake = FakeImds::start(&[
        ("dynamic/instance-identity/document", DOCUMENT),
        ("meta-data/tags/instance/Name", "api-1"),
        ("meta-data/tags/instance/team:owner@x", "core"),
        ("meta-data/tags/instance/a%2Fb", "escaped"),
    ])
    .await;
    let wanted = ["team:owner@x", "missing", "..", "_index", "", "a/b", "Name"].map(str::to_owned).into();
    let facts = once(&fake).facts(&wanted).await.unwrap();
    let tags = [("Name", "api-1"), ("a/b", "escaped"), ("team:owner@x", "core")];
    assert_eq!(
        facts,
        Facts {
            instance_id: "i-0123456789abcdef0".into(),
            instance_type: "t3.small".into(),
            region: "eu-north-1".into(),
            availability_zone: "eu-north-1b".into(),
            account: "123456789012".into(),
            image_id: "ami-0abc".into(),
            tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        }
    );
}

#[tokio::test]
async fn an_identity_document_that_is_none_is_malformed() {
    let fake = FakeImds::start(&[("dynamic/instance-identity/document", "{\"accountId\": \"1\"}")]).await;
    let error = once(&fake).facts(&BTreeSet::new()).await.unwrap_err();
    assert_eq!(error.code(), "imds_malformed");
    assert!(error.to_string().contains("missing field"), "{error}");
}

#[tokio::test]
async fn user_data_is_any_bytes_of_bounded_length_and_may_be_absent() {
    let fake = FakeImds::start(&[]).await;
    let client = once(&fake);
    assert_eq!(client.user_data().await.unwrap(), None);
    let compressed = vec![0x1f, 0x8b, 0, 0xff];
    fake.script.lock().unwrap().user_data = Some(compressed.clone());
    assert_eq!(client.user_data().await.unwrap(), Some(compressed));
    fake.script.lock().unwrap().user_data = Some(vec![b'#'; LONGEST_USER_DATA]);
    assert_eq!(client.user_data().await.unwrap().map(|bytes| bytes.len()), Some(65_536));
    fake.script.lock().unwrap().user_data = Some(vec![b'#'; LONGEST_USER_DATA + 1]);
    let error = client.user_data().await.unwrap_err();
    assert_eq!(error.code(), "imds_malformed");
    assert!(one_line(&error).contains("65537 bytes long, more than 65536"), "{error}");
}
