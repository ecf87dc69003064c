//! Whether a pull fits: what it still needs, what is free, what has to stay free.

use super::view::View;
use super::words::bytes;
use crate::models::files::Files;
use crate::models::registry::Manifest;
use std::collections::BTreeSet;

/// The room that a pull needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Bytes that are missing.
    pub(super) needs: u64,
    /// Bytes that are free.
    pub(super) free: u64,
    /// Bytes that have to stay free, or are promised to models that come first.
    pub(super) reserve: u64,
    /// The part of the reserve that is promised.
    pub(super) promised: u64,
}

impl Room {
    pub(super) fn is_enough(&self) -> bool {
        self.free >= self.needs.saturating_add(self.reserve)
    }

    pub(super) fn words(&self) -> String {
        let Room { needs, free, reserve, promised } = *self;
        let before = match promised {
            0 => String::new(),
            _ => format!(" (of these {} for models that come first)", bytes(promised)),
        };
        format!(
            "it needs {}, {} are free, and {} have to stay free{before}",
            bytes(needs),
            bytes(free),
            bytes(reserve)
        )
    }
}

/// The room for a version; `None` where nothing is known of the folder.
pub(super) fn room(view: &View<'_>, manifest: &Manifest, promised: u64) -> Option<Room> {
    let files = view.files()?;
    let disk = files.disk?;
    let reserve = view.settings.reserve_bytes.saturating_add(promised);
    Some(Room { needs: missing(files, manifest, &BTreeSet::new()), free: disk.free_bytes, reserve, promised })
}

/// Bytes of the version's layers that are not there, each once; `without`: layers to count as not there.
pub(super) fn missing(files: &Files, manifest: &Manifest, without: &BTreeSet<&str>) -> u64 {
    let mut seen = BTreeSet::new();
    let once = manifest.layers.iter().filter(|layer| seen.insert(layer.digest.as_str()));
    once.map(|layer| {
        let blob = files.blobs.get(&layer.digest).filter(|blob| blob.size_bytes == layer.size_bytes);
        if blob.is_some() && !without.contains(layer.digest.as_str()) {
            return 0;
        }
        let partial = files.partials.get(&layer.digest).map_or(0, |partial| partial.allocated_bytes);
        layer.size_bytes.saturating_sub(partial)
    })
    .sum()
}
