//! The bytes of a model's manifest -> what it consists of. The same bytes come from a registry and lie in the models'
//! folder.
//!
//! Source: the image manifest that `ollama pull` speaks with registries (schema version 2, `config` and `layers`, each
//! with `mediaType`, `digest`, `size`). What always holds: every digest of a manifest that was read is `sha256:` and 64
//! digits in lower case, and so is safe as part of a file name. Not its job: reading or fetching.

use super::registry::{Layer, Manifest};
use node::hexadecimal::hexadecimal;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Kinds of layers that hold weights; `tensor` is one of the many files of a model that was not packed into one.
const WEIGHTS: [&str; 4] = ["model", "projector", "adapter", "tensor"];
const KIND: &str = "application/vnd.ollama.image.";
const DIGITS: usize = 64;

/// Why bytes are no manifest; one line without the name of the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ManifestError(String);

#[derive(Deserialize)]
struct Document {
    config: Option<Entry>,
    #[serde(default)]
    layers: Option<Vec<Entry>>,
    /// Only in a list of manifests.
    #[serde(default)]
    manifests: Option<Vec<serde::de::IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    size: u64,
}

/// Reads a manifest.
///
/// # Errors
/// No JSON, a list of manifests, nothing in it, a digest that is none, or one layer with two sizes.
pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    let document: Document = serde_json::from_slice(bytes)
        .map_err(|error| ManifestError(format!("the manifest cannot be read: {error}")))?;
    if document.manifests.is_some() {
        return Err(ManifestError("it is a list of manifests, not one".to_owned()));
    }
    let mut layers: Vec<Layer> = Vec::new();
    // A model that was made without a configuration has an empty one.
    let config = document.config.into_iter().filter(|config| !config.digest.is_empty());
    for entry in config.chain(document.layers.into_iter().flatten()) {
        if !is_digest(&entry.digest) {
            return Err(ManifestError(format!("{:?} in the manifest is no digest", entry.digest)));
        }
        let weights = entry.media_type.strip_prefix(KIND).is_some_and(|kind| WEIGHTS.contains(&kind));
        match layers.iter_mut().find(|layer| layer.digest == entry.digest) {
            Some(layer) if layer.size_bytes != entry.size => {
                return Err(ManifestError(format!("{} has two sizes in the manifest", entry.digest)));
            }
            Some(layer) => layer.weights |= weights,
            None => layers.push(Layer { digest: entry.digest, size_bytes: entry.size, weights }),
        }
    }
    if layers.is_empty() {
        return Err(ManifestError("the manifest names no layer".to_owned()));
    }
    Ok(Manifest { digest: format!("sha256:{}", hexadecimal(&Sha256::digest(bytes))), layers })
}

/// Whether this is `sha256:` and 64 hexadecimal digits in lower case.
pub fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or_default().as_bytes();
    digits.len() == DIGITS && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    fn entry(kind: &str, letter: char, size: u64) -> serde_json::Value {
        serde_json::json!({ "mediaType": format!("{KIND}{kind}"), "digest": digest(letter), "size": size })
    }

    fn bytes(config: &serde_json::Value, layers: &[serde_json::Value]) -> Vec<u8> {
        let document = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": layers });
        document.to_string().into_bytes()
    }

    #[test]
    fn configuration_and_layers_are_each_there_once_in_order_and_weights_are_known() {
        let layers = [
            entry("model", 'a', 4000),
            entry("license", 'b', 7),
            entry("projector", 'c', 50),
            entry("license", 'b', 7),
        ];
        let text = bytes(&entry("json", 'f', 3), &layers);
        let manifest = parse(&text).unwrap();
        let read: Vec<(String, u64, bool)> = manifest
            .layers
            .iter()
            .map(|layer| (layer.digest.clone(), layer.size_bytes, layer.weights))
            .collect();
        let expected = [('f', 3, false), ('a', 4000, true), ('b', 7, false), ('c', 50, true)];
        assert_eq!(read, expected.map(|(letter, size, weights)| (digest(letter), size, weights)));
        assert_eq!(manifest.size_bytes(), 4060);
        assert!(is_digest(&manifest.digest));
        let mut other = text;
        other.push(b'\n');
        assert_ne!(parse(&other).unwrap().digest, manifest.digest, "the digest is of the bytes as they are");
    }

    #[test]
    fn a_model_without_layers_or_without_configuration_is_a_model() {
        assert_eq!(parse(&bytes(&entry("json", 'f', 3), &[])).unwrap().layers.len(), 1, "served elsewhere");
        let none = serde_json::json!({ "mediaType": "", "digest": "", "size": 0 });
        assert_eq!(parse(&bytes(&none, &[entry("model", 'a', 1)])).unwrap().layers.len(), 1);
    }

    #[test]
    fn what_is_no_manifest_is_refused_with_the_reason_on_one_line() {
        let mut short = entry("model", 'a', 1);
        short["digest"] = "sha256:../../etc".into();
        let mut capital = entry("model", 'a', 1);
        capital["digest"] = digest('A').into();
        let mut negative = entry("model", 'a', 1);
        negative["size"] = (-1).into();
        let config = entry("json", 'f', 3);
        for (bytes, part) in [
            (Vec::new(), "cannot be read"),
            (b"{\"schemaVersion\":2,\n\"layers\":[".to_vec(), "cannot be read"),
            (b"{}".to_vec(), "names no layer"),
            (b"{\"manifests\":[{}]}".to_vec(), "list of manifests"),
            (bytes(&config, &[short]), "is no digest"),
            (bytes(&config, &[capital]), "is no digest"),
            (bytes(&config, &[negative]), "cannot be read"),
            (bytes(&config, &[entry("model", 'a', 1), entry("model", 'a', 2)]), "two sizes"),
        ] {
            let error = parse(&bytes).expect_err(part).to_string();
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
    }
}
