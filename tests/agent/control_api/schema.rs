//! As much of JSON Schema as the description of the API uses, and stricter: what is not described is wrong, too.
//!
//! A library for it would turn on features of `regex` that the product is built without, and the suites would no longer
//! test what ships.

use serde_json::Value;

/// What of `value` is not as `schema` says; places are JSON pointers. `document` is where references point to.
pub(super) fn offences(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    Checker { document, found: &mut found }.check(schema, value, "");
    found
}

/// The schema that a reference means.
pub(super) fn resolve<'a>(document: &'a Value, reference: &str) -> &'a Value {
    let pointer =
        reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads out of the document"));
    document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
}

struct Checker<'a> {
    document: &'a Value,
    found: &'a mut Vec<String>,
}

impl Checker<'_> {
    fn wrong(&mut self, at: &str, what: impl std::fmt::Display) {
        self.found.push(format!("{at}: {what}"));
    }

    fn check(&mut self, schema: &Value, value: &Value, at: &str) {
        let Value::Object(keywords) = schema else {
            return if schema != &Value::Bool(true) {
                self.wrong(at, format!("schema {schema}"))
            };
        };
        for (keyword, wanted) in keywords {
            match keyword.as_str() {
                "title" | "description" | "default" => {}
                "$ref" => self.check(resolve(self.document, wanted.as_str().unwrap()), value, at),
                "type" if !is_a(wanted, value) => self.wrong(at, format!("{value} is no {wanted}")),
                "type" => {}
                "const" if wanted != value => self.wrong(at, format!("{value} is not {wanted}")),
                "enum" if !wanted.as_array().unwrap().contains(value) => {
                    self.wrong(at, format!("{value} is none of {wanted}"));
                }
                "const" | "enum" => {}
                "oneOf" | "anyOf" => self.choice(keyword == "oneOf", wanted.as_array().unwrap(), value, at),
                "minimum" | "maximum" => self.bound(keyword == "minimum", wanted, value, at),
                "format" => self.format(wanted.as_str().unwrap(), value, at),
                "properties" | "required" | "additionalProperties" | "items" | "minItems" | "maxItems" => {}
                other => self.wrong(at, format!("the schema has {other}, which is not looked at here")),
            }
        }
        self.members(schema, value, at);
        if let (Value::Array(items), Some(each)) = (value, schema.get("items")) {
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| self.check(each, item, &format!("{at}/{index}")));
        }
    }

    fn members(&mut self, schema: &Value, value: &Value, at: &str) {
        let Value::Object(members) = value else { return };
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            if !members.contains_key(name.as_str().unwrap()) {
                self.wrong(at, format!("{name} is missing"));
            }
        }
        let (known, other) = (schema.get("properties"), schema.get("additionalProperties"));
        for (name, member) in members {
            let at = format!("{at}/{name}");
            match (known.and_then(|known| known.get(name)), other) {
                (Some(schema), _) | (None, Some(schema @ Value::Object(_))) => {
                    self.check(schema, member, &at)
                }
                (None, None) if known.is_some() => self.wrong(&at, "is not described"),
                (None, Some(Value::Bool(false))) => self.wrong(&at, "is not allowed"),
                _ => {}
            }
        }
    }

    fn choice(&mut self, exactly_one: bool, choices: &[Value], value: &Value, at: &str) {
        let refusals: Vec<_> = choices.iter().map(|choice| offences(self.document, choice, value)).collect();
        let matching = refusals.iter().filter(|refusal| refusal.is_empty()).count();
        if matching == 0 || exactly_one && matching > 1 {
            self.wrong(at, format!("{matching} of {} choices fit {value}: {refusals:?}", choices.len()));
        }
    }

    fn bound(&mut self, lower: bool, wanted: &Value, value: &Value, at: &str) {
        if let (Some(bound), Some(number)) = (wanted.as_f64(), value.as_f64())
            && (lower && number < bound || !lower && number > bound)
        {
            self.wrong(at, format!("{number} is beyond {bound}"));
        }
    }

    fn format(&mut self, wanted: &str, value: &Value, at: &str) {
        let is_right = match (wanted, value) {
            (_, Value::Null) => true,
            ("date-time", Value::String(text)) => text.parse::<jiff::Timestamp>().is_ok(),
            ("uint8" | "uint16" | "uint32" | "uint64" | "uint", Value::Number(number)) => number.is_u64(),
            ("int32" | "int64", Value::Number(number)) => number.is_i64(),
            ("double" | "float", Value::Number(_)) => true,
            _ => false,
        };
        if !is_right {
            self.wrong(at, format!("{value} is no {wanted}"));
        }
    }
}

fn is_a(wanted: &Value, value: &Value) -> bool {
    match wanted {
        Value::Array(any) => any.iter().any(|one| is_a(one, value)),
        one => match (one.as_str().unwrap(), value) {
            ("integer", Value::Number(number)) => number.is_i64() || number.is_u64(),
            ("number", Value::Number(_)) | ("object", Value::Object(_)) | ("array", Value::Array(_)) => true,
            ("string", Value::String(_)) | ("boolean", Value::Bool(_)) | ("null", Value::Null) => true,
            _ => false,
        },
    }
}

#[test]
fn what_is_missing_too_much_or_of_another_kind_is_found() {
    let schema = serde_json::json!({
        "type": "object", "required": ["a"],
        "properties": {
            "a": { "type": ["string", "null"], "format": "date-time" },
            "b": { "oneOf": [{ "const": "x" }, { "type": "integer", "minimum": 3 }] },
        },
    });
    for (value, wrong) in [
        (serde_json::json!({ "a": null, "b": "x" }), 0),
        (serde_json::json!({ "a": "2026-03-01T12:00:00Z", "b": 3 }), 0),
        (serde_json::json!({ "b": 3 }), 1),
        (serde_json::json!({ "a": "yesterday" }), 1),
        (serde_json::json!({ "a": null, "b": 2 }), 1),
        (serde_json::json!({ "a": null, "c": 2 }), 1),
        (serde_json::json!({ "a": 1, "b": "y" }), 3),
        (serde_json::json!([]), 1),
    ] {
        let found = offences(&schema, &schema, &value);
        assert_eq!(found.len(), wrong, "{value}: {found:?}");
    }
}
