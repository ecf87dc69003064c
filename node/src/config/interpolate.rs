//! `${…}` in string values. Keys are never substituted.
//!
//! Variables may use facts of the instance and tags; `node.name` may use variables besides; everything else may use all
//! of it. Each step is done before the next begins, so there are no cycles to find. What depends on something unknown or
//! wrong becomes unusable and is not reported a second time.

use super::Source;
use super::findings::{Findings, Span, Wrong, closest, did_you_mean};
use super::tree::{Entry, Node, Value};
use crate::identity::Facts;
use std::collections::{BTreeMap, BTreeSet};

/// What `${…}` stands for.
pub(super) struct Outside<'a> {
    pub(super) facts: &'a Facts,
    /// False while no instance is asked: tags, present or not, are then unknown.
    pub(super) tags_are_known: bool,
}

/// Names of facts, as written inside `${…}`.
const FACTS: [&str; 5] = ["instance_id", "instance_type", "region", "availability_zone", "account"];

const NODE_NAME: &str = "node.name";

/// Substitutes every string of `root` and returns the node's name; `None` where it cannot be known.
pub(super) fn substitute(
    root: &mut Node,
    outside: &Outside<'_>,
    sources: &[Source],
    findings: &mut Findings,
) -> Option<String> {
    let mut names = Names { outside, variables: BTreeMap::new(), scope: Scope::Variables };
    let mut pass = Pass { sources, findings };
    let mut variables = BTreeMap::new();
    if let Some(section) = section(root, "var") {
        for (key, entry) in section.iter_mut() {
            pass.entry(key, entry, &names);
            variables.insert(key.clone(), text_of(&entry.node.value));
        }
    }
    names.variables = variables;
    names.scope = Scope::NodeName;
    let written = section(root, "node").and_then(|node| node.get_mut("name"));
    let node_name = match written {
        Some(entry) => {
            pass.entry("name", entry, &names);
            text_of(&entry.node.value)
        }
        None => {
            let tag = outside.facts.tags.get("Name");
            Some(tag.unwrap_or(&outside.facts.instance_id).clone())
        }
    };
    names.scope = Scope::Everything { node_name: node_name.clone() };
    if let Value::Table(entries) = &mut root.value {
        for (key, entry) in entries.iter_mut().filter(|(key, _)| *key != "var") {
            match &mut entry.node.value {
                Value::Table(node) if key == "node" => {
                    node.iter_mut()
                        .filter(|(key, _)| *key != "name")
                        .for_each(|(key, entry)| pass.entry(key, entry, &names));
                }
                _ => pass.entry(key, entry, &names),
            }
        }
    }
    node_name
}

fn section<'t>(root: &'t mut Node, key: &str) -> Option<&'t mut BTreeMap<String, Entry>> {
    let Value::Table(entries) = &mut root.value else { return None };
    match entries.get_mut(key).map(|entry| &mut entry.node.value) {
        Some(Value::Table(section)) => Some(section),
        _ => None,
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// The tags that are named anywhere in `root`.
pub(super) fn tags(root: &Node) -> BTreeSet<String> {
    let mut tags = BTreeSet::new();
    root.each_string(&mut |text| {
        for piece in pieces(text) {
            if let Piece::Name { name, .. } = piece
                && let Some(tag) = name.strip_prefix("tag:")
                && !tag.is_empty()
            {
                tags.insert(tag.to_owned());
            }
        }
    });
    tags
}

/// A part of a string.
enum Piece<'t> {
    Literal(&'t str),
    Name { offset: usize, name: &'t str },
    Unclosed { offset: usize },
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut from = 0;
    while let Some(found) = text[from..].find("${").map(|found| from + found) {
        if text[from..found].ends_with('$') {
            // `$${` is `${`: the first dollar goes, the rest is plain text.
            pieces.push(Piece::Literal(&text[from..found - 1]));
            pieces.push(Piece::Literal("${"));
            from = found + 2;
            continue;
        }
        pieces.push(Piece::Literal(&text[from..found]));
        match text[found..].find('}') {
            Some(length) => {
                pieces.push(Piece::Name { offset: found, name: &text[found + 2..found + length] });
                from = found + length + 1;
            }
            None => {
                pieces.push(Piece::Unclosed { offset: found });
                from = text.len();
            }
        }
    }
    pieces.push(Piece::Literal(&text[from..]));
    pieces
}

enum Scope {
    Variables,
    NodeName,
    Everything { node_name: Option<String> },
}

struct Names<'a> {
    outside: &'a Outside<'a>,
    /// `None` for one that is wrong or unknown.
    variables: BTreeMap<String, Option<String>>,
    scope: Scope,
}

impl Names<'_> {
    /// The text that `name` stands for; `None` where it is unknown, or wrong and already reported.
    fn resolve(&self, name: &str) -> Result<Option<String>, Wrong> {
        let facts = self.outside.facts;
        if let Some(tag) = name.strip_prefix("tag:") {
            return self.tag(tag);
        }
        if let Some(variable) = name.strip_prefix("var.") {
            return self.variable(variable);
        }
        match name {
            "instance_id" => Ok(Some(facts.instance_id.clone())),
            "instance_type" => Ok(Some(facts.instance_type.clone())),
            "region" => Ok(Some(facts.region.clone())),
            "availability_zone" => Ok(Some(facts.availability_zone.clone())),
            "account" => Ok(Some(facts.account.clone())),
            NODE_NAME => match &self.scope {
                Scope::Everything { node_name } => Ok(node_name.clone()),
                _ => Err(Wrong::new("`${node.name}` cannot be used here: the name is made from this value")),
            },
            secret if secret.starts_with("secret") => Err(Wrong::new(format!(
                "`${{{secret}}}`: a secret is never put into a string"
            ))
            .hint("use environment_from, secret_files, or environment = { NAME = { secret = \"…\", key = \"…\" } }")),
            unknown => Err(self.unknown(unknown)),
        }
    }

    fn tag(&self, tag: &str) -> Result<Option<String>, Wrong> {
        if tag.is_empty() {
            return Err(Wrong::new("`${tag:}` names no tag").hint("write ${tag:KEY}"));
        }
        if !self.outside.tags_are_known {
            return Ok(None);
        }
        match self.outside.facts.tags.get(tag) {
            Some(value) => Ok(Some(value.clone())),
            None => Err(Wrong::new(format!("`${{tag:{tag}}}`: the instance metadata has no tag `{tag}`")).hint(
                "tag the instance, and switch on tags in its metadata options (InstanceMetadataTags=enabled)",
            )),
        }
    }

    fn variable(&self, variable: &str) -> Result<Option<String>, Wrong> {
        if matches!(self.scope, Scope::Variables) {
            return Err(Wrong::new(format!("`${{var.{variable}}}`: a variable cannot use another variable")));
        }
        match self.variables.get(variable) {
            Some(value) => Ok(value.clone()),
            None => Err(Wrong::absent(format!("`${{var.{variable}}}`: there is no `{variable}` in [var]"))
                .hint_if_any(did_you_mean(variable, self.variables.keys().map(String::as_str)))),
        }
    }

    fn unknown(&self, name: &str) -> Wrong {
        let variables: Vec<String> = self.variables.keys().map(|key| format!("var.{key}")).collect();
        let known = FACTS.into_iter().chain([NODE_NAME]).chain(variables.iter().map(String::as_str));
        let near = closest(name, known).map(|near| format!("did you mean `${{{near}}}`?"));
        Wrong::new(format!("`${{{name}}}` is unknown"))
            .hint_if_any(near.or_else(|| Some(format!("for the text itself write $${{{name}}}"))))
    }
}

struct Pass<'a> {
    sources: &'a [Source],
    findings: &'a mut Findings,
}

impl Pass<'_> {
    fn entry(&mut self, key: &str, entry: &mut Entry, names: &Names<'_>) {
        if key.contains("${") {
            let wrong = Wrong::new(format!("`{key}`: `${{…}}` is not substituted in keys"));
            self.findings.add(entry.key_at, wrong);
            entry.node.value = Value::Unusable;
        }
        self.node(&mut entry.node, names);
    }

    fn node(&mut self, node: &mut Node, names: &Names<'_>) {
        match &mut node.value {
            Value::String(text) if text.contains("${") => {
                let text = std::mem::take(text);
                node.value = match self.expand(&text, node.at, names) {
                    Some(text) => Value::String(text),
                    None => Value::Unusable,
                };
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.node(item, names)),
            Value::Table(entries) => {
                entries.iter_mut().for_each(|(key, entry)| self.entry(key, entry, names));
            }
            _ => {}
        }
    }

    fn expand(&mut self, text: &str, at: Span, names: &Names<'_>) -> Option<String> {
        let mut whole = Some(String::new());
        for piece in pieces(text) {
            let (offset, result) = match piece {
                Piece::Literal(literal) => (0, Ok(Some(literal.to_owned()))),
                Piece::Name { offset, name } => (offset, names.resolve(name)),
                Piece::Unclosed { offset } => {
                    let wrong = Wrong::new("`${` without `}`").hint("for the text itself write $${");
                    (offset, Err(wrong))
                }
            };
            let part = self.findings.take(self.inside(at, text, offset), result).flatten();
            whole = whole.zip(part).map(|(whole, part)| whole + &part);
        }
        whole
    }

    /// Where the byte `offset` of a string's value stands in the source. With escapes in it, where the string begins.
    fn inside(&self, at: Span, value: &str, offset: usize) -> Span {
        let raw = self.sources.get(at.source).and_then(|source| source.text.get(at.start..at.end));
        match raw.and_then(|raw| raw.find(value)) {
            Some(begin) => Span { start: at.start + begin + offset, ..at },
            None => at,
        }
    }
}
