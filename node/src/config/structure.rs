//! Structural check of a tree against the schema: unknown keys, wrong kinds, values outside a set, missing keys, keys
//! without effect in this version. Everything is reported at once, and what is wrong is marked unusable, so that what
//! remains can be deserialised and checked further.
//!
//! It knows the part of JSON Schema that [`super::schema`] makes, and no more.

use super::findings::{Findings, Span, Wrong, closest, did_you_mean};
use super::tree::{Entry, Node, Value};
use super::written::NOT_SUPPORTED;
use serde_json::Value as Json;

/// Checks `root` against `schema` and marks what does not fit.
pub(super) fn check(root: &mut Node, schema: &Json, findings: &mut Findings) {
    Structure { whole: schema, findings }.node(root, schema, &[]);
}

struct Structure<'a> {
    whole: &'a Json,
    findings: &'a mut Findings,
}

impl Structure<'_> {
    /// Checks one value; `path` is the keys that lead to it.
    fn node(&mut self, node: &mut Node, schema: &Json, path: &[&str]) {
        let Some(schema) = choose(&node.value, schema) else {
            let wrong = wrong_kind(&node.value, schema, path);
            return self.refuse(node, wrong);
        };
        if let Value::String(text) = &node.value
            && let Err(wrong) = one_of(text, schema, path)
        {
            return self.refuse(node, wrong);
        }
        let at = node.at;
        match &mut node.value {
            Value::Table(entries) => {
                let written: Vec<&str> = entries.keys().map(String::as_str).collect();
                self.required(&written, schema, at, path);
                for (key, entry) in entries {
                    self.entry(key, entry, schema, path);
                }
            }
            Value::Array(items) => {
                if let Some(schema) = schema.get("items") {
                    let (key, table) = split(path);
                    for (index, item) in items.iter_mut().enumerate() {
                        let key = format!("{key}[{index}]");
                        self.node(item, schema, &[table, &[&key]].concat());
                    }
                }
            }
            _ => {}
        }
    }

    fn entry(&mut self, key: &str, entry: &mut Entry, schema: &Json, path: &[&str]) {
        let inner: Vec<&str> = path.iter().copied().chain([key]).collect();
        let property = schema.get("properties").and_then(|properties| properties.get(key));
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        match property.or(others) {
            Some(property) if property.get(NOT_SUPPORTED).is_some() => {
                let wrong = Wrong::new(format!("`{key}`{} is not supported in this version", within(path)))
                    .hint("leave it out");
                self.findings.add(entry.key_at, wrong);
                entry.node.value = Value::Unusable;
            }
            Some(property) => self.node(&mut entry.node, property, &inner),
            None => {
                let near = did_you_mean(key, known(schema));
                let wrong = Wrong::new(format!("unknown key `{key}`{}", within(path)))
                    .hint_if_any(near.or_else(|| self.elsewhere(key)));
                self.findings.add(entry.key_at, wrong);
                entry.node.value = Value::Unusable;
            }
        }
    }

    fn required(&mut self, written: &[&str], schema: &Json, at: Span, path: &[&str]) {
        let required = schema.get("required").and_then(Json::as_array);
        for key in required.into_iter().flatten().filter_map(Json::as_str) {
            // A misspelt key is reported where it is written, and is not missing besides.
            let misspelt =
                |other: &&str| !is_known(other, schema) && closest(other, known(schema)) == Some(key);
            if !written.contains(&key) && !written.iter().any(misspelt) {
                self.findings.add(at, Wrong::absent(format!("`{key}` is missing{}", within(path))));
            }
        }
    }

    /// Says in which table a key belongs that is known, but not where it was written.
    fn elsewhere(&self, key: &str) -> Option<String> {
        let mut found = Vec::new();
        tables_with(key, self.whole, &mut Vec::new(), &mut found);
        match found.as_slice() {
            [only] if only.is_empty() => Some(format!("`{key}` belongs at the top level")),
            [only] => Some(format!("`{key}` belongs in [{only}]")),
            _ => None,
        }
    }

    fn refuse(&mut self, node: &mut Node, wrong: Wrong) {
        if !matches!(node.value, Value::Unusable) {
            self.findings.add(node.at, wrong);
            node.value = Value::Unusable;
        }
    }
}

/// The keys that a table of this schema can have.
fn known(schema: &Json) -> impl Iterator<Item = &str> {
    schema.get("properties").and_then(Json::as_object).into_iter().flatten().map(|(key, _)| key.as_str())
}

fn is_known(key: &str, schema: &Json) -> bool {
    known(schema).any(|known| known == key)
}

/// The schema that applies to a value of this kind: itself, or the choice that takes the kind.
fn choose<'s>(value: &Value, schema: &'s Json) -> Option<&'s Json> {
    if let Some(choices) = choices(schema) {
        // Choices of constants stay together, so that a wrong one can be answered with all of them.
        if choices.iter().all(|choice| choice.get("const").is_some()) {
            return matches!(value, Value::String(_)).then_some(schema);
        }
        return choices.iter().find_map(|choice| choose(value, choice));
    }
    let takes = match schema.get("type").and_then(Json::as_str) {
        Some("string") => matches!(value, Value::String(_)),
        Some("integer") => matches!(value, Value::Integer(_)),
        Some("number") => matches!(value, Value::Integer(_) | Value::Float(_)),
        Some("boolean") => matches!(value, Value::Boolean(_)),
        Some("array") => matches!(value, Value::Array(_)),
        Some("object") => matches!(value, Value::Table(_)),
        _ => false,
    };
    takes.then_some(schema)
}

fn choices(schema: &Json) -> Option<&Vec<Json>> {
    schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array)
}

/// Checks a text where the schema has a set of them.
fn one_of(text: &str, schema: &Json, path: &[&str]) -> Result<(), Wrong> {
    let Some(choices) = choices(schema) else { return Ok(()) };
    let constant = |choice: &Json| choice.get("const").and_then(Json::as_str).map(str::to_owned);
    let all: Vec<String> = choices.iter().filter_map(constant).collect();
    if all.iter().any(|constant| constant == text) {
        return Ok(());
    }
    let near = closest(text, all.iter().map(String::as_str));
    Err(Wrong::new(format!("{} must be {}, not \"{text}\"", name(path), list(&all)))
        .hint_if_any(near.map(|near| format!("did you mean \"{near}\"?"))))
}

fn list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| format!("\"{text}\"")).collect();
    quoted.join(" or ")
}

fn wrong_kind(value: &Value, schema: &Json, path: &[&str]) -> Wrong {
    let mut kinds = Vec::new();
    wanted(schema, &mut kinds);
    let wants = |kind| kinds.contains(&kind);
    let hint = match value {
        Value::Integer(number) if wants("a string") => Some(format!("put it in quotes: \"{number}\"")),
        Value::Float(number) if wants("a string") => Some(format!("put it in quotes: \"{number}\"")),
        Value::Boolean(truth) if wants("a string") => Some(format!("put it in quotes: \"{truth}\"")),
        Value::String(_) if wants("an array") => Some("put it in brackets: [\"…\"]".to_owned()),
        Value::String(_) if wants("a boolean") => Some("write true or false, without quotes".to_owned()),
        Value::String(text) if text.parse::<f64>().is_ok() => Some(format!("leave out the quotes: {text}")),
        _ => None,
    };
    let message = format!("{} must be {}, not {}", name(path), kinds.join(" or "), value.kind());
    Wrong::new(message).hint_if_any(hint)
}

/// The kinds that a schema takes, in a person's words.
fn wanted(schema: &Json, kinds: &mut Vec<&'static str>) {
    if let Some(choices) = choices(schema) {
        choices.iter().for_each(|choice| wanted(choice, kinds));
        return;
    }
    let kind = match schema.get("type").and_then(Json::as_str) {
        Some("string") => "a string",
        Some("integer") => "an integer",
        Some("number") => "a number",
        Some("boolean") => "a boolean",
        Some("array") => "an array",
        _ => "a table",
    };
    if !kinds.contains(&kind) {
        kinds.push(kind);
    }
}

/// Every table of the schema that has `key`, as `services.NAME.health`.
fn tables_with(key: &str, schema: &Json, path: &mut Vec<String>, found: &mut Vec<String>) {
    let properties = schema.get("properties").and_then(Json::as_object);
    if properties.is_some_and(|properties| properties.contains_key(key)) {
        found.push(path.join("."));
    }
    let others = schema.get("additionalProperties").filter(|others| others.is_object());
    let inner = properties.into_iter().flatten().map(|(key, inner)| (key.as_str(), inner));
    for (step, inner) in inner.chain(others.map(|others| ("NAME", others))) {
        path.push(step.to_owned());
        tables_with(key, inner, path, found);
        path.pop();
    }
}

fn split<'p>(path: &'p [&'p str]) -> (&'p str, &'p [&'p str]) {
    path.split_last().map_or(("", &[]), |(key, table)| (*key, table))
}

/// `` `key` in [table]`` for the last key of `path`.
fn name(path: &[&str]) -> String {
    let (key, table) = split(path);
    format!("`{key}`{}", within(table))
}

/// `` in [table]``, nothing at the top level. Keys that need quotes get them.
fn within(table: &[&str]) -> String {
    let bare =
        |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    let steps: Vec<String> =
        table.iter().map(|key| if bare(key) { (*key).to_owned() } else { format!("{key:?}") }).collect();
    if steps.is_empty() { String::new() } else { format!(" in [{}]", steps.join(".")) }
}
