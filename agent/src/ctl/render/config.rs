//! `agentctl config show`: the validated configuration with durations as a person writes them. Pure.

use serde_json::Value;

/// `value` with every duration (`{secs, nanos}` on the wire) as in node.toml: `90s`, `500ms`.
pub fn readable(value: Value) -> Value {
    match value {
        Value::Object(fields) => match duration(&fields) {
            Some(text) => Value::String(text),
            None => Value::Object(fields.into_iter().map(|(name, value)| (name, readable(value))).collect()),
        },
        Value::Array(items) => Value::Array(items.into_iter().map(readable).collect()),
        other => other,
    }
}

fn duration(fields: &serde_json::Map<String, Value>) -> Option<String> {
    let (seconds, nanoseconds) = (fields.get("secs")?.as_u64()?, fields.get("nanos")?.as_u64()?);
    match (fields.len(), nanoseconds / 1_000_000) {
        (2, 0) => Some(format!("{seconds}s")),
        (2, milliseconds) => Some(format!("{}ms", seconds * 1000 + milliseconds)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_shown_as_they_are_written() {
        let value =
            json!({"a": {"every": {"secs": 60, "nanos": 0}, "list": [{"secs": 0, "nanos": 500_000_000}]}});
        assert_eq!(readable(value), json!({"a": {"every": "60s", "list": ["500ms"]}}));
        let other = json!({"secs": 1, "nanos": 2, "more": 3});
        assert_eq!(readable(other.clone()), other, "only what is a duration and nothing else");
    }
}
