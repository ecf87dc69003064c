//! Fields that are added to an event. Pure.
//!
//! A JSON object gets them as its last member `node_agent`; whatever else it has stays as it was written, byte for byte.
//! Any other event becomes the text of `message` in an object of its own.

use node::config::settings::Field;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

/// The name of the member that has them.
const MEMBER: &str = "node_agent";

/// What is added, ready to be put in: `"node_agent":{…}`; empty where nothing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels(String);

impl Labels {
    /// These fields, with what `value` knows of each. What it does not know (the digest of what is no image) is left out.
    pub fn new<'v>(fields: &[Field], value: impl Fn(Field) -> Option<&'v str>) -> Labels {
        let members = fields.iter().filter_map(|field| {
            let name = match field {
                Field::Service => "service",
                Field::ImageDigest => "image_digest",
                Field::InstanceId => "instance_id",
            };
            Some((name.to_owned(), Value::from(value(*field)?)))
        });
        let members: Map<String, Value> = members.collect();
        if members.is_empty() {
            return Labels(String::new());
        }
        Labels(format!("{}:{}", Value::from(MEMBER), Value::Object(members)))
    }

    /// Nothing is added.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The event with the fields.
    pub(super) fn add(&self, line: &[u8]) -> String {
        let text = String::from_utf8_lossy(line);
        match members(&text) {
            Some("") => format!("{{{}}}", self.0),
            Some(members) => format!("{{{members},{}}}", self.0),
            None => format!("{{\"message\":{},{}}}", Value::from(text.as_ref()), self.0),
        }
    }
}

/// What is between the braces, if this is a JSON object.
fn members(text: &str) -> Option<&str> {
    let inner = text.trim_ascii().strip_prefix('{')?.strip_suffix('}')?;
    // The whole is read, and nothing of it is kept.
    serde_json::from_str::<IgnoredAny>(text.trim_ascii()).ok()?;
    Some(inner.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        Labels::new(&[Field::Service, Field::ImageDigest, Field::InstanceId], |field| match field {
            Field::Service => Some("api"),
            Field::ImageDigest => None,
            Field::InstanceId => Some("i-0a"),
        })
    }

    const ADDED: &str = r#""node_agent":{"instance_id":"i-0a","service":"api"}"#;

    #[test]
    fn an_object_keeps_what_it_has_and_gets_one_member() {
        for (line, wanted) in [
            (r#"{"a":1}"#, format!(r#"{{"a":1,{ADDED}}}"#)),
            (" { \"a\" : [ 1.0, {} ] } \n", format!("{{\"a\" : [ 1.0, {{}} ],{ADDED}}}")),
            ("{}", format!("{{{ADDED}}}")),
            ("{ \t}", format!("{{{ADDED}}}")),
        ] {
            assert_eq!(labels().add(line.as_bytes()), wanted, "{line}");
        }
    }

    #[test]
    fn anything_else_becomes_the_message_of_an_object() {
        for line in
            ["", "plain \"quoted\" \\ \u{1b}[0m", "{", "{\"a\":1} {\"b\":2}", "[1]", "{a}", "{\"a\":1}}", "5"]
        {
            let added = labels().add(line.as_bytes());
            let value: Value = serde_json::from_str(&added).unwrap();
            assert_eq!(value["message"], line);
            assert_eq!(value[MEMBER]["service"], "api");
        }
        let added = labels().add(b"a\xff{");
        assert_eq!(added, format!("{{\"message\":\"a\u{fffd}{{\",{ADDED}}}"));
    }

    #[test]
    fn an_object_of_any_depth_stays_one() {
        let inner = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(99_999));
        let added = labels().add(format!("{inner}}}").as_bytes());
        assert_eq!(added, format!("{inner},{ADDED}}}"));
    }

    #[test]
    fn nothing_is_added_where_nothing_is_known() {
        assert!(Labels::new(&[Field::ImageDigest], |_| None).is_empty());
        assert!(Labels::new(&[], |_| Some("x")).is_empty());
    }
}
