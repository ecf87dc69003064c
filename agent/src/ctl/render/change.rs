//! What another configuration changes, for a person: first the keys, then what a reload does. Pure.

use super::text::{Page, Tone, clean, cut};
use crate::change::{BOOTSTRAP_HINT, Change, Key};
use serde_json::Value;

/// Longer values tell nothing more to a reader.
const LONGEST_VALUE: usize = 120;

/// Nothing where both mean the same.
pub fn render(change: &Change, page: Page) -> String {
    let mut text: String = change.keys.iter().map(|key| line(key, page)).collect();
    if !text.is_empty() {
        text.push_str("\na reload does this:\n");
    }
    for service in &change.services {
        text.push_str(&format!("  service {} {}\n", clean(&service.name), service.what));
    }
    for section in &change.sections {
        text.push_str(&format!("  {} {}\n", section.name, section.what));
    }
    for section in &change.bootstrap {
        text.push_str(&format!("  [{section}] applies when bootstrap runs: {BOOTSTRAP_HINT}\n"));
    }
    text
}

fn line(key: &Key, page: Page) -> String {
    let name = clean(&key.key);
    let (line, tone) = match (&key.old, &key.new) {
        (Some(old), Some(new)) => (format!("~ {name}: {} -> {}", value(old), value(new)), Tone::Busy),
        (None, Some(new)) => (format!("+ {}", alone(&name, new)), Tone::Good),
        (Some(old), None) => (format!("- {}", alone(&name, old)), Tone::Bad),
        (None, None) => return String::new(),
    };
    format!("{}\n", page.paint(&line, tone))
}

/// Of a whole table its name: every default of it would be in the way.
fn alone(name: &str, held: &Value) -> String {
    match held {
        Value::Object(_) => format!("[{name}]"),
        other => format!("{name}: {}", value(other)),
    }
}

fn value(value: &Value) -> String {
    cut(&clean(&value.to_string()), LONGEST_VALUE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Fate, Section, Service};
    use serde_json::json;

    #[test]
    fn keys_come_before_what_a_reload_does() {
        let key = |key: &str, old: Option<Value>, new: Option<Value>| Key { key: key.to_owned(), old, new };
        let what = "keeps its container".to_owned();
        let change = Change {
            keys: vec![
                key("logs.retention_days", Some(json!(30)), None),
                key("services.api.memory", Some(json!("512m")), Some(json!("1g"))),
                key("services.new", None, Some(json!({"image": "x"}))),
            ],
            services: vec![Service { name: "api".to_owned(), fate: Fate::Kept, what }],
            sections: vec![Section { name: "logs".to_owned(), what: "are shipped".to_owned() }],
            bootstrap: vec!["volumes".to_owned()],
        };
        let page = Page { width: 80, colour: false };
        let wanted = "- logs.retention_days: 30\n~ services.api.memory: \"512m\" -> \"1g\"\n+ [services.new]\n\n\
            a reload does this:\n  service api keeps its container\n  logs are shipped\n  \
            [volumes] applies when bootstrap runs: run `systemctl restart node-bootstrap`\n";
        assert_eq!(render(&change, page), wanted);
        assert_eq!(render(&Change::default(), page), "");
    }
}
