//! What was seen of a server, and how two of them differ.

use serde_json::{Map, Value, json};

/// The types of what a value is made of; of a list, the types of its first element stand for all.
pub(crate) fn shape(value: &Value) -> Value {
    match value {
        Value::Null => json!("nothing"),
        Value::Bool(_) => json!("flag"),
        Value::Number(_) => json!("number"),
        Value::String(text) if text.parse::<jiff::Timestamp>().is_ok() => json!("time"),
        Value::String(_) => json!("text"),
        Value::Array(values) => values.first().map_or_else(|| json!([]), |first| json!([shape(first)])),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), shape(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
    }
}

/// Whose fields must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strict {
    /// Both have the same ones.
    Both,
    /// The second may have more: later versions add some.
    First,
}

/// One line for each place where they differ.
pub(crate) fn differences(first: &Value, second: &Value, strict: Strict) -> Vec<String> {
    let mut found = Vec::new();
    compare("", (first, second), strict, &mut found);
    found
}

fn compare(place: &str, (first, second): (&Value, &Value), strict: Strict, found: &mut Vec<String>) {
    match (first, second) {
        (Value::Object(one), Value::Object(other)) => {
            for (name, value) in one {
                let there = other.get(name).unwrap_or(&Value::Null);
                compare(&format!("{place}/{name}"), (value, there), strict, found);
            }
            let more = other.iter().filter(|(name, _)| strict == Strict::Both && !one.contains_key(*name));
            found.extend(more.map(|(name, value)| format!("{place}/{name}: unexpected: {value}")));
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (number, values) in one.iter().zip(other).enumerate() {
                compare(&format!("{place}/{number}"), values, strict, found);
            }
        }
        _ if first == second => {}
        _ => found.push(format!("{place}: {first} and {second}")),
    }
}

#[test]
fn a_difference_is_told_with_its_place() {
    let one = json!({"a": {"b": 1, "c": [1]}});
    assert_eq!(differences(&one, &one, Strict::Both), [""; 0]);
    let other = json!({"a": {"b": 2, "c": [1], "d": 3}});
    assert_eq!(differences(&one, &other, Strict::First), ["/a/b: 1 and 2"]);
    assert_eq!(differences(&one, &other, Strict::Both).len(), 2);
}
