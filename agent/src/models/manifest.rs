//! From the bytes of a manifest to its digests and its layers. Pure.
//!
//! A server before 2026-03 does not keep the bytes that came: it decodes them and writes what Go's encoder makes of that,
//! which is also what it makes its digest of. A registry whose JSON is another's has two digests for one version.
//!
//! Source: ollama `manifest/manifest.go`, Docker image manifest V2 schema 2: `config` and `layers`, each with
//! `mediaType`, `digest` and `size`. Nothing in it is trusted: it comes from another machine.

use super::registry::{Layer, Manifest};
use node::hexadecimal::hexadecimal;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// No file system here holds as much (64 TiB); sums of such sizes fit into a u64.
const LARGEST_BYTES: u64 = 1 << 46;
/// Characters of a reason.
const LONGEST_REASON: usize = 200;
/// What loading reads.
const WEIGHTS: [&str; 4] = ["model", "projector", "adapter", "tensor"];
const MEDIA_TYPE: &str = "application/vnd.ollama.image.";

/// Keys in the order of the server's own structure, which is that of its encoder.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    schema_version: Option<i64>,
    #[serde(default)]
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    /// Of a list of manifests, which is for a server to choose from.
    #[serde(skip_serializing)]
    manifests: Option<IgnoredAny>,
}

#[derive(Default, Clone, Deserialize, Serialize)]
struct Descriptor {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    size: i64,
    #[serde(default, skip_serializing_if = "is_empty")]
    from: Option<String>,
    /// Known to servers from 2026-01 on.
    #[serde(default, skip_serializing_if = "is_empty")]
    name: Option<String>,
}

fn is_empty(text: &Option<String>) -> bool {
    text.as_ref().is_none_or(String::is_empty)
}

/// Of the bytes as they came, or as they lie in the folder of the server.
///
/// # Errors
/// One line that says what is wrong with it.
pub fn read(bytes: &[u8]) -> Result<Manifest, String> {
    let mut document: Document =
        serde_json::from_slice(bytes).map_err(|error| format!("it is no manifest: {}", shortly(&error)))?;
    if document.manifests.is_some() {
        return Err("it is a list of manifests, not one".to_owned());
    }
    let digest = digest_of(bytes);
    let also = encoded_anew(&mut document).into_iter().filter(|other| *other != digest).collect();
    // The oldest models have no configuration, and one that is served elsewhere has nothing else.
    let config = document.config.into_iter().filter(|config| !config.digest.is_empty());
    let layers = each_once(config.chain(document.layers.into_iter().flatten()))?;
    if layers.is_empty() {
        return Err("it names no layers".to_owned());
    }
    Ok(Manifest { digest, also, layers })
}

fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hexadecimal(&Sha256::digest(bytes)))
}

/// Digests of what servers write that encode it anew: with the names of tensors, and without.
fn encoded_anew(document: &mut Document) -> Vec<String> {
    // What Go makes of a key that is missing.
    document.schema_version.get_or_insert_default();
    document.media_type.get_or_insert_default();
    document.config.get_or_insert_default();
    let named = as_go_writes(document);
    for layer in document.config.iter_mut().chain(document.layers.iter_mut().flatten()) {
        layer.name = None;
    }
    let plain = as_go_writes(document).filter(|plain| named.as_ref() != Some(plain));
    named.into_iter().chain(plain).collect()
}

/// Go escapes what HTML might take for its own.
fn as_go_writes(document: &Document) -> Option<String> {
    let mut text = serde_json::to_string(document).ok()?;
    for (character, escaped) in [
        ('<', "\\u003c"),
        ('>', "\\u003e"),
        ('&', "\\u0026"),
        ('\u{2028}', "\\u2028"),
        ('\u{2029}', "\\u2029"),
    ] {
        text = text.replace(character, escaped);
    }
    Some(digest_of(text.as_bytes()))
}

/// The reader quotes what it did not expect, however long that is.
fn shortly(error: &serde_json::Error) -> String {
    let line = error.to_string().replace(char::is_control, " ");
    line.chars().take(LONGEST_REASON).collect()
}

fn each_once(descriptors: impl Iterator<Item = Descriptor>) -> Result<Vec<Layer>, String> {
    let mut layers: Vec<Layer> = Vec::new();
    let mut places = HashMap::new();
    let mut sum = 0;
    for descriptor in descriptors {
        let layer = layer(descriptor)?;
        let place = *places.entry(layer.digest.clone()).or_insert(layers.len());
        match layers.get_mut(place) {
            None => {
                sum += layer.size_bytes;
                layers.push(layer);
            }
            Some(known) if known.size_bytes == layer.size_bytes => known.weights |= layer.weights,
            Some(_) => return Err(format!("it gives layer {} two sizes", layer.digest)),
        }
        if sum > LARGEST_BYTES {
            return Err("its layers are larger than any volume".to_owned());
        }
    }
    Ok(layers)
}

fn layer(descriptor: Descriptor) -> Result<Layer, String> {
    let Descriptor { media_type, digest, size, .. } = descriptor;
    if !is_digest(&digest) {
        return Err(format!("it names a layer {:?}", digest.chars().take(80).collect::<String>()));
    }
    let size_bytes = u64::try_from(size).ok().filter(|size| *size <= LARGEST_BYTES);
    let Some(size_bytes) = size_bytes else { return Err(format!("layer {digest} has {size} bytes")) };
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    let weights = media_type.strip_prefix(MEDIA_TYPE).is_some_and(|kind| WEIGHTS.contains(&kind));
    Ok(Layer { digest, size_bytes, weights })
}

/// `sha256:` and 64 digits in lower case: what is a name of a file, and is compared as text.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|digits| {
        digits.len() == 64 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
