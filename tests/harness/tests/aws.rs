//! Secrets Manager and CloudWatch Logs over the wire, faults, and the control
//! endpoint.

#![expect(clippy::unwrap_used, reason = "a failed step of a test ends it")]
#![expect(clippy::disallowed_methods, reason = "requests are signed with the time of day")]

mod signing;

use std::collections::BTreeMap;
use std::time::Duration;

use harness::http::HttpClient;
use harness::local_cloud::{Config, Fault, FaultKind, Initial, LocalCloud, SecretText};
use serde_json::{Value, json};
use signing::call;

async fn cloud() -> LocalCloud {
    let keys = BTreeMap::from([("SECRET_KEY".to_owned(), "one".to_owned())]);
    let secrets = BTreeMap::from([("app".to_owned(), SecretText::Keys(keys))]);
    let initial = Initial { secrets, ..Initial::default() };
    LocalCloud::start(Config { initial, ..Config::default() }).await.unwrap()
}

async fn secret(cloud: &LocalCloud, input: Value) -> Value {
    call(cloud, "secretsmanager", "secretsmanager.GetSecretValue", &input).await.json()
}

async fn logs(cloud: &LocalCloud, operation: &str, input: Value) -> Value {
    call(cloud, "logs", &format!("Logs_20140328.{operation}"), &input).await.json()
}

#[tokio::test]
async fn a_secret_is_found_by_name_and_arn_and_its_versions_by_label() {
    let cloud = cloud().await;
    let first = secret(&cloud, json!({"SecretId": "app"})).await;
    assert_eq!(first["SecretString"], r#"{"SECRET_KEY":"one"}"#);
    let version = cloud.put_secret("app", "two");
    let second = secret(&cloud, json!({"SecretId": first["ARN"]})).await;
    assert_eq!((&second["SecretString"], &second["VersionId"]), (&json!("two"), &json!(version)));
    let previous = secret(&cloud, json!({"SecretId": "app", "VersionStage": "AWSPREVIOUS"})).await;
    assert_eq!(previous["VersionId"], first["VersionId"]);
    let told =
        call(&cloud, "secretsmanager", "secretsmanager.DescribeSecret", &json!({"SecretId": "app"})).await;
    assert_eq!(told.json()["VersionIdsToStages"][&version], json!(["AWSCURRENT"]));
}

#[tokio::test]
async fn a_missing_and_a_denied_secret_are_told_apart() {
    let cloud = cloud().await;
    let missing = secret(&cloud, json!({"SecretId": "none"})).await;
    assert_eq!(missing["__type"], "ResourceNotFoundException");
    cloud.state().denied.insert("secretsmanager:GetSecretValue app".into());
    assert_eq!(secret(&cloud, json!({"SecretId": "app"})).await["__type"], "AccessDeniedException");
}

#[tokio::test]
async fn a_call_that_nobody_signed_is_refused() {
    let cloud = cloud().await;
    let headers = [("x-amz-target", "secretsmanager.GetSecretValue")];
    let answer = HttpClient::default().send("POST", &cloud.aws_url(), &headers, "{}").await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["__type"]),
        (400, &json!("MissingAuthenticationTokenException"))
    );
    // Signed for another service than the one that is called.
    let answer = call(&cloud, "logs", "secretsmanager.GetSecretValue", &json!({"SecretId": "app"})).await;
    assert_eq!(answer.json()["__type"], "InvalidSignatureException");
}

#[tokio::test]
async fn events_can_be_put_and_read_back_in_pages() {
    let cloud = cloud().await;
    let place = json!({"logGroupName": "/aws/ec2/app", "logStreamName": "i-1"});
    let now = jiff::Timestamp::now().as_millisecond();
    let events: Vec<Value> =
        (0..5).map(|n| json!({"timestamp": now + n, "message": format!("line {n}")})).collect();
    let mut put = place.clone();
    put["logEvents"] = json!(events);
    assert_eq!(logs(&cloud, "PutLogEvents", put.clone()).await["__type"], "ResourceNotFoundException");
    assert_eq!(logs(&cloud, "CreateLogGroup", place.clone()).await, json!({}));
    assert_eq!(logs(&cloud, "CreateLogStream", place.clone()).await, json!({}));
    assert_eq!(
        logs(&cloud, "PutRetentionPolicy", json!({"logGroupName": "/aws/ec2/app", "retentionInDays": 30}))
            .await,
        json!({})
    );
    put["logEvents"][4]["timestamp"] = json!(now + 3 * 3_600_000);
    let info = &logs(&cloud, "PutLogEvents", put).await["rejectedLogEventsInfo"];
    assert_eq!(*info, json!({"tooNewLogEventStartIndex": 4}));
    let mut page = place.clone();
    page["limit"] = json!(3);
    page["startFromHead"] = json!(true);
    let first = logs(&cloud, "GetLogEvents", page.clone()).await;
    assert_eq!(first["events"].as_array().unwrap().len(), 3);
    page["nextToken"] = first["nextForwardToken"].clone();
    let second = logs(&cloud, "GetLogEvents", page).await;
    assert_eq!(second["events"][0]["message"], "line 3");
    assert_eq!(logs(&cloud, "DescribeLogGroups", json!({})).await["logGroups"][0]["retentionInDays"], 30);
    assert_eq!(cloud.state().logs.messages("/aws/ec2/app", "i-1").len(), 4);
}

#[tokio::test]
async fn each_fault_shows_at_the_client_and_then_passes() {
    let cloud = cloud().await;
    let ask = || secret(&cloud, json!({"SecretId": "app"}));
    let fault = |kind| cloud.fault(Fault::on("secretsmanager", kind).operation("GetSecretValue").times(1));
    fault(FaultKind::Throttle);
    assert_eq!(ask().await["__type"], "ThrottlingException");
    fault(FaultKind::Body { text: "not JSON".into() });
    assert_eq!(ask().await, Value::Null);
    fault(FaultKind::Delay { milliseconds: 1 });
    assert_eq!(ask().await["Name"], "app");
    assert_eq!(cloud.requests("secretsmanager", "GetSecretValue"), 3);
}

#[tokio::test]
async fn connections_are_reset_cut_and_left_hanging() {
    let cloud = cloud().await;
    let url = format!("{}/latest/api/token", cloud.imds_url());
    let ask = || async {
        let headers = [("x-aws-ec2-metadata-token-ttl-seconds", "60")];
        HttpClient::default().send("PUT", &url, &headers, String::new()).await
    };
    let fault = |kind| cloud.fault(Fault::on("imds", kind).operation("/latest/api").times(1));
    fault(FaultKind::Reset);
    let mut story = format!("{:?}", ask().await.unwrap_err());
    assert!(story.contains("ConnectionReset"), "{story}");
    fault(FaultKind::Truncate { after_bytes: 10 });
    story = format!("{:?}", ask().await.unwrap_err());
    assert!(story.contains("IncompleteMessage") || story.contains("UnexpectedEof"), "{story}");
    for kind in [FaultKind::Hang, FaultKind::Stall { after_bytes: 10 }] {
        fault(kind);
        assert!(tokio::time::timeout(Duration::from_millis(200), ask()).await.is_err());
    }
    fault(FaultKind::Status { code: 503, body: "busy".into() });
    assert_eq!(ask().await.unwrap().text(), "busy");
    assert_eq!(ask().await.unwrap().status, 200);
}

#[tokio::test]
async fn another_process_can_change_and_read_everything() {
    let cloud = cloud().await;
    let http = HttpClient::default();
    let control = |method: &'static str, path: &str, body: &str| {
        let (url, body, http) = (format!("{}{path}", cloud.control_url()), body.to_owned(), http.clone());
        let headers = [("content-type", "application/json")];
        async move {
            let answer = http.send(method, &url, &headers, body).await.unwrap();
            assert!(answer.status.is_success(), "{method} {url}: {} {}", answer.status, answer.text());
            answer
        }
    };
    control("PUT", "/secrets/team/app", "value").await;
    assert_eq!(secret(&cloud, json!({"SecretId": "team/app"})).await["SecretString"], "value");
    control("PUT", "/tags/Role", "worker").await;
    assert_eq!(cloud.state().tags.as_ref().unwrap()["Role"], "worker");
    control("PUT", "/user-data", "#!/bin/sh\n").await;
    control("PUT", "/metadata/spot/instance-action", "{}").await;
    assert!(cloud.state().metadata.contains_key("spot/instance-action"));
    control("PUT", "/denied", r#"["ecr:GetAuthorizationToken"]"#).await;
    control("PUT", "/registry-tokens/lifetime", "5").await;
    control("POST", "/credentials/rotate", "").await;
    control("POST", "/faults", r#"{"service":"secretsmanager","kind":"throttle"}"#).await;
    assert_eq!(secret(&cloud, json!({"SecretId": "app"})).await["__type"], "ThrottlingException");
    control("DELETE", "/faults", "").await;
    assert_eq!(secret(&cloud, json!({"SecretId": "app"})).await["Name"], "app");
    assert_eq!(control("GET", "/requests", "").await.json()["secretsmanager.GetSecretValue"], 3);
    assert_eq!(control("GET", "/logs", "").await.json(), json!([]));
    assert!(control("GET", "/ca.pem", "").await.text().starts_with("-----BEGIN CERTIFICATE-----"));
}
