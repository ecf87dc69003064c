//! Which models were in memory and are not any more, although nobody asked for that: the server let go of them, as a rule
//! to make room for another. And which are there without a GPU, and since when. Values only.

use super::observed::ServerView;
use super::server::Loaded;
use jiff::{SignedDuration, Timestamp};
use node::config::settings::ModelReference;
use std::collections::{BTreeMap, BTreeSet};

/// Remembers what was in memory, for as long as the server is the same.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// Which run of the server that was, and since when it has been answering.
    of: Option<(String, Timestamp)>,
    loaded: BTreeSet<String>,
    vanished: BTreeMap<String, Timestamp>,
    on_cpu: BTreeMap<String, Timestamp>,
    has_gpu: bool,
    /// When one of our loads was under way last.
    loading_at: Option<Timestamp>,
}

/// For how long after a load of ours an empty server may still be what was seen during it.
const AFTER_A_LOAD: SignedDuration = SignedDuration::from_secs(10);

impl Presence {
    /// Compares with what was seen before. A server that was away starts empty, which is no sign of anything. `loads`: a
    /// load of ours is under way.
    pub(super) fn look(&mut self, server: &ServerView, loads: bool, now: Timestamp) {
        let ServerView::Up { run, since, loaded, .. } = server else { return };
        let of = (run.clone(), *since);
        if self.of.as_ref() != Some(&of) {
            *self = Presence { of: Some(of), has_gpu: self.has_gpu, ..Presence::default() };
        }
        if loads {
            self.loading_at = Some(now);
        }
        self.has_gpu |= loaded.iter().any(|loaded| loaded.size_vram_bytes > 0);
        let on_cpu: BTreeSet<&String> =
            loaded.iter().filter(|loaded| loaded.is_on_cpu()).map(|loaded| &loaded.digest).collect();
        self.on_cpu.retain(|digest, _| on_cpu.contains(digest));
        for digest in on_cpu {
            self.on_cpu.entry(digest.clone()).or_insert(now);
        }
        let loaded: BTreeSet<String> = loaded.iter().filter_map(full).collect();
        if loaded.is_empty() && self.loading_at.is_some_and(|at| now < at + AFTER_A_LOAD) {
            // One goes before the next one is there: what is gone is told when it is.
            return;
        }
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

    /// Something was on a GPU since the agent started, whatever run of the server that was.
    pub(super) fn has_gpu(&self) -> bool {
        self.has_gpu
    }

    /// Versions that are wholly on the CPU: by digest, when that was seen first.
    pub(super) fn on_cpu(&self) -> &BTreeMap<String, Timestamp> {
        &self.on_cpu
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
        presence.look(&holding(&["a:1", "b:1"], "one"), false, at(1));
        assert!(presence.vanished().is_empty());
        presence.look(&holding(&["b:1"], "one"), false, at(2));
        presence.look(&holding(&["b:1"], "one"), false, at(3));
        assert_eq!(presence.vanished(), &BTreeMap::from([(A.to_owned(), at(2))]));
        presence.look(&holding(&["a:1"], "one"), false, at(4));
        assert_eq!(presence.vanished().keys().collect::<Vec<_>>(), ["registry.ollama.ai/library/b:1"]);
    }

    #[test]
    fn a_server_that_is_empty_while_one_is_loaded_in_the_place_of_another_was_not_started_again() {
        let mut presence = Presence::default();
        presence.look(&holding(&["a:1"], "one"), false, at(1));
        presence.look(&holding(&[], "one"), true, at(2));
        presence.look(&holding(&[], "one"), false, at(3));
        presence.look(&holding(&["b:1"], "one"), false, at(4));
        assert_eq!(presence.vanished(), &BTreeMap::from([(A.to_owned(), at(4))]));
        presence.look(&holding(&[], "one"), false, at(20));
        presence.look(&holding(&["a:1"], "one"), false, at(21));
        assert_eq!(presence.vanished(), &BTreeMap::new(), "long after the load it was");
    }

    #[test]
    fn what_is_on_the_cpu_has_been_there_since_that_was_seen_of_this_load() {
        let of = |size_vram_bytes| {
            let mut server = holding(&["a:1"], "one");
            let ServerView::Up { loaded, .. } = &mut server else { panic!("it is up") };
            loaded.iter_mut().for_each(|it| (it.size_bytes, it.size_vram_bytes) = (2, size_vram_bytes));
            server
        };
        let mut presence = Presence::default();
        for (second, vram, since) in
            [(1, 2, None), (2, 0, Some(2)), (9, 0, Some(2)), (10, 1, None), (11, 0, Some(11))]
        {
            presence.look(&of(vram), false, at(second));
            assert_eq!(presence.on_cpu().get(ONE).copied(), since.map(at), "second {second}");
        }
        presence.look(&holding(&[], "two"), false, at(12));
        assert!(presence.on_cpu().is_empty() && presence.has_gpu(), "the server was started again");
    }

    #[test]
    fn a_restart_and_an_unload_of_ours_are_no_sign_of_anything() {
        let mut presence = Presence::default();
        presence.look(&holding(&["a:1", "b:1"], "one"), false, at(1));
        presence.look(&ServerView::NotRunning { reason: String::new() }, false, at(2));
        presence.look(&holding(&[], "two"), false, at(3));
        assert!(presence.vanished().is_empty());
        presence.look(&holding(&["a:1", "b:1"], "two"), false, at(4));
        presence.unloaded(&"a:1".parse().unwrap());
        presence.look(&holding(&["b:1"], "two"), false, at(5));
        assert!(presence.vanished().is_empty());
        // One at a URL is started again unseen: nothing is left for which one would have gone.
        presence.look(&holding(&[], "two"), false, at(6));
        assert!(presence.vanished().is_empty());
    }
}
