//! The client against a server of this process that speaks JSON 1.1 as the service does.

use super::*;
use crate::logs::body::{Builder, PUT_LOG_EVENTS};
use crate::logs::escape::push_escaped;
use aws_sdk_cloudwatchlogs::config::{Credentials, SharedCredentialsProvider};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use node::environment::Environment;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// What was asked, and what is to be answered. An operation without a scripted answer succeeds.
#[derive(Debug, Default)]
struct Script {
    asked: Vec<(String, Value)>,
    answers: VecDeque<(&'static str, u16, Value)>,
}

type Shared = Arc<Mutex<Script>>;

struct Service {
    script: Shared,
    logs: CloudWatchLogs,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn operation(State(script): State<Shared>, headers: HeaderMap, body: String) -> Response {
    let target = headers["x-amz-target"].to_str().unwrap();
    let operation = target.strip_prefix("Logs_20140328.").expect(target).to_owned();
    let mut script = script.lock().unwrap();
    script.asked.push((operation.clone(), serde_json::from_str(&body).unwrap()));
    let scripted = script.answers.front().is_some_and(|(name, _, _)| *name == operation);
    let (status, body) = match scripted.then(|| script.answers.pop_front()).flatten() {
        Some((_, status, body)) => (status, body),
        None => (200, json!({})),
    };
    let headers = [("content-type", "application/x-amz-json-1.1")];
    (StatusCode::from_u16(status).unwrap(), headers, body.to_string()).into_response()
}

async fn service(retention_days: Option<i32>, answers: &[(&'static str, u16, Value)]) -> Service {
    let script =
        Arc::new(Mutex::new(Script { asked: Vec::new(), answers: answers.iter().cloned().collect() }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(operation)).with_state(Arc::clone(&script));
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Service { script, logs: client(&endpoint, retention_days).await, server }
}

async fn client(endpoint: &str, retention_days: Option<i32>) -> CloudWatchLogs {
    let environment: Environment =
        [("AWS_ENDPOINT_URL".to_owned(), endpoint.to_owned())].into_iter().collect();
    let imds = node::imds::Client::new(&environment);
    let credentials = Credentials::new("AKIDEXAMPLE", "not-a-secret", None, None, "test");
    let config = node::cloud::sdk_config(&imds, "eu-north-1", &environment).await;
    let config =
        config.into_builder().credentials_provider(SharedCredentialsProvider::new(credentials)).build();
    let tags = [("team".to_owned(), "x".to_owned())].into();
    CloudWatchLogs::new(&config, &Logs { retention_days, tags, ..Logs::to_group("/aws/ec2/api-prod") })
}

fn fault(code: &str, message: &str) -> Value {
    json!({ "__type": code, "message": message })
}

fn destination() -> Destination {
    Destination { group: "/aws/ec2/api-prod".to_owned(), stream: "i-0123/api".to_owned() }
}

fn events(count: usize) -> Body {
    let mut builder = Builder::new(&destination(), PUT_LOG_EVENTS);
    for number in 0..count {
        let mut inside = Vec::new();
        let text = format!("line {number} \"é\"\u{0}");
        push_escaped(&mut inside, &text);
        builder.push(1_795_202_535_000 + i64::try_from(number).unwrap(), &inside, text.len());
    }
    builder.finish().expect("events")
}

impl Service {
    async fn put(&self, count: usize) -> Result<Answer, PutError> {
        self.logs.put(&destination(), &events(count)).await
    }

    fn operations(&self) -> Vec<String> {
        self.script.lock().unwrap().asked.iter().map(|(operation, _)| operation.clone()).collect()
    }

    fn body(&self, index: usize) -> Value {
        self.script.lock().unwrap().asked[index].1.clone()
    }
}

#[tokio::test]
async fn events_are_put_as_they_are_without_asking_anything_first() {
    let service = service(Some(30), &[]).await;
    assert_eq!(service.put(2).await, Ok(Answer::default()));
    assert_eq!(service.operations(), ["PutLogEvents"]);
    assert_eq!(
        service.body(0),
        json!({
            "logGroupName": "/aws/ec2/api-prod",
            "logStreamName": "i-0123/api",
            "logEvents": [
                { "timestamp": 1_795_202_535_000i64, "message": "line 0 \"é\"\u{0}" },
                { "timestamp": 1_795_202_535_001i64, "message": "line 1 \"é\"\u{0}" },
            ],
        })
    );
}

#[tokio::test]
async fn a_missing_group_is_made_with_its_retention_and_the_events_are_put_again() {
    let missing = fault("ResourceNotFoundException", "The specified log group does not exist.");
    let answers = [("PutLogEvents", 400, missing.clone()), ("CreateLogStream", 400, missing)];
    let service = service(Some(30), &answers).await;
    assert_eq!(service.put(1).await, Ok(Answer::default()));
    assert_eq!(
        service.operations(),
        [
            "PutLogEvents",
            "CreateLogStream",
            "CreateLogGroup",
            "PutRetentionPolicy",
            "CreateLogStream",
            "PutLogEvents"
        ]
    );
    assert_eq!(service.body(2), json!({ "logGroupName": "/aws/ec2/api-prod", "tags": { "team": "x" } }));
    assert_eq!(service.body(3), json!({ "logGroupName": "/aws/ec2/api-prod", "retentionInDays": 30 }));
}

#[tokio::test]
async fn a_missing_stream_is_made_and_the_retention_of_the_group_is_left_alone() {
    let missing = fault("ResourceNotFoundException", "The specified log stream does not exist.");
    let service = service(Some(30), &[("PutLogEvents", 400, missing)]).await;
    assert_eq!(service.put(1).await, Ok(Answer::default()));
    assert_eq!(service.operations(), ["PutLogEvents", "CreateLogStream", "PutLogEvents"]);
}

#[tokio::test]
async fn another_node_that_makes_group_and_stream_first_is_fine() {
    let missing = || fault("ResourceNotFoundException", "missing");
    let exists = || fault("ResourceAlreadyExistsException", "The specified log group already exists");
    let answers = [
        ("PutLogEvents", 400, missing()),
        ("CreateLogStream", 400, missing()),
        ("CreateLogGroup", 400, exists()),
        ("CreateLogStream", 400, exists()),
    ];
    let service = service(Some(30), &answers).await;
    assert_eq!(service.put(1).await, Ok(Answer::default()));
    assert!(!service.operations().contains(&"PutRetentionPolicy".to_owned()), "the group is not ours");
}

#[tokio::test]
async fn a_retention_that_was_throttled_is_set_with_the_next_call() {
    let missing = || fault("ResourceNotFoundException", "missing");
    let answers = [
        ("PutLogEvents", 400, missing()),
        ("CreateLogStream", 400, missing()),
        ("PutRetentionPolicy", 400, fault("ThrottlingException", "Rate exceeded")),
        ("PutLogEvents", 400, missing()),
        ("CreateLogStream", 400, missing()),
        ("CreateLogGroup", 400, fault("ResourceAlreadyExistsException", "exists")),
    ];
    let service = service(Some(30), &answers).await;
    let reason = "PutRetentionPolicy: ThrottlingException: Rate exceeded".to_owned();
    assert_eq!(service.put(1).await, Err(PutError::Throttled { reason }));
    assert_eq!(service.put(1).await, Ok(Answer::default()));
    let operations = service.operations();
    assert_eq!(operations.iter().filter(|name| *name == "PutRetentionPolicy").count(), 2, "{operations:?}");
}

#[tokio::test]
async fn a_retention_that_is_not_allowed_does_not_stop_the_events() {
    let missing = || fault("ResourceNotFoundException", "missing");
    let answers = [
        ("PutLogEvents", 400, missing()),
        ("CreateLogStream", 400, missing()),
        ("PutRetentionPolicy", 400, fault("AccessDeniedException", "no")),
    ];
    let service = service(Some(30), &answers).await;
    assert_eq!(service.put(1).await, Ok(Answer::default()));
}

#[tokio::test]
async fn rejected_events_are_told_by_their_indexes() {
    let rejected = json!({ "rejectedLogEventsInfo": {
        "expiredLogEventEndIndex": 1, "tooOldLogEventEndIndex": 3, "tooNewLogEventStartIndex": 8 } });
    let service = service(None, &[("PutLogEvents", 200, rejected)]).await;
    assert_eq!(service.put(10).await, Ok(Answer { expired: 1, too_old: 2, too_new: 2 }));
}

#[test]
fn indexes_that_make_no_sense_count_no_event_twice() {
    let rejected = |expired: Option<i32>, old: Option<i32>, new: Option<i32>| {
        RejectedLogEventsInfo::builder()
            .set_expired_log_event_end_index(expired)
            .set_too_old_log_event_end_index(old)
            .set_too_new_log_event_start_index(new)
            .build()
    };
    for (given, expected) in [
        (rejected(None, None, None), Answer::default()),
        (rejected(Some(2), None, None), Answer { expired: 2, ..Answer::default() }),
        (rejected(Some(5), Some(2), None), Answer { expired: 5, ..Answer::default() }),
        (rejected(None, None, Some(0)), Answer { too_new: 5, ..Answer::default() }),
        (rejected(None, Some(4), Some(2)), Answer { too_old: 4, too_new: 1, expired: 0 }),
        (rejected(Some(-1), Some(99), Some(99)), Answer { too_old: 5, ..Answer::default() }),
    ] {
        assert_eq!(answer(5, Some(&given)), expected, "{given:?}");
    }
}

#[tokio::test]
async fn answers_of_the_service_and_what_the_caller_is_to_do() {
    let retry = |reason: &str| PutError::Retry { reason: format!("PutLogEvents: {reason}") };
    let throttled = |reason: &str| PutError::Throttled { reason: format!("PutLogEvents: {reason}") };
    let refused = |reason: &str| PutError::Refused { reason: format!("PutLogEvents: {reason}") };
    let quoted = "1 validation error detected: Value '[InputLogEvent(message=card 4111)]' at 'logEvents' failed \
                  to satisfy constraint: Member must have length greater than or equal to 1";
    let name = "1 validation error detected: Value 'a b' at 'logGroupName' failed to satisfy constraint: \
                Member must satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+";
    for (status, code, message, expected) in [
        (400, "ThrottlingException", "Rate exceeded", throttled("ThrottlingException: Rate exceeded")),
        (503, "ServiceUnavailableException", "", retry("ServiceUnavailableException")),
        (500, "InternalFailure", "oh", retry("InternalFailure: oh")),
        (400, "ExpiredTokenException", "expired", retry("ExpiredTokenException: expired")),
        (400, "UnrecognizedClientException", "bad", retry("UnrecognizedClientException: bad")),
        (400, "LimitExceededException", "groups", retry("LimitExceededException: groups")),
        (400, "InvalidParameterException", quoted, refused("InvalidParameterException")),
        (413, "RequestEntityTooLargeException", "", refused("RequestEntityTooLargeException")),
        (400, "InvalidParameterException", name, retry(&format!("InvalidParameterException: {name}"))),
        (
            400,
            "AccessDeniedException",
            "User: arn:aws:sts::1:x is not authorized",
            PutError::Denied {
                reason: "PutLogEvents: AccessDeniedException: User: arn:aws:sts::1:x is not authorized"
                    .to_owned(),
            },
        ),
    ] {
        let service = service(None, &[("PutLogEvents", status, fault(code, message))]).await;
        let found = service.put(2).await;
        assert_eq!(found, Err(expected), "{status} {code}");
        assert_eq!(service.operations(), ["PutLogEvents"], "one try, whoever calls decides on the next");
    }
}

#[tokio::test]
async fn no_permission_to_make_the_group_names_the_operation_that_was_refused() {
    let missing = || fault("ResourceNotFoundException", "missing");
    let denied = fault("AccessDeniedException", "not authorized to perform: logs:CreateLogGroup");
    let answers = [
        ("PutLogEvents", 400, missing()),
        ("CreateLogStream", 400, missing()),
        ("CreateLogGroup", 400, denied),
    ];
    let service = service(None, &answers).await;
    let Err(PutError::Denied { reason }) = service.put(1).await else { panic!("not denied") };
    assert!(reason.starts_with("CreateLogGroup: AccessDeniedException"), "{reason}");
}

#[tokio::test]
async fn an_answer_that_is_no_json_and_an_endpoint_that_is_gone_are_tried_again() {
    let service = service(None, &[("PutLogEvents", 502, json!("<html>"))]).await;
    let found = service.put(1).await;
    assert!(matches!(found, Err(PutError::Retry { .. })), "{found:?}");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let found = client(&endpoint, None).await.put(&destination(), &events(1)).await;
    let Err(PutError::Retry { reason }) = found else { panic!("{found:?}") };
    assert!(reason.contains("refused"), "the reason does not say why: {reason}");
    assert!(!reason.contains('\n'), "{reason}");
}
