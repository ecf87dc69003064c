//! Files of weights: what their head says, and their sum. Format: GGUF (ggml `docs/gguf.md`).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::store::hex;

/// As much as the key that tells embeddings from prompts may lie behind.
const HEAD: u64 = 64 << 10;
const STEP: usize = 1 << 20;

/// What a model can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capability {
    Completion,
    Embedding,
}

impl Capability {
    /// As `/api/show` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Completion => "completion",
            Self::Embedding => "embedding",
        }
    }
}

/// What the head says: a key `….pooling_type` makes it one for embeddings. `None` where that is no file of weights.
pub(crate) fn capability(path: &Path) -> Option<Capability> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    if !head.starts_with(b"GGUF") {
        return None;
    }
    let embeds = head.windows(13).any(|window| window == b".pooling_type");
    Some(if embeds { Capability::Embedding } else { Capability::Completion })
}

/// `sha256:…` of a file.
pub(crate) fn sum(path: &Path) -> io::Result<String> {
    sum_while(path, || true)
}

/// The same; ends early, as interrupted, when `wanted` says no.
pub(crate) fn sum_while(path: &Path, wanted: impl Fn() -> bool) -> io::Result<String> {
    let (mut file, mut sum) = (File::open(path)?, Sha256::new());
    let mut step = vec![0; STEP];
    while wanted() {
        let length = file.read(&mut step)?;
        if length == 0 {
            return Ok(format!("sha256:{}", hex(&sum.finalize())));
        }
        sum.update(&step[..length]);
    }
    // Not `Interrupted`, which is asked again by those who read.
    Err(io::Error::other("nobody wants it any more"))
}
