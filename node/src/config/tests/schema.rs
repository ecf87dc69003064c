//! The JSON Schema has every key with its default, and agrees with the texts that are valid.

use super::{examples, parse};
use crate::config::schema;
use crate::config::written::{NOT_SUPPORTED, Written};
use serde_json::{Value, json};

/// `(path, schema)` of every key; entries of maps are called `*`, items of arrays `-`.
fn keys(schema: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    for choice in schema["anyOf"].as_array().into_iter().flatten() {
        keys(choice, path, found);
    }
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        found.push((path.clone(), inner.clone()));
        keys(inner, &path, found);
    }
    if schema["additionalProperties"].is_object() {
        keys(&schema["additionalProperties"], &format!("{path}.*"), found);
    }
    if schema["items"].is_object() {
        keys(&schema["items"], &format!("{path}.-"), found);
    }
}

fn all_keys() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    keys(&schema(), "", &mut found);
    found
}

#[test]
fn it_is_draft_2020_12_without_null_or_references() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let text = schema.to_string();
    assert!(!text.contains("null") && !text.contains("$ref"), "{text}");
}

#[test]
fn every_key_is_described_and_every_table_is_closed() {
    for (path, schema) in all_keys() {
        assert!(schema["description"].as_str().is_some_and(|text| !text.is_empty()), "{path}");
        if schema["properties"].is_object() {
            assert_eq!(schema["additionalProperties"], false, "{path}");
        }
    }
}

fn defaults_of_logs() -> serde_json::Value {
    json!({
        ".logs.tags": {},
        ".logs.stream": "{instance_id}/{service}",
        ".logs.files": [],
        ".logs.journal": [],
        ".logs.kernel": true,
        ".logs.queue": "1g",
        ".logs.max_event": "256k",
        ".services.*.logs.include": [],
        ".services.*.logs.exclude": [],
        ".services.*.logs.sample": [],
        ".services.*.logs.fields": [],
    })
}

#[test]
fn the_defaults_of_the_contract_are_in_it() {
    let wanted = json!({
        ".docker.install": true,
        ".images.reclaim": "ours",
        ".images.unused_for": "168h",
        ".images.min_free": "10%",
        ".volumes.*.filesystem": "xfs",
        ".volumes.*.format": "if-blank",
        ".volumes.*.wait": "5m",
        ".volumes.*.optional": false,
        ".secrets.*.on_change": "restart",
        ".secrets.*.require": [],
        ".services.*.command": [],
        ".services.*.read_only": false,
        ".services.*.capabilities": [],
        ".services.*.imds": false,
        ".services.*.stop_timeout": "30s",
        ".services.*.network": "node",
        ".services.*.health.interval": "10s",
        ".services.*.health.timeout": "5s",
        ".services.*.health.retries": 3,
        ".services.*.health.start_period": "30s",
        ".services.*.update.every": "60s",
        ".services.*.update.deadline": "5m",
        ".services.*.update.min_healthy": "10s",
        ".services.*.update.min_age": "0s",
        ".services.*.update.window": [],
        ".services.*.update.before": [],
        ".services.*.update.after": [],
        ".services.*.update.drain": "30s",
        ".models.every": "1h",
        ".models.reserve": "2g",
        ".models.reclaim": "ours",
        ".models.unused_for": "168h",
        ".models.prewarm": "unlimited",
        ".models.load_deadline": "30m",
        ".models.pull": {},
        ".models.pull.*.keep_loaded": false,
        ".models.pull.*.smoke.within": "2m",
        ".metrics.listen": "127.0.0.1:9464",
        ".metrics.cloudwatch": false,
        ".metrics.every": "60s",
        ".metrics.namespace": "NodeAgent",
    });
    let keys = all_keys();
    for (path, default) in wanted.as_object().unwrap().iter().chain(defaults_of_logs().as_object().unwrap()) {
        let (_, schema) = keys.iter().find(|(key, _)| key == path).unwrap_or_else(|| panic!("no {path}"));
        assert_eq!(&schema["default"], default, "{path}");
    }
}

#[test]
fn a_default_that_is_written_changes_nothing() {
    // What the types fill in when nothing is written must be what the schema tells people.
    let filled = serde_json::to_value(serde_json::from_str::<Written>("{}").unwrap()).unwrap();
    for (key, schema) in schema()["properties"].as_object().unwrap() {
        if let Some(default) = schema["default"].as_object().filter(|default| !default.is_empty()) {
            assert_eq!(&filled[key], &Value::Object(default.clone()), "{key}");
        }
    }
}

#[test]
fn keys_without_effect_are_marked_and_no_others() {
    let marked: Vec<String> = all_keys()
        .into_iter()
        .filter(|(_, schema)| schema[NOT_SUPPORTED].is_string())
        .map(|(path, _)| path)
        .collect();
    assert_eq!(marked, [""; 0], "this version does all of the contract");
}

#[test]
fn a_default_that_depends_on_other_keys_is_in_words() {
    let keys = all_keys();
    let key = |wanted: &str| keys.iter().find(|(path, _)| path == wanted).map(|(_, schema)| schema).unwrap();
    let strategy = key(".services.*.update.strategy");
    assert_eq!(strategy.get("default"), None, "{strategy}");
    let description = strategy["description"].as_str().unwrap();
    for word in ["Without it `blue-green`", "`ports`", "`http`, `tcp` or `exec`", "`gpus`", "`recreate`"] {
        assert!(description.contains(word), "{word} is not in: {description}");
    }
    for (path, words) in [
        (
            ".models.server",
            "Without it the service `ollama` where there is one, else `http://127.0.0.1:11434`",
        ),
        (".models.directory", "`OLLAMA_MODELS`, else `/root/.ollama/models`"),
        (".models.pull.*.required", "Without it, what `keep_loaded` says"),
    ] {
        assert_eq!(key(path).get("default"), None, "{path}");
        assert!(key(path)["description"].as_str().unwrap().contains(words), "{path}");
    }
    let imds = key(".services.*.imds")["description"].as_str().unwrap();
    assert!(imds.contains("On the host's network every container may"), "{imds}");
}

#[test]
fn what_a_person_has_to_know_of_a_section_is_read_where_it_is_written() {
    let keys = all_keys();
    let key = |wanted: &str| keys.iter().find(|(path, _)| path == wanted).map(|(_, schema)| schema).unwrap();
    for (path, words) in [
        (".services.*.update", "beside `every = \"never\"`"),
        (".images", "what any container uses"),
        (".services.*.update.window", "in UTC"),
        (".models.pull", "has to be spelt the same"),
        (".models.pull", "none has `.kept-`"),
        (".logs.stream", "they keep two nodes and two services apart"),
        (".services.*.logs", "in the order `include`, `exclude`, `sample`, `repeat`, `max_rate`, `daily`"),
    ] {
        let description = key(path)["description"].as_str().unwrap();
        assert!(description.contains(words), "{path}: {description}");
    }
    let number =
        json!({"description": "So many.", "format": "int64", "maximum": 64, "minimum": 1, "type": "integer"});
    assert_eq!(key(".services.*.gpus")["anyOf"][0], number);
}

#[test]
fn every_key_of_the_types_is_in_it() {
    // A document with every table present, so that serialising it names every key.
    let document = json!({
        "agent": {}, "models": {"pull": {"*": {"smoke": {}}}}, "logs": {"files": [{"sample": [{}]}]}, "metrics": {},
        "volumes": {"*": {}}, "secrets": {"*": {}}, "registries": {"*": {"auth": {}}},
        "services": {"*": {"environment": {"*": {}}, "logs": {"multiline": {}, "sample": [{}]}}},
    });
    let written = serde_json::to_value(serde_json::from_value::<Written>(document).unwrap()).unwrap();
    let known: Vec<String> = all_keys().into_iter().map(|(path, _)| path).collect();
    let mut paths = Vec::new();
    members(&written, "", &mut paths);
    let paths: Vec<_> = paths.into_iter().filter(|path| !path.ends_with('*')).collect();
    assert!(paths.len() > 50, "{paths:?}");
    for path in paths {
        assert!(known.contains(&path), "{path} is not in {known:#?}");
    }
}

fn members(value: &Value, path: &str, found: &mut Vec<String>) {
    for (key, inner) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        found.push(path.clone());
        members(inner, &path, found);
    }
    for inner in value.as_array().into_iter().flatten() {
        members(inner, &format!("{path}.-"), found);
    }
}

#[test]
fn the_structural_check_takes_the_examples_with_the_published_schema() {
    for (path, text) in examples::examples() {
        let mut root = parse(&text).unwrap().root;
        let mut findings = crate::config::findings::Findings::default();
        crate::config::structure::check(&mut root, &schema(), &mut findings);
        assert!(findings.is_empty(), "{}: {findings:?}", path.display());
    }
}
