//! The description of the API is true: what it has is there, what is there it has, and every answer is as it says.

use super::schema::{offences, resolve};
use super::*;
use agent::control::api::{DESCRIPTION, Fault};
use agent::control::routes::{CODES, ENDPOINTS, Endpoint, Kind, status_of};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A request of that call for what this bench has: service `api`, model `llama3.2:3b`.
pub(super) fn request(endpoint: &Endpoint) -> String {
    let in_query = endpoint.parameters.iter().filter(|parameter| !endpoint.is_in_path(parameter));
    let query: Vec<String> = in_query
        .filter(|parameter| parameter.name != "follow")
        .map(|parameter| {
            let value = match (parameter.kind, parameter.name) {
                (Kind::Flag, _) => "true",
                (Kind::Lines, _) => "5",
                (Kind::Time, _) => "2026-01-02T03:04:05Z",
                (Kind::Text, "model") => "llama3.2:3b",
                (Kind::Text, "service") => "api",
                (Kind::Text, _) => "sha256:abcdef012345",
            };
            format!("{}={value}", parameter.name)
        })
        .collect();
    let mark = if query.is_empty() { "" } else { "?" };
    let path = endpoint.path.replace("{name}", "api");
    format!("{} {path}{mark}{}", endpoint.method.name(), query.join("&"))
}

/// A bench whose loops take everything, with all there can be in a status.
pub(super) fn full_bench() -> Bench {
    let mut bench = Bench::of(Some(models::with_models()));
    bench.answer_commands(|command| Ok(format!("will {command}")));
    configuration::take_requests(&mut bench);
    let goal = || Some(agent::command::Goal { digest: models::digest("c"), at: now() });
    bench.take_model_commands(move |command| Ok(Taken { message: command.to_owned(), target: goal() }));
    let update = PastUpdate {
        digest: models::digest("a"),
        from: None,
        began: now(),
        ended: Some(now()),
        state: PastUpdateState::Overtaken,
        cause: None,
    };
    let quarantined = Quarantined {
        digest: models::digest("b"),
        at: now(),
        cause: "it exited with code 3".to_owned(),
        last_log_lines: vec!["KeyError".to_owned()],
    };
    let explanation = Explanation {
        service: "api".to_owned(),
        gate: "GET /health".to_owned(),
        reasons: vec![Reason { text: "waits".to_owned(), until: Some(now()) }],
        quarantined: vec![quarantined],
        good: Some(models::digest("a")),
        target: Some(Target { digest: models::digest("a"), named: "v1".to_owned(), at: now() }),
        held_since: Some(now()),
        updates: vec![update],
        ..Explanation::default()
    };
    bench.board.publish_services(vec![service("api"), service("web")], vec![explanation], Vec::new(), now());
    bench.board.publish_models(models::shown(vec![models::model("llama3.2:3b")]), now());
    let volume = |size| Volume {
        name: "models".to_owned(),
        volume_id: Some("vol-0a".to_owned()),
        device: None,
        mount: "/m".to_owned(),
        filesystem: None,
        size_bytes: size,
        used_bytes: None,
    };
    bench.board.publish_volumes(vec![volume(None), volume(Some(u64::MAX))], now());
    let secret = Secret { name: "app".to_owned(), version_id: None, fetched_at: Some(now()) };
    bench.board.publish_secrets(vec![secret], now());
    let behind = Behind {
        stream: "i-0/api".to_owned(),
        backlog_bytes: 1,
        oldest_unshipped_seconds: 2,
        error: Some("no answer".to_owned()),
    };
    let budget = Budget { service: "api".to_owned(), daily_bytes: 1, used_bytes: 1, events_left_out: 3 };
    bench.board.publish_logs(Logs { behind: vec![behind], budgets: vec![budget], ..Logs::default() }, now());
    let problem = Problem { code: "c".to_owned(), message: "m".to_owned(), hint: None, since: now() };
    bench.board.publish_problems(Owner::Logs, vec![problem], now());
    bench
}

fn document(bench: &Bench) -> Value {
    let (status, body) = bench.ask(&format!("GET {DESCRIPTION}"));
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// Method and path of every call that the document has.
fn described(document: &Value) -> BTreeMap<(String, String), Value> {
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(|(method, operation)| ((method.to_uppercase(), path.clone()), operation.clone()))
    });
    operations.collect()
}

fn schema_of<'a>(operation: &'a Value, status: u16, kind: &str) -> &'a Value {
    let answer = &operation["responses"][status.to_string()];
    let schema = &answer["content"][kind]["schema"];
    assert!(schema.is_object(), "no answer {status} of {kind} in {operation:#}");
    schema
}

#[track_caller]
fn is_as_described(document: &Value, schema: &Value, body: &str, story: &str) {
    let value: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{story}: {error}: {body}"));
    let found = offences(document, schema, &value);
    assert!(found.is_empty(), "{story}: {found:#?}\nin {value:#}\nby {schema}");
}

#[test]
fn every_call_is_described_and_answers_and_there_are_no_others() {
    let bench = full_bench();
    let described = described(&document(&bench));
    let table = ENDPOINTS.iter().map(|call| (call.method.name().to_owned(), call.path.to_owned()));
    assert_eq!(described.keys().cloned().collect::<BTreeSet<_>>(), table.collect(), "document and table");
    assert_eq!(described.len(), ENDPOINTS.len(), "none is there twice");
    for endpoint in ENDPOINTS {
        let request = request(endpoint);
        let (status, body) = bench.ask(&request);
        assert_eq!(status, 200, "{request}: {body}");
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            if described.contains_key(&(method.to_owned(), endpoint.path.to_owned())) {
                continue;
            }
            let other = request.replacen(endpoint.method.name(), method, 1);
            let (status, body) = bench.ask(&other);
            assert_eq!(status, 404, "{other}: {body}");
            assert!(body.contains("\"path_unknown\""), "{other}: {body}");
        }
    }
    harness::requirements::tried(&format!("{} calls", ENDPOINTS.len()));
}

#[test]
fn the_document_is_whole() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let bench = full_bench();
    let document = document(&bench);
    assert_eq!(
        (&document["openapi"], &document["info"]["version"]),
        (&json!("3.1.0"), &json!(node::VERSION))
    );
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > ENDPOINTS.len(), "{found:?}");
    found.iter().for_each(|reference| assert!(resolve(&document, reference).is_object(), "{reference}"));
    let mut names = BTreeSet::new();
    for ((method, path), operation) in described(&document) {
        let story = format!("{method} {path}");
        assert!(
            names.insert(operation["operationId"].to_string()),
            "{story}: its name is another one's, too"
        );
        let in_path: Vec<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
        let parameters = operation["parameters"].as_array().unwrap();
        let described = parameters.iter().filter(|parameter| parameter["in"] == "path");
        let described: Vec<_> = described.map(|parameter| parameter["name"].as_str().unwrap()).collect();
        assert_eq!(described, in_path, "{story}");
        assert!(parameters.iter().all(|one| one["in"] == "query" || one["required"] == true), "{story}");
        let who = operation["description"].as_str().unwrap();
        assert_eq!(who.contains("root and members"), method == "POST", "{story}: {who}");
    }
}

#[test]
fn every_answer_is_as_its_schema_says() {
    let bench = full_bench();
    let (document, mut empty) = (document(&bench), Bench::of(None));
    empty.answer_commands(|command| Ok(command.to_owned()));
    configuration::refuse_requests(&mut empty);
    let operations = described(&document);
    for endpoint in ENDPOINTS {
        let request = request(endpoint);
        let operation = &operations[&(endpoint.method.name().to_owned(), endpoint.path.to_owned())];
        let text = match endpoint.answer {
            agent::control::routes::Answer::Output => Some("text/plain"),
            agent::control::routes::Answer::ConfigurationText => Some("application/toml"),
            _ => None,
        };
        if let Some(kind) = text {
            assert!(operation["responses"]["200"]["content"][kind].is_object(), "{operation:#}");
            continue;
        }
        let schema = schema_of(operation, 200, "application/json");
        is_as_described(&document, schema, &bench.ask(&request).1, &request);
        // Where nothing is known yet.
        let (status, body) = empty.ask(&request);
        let schema = schema_of(operation, status, "application/json");
        is_as_described(&document, schema, &body, &format!("{request} of an empty bench: {status}"));
    }
}

#[test]
fn a_configuration_with_all_that_it_can_have_is_as_its_schema_says() {
    let facts = node::identity::Facts {
        instance_id: "i-0123456789abcdef0".to_owned(),
        instance_type: "t3.small".to_owned(),
        region: "eu-north-1".to_owned(),
        availability_zone: "eu-north-1a".to_owned(),
        account: "123456789012".to_owned(),
        image_id: "ami-0".to_owned(),
        tags: Default::default(),
    };
    let text = include_str!("../../../node/src/config/tests/contract.toml").to_owned();
    let source = node::config::Source { name: "contract.toml".to_owned(), text };
    let settings = node::config::Draft::parse(vec![source]).and_then(|draft| draft.settings(&facts));
    let bench = Bench::of(Some(settings.unwrap_or_else(|mistakes| panic!("{mistakes}"))));
    let document = document(&bench);
    let operation = &described(&document)[&("GET".to_owned(), agent::control::api::CONFIG.to_owned())];
    let (status, body) = bench.ask("GET /v1/config");
    is_as_described(&document, schema_of(operation, status, "application/json"), &body, "the contract");
    assert!(body.contains("\"models\":{"), "{body}");
}

#[test]
fn every_refusal_is_a_fault_with_a_code_of_the_table_and_its_status() {
    let bench = full_bench();
    let document = document(&bench);
    let operations = described(&document);
    let nothing = Bench::of(None);
    let asked = [
        (&bench, "GET /v1/explain?service=nope", "service_unknown"),
        (&bench, "GET /v1/explain?service=api&service=web", "query_invalid"),
        (&bench, "GET /v1/status?follow=perhaps", "query_invalid"),
        (&nothing, "GET /v1/config", "identity_unknown"),
        (&bench, "GET /v1/services/{name}/logs?tail=many", "query_invalid"),
        (&bench, "GET /v1/services/{nope}/logs", "service_unknown"),
        (&bench, "POST /v1/services/{nope}/restart", "service_unknown"),
        (&bench, "POST /v1/services/{nope}/hold", "service_unknown"),
        (&nothing, "POST /v1/services/{name}/stop", "identity_unknown"),
        (&bench, "POST /v1/services/{name}/target", "query_invalid"),
        (&bench, "POST /v1/models/pin", "query_invalid"),
        (&bench, "POST /v1/models/unpin?model=nope", "model_unknown"),
        (&bench, "POST /v1/models/pull?model=/", "model_invalid"),
    ];
    for (bench, request, code) in asked {
        let (status, body) = bench.ask(&request.replace(['{', '}'], ""));
        let fault: Fault =
            serde_json::from_str(&body).unwrap_or_else(|error| panic!("{request}: {error}: {body}"));
        assert_eq!((fault.code.as_str(), status), (code, status_of(code)), "{request}: {body}");
        let (method, path) = request.split_once(' ').unwrap();
        let path = path.split('?').next().unwrap().replace("{nope}", "{name}");
        let operation = &operations[&(method.to_owned(), path)];
        is_as_described(&document, schema_of(operation, status, "application/json"), &body, request);
        let listed = operation["responses"][status.to_string()]["description"].as_str().unwrap();
        assert!(listed.contains(&format!("`{code}`")), "{request}: {listed}");
    }
}

#[test]
fn the_codes_of_the_sources_are_in_the_table_and_those_of_the_table_in_a_call() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let places = ["control", "reconcile", "models/commands.rs", "models/record", "command.rs"];
    let listed = std::process::Command::new("grep")
        .args(["-rhoE", "--include=*.rs", "--exclude=*tests.rs", r#"(Fault|Refused)::new\(\s*"[a-z_]+""#])
        .args(places)
        .current_dir(source)
        .output()
        .unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    let used: BTreeSet<&str> = text.lines().map(|line| line.split('"').nth(1).unwrap()).collect();
    assert!(used.len() > 15, "{used:?}");
    let table: BTreeSet<&str> = CODES.iter().map(|code| code.name).collect();
    assert_eq!(table.len(), CODES.len(), "a code is there twice");
    let missing: Vec<_> = used.difference(&table).collect();
    assert!(missing.is_empty(), "no word in the table on {missing:?}");
    let of_calls: BTreeSet<&str> = ENDPOINTS.iter().flat_map(Endpoint::codes).map(|code| code.name).collect();
    let orphans: Vec<_> = table.difference(&of_calls).collect();
    assert_eq!(orphans, [&"path_unknown"], "codes that no call may be refused with");
}
