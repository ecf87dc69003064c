//! node.toml: as typed, then validated.
//!
//! `Source`s (files and their text) -> [`Draft`] (parsed, merged, positions kept) -> [`Settings`] (for one instance).
//! All mistakes are reported at once, each with file, line and column. Everything but `read` is pure.
//!
//! ```text
//! syntax -> tree (merged) -> interpolate -> structure (against schema) -> written -> validate -> settings
//! ```
//!
//! Each stage marks what is wrong as unusable and goes on with the rest; later stages do not report it again. The types
//! of `written` are the one source of keys, kinds and defaults: the schema is made from them, and the structural check
//! runs on the schema.

mod findings;
mod interpolate;
mod mistake;
mod read;
mod resolved;
mod schema;
pub mod settings;
mod structure;
mod syntax;
mod text;
mod tree;
mod validate;
pub mod window;
mod written;

use crate::identity::Facts;
pub use findings::did_you_mean;
use findings::{Findings, Wrong};
pub use mistake::{LoadError, Mistake, Mistakes};
pub use resolved::Resolved;
pub use settings::Settings;
use std::collections::{BTreeMap, BTreeSet};
pub use text::image::ReferenceError;

/// One file of configuration.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Source {
    /// What messages call it: its path, or `<standard input>`.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A parsed configuration, not yet bound to an instance.
#[derive(Debug, Clone)]
pub struct Draft {
    sources: Vec<Source>,
    root: tree::Node,
}

impl Draft {
    /// Parses and merges; later sources win key by key.
    ///
    /// An error has at least one mistake of syntax; every other mistake that can be found beside it is in it too.
    /// Without one of syntax there is a draft, and [`Draft::check`] finds the rest.
    pub fn parse(sources: Vec<Source>) -> Result<Draft, Mistakes> {
        let mut findings = Findings::default();
        let mut parsed = sources
            .iter()
            .enumerate()
            .map(|(index, source)| syntax::parse(index, &source.text, &mut findings));
        let mut root = parsed.next().unwrap_or_else(|| syntax::parse(0, "", &mut Findings::default()));
        parsed.for_each(|over| root.merge(over));
        let draft = Draft { sources, root };
        if findings.is_empty() {
            return Ok(draft);
        }
        draft.evaluate(&stand_in(), false, &mut findings);
        Err(findings.mistakes(&draft.sources))
    }

    /// What it was parsed from.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// How many entries `[section.…]` has, such as `services`, whether they are right or wrong.
    pub fn count(&self, section: &str) -> usize {
        self.root.entries(section).map_or(0, |entries| entries.len())
    }

    /// The instance tags that `${tag:KEY}` names, to be asked of the metadata service.
    pub fn tags(&self) -> BTreeSet<String> {
        interpolate::tags(&self.root)
    }

    /// Checks all that can be checked without an instance, with stand-ins for what `${…}` names. What a tag is part of
    /// cannot be: only its name is looked at.
    pub fn check(&self) -> Result<(), Mistakes> {
        let mut findings = Findings::default();
        self.evaluate(&stand_in(), false, &mut findings);
        if findings.is_empty() { Ok(()) } else { Err(findings.mistakes(&self.sources)) }
    }

    /// The validated settings for the instance that `facts` describe.
    pub fn settings(&self, facts: &Facts) -> Result<Settings, Mistakes> {
        Ok(self.resolve(facts)?.settings)
    }

    /// The same, with how it would be typed.
    pub fn resolve(&self, facts: &Facts) -> Result<Resolved, Mistakes> {
        let mut findings = Findings::default();
        let resolved = self.evaluate(facts, true, &mut findings);
        match resolved {
            Some(resolved) if findings.is_empty() => return Ok(resolved),
            // Unreachable as long as every stage reports what it refuses; nobody may get an empty list of mistakes.
            None if findings.is_empty() => findings.add(self.root.at, Wrong::new("refused without a reason")),
            _ => {}
        }
        Err(findings.mistakes(&self.sources))
    }

    /// Runs every stage after the syntax. `None` if anything is wrong, or depends on tags that are not known.
    fn evaluate(&self, facts: &Facts, tags_are_known: bool, findings: &mut Findings) -> Option<Resolved> {
        let mut root = self.root.clone();
        let outside = interpolate::Outside { facts, tags_are_known };
        let node_name = interpolate::substitute(&mut root, &outside, &self.sources, findings);
        structure::check(&mut root, &schema::schema(), findings);
        let written: written::Written = match serde_json::from_value(root.value.to_json()) {
            Ok(written) => written,
            Err(error) => {
                // Only if the schema allows what the types do not.
                findings.add(root.at, Wrong::new(error.to_string()));
                return None;
            }
        };
        let settings = validate::settings(&written, tree::Place::of(&root), node_name.as_deref(), findings)?;
        Some(Resolved::new(settings, written))
    }
}

/// An instance that does not exist, for checks before there is one.
fn stand_in() -> Facts {
    Facts {
        instance_id: "i-00000000000000000".to_owned(),
        instance_type: "t3.small".to_owned(),
        region: "us-east-1".to_owned(),
        availability_zone: "us-east-1a".to_owned(),
        account: "000000000000".to_owned(),
        image_id: "ami-00000000000000000".to_owned(),
        tags: BTreeMap::new(),
    }
}

/// The JSON Schema of node.toml: every key, its default, and which have no effect in this version yet.
pub fn schema() -> serde_json::Value {
    schema::schema()
}

#[cfg(test)]
mod tests;
