//! The JSON Schema of node.toml, draft 2020-12, from the types in [`super::written`].

use super::written::{NOT_SUPPORTED, Written};
use serde_json::{Map, Value, json};

/// The schema, without references: every key stands where it is written, with its default.
pub(super) fn schema() -> Value {
    let mut settings = schemars::generate::SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let mut schema = settings.into_generator().into_root_schema_for::<Written>().to_value();
    tidy(&mut schema);
    schema
}

/// TOML has no null, and what is not supported yet should be read where people look: in the description.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(schema) => {
            drop_null(schema);
            unwrap_single_choice(schema);
            say_not_supported(schema);
            schema.iter_mut().filter(|(key, _)| *key != "default").for_each(|(_, inner)| tidy(inner));
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn drop_null(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    match schema.get_mut("default") {
        Some(Value::Null) => {
            schema.remove("default");
        }
        Some(Value::Object(defaults)) => drop_null_members(defaults),
        _ => {}
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| choice != &json!({"type": "null"}));
    }
}

fn drop_null_members(defaults: &mut Map<String, Value>) {
    defaults.retain(|_, value| !value.is_null());
    defaults.values_mut().filter_map(Value::as_object_mut).for_each(drop_null_members);
}

/// `anyOf` with one choice left is that choice; what was said about the key wins over what is said about its type.
fn unwrap_single_choice(schema: &mut Map<String, Value>) {
    let only = match schema.get_mut("anyOf") {
        Some(Value::Array(choices)) if choices.len() == 1 => choices.pop(),
        _ => return,
    };
    schema.remove("anyOf");
    if let Some(Value::Object(only)) = only {
        for (key, value) in only {
            schema.entry(key).or_insert(value);
        }
    }
}

fn say_not_supported(schema: &mut Map<String, Value>) {
    let Some(version) = schema.get(NOT_SUPPORTED).and_then(Value::as_str) else { return };
    let addition = format!("Not supported in version {version}: refused when written.");
    let description = match schema.get("description").and_then(Value::as_str) {
        Some(text) => format!("{text} {addition}"),
        None => addition,
    };
    schema.insert("description".to_owned(), description.into());
}
