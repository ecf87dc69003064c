//! The description of the control API: OpenAPI 3.1, from the table of calls and the types of the answers. Pure.
//!
//! In: nothing. Out: the document. Not its job: keeping it; nothing is made before somebody asks.

use super::api::{Accepted, Refused};
use super::peer::GROUP;
use super::routes::{Answer, Body, CONFLICT, Code, ENDPOINTS, Endpoint, Kind, Parameter};
use crate::change::Change;
use crate::status::{Explanation, Models, Status};
use node::config::{Settings, Source};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Where the schemas of the types are.
const SCHEMAS: &str = "/components/schemas";
/// The name of the configuration's schema there.
const CONFIGURATION: &str = "Configuration";
/// The same of what differs from it.
const CHANGE: &str = "Change";

/// The whole document.
pub fn document() -> Value {
    let mut schemas = generator(false);
    let fault = schemas.subschema_for::<Refused>().to_value();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for endpoint in ENDPOINTS {
        let operation = operation(endpoint, &mut schemas, &fault);
        paths.entry(endpoint.path).or_default().insert(endpoint.method.name().to_lowercase(), operation);
    }
    let mut components = schemas.take_definitions(true);
    // In one piece: some of its types have names that those of the status have, too.
    let configuration = generator(true).into_root_schema_for::<Settings>().to_value();
    components.insert(CONFIGURATION.to_owned(), configuration);
    components.insert(CHANGE.to_owned(), generator(true).into_root_schema_for::<Change>().to_value());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "node-agent",
            "version": node::VERSION,
            "summary": "What one node does and why, and what it is told to do.",
            "description": "HTTP/1.1 on /run/node-agent/agent.sock, one request a connection. Every refusal is a Fault.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "http://localhost", "description": "behind /run/node-agent/agent.sock" }],
        "paths": paths,
        "components": { "schemas": components },
    })
}

/// Of schemas for what is written, not for what is read.
fn generator(inline: bool) -> SchemaGenerator {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.meta_schema = None;
    settings.definitions_path = SCHEMAS.into();
    settings.inline_subschemas = inline;
    settings.into_generator()
}

fn operation(endpoint: &Endpoint, schemas: &mut SchemaGenerator, fault: &Value) -> Value {
    let who = match endpoint.method.changes() {
        true => format!("For root and members of the group {GROUP}."),
        false => "For every local user.".to_owned(),
    };
    let mut responses = refusals(endpoint, fault);
    responses.insert("200".to_owned(), answer(endpoint.answer, schemas));
    let parameters: Vec<Value> =
        endpoint.parameters.iter().map(|parameter| described(endpoint, parameter)).collect();
    let mut operation = json!({
        "operationId": name(endpoint),
        "summary": endpoint.summary,
        "description": who,
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(Body::Sources) = endpoint.body {
        let schema = schemas.subschema_for::<Vec<Source>>().to_value();
        let content = json!({ "application/json": { "schema": schema } });
        operation["requestBody"] = json!({ "required": false, "content": content });
    }
    operation
}

/// The words of method and path: `post_services_hold`.
fn name(endpoint: &Endpoint) -> String {
    let words = endpoint.path.split('/').filter(|word| !word.starts_with('{') && !["", "v1"].contains(word));
    let words = words.map(|word| word.replace('.', "_"));
    std::iter::once(endpoint.method.name().to_lowercase()).chain(words).collect::<Vec<_>>().join("_")
}

fn described(endpoint: &Endpoint, parameter: &Parameter) -> Value {
    let schema = match parameter.kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Flag => json!({ "type": "boolean", "default": false }),
        Kind::Lines => json!({ "type": "integer", "minimum": 0 }),
        Kind::Time => json!({ "type": "string", "format": "date-time" }),
    };
    json!({
        "name": parameter.name,
        "in": if endpoint.is_in_path(parameter) { "path" } else { "query" },
        "required": parameter.required,
        "description": parameter.meaning,
        "schema": schema,
    })
}

fn answer(answer: Answer, schemas: &mut SchemaGenerator) -> Value {
    let json = |schema: Value| json!({ "application/json": { "schema": schema } });
    let (text, content) = match answer {
        Answer::Status => {
            let status = schemas.subschema_for::<Status>().to_value();
            let content = json!({
                "application/json": { "schema": &status }, "application/x-ndjson": { "schema": &status },
            });
            ("The status; a line for each where it is followed.", content)
        }
        Answer::Explanations => {
            ("In the order of the services.", json(schemas.subschema_for::<Vec<Explanation>>().to_value()))
        }
        Answer::Configuration => {
            ("The configuration in force.", json(json!({ "$ref": format!("#{SCHEMAS}/{CONFIGURATION}") })))
        }
        Answer::ConfigurationText => {
            ("A node.toml.", json!({ "application/toml": { "schema": { "type": "string" } } }))
        }
        Answer::Change => ("What would change.", json(json!({ "$ref": format!("#{SCHEMAS}/{CHANGE}") }))),
        Answer::Models => ("The models.", json(schemas.subschema_for::<Models>().to_value())),
        Answer::Accepted => {
            let text = "It was taken; its effect is seen in the status.";
            (text, json(schemas.subschema_for::<Accepted>().to_value()))
        }
        Answer::Output => ("The output.", json!({ "text/plain": { "schema": { "type": "string" } } })),
        Answer::Description => ("This document.", json(json!({ "type": "object" }))),
    };
    json!({ "description": text, "content": content })
}

/// By their HTTP status; each with the codes that it may have.
fn refusals(endpoint: &Endpoint, fault: &Value) -> Map<String, Value> {
    let mut by_status: BTreeMap<u16, Vec<&Code>> = BTreeMap::new();
    for code in endpoint.codes() {
        by_status.entry(code.status).or_default().push(code);
    }
    let refused = by_status.into_iter().map(|(status, codes)| {
        let mut lines: Vec<String> =
            codes.iter().map(|code| format!("`{}`: {}", code.name, code.meaning)).collect();
        if status == CONFLICT {
            lines.push("or the code of a problem that stands in the way".to_owned());
        }
        let content = json!({ "application/json": { "schema": fault } });
        (status.to_string(), json!({ "description": lines.join("\n"), "content": content }))
    });
    refused.collect()
}
