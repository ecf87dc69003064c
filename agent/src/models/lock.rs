//! `models.lock`: the versions that passed on this node, as a part of a configuration. Copied to
//! `/etc/node-agent/node.d/90-models.toml` it pins another node, or this one, to them. Pure.

use super::record::Durable;
use node::config::settings::Models;
use std::fmt::Write;

const HEAD: &str = "\
# The versions of models that passed on this node, written by node-agent.
# Copied to /etc/node-agent/node.d/90-models.toml it pins a node to them.
";

/// The file's text. A model of which no version has passed is left out.
pub(super) fn text(models: &Models, durable: &Durable) -> String {
    let mut text = HEAD.to_owned();
    for (name, model) in &models.pull {
        let record = durable.record(&model.reference.full());
        if let Some(digest) = record.and_then(|record| record.good.as_ref()) {
            // The grammars of names and digests have no character that TOML would want escaped.
            // Writing to a string cannot fail.
            let _ = write!(text, "\n[models.pull.\"{name}\"]\ndigest = \"{digest}\"\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::record::Record;
    use crate::models::tests::samples::{ONE, TWO, settings};
    use node::config::{Draft, Source};

    fn passed(digest: &str) -> Record {
        Record { good: Some(digest.to_owned()), ..Record::default() }
    }

    #[test]
    fn the_lock_is_read_as_configuration_and_pins_what_passed() {
        let models = settings(&["a:1", "models.internal:5000/team/tuned", "untried:1"]);
        let mut durable = Durable::default();
        durable.models.insert("registry.ollama.ai/library/a:1".to_owned(), passed(ONE));
        durable.models.insert("models.internal:5000/team/tuned:latest".to_owned(), passed(TWO));
        durable.models.insert("registry.ollama.ai/library/gone:1".to_owned(), passed(TWO));
        let text = text(&models, &durable);
        assert!(!text.contains("untried") && !text.contains("gone"), "{text}");
        for (name, digest) in [("a:1", ONE), ("models.internal:5000/team/tuned", TWO)] {
            assert!(text.contains(&format!("[models.pull.\"{name}\"]\ndigest = \"{digest}\"")), "{text}");
        }
        let node = Source { name: "node.toml".to_owned(), text: "[node]\nname = \"n\"\n".to_owned() };
        let lock = Source { name: "90-models.toml".to_owned(), text };
        Draft::parse(vec![node, lock]).unwrap();
    }
}
