//! What models are made of: bytes that depend on a seed and their place alone, so that a model of any size needs no
//! memory.

use std::ops::Range;
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::gguf;

/// Weights repeat after so many bytes, but for the number at the beginning of each repetition.
const TILE: usize = 1 << 20;
const WEIGHTS: &str = "application/vnd.ollama.image.model";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// The bytes of one layer.
#[derive(Clone)]
pub enum Content {
    /// As they are.
    Bytes(Arc<Vec<u8>>),
    /// A head, and then as much as is wanted.
    Weights {
        /// GGUF metadata.
        head: Arc<Vec<u8>>,
        /// What is repeated.
        tile: Arc<Vec<u8>>,
        /// Bytes, the head among them.
        size: u64,
    },
}

impl Content {
    /// Weights of so many bytes; other ones for another seed.
    #[must_use]
    pub fn weights(seed: u64, size: u64, embeds: bool) -> Self {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
        let mut tile = Vec::with_capacity(TILE);
        while tile.len() < TILE {
            // xorshift64*: fast, and nothing that compresses.
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            tile.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
        }
        let mut head = gguf::head(size, embeds);
        head.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        Self::Weights { head: Arc::new(head), tile: Arc::new(tile), size }
    }

    /// Bytes in all.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Weights { size, .. } => *size,
        }
    }

    /// The bytes of a range, at most up to the end of a tile.
    #[must_use]
    pub fn read(&self, range: Range<u64>) -> Vec<u8> {
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        match self {
            Self::Bytes(bytes) => bytes[place(range.start)..place(range.end)].to_vec(),
            Self::Weights { head, tile, size } => {
                let (start, end) = (range.start, range.end.min(*size));
                if place(start) < head.len() {
                    return head[place(start)..place(end).min(head.len())].to_vec();
                }
                let (number, within) = (start / TILE as u64, place(start % TILE as u64));
                let length = place(end - start).min(TILE - within);
                let mut bytes = tile[within..within + length].to_vec();
                // Two repetitions are never the same.
                for (at, byte) in number.to_le_bytes().into_iter().enumerate().skip(within) {
                    if let Some(place) = bytes.get_mut(at - within) {
                        *place ^= byte;
                    }
                }
                bytes
            }
        }
    }

    /// `sha256:…`
    #[must_use]
    pub fn digest(&self) -> String {
        let (mut sum, mut at) = (Sha256::new(), 0);
        while at < self.size() {
            let bytes = self.read(at..self.size());
            at += bytes.len() as u64;
            sum.update(bytes);
        }
        format!("sha256:{:x}", sum.finalize())
    }
}

/// A model: its layers in order, media type and content.
#[derive(Clone)]
pub struct Model {
    /// Weights first.
    pub layers: Vec<(String, Content)>,
    /// The configuration's fields.
    pub config: Value,
}

impl Model {
    /// Weights of so many bytes that answer prompts, a template and a licence; all other ones for another seed.
    #[must_use]
    pub fn new(seed: u64, weights_bytes: u64) -> Self {
        let text = |kind: &str, text: String| {
            (format!("application/vnd.ollama.image.{kind}"), Content::Bytes(Arc::new(text.into_bytes())))
        };
        let config = json!({
            "model_format": "gguf", "model_family": "llama", "model_families": ["llama"], "model_type": "1B",
            "file_type": "F32", "architecture": "amd64", "os": "linux", "seed": seed,
        });
        let layers = vec![
            (WEIGHTS.to_owned(), Content::weights(seed, weights_bytes, false)),
            text("template", "{{ .Prompt }}".to_owned()),
            text("license", format!("A licence of model {seed}.\n")),
        ];
        Self { layers, config }
    }

    /// The same weights, made for embeddings and nothing else.
    #[must_use]
    pub fn of_embeddings(seed: u64, weights_bytes: u64) -> Self {
        let mut model = Self::new(seed, weights_bytes);
        model.layers[0].1 = Content::weights(seed, weights_bytes, true);
        model
    }

    /// The same weights under another manifest: a new version that shares what is big.
    #[must_use]
    pub fn with_template(mut self, text: &str) -> Self {
        self.layers[1].1 = Content::Bytes(Arc::new(text.as_bytes().to_vec()));
        self
    }
}

/// A file of a model, as its manifest names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Media type.
    pub media_type: String,
    /// `sha256:…`
    pub digest: String,
    /// Bytes.
    pub size: u64,
}

/// A model as the registry has it.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) manifest: Vec<u8>,
    pub(super) digest: String,
    pub(super) layers: Vec<Layer>,
    pub(super) blobs: Vec<(String, Content)>,
}

/// Works out every digest; the manifest is written as the registry of Ollama writes it.
pub(super) fn store(model: &Model) -> Stored {
    let config = Content::Bytes(Arc::new(model.config.to_string().into_bytes()));
    let files = model.layers.iter().cloned().chain([(CONFIG.to_owned(), config)]);
    let (mut layers, mut blobs) = (Vec::new(), Vec::new());
    for (media_type, content) in files {
        let digest = content.digest();
        layers.push(Layer { media_type, digest: digest.clone(), size: content.size() });
        blobs.push((digest, content));
    }
    // By hand, because the order of the fields is part of the digest.
    let written = |layer: &Layer| {
        let Layer { media_type, digest, size } = layer;
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
    };
    let (config, weights) = layers.split_last().map_or_else(Default::default, |(config, weights)| {
        (written(config), weights.iter().map(written).collect::<Vec<_>>().join(","))
    });
    let manifest =
        format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config},"layers":[{weights}]}}"#);
    let digest = format!("sha256:{:x}", Sha256::digest(&manifest));
    Stored { manifest: manifest.into_bytes(), digest, layers, blobs }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_the_same_in_whatever_pieces_it_is_read() {
        let content = Content::weights(7, 3 * TILE as u64 + 11, false);
        let whole = |step: u64| {
            let (mut bytes, mut at) = (Vec::new(), 0);
            while at < content.size() {
                bytes.extend(content.read(at..content.size().min(at + step)));
                at = bytes.len() as u64;
            }
            bytes
        };
        let bytes = whole(u64::MAX / 2);
        assert_eq!(bytes.len() as u64, content.size());
        assert!(bytes == whole(4099) && bytes == whole(TILE as u64));
        assert_ne!(bytes[TILE..TILE + 8], bytes[2 * TILE..2 * TILE + 8]);
        assert_eq!(content.digest(), format!("sha256:{:x}", Sha256::digest(&bytes)));
    }

    #[test]
    fn another_seed_or_template_is_another_version() {
        let digest = |model: &Model| store(model).digest;
        let model = Model::new(1, 100_000);
        assert_eq!(digest(&model), digest(&Model::new(1, 100_000)));
        assert_ne!(digest(&model), digest(&Model::new(2, 100_000)));
        let other = model.clone().with_template("other");
        assert_ne!(digest(&model), digest(&other));
        assert_eq!(store(&model).layers[0], store(&other).layers[0]);
    }
}
