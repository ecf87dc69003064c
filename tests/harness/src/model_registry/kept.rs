//! What a model server has on its disk of the blobs that it fetches.

use std::ops::Range;
use std::path::Path;

/// A part of a blob that a models folder has kept: `OFFSET..OFFSET + COMPLETED` of its part files, or a whole blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// `sha256:…`
    pub digest: String,
    /// Its bytes.
    pub bytes: Range<u64>,
}

/// What a models folder holds of blobs: whole ones, and the finished bytes of parts, as their files say.
#[must_use]
pub fn kept_in(models: &Path) -> Vec<Kept> {
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(models.join("blobs")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let digest = name.replacen('-', ":", 1).chars().take("sha256:".len() + 64).collect::<String>();
        match name.split_once("-partial") {
            None => {
                let size = entry.metadata().map_or(0, |file| file.len());
                kept.push(Kept { digest, bytes: 0..size });
            }
            Some((_, "")) => {}
            Some(_) => {
                let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                let part: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                let field = |name: &str| part[name].as_u64().unwrap_or(0);
                let (offset, completed) = (field("Offset"), field("Completed"));
                kept.push(Kept { digest, bytes: offset..offset + completed });
            }
        }
    }
    kept.retain(|kept| !kept.bytes.is_empty());
    kept
}
