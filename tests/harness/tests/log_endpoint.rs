//! The counting endpoint on the wire: it takes what the service takes, and fails as it is told.

#![expect(clippy::expect_used, reason = "a failed step of a test ends it")]

use harness::http::{Answer, HttpClient, HttpError};
use harness::log_node::endpoint;
use log_endpoint::numbered::line_text;
use log_endpoint::{Fault, LogEndpoint};
use serde_json::{Value, json};
use std::ops::Range;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(600);

async fn call(endpoint: &LogEndpoint, operation: &str, input: Value) -> Result<Answer, HttpError> {
    let target = format!("Logs_20140328.{operation}");
    let headers = [("x-amz-target", target.as_str())];
    HttpClient::default().send("POST", &endpoint.plain_url(), &headers, input.to_string()).await
}

async fn put(endpoint: &LogEndpoint, numbers: Range<u64>) -> Result<Answer, HttpError> {
    let events: Vec<Value> =
        numbers.map(|number| json!({"timestamp": number, "message": line_text(number)})).collect();
    let input = json!({"logGroupName": "g", "logStreamName": "s", "logEvents": events});
    call(endpoint, "PutLogEvents", input).await
}

async fn with_stream() -> LogEndpoint {
    let endpoint = endpoint(None).expect("an endpoint");
    for operation in ["CreateLogGroup", "CreateLogStream"] {
        let answer = call(&endpoint, operation, json!({"logGroupName": "g", "logStreamName": "s"})).await;
        assert_eq!(answer.expect("an answer").status, 200);
    }
    endpoint
}

#[tokio::test]
async fn lines_are_counted_and_what_the_service_refuses_is_an_offence() {
    let endpoint = with_stream().await;
    assert_eq!(put(&endpoint, 0..5_000).await.expect("an answer").status, 400, "1.1 MB");
    assert_eq!(endpoint.offences().len(), 1);
    assert_eq!(put(&endpoint, 0..4_600).await.expect("an answer").status, 200);
    assert_eq!(put(&endpoint, 4_600..4_700).await.expect("an answer").status, 200);
    assert_eq!(put(&endpoint, 4_500..4_700).await.expect("an answer").status, 200);
    let seen = endpoint.seen("g", "s");
    assert_eq!((seen.distinct, seen.duplicates, seen.puts), (4_700, 200, 3));
    assert_eq!(seen.missing(0..4_702), vec![4_700..4_702]);
    assert_eq!(endpoint.distinct(), 4_700);
    endpoint.forget().expect("forgotten");
    assert_eq!(put(&endpoint, 0..1).await.expect("an answer").json()["__type"], "ResourceNotFoundException");
}

#[tokio::test]
async fn each_fault_is_what_its_name_says_and_ends_when_it_is_told() {
    let endpoint = with_stream().await;
    for (fault, status, code) in [
        (Fault::Unavailable, 503, "ServiceUnavailableException"),
        (Fault::Throttled, 400, "ThrottlingException"),
        (Fault::Expired, 400, "ExpiredTokenException"),
    ] {
        endpoint.begin(fault, LONG);
        let answer = put(&endpoint, 0..1).await.expect("an answer");
        assert_eq!((answer.status.as_u16(), answer.json()["__type"].as_str()), (status, Some(code)));
        assert_eq!(endpoint.hits(), 1);
    }
    endpoint.begin(Fault::Reset, LONG);
    for _ in 0..4 {
        assert!(put(&endpoint, 0..1000).await.is_err());
    }
    assert_eq!((endpoint.hits(), endpoint.distinct()), (4, 0));
    endpoint.begin(Fault::AnswerLost, LONG);
    assert!(put(&endpoint, 0..1).await.is_err());
    assert_eq!(endpoint.distinct(), 1);
    endpoint.begin(Fault::Stall, LONG);
    let stalled = tokio::time::timeout(Duration::from_millis(200), put(&endpoint, 1..2)).await;
    assert!(stalled.is_err(), "it answered");
    endpoint.begin(Fault::Stall, Duration::ZERO);
    assert_eq!(put(&endpoint, 1..2).await.expect("an answer").status, 200);
    assert!(!endpoint.is_at_fault());
}

#[tokio::test]
async fn a_group_that_was_deleted_has_to_be_made_again() {
    let endpoint = with_stream().await;
    assert!(endpoint.delete_group("g") && !endpoint.delete_group("g"));
    assert_eq!(put(&endpoint, 0..1).await.expect("an answer").json()["__type"], "ResourceNotFoundException");
    assert_eq!(endpoint.offences().len(), 0, "the service says the same");
}
