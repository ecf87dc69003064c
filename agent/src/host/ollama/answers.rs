//! From the bytes of the model server's answers to our values. Pure.
//!
//! Source: ollama `api/types.go`, `server/routes.go`. Servers of all ages: what is missing, or `null`, is filled in where
//! something safe can be said, and an entry that makes no sense is left out; an answer that is none of Ollama's is refused,
//! so that whatever else listens there is never taken for a server without models.

use super::refusal::shown;
use crate::models::manifest::is_digest;
use crate::models::server::{Installed, Kind, Loaded};
use jiff::Timestamp;
use node::config::settings::ModelReference;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Text of an answer that is kept: some hundred tokens have a few KiB.
const LONGEST_ANSWER_BYTES: usize = 64 << 10;

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body)
        .map_err(|error| format!("its answer cannot be read: {}", shown(&error.to_string())))
}

/// Of `GET /api/version`.
pub(super) fn version(body: &[u8]) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    read(body).map(|answer: Version| shown(&answer.version))
}

/// The `models` of an answer that are objects of this kind. `null` is what Go makes of an empty list.
fn models<T: DeserializeOwned>(body: &[u8]) -> Result<Vec<T>, String> {
    #[derive(Deserialize)]
    struct List {
        #[serde(deserialize_with = "Option::deserialize")]
        models: Option<Vec<Value>>,
    }
    let list: List = read(body)?;
    let entries = list.models.unwrap_or_default().into_iter();
    Ok(entries.filter_map(|entry| serde_json::from_value(entry).ok()).collect())
}

#[derive(Deserialize)]
struct Entry {
    name: Option<String>,
    model: Option<String>,
    digest: Option<String>,
    size: Option<i64>,
    size_vram: Option<i64>,
    modified_at: Option<String>,
    expires_at: Option<String>,
}

impl Entry {
    /// Name and digest, where both can be used.
    fn identity(&self) -> Option<(String, String)> {
        let named = [&self.name, &self.model].into_iter().flatten().find(|name| !name.is_empty())?;
        named.parse::<ModelReference>().ok()?;
        let digest = self.digest.as_deref()?;
        let digest = format!("sha256:{}", digest.strip_prefix("sha256:").unwrap_or(digest));
        is_digest(&digest).then(|| (named.clone(), digest))
    }
}

fn bytes(number: Option<i64>) -> u64 {
    number.and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}

/// Go's time that was never set is in the year 1.
fn time(text: Option<&str>) -> Option<Timestamp> {
    text?.parse().ok().filter(|time| *time > Timestamp::UNIX_EPOCH)
}

/// Of `GET /api/tags`.
pub(super) fn installed(body: &[u8]) -> Result<Vec<Installed>, String> {
    let entries = models::<Entry>(body)?.into_iter();
    let installed = entries.filter_map(|entry| {
        let (name, digest) = entry.identity()?;
        let modified_at = time(entry.modified_at.as_deref());
        Some(Installed { name, digest, size_bytes: bytes(entry.size), modified_at })
    });
    Ok(installed.collect())
}

/// Of `GET /api/ps`.
pub(super) fn loaded(body: &[u8]) -> Result<Vec<Loaded>, String> {
    let entries = models::<Entry>(body)?.into_iter();
    let loaded = entries.filter_map(|entry| {
        let (name, digest) = entry.identity()?;
        let size_bytes = bytes(entry.size);
        Some(Loaded {
            name,
            digest,
            size_bytes,
            // A server that does not say where the bytes are gives no reason to miss a GPU.
            size_vram_bytes: entry.size_vram.map_or(size_bytes, |size| bytes(Some(size))),
            expires_at: time(entry.expires_at.as_deref()),
        })
    });
    Ok(loaded.collect())
}

/// Of `POST /api/show`.
pub(super) fn kind(body: &[u8]) -> Result<Kind, String> {
    #[derive(Deserialize)]
    struct Shown {
        capabilities: Option<Vec<Value>>,
    }
    let shown: Shown = read(body)?;
    let capabilities = shown.capabilities.unwrap_or_default();
    let can = |what: &str| capabilities.iter().any(|capability| capability.as_str() == Some(what));
    Ok(if can("embedding") && !can("completion") { Kind::Embeds } else { Kind::Generates })
}

/// Of `POST /api/generate`: what it answered, else what it thought, when all its tokens went into that.
pub(super) fn answer(body: &[u8]) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Generated {
        response: Option<String>,
        thinking: Option<String>,
    }
    let generated: Generated = read(body)?;
    let said = generated.response.ok_or("its answer has no `response`")?;
    let thought = generated.thinking.unwrap_or_default();
    let mut text = if said.trim().is_empty() { thought } else { said };
    let mut end = text.len().min(LONGEST_ANSWER_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    Ok(text)
}

#[cfg(test)]
#[path = "answers_tests.rs"]
mod tests;
