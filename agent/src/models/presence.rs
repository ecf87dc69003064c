//! Which models were in memory and are not any more, although nobody asked for that: the server let go of them, as a rule
//! to make room for another. Values only.

use super::observed::ServerView;
use super::server::Loaded;
use jiff::Timestamp;
use node::config::settings::ModelReference;
use std::collections::{BTreeMap, BTreeSet};

/// Remembers what was in memory, for as long as the server is the same.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// Which run of the server that was, and since when it has been answering.
    of: Option<(String, Timestamp)>,
    loaded: BTreeSet<String>,
    vanished: BTreeMap<String, Timestamp>,
}

impl Presence {
    /// Compares with what was seen before. A server that was away starts empty, which is no sign of anything.
    pub(super) fn look(&mut self, server: &ServerView, now: Timestamp) {
        let ServerView::Up { run, since, loaded, .. } = server else { return };
        let of = (run.clone(), *since);
        if self.of.as_ref() != Some(&of) {
            *self = Presence { of: Some(of), ..Presence::default() };
        }
        let loaded: BTreeSet<String> = loaded.iter().filter_map(full).collect();
        if loaded.is_empty() {
            // Nothing is there for which one would have gone: the server was started again, unseen.
            self.loaded.clear();
        }
        for gone in self.loaded.difference(&loaded) {
            self.vanished.entry(gone.clone()).or_insert(now);
        }
        self.vanished.retain(|model, _| !loaded.contains(model));
        self.loaded = loaded;
    }

    /// We let go of it ourselves.
    pub(super) fn unloaded(&mut self, model: &ModelReference) {
        self.loaded.remove(&model.full());
    }

    /// By full name, when that was seen first.
    pub(super) fn vanished(&self) -> &BTreeMap<String, Timestamp> {
        &self.vanished
    }
}

fn full(loaded: &Loaded) -> Option<String> {
    loaded.name.parse::<ModelReference>().ok().map(|name| name.full())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::tests::samples::{ONE, at, up};

    const A: &str = "registry.ollama.ai/library/a:1";

    fn holding(names: &[&str], run: &str) -> ServerView {
        let loaded = names.iter().map(|name| Loaded {
            name: (*name).to_owned(),
            digest: ONE.to_owned(),
            size_bytes: 1,
            size_vram_bytes: 0,
            expires_at: None,
        });
        up(run, Vec::new(), loaded.collect())
    }

    #[test]
    fn what_the_server_let_go_of_has_vanished_until_it_is_back() {
        let mut presence = Presence::default();
        presence.look(&holding(&["a:1", "b:1"], "one"), at(1));
        assert!(presence.vanished().is_empty());
        presence.look(&holding(&["b:1"], "one"), at(2));
        presence.look(&holding(&["b:1"], "one"), at(3));
        assert_eq!(presence.vanished(), &BTreeMap::from([(A.to_owned(), at(2))]));
        presence.look(&holding(&["a:1"], "one"), at(4));
        assert_eq!(presence.vanished().keys().collect::<Vec<_>>(), ["registry.ollama.ai/library/b:1"]);
    }

    #[test]
    fn a_restart_and_an_unload_of_ours_are_no_sign_of_anything() {
        let mut presence = Presence::default();
        presence.look(&holding(&["a:1", "b:1"], "one"), at(1));
        presence.look(&ServerView::NotRunning { reason: String::new() }, at(2));
        presence.look(&holding(&[], "two"), at(3));
        assert!(presence.vanished().is_empty());
        presence.look(&holding(&["a:1", "b:1"], "two"), at(4));
        presence.unloaded(&"a:1".parse().unwrap());
        presence.look(&holding(&["b:1"], "two"), at(5));
        assert!(presence.vanished().is_empty());
        // One at a URL is started again unseen: nothing is left for which one would have gone.
        presence.look(&holding(&[], "two"), at(6));
        assert!(presence.vanished().is_empty());
    }
}
