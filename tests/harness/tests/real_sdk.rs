//! The real AWS SDK against the local cloud, credentials from its IMDS: our
//! reading of the protocols is not checked by ourselves alone.

#![expect(clippy::unwrap_used, reason = "a failed step of a test ends it")]
#![expect(clippy::disallowed_methods, reason = "log events carry the time of day")]

use std::collections::BTreeMap;

use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_cloudwatchlogs::types::InputLogEvent;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use harness::local_cloud::{Config, Fault, FaultKind, Initial, LocalCloud, SecretText};

/// A cloud and a configuration that finds everything there.
async fn bench() -> (LocalCloud, SdkConfig) {
    let secrets = BTreeMap::from([("app".to_owned(), SecretText::Text("value".to_owned()))]);
    let initial = Initial { secrets, ..Initial::default() };
    let cloud = LocalCloud::start(Config { initial, ..Config::default() }).await.unwrap();
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let provider = ProviderConfig::without_region().with_http_client(http.clone());
    let imds = aws_config::imds::Client::builder().configure(&provider);
    let imds = imds.endpoint(cloud.imds_url()).unwrap().build();
    let credentials = ImdsCredentialsProvider::builder().configure(&provider).imds_client(imds).build();
    let sdk = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("eu-north-1"))
        .http_client(http)
        .endpoint_url(cloud.aws_url())
        .credentials_provider(credentials)
        .retry_config(RetryConfig::disabled())
        .load()
        .await;
    (cloud, sdk)
}

#[tokio::test]
async fn secrets_are_read_and_their_errors_understood() {
    let (cloud, sdk) = bench().await;
    let client = aws_sdk_secretsmanager::Client::new(&sdk);
    let secret = client.get_secret_value().secret_id("app").send().await.unwrap();
    assert_eq!(secret.secret_string(), Some("value"));
    let told = client.describe_secret().secret_id(secret.arn().unwrap()).send().await.unwrap();
    assert!(told.version_ids_to_stages().unwrap().contains_key(secret.version_id().unwrap()));
    let missing = client.get_secret_value().secret_id("none").send().await.unwrap_err();
    assert!(missing.into_service_error().is_resource_not_found_exception());
    cloud.state().credentials.expire(jiff::Timestamp::now());
    let expired = client.get_secret_value().secret_id("app").send().await.unwrap_err();
    assert_eq!(expired.into_service_error().meta().code(), Some("ExpiredTokenException"));
}

#[tokio::test]
async fn a_registry_token_has_its_end_and_its_endpoint() {
    let (cloud, sdk) = bench().await;
    let client = aws_sdk_ecr::Client::new(&sdk);
    let answer = client.get_authorization_token().send().await.unwrap();
    let data = &answer.authorization_data()[0];
    assert_eq!(data.proxy_endpoint(), Some("https://123456789012.dkr.ecr.eu-north-1.amazonaws.com"));
    let left = data.expires_at().unwrap().secs() - jiff::Timestamp::now().as_second();
    assert!((43_000..=43_200).contains(&left), "{left} s");
    cloud.fault(Fault::on("ecr", FaultKind::Throttle));
    let throttled = client.get_authorization_token().send().await.unwrap_err();
    assert_eq!(throttled.into_service_error().meta().code(), Some("ThrottlingException"));
}

#[tokio::test]
async fn log_events_are_put_and_read_back() {
    let (_cloud, sdk) = bench().await;
    let client = aws_sdk_cloudwatchlogs::Client::new(&sdk);
    let now = jiff::Timestamp::now().as_millisecond();
    let event = |time, message| InputLogEvent::builder().timestamp(time).message(message).build().unwrap();
    let put = client.put_log_events().log_group_name("/app").log_stream_name("i-1");
    let put = put.log_events(event(now - 15 * 24 * 3_600_000, "old"));
    let missing = put.clone().send().await.unwrap_err();
    assert!(missing.into_service_error().is_resource_not_found_exception());
    client.create_log_group().log_group_name("/app").send().await.unwrap();
    let again = client.create_log_group().log_group_name("/app").send().await.unwrap_err();
    assert!(again.into_service_error().is_resource_already_exists_exception());
    client.create_log_stream().log_group_name("/app").log_stream_name("i-1").send().await.unwrap();
    client.put_retention_policy().log_group_name("/app").retention_in_days(30).send().await.unwrap();
    let rejected = put.clone().send().await.unwrap();
    assert_eq!(rejected.rejected_log_events_info().unwrap().too_old_log_event_end_index(), Some(1));
    let wide = put.log_events(event(now, "new")).send().await.unwrap_err();
    assert!(wide.into_service_error().is_invalid_parameter_exception());
    let put = client.put_log_events().log_group_name("/app").log_stream_name("i-1");
    put.log_events(event(now, "new")).send().await.unwrap();
    let read = client.get_log_events().log_group_name("/app").log_stream_name("i-1");
    let read = read.start_from_head(true).send().await.unwrap();
    let messages: Vec<_> = read.events().iter().filter_map(|event| event.message()).collect();
    assert_eq!(messages, ["new"]);
}
