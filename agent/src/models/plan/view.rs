//! What the rules look at: one moment, taken apart by model. Questions only; nothing is decided here.

use crate::models::files::Files;
use crate::models::observed::{Attempt, Observed, ServerView, Serving, StepKind};
use crate::models::plan::{KEPT, kept_name};
use crate::models::record::{Durable, Record};
use crate::models::registry::{Layer, Manifest};
use crate::models::server::{Installed, Loaded};
use jiff::Timestamp;
use node::config::settings::{self, ModelReference};
use std::collections::BTreeMap;
use std::time::Duration;

/// From a failure to the next try at most.
pub(super) const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// One moment.
pub(super) struct View<'a> {
    pub(super) settings: &'a settings::Models,
    pub(super) serving: &'a Serving,
    pub(super) observed: &'a Observed,
    pub(super) durable: &'a Durable,
    pub(super) now: Timestamp,
    /// The server, where it answers.
    pub(super) up: Option<Up<'a>>,
    /// Models of node.toml, in its order.
    pub(super) listed: Vec<Listed<'a>>,
}

/// What a server that answers has.
pub(super) struct Up<'a> {
    pub(super) since: Timestamp,
    /// By full name.
    pub(super) names: BTreeMap<String, Name<'a>>,
    /// With the full name of each, where that can be read.
    pub(super) loaded: Vec<(Option<String>, &'a Loaded)>,
}

/// A name that the server has.
pub(super) struct Name<'a> {
    pub(super) reference: ModelReference,
    pub(super) installed: &'a Installed,
}

/// A model of node.toml.
pub(super) struct Listed<'a> {
    pub(super) full: String,
    pub(super) model: &'a settings::Model,
    pub(super) record: Record,
}

impl Listed<'_> {
    /// As the server lists it.
    pub(super) fn name(&self) -> String {
        self.model.reference.to_string()
    }

    pub(super) fn is_good(&self, digest: &str) -> bool {
        self.record.good.as_deref() == Some(digest)
    }

    pub(super) fn kept(&self, digest: &str) -> ModelReference {
        kept_name(&self.model.reference, digest)
    }
}

impl<'a> View<'a> {
    pub(super) fn new(
        settings: &'a settings::Models,
        serving: &'a Serving,
        observed: &'a Observed,
        durable: &'a Durable,
        now: Timestamp,
    ) -> View<'a> {
        let listed = settings.pull.values().map(|model| {
            let full = model.reference.full();
            let record = durable.record(&full).cloned().unwrap_or_default();
            Listed { full, model, record }
        });
        let listed = listed.collect();
        View { settings, serving, observed, durable, now, up: up(&observed.server), listed }
    }

    /// The version that the model's own name means now.
    pub(super) fn installed(&self, listed: &Listed<'_>) -> Option<&'a str> {
        self.digest_of(&listed.full)
    }

    /// What a name of the server means.
    pub(super) fn digest_of(&self, full: &str) -> Option<&'a str> {
        self.up.as_ref()?.names.get(full).map(|name| name.installed.digest.as_str())
    }

    /// Whether the version has a name of its own.
    pub(super) fn is_kept(&self, listed: &Listed<'_>, digest: &str) -> bool {
        self.digest_of(&listed.kept(digest).full()) == Some(digest)
    }

    /// The version that was kept last, of those that have a name of their own and are not what the model is now.
    pub(super) fn kept_last(&self, listed: &Listed<'_>) -> Option<&'a str> {
        let names = self.up.as_ref()?.names.values();
        let kept = names.filter(|name| {
            let digest = name.installed.digest.as_str();
            base_of(&name.reference).is_some_and(|base| base.full() == listed.full)
                && self.installed(listed) != Some(digest)
                && listed.record.barred(digest).is_none()
                && self.is_kept(listed, digest)
                && self.is_there(listed, digest)
        });
        let last = kept.max_by_key(|name| name.installed.modified_at);
        last.map(|name| name.installed.digest.as_str())
    }

    /// Whether the model can be this version without a pull.
    pub(super) fn is_there(&self, listed: &Listed<'_>, digest: &str) -> bool {
        (self.installed(listed) == Some(digest) || self.is_kept(listed, digest))
            && !self.is_hurt(listed, digest)
            && self.is_whole(digest) != Some(false)
    }

    /// The manifest of a version: from the folder, else as the registry gave it.
    pub(super) fn manifest(&self, listed: &Listed<'_>, digest: &str) -> Option<&'a Manifest> {
        let known = self.known(listed).filter(|known| known.digest == digest);
        self.manifest_on_disk(digest).or(known)
    }

    pub(super) fn manifest_on_disk(&self, digest: &str) -> Option<&'a Manifest> {
        self.files()?.manifests.values().find(|manifest| manifest.digest == digest)
    }

    /// Whether all files of a version are there in their full length; `None` where nothing is known of them.
    pub(super) fn is_whole(&self, digest: &str) -> Option<bool> {
        let files = self.files()?;
        let manifest = self.manifest_on_disk(digest)?;
        let whole = |layer: &Layer| {
            files.blobs.get(&layer.digest).is_some_and(|blob| blob.size_bytes == layer.size_bytes)
        };
        Some(manifest.layers.iter().all(whole))
    }

    /// Whether a file of the version is known to be damaged.
    pub(super) fn is_hurt(&self, listed: &Listed<'_>, digest: &str) -> bool {
        self.hurt_layers(listed, digest).next().is_some()
    }

    pub(super) fn hurt_layers(&self, listed: &Listed<'_>, digest: &str) -> impl Iterator<Item = &'a str> {
        let layers = self.manifest(listed, digest).map(|manifest| manifest.layers.as_slice());
        let layers = layers.unwrap_or_default().iter();
        layers.filter(|layer| self.is_damaged(layer)).map(|layer| layer.digest.as_str())
    }

    /// Whether its file is not what its name says: other bytes were read, or it has another length. The server takes every
    /// file that is there for whole, so that no pull brings it anew before it is removed.
    pub(super) fn is_damaged(&self, layer: &Layer) -> bool {
        let blob = self.files().and_then(|files| files.blobs.get(&layer.digest));
        self.observed.damaged.contains(&layer.digest)
            || blob.is_some_and(|blob| blob.size_bytes != layer.size_bytes)
    }

    pub(super) fn files(&self) -> Option<&'a Files> {
        self.observed.files.as_ref()
    }

    /// What the registry said last that the tag names.
    pub(super) fn known(&self, listed: &Listed<'_>) -> Option<&'a Manifest> {
        self.observed.lookups.get(&listed.full)?.known.as_ref()
    }

    /// The version in memory, whatever name it was loaded under.
    pub(super) fn in_memory(&self, digest: &str) -> Option<&'a Loaded> {
        let loaded = &self.up.as_ref()?.loaded;
        loaded.iter().map(|(_, loaded)| *loaded).find(|loaded| loaded.digest == digest)
    }

    /// The last try of a step.
    pub(super) fn attempt(&self, full: &str, kind: StepKind) -> Option<&'a Attempt> {
        self.observed.attempts.get(&(full.to_owned(), kind))
    }

    /// The last try of a step on that version.
    pub(super) fn attempt_on(
        &self,
        listed: &Listed<'_>,
        kind: StepKind,
        digest: &str,
    ) -> Option<&'a Attempt> {
        self.attempt(&listed.full, kind).filter(|attempt| attempt.digest.as_deref() == Some(digest))
    }

    /// Until when a step that failed is not tried again. A server that was started since is asked at once.
    pub(super) fn backs_off(&self, attempt: Option<&Attempt>) -> Option<Timestamp> {
        let attempt = attempt.filter(|attempt| attempt.failure.is_some())?;
        let restarted = self.up.as_ref().is_some_and(|up| up.since > attempt.at);
        let until = attempt.at + backoff(attempt.failures);
        (until > self.now && !restarted).then_some(until)
    }

    pub(super) fn since(&self, at: Timestamp) -> Duration {
        Duration::try_from(self.now.duration_since(at)).unwrap_or_default()
    }
}

/// The model whose version is kept under such a name.
pub(super) fn base_of(name: &ModelReference) -> Option<ModelReference> {
    let (tag, _) = name.tag.rsplit_once(KEPT)?;
    Some(name.tagged(tag.to_owned()))
}

/// 1 s, doubled with each failure in a row.
pub(super) fn backoff(failures: u32) -> Duration {
    let doubled = 1_u64 << failures.saturating_sub(1).min(16);
    Duration::from_secs(doubled).min(LONGEST_BACKOFF)
}

fn up(server: &ServerView) -> Option<Up<'_>> {
    let ServerView::Up { since, installed, loaded, .. } = server else { return None };
    let names = installed.iter().filter_map(|installed| {
        let reference: ModelReference = installed.name.parse().ok()?;
        Some((reference.full(), Name { reference, installed }))
    });
    let full = |name: &str| name.parse().ok().map(|name: ModelReference| name.full());
    let loaded = loaded.iter().map(|loaded| (full(&loaded.name), loaded)).collect();
    Some(Up { since: *since, names: names.collect(), loaded })
}
