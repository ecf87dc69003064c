//! The parsed text with the position of every key and value, merged over all files.
//!
//! What turns out to be wrong is marked [`Value::Unusable`] and stays in its place, so that later checks can tell
//! "not written" from "written, and already reported".

use super::findings::{Span, closest};
use std::collections::BTreeMap;

/// A value and where it stands: for a table its header, its brace or the key that made it.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) at: Span,
    pub(super) value: Value,
}

/// A key of a table and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key_at: Span,
    pub(super) node: Node,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// No key takes one; kept for the message only.
    Datetime,
    Array(Vec<Node>),
    Table(BTreeMap<String, Entry>),
    /// Reported as wrong, or not known before the program runs on an instance.
    Unusable,
}

impl Value {
    /// What a person calls its kind, with the article.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Boolean(_) => "a boolean",
            Value::Datetime => "a date or time",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
            Value::Unusable => "unusable",
        }
    }

    fn is_usable(&self) -> bool {
        !matches!(self, Value::Unusable)
    }

    /// What can be used, as JSON; unusable items and entries are left out.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Value::String(text) => text.clone().into(),
            Value::Integer(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::Boolean(truth) => (*truth).into(),
            Value::Array(items) => usable(items).map(|item| item.value.to_json()).collect(),
            Value::Table(entries) => entries
                .iter()
                .filter(|(_, entry)| entry.node.value.is_usable())
                .map(|(key, entry)| (key.clone(), entry.node.value.to_json()))
                .collect(),
            Value::Datetime | Value::Unusable => serde_json::Value::Null,
        }
    }
}

fn usable(items: &[Node]) -> impl Iterator<Item = &Node> {
    items.iter().filter(|item| item.value.is_usable())
}

impl Node {
    /// Lays `over` over this: tables merge key by key, everything else is replaced.
    pub(super) fn merge(&mut self, over: Node) {
        let over_at = over.at;
        match (&mut self.value, over.value) {
            (Value::Table(entries), Value::Table(over)) => {
                for (key, entry) in over {
                    match entries.get_mut(&key) {
                        Some(existing) => existing.merge(entry),
                        None => {
                            entries.insert(key, entry);
                        }
                    }
                }
            }
            (value, over) => {
                *value = over;
                self.at = over_at;
            }
        }
    }

    /// The entries of the table under `key`, if it is one.
    pub(super) fn entries(&self, key: &str) -> Option<&BTreeMap<String, Entry>> {
        let Value::Table(entries) = &self.value else { return None };
        match &entries.get(key)?.node.value {
            Value::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// Calls `visit` on every string in it, at any depth.
    pub(super) fn each_string(&self, visit: &mut impl FnMut(&str)) {
        match &self.value {
            Value::String(text) => visit(text),
            Value::Array(items) => items.iter().for_each(|item| item.each_string(visit)),
            Value::Table(entries) => entries.values().for_each(|entry| entry.node.each_string(visit)),
            _ => {}
        }
    }
}

impl Entry {
    fn merge(&mut self, over: Entry) {
        let both_tables = matches!((&self.node.value, &over.node.value), (Value::Table(_), Value::Table(_)));
        if !both_tables {
            self.key_at = over.key_at;
        }
        self.node.merge(over.node);
    }
}

/// A position to walk down from, in step with the typed document. Where nothing is written it stays at the nearest
/// thing around that is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'t> {
    node: Option<&'t Node>,
    key_at: Span,
    at: Span,
}

impl<'t> Place<'t> {
    pub(super) fn of(root: &'t Node) -> Place<'t> {
        Place { node: Some(root), key_at: root.at, at: root.at }
    }

    /// The place of the value of `key`.
    pub(super) fn key(self, key: &str) -> Place<'t> {
        let entry = match self.node.map(|node| &node.value) {
            Some(Value::Table(entries)) => entries.get(key),
            _ => None,
        };
        match entry {
            Some(entry) => Place { node: Some(&entry.node), key_at: entry.key_at, at: entry.node.at },
            None => Place { node: None, ..self },
        }
    }

    /// The place of the `index`th usable item.
    pub(super) fn item(self, index: usize) -> Place<'t> {
        let item = match self.node.map(|node| &node.value) {
            Some(Value::Array(items)) => usable(items).nth(index),
            _ => None,
        };
        match item {
            Some(item) => Place { node: Some(item), key_at: item.at, at: item.at },
            None => Place { node: None, ..self },
        }
    }

    /// `key` is written in this table, or an unknown key that was probably meant to be it.
    pub(super) fn has_or_means(self, key: &str) -> bool {
        let Some(Value::Table(entries)) = self.node.map(|node| &node.value) else { return false };
        entries.iter().any(|(written, entry)| {
            written == key || (!entry.node.value.is_usable() && closest(written, [key]).is_some())
        })
    }

    /// Something stands here, right or wrong.
    pub(super) fn is_written(self) -> bool {
        self.node.is_some()
    }

    /// Something stands here, and not all of it can be used.
    pub(super) fn is_unusable(self) -> bool {
        match self.node.map(|node| &node.value) {
            Some(Value::Unusable) => true,
            Some(Value::Array(items)) => items.iter().any(|item| !item.value.is_usable()),
            _ => false,
        }
    }

    /// Where the value is.
    pub(super) fn at(self) -> Span {
        self.at
    }

    /// Where its key is.
    pub(super) fn key_at(self) -> Span {
        self.key_at
    }
}
