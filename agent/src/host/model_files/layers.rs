//! Work that reads whole layers: comparing one with its name, and bringing those of a model into memory. It blocks for as
//! long as it takes; whoever starts it gives it a thread and a way to end it.

use super::directory::Directory;
use super::memory::Memory;
use super::pages::Pages;
use super::reading::{Ended, Heard, Layer, Wish, read};
use super::remove::{blobs, file_name};
use crate::models::files::{FilesError, WarmProgress, Warmed};
use node::hexadecimal::hexadecimal;
use sha2::{Digest, Sha256};
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// One part in so many may be gone again when all was read: other programs read and write too.
const GONE_AT_MOST_ONE_IN: u64 = 20;

/// Whether a layer has this length and this sum; one that is not there has neither. Memory stays as it is.
pub(super) fn verify(
    directory: &Path,
    (digest, size_bytes): (&str, u64),
    stop: &AtomicBool,
    progress: &dyn Fn(WarmProgress),
) -> Result<bool, FilesError> {
    let Some(blobs) = blobs(directory, &[digest.to_owned()])? else { return Ok(false) };
    let Some(layer) = open(&blobs, digest)? else { return Ok(false) };
    if layer.size != size_bytes {
        return Ok(false);
    }
    let mut sum = Sha256::new();
    let wish = Wish { rate: None, may_stay: &|| Err(String::new()), stop };
    let read = read(&[layer], &wish, &mut |heard| match heard {
        Heard::Bytes(bytes) => sum.update(bytes),
        Heard::Progress(far) => progress(far),
    });
    match read {
        Ok(_) => Ok(digest == format!("sha256:{}", hexadecimal(&sum.finalize()))),
        // It changed under our hands; it is not what its name says.
        Err(error) if error.source.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// What is read ahead.
#[derive(Debug, Clone)]
pub(super) struct Wanted<'a> {
    /// The models' folder.
    pub(super) directory: &'a Path,
    /// Layers, in this order.
    pub(super) digests: &'a [String],
    /// Bytes per second from the device, at most.
    pub(super) rate: Option<u64>,
    /// Why what this process reads must not stay in memory, if so.
    pub(super) must_go: Option<String>,
}

/// Reads the layers of a model, into memory where there is room.
pub(super) fn warm(
    wanted: &Wanted<'_>,
    stop: &AtomicBool,
    progress: &dyn Fn(WarmProgress),
) -> Result<Warmed, FilesError> {
    let layers = open_all(wanted)?;
    let bytes = layers.iter().map(|layer| layer.size).sum();
    let may_stay = || match &wanted.must_go {
        Some(why) => Err(why.clone()),
        None => Memory::now().map_err(|error| error.to_string())?.shortage(bytes).map_or(Ok(()), Err),
    };
    let wish = Wish { rate: wanted.rate, may_stay: &may_stay, stop };
    let Ended { progress, not_kept } = read(&layers, &wish, &mut |heard| {
        if let Heard::Progress(far) = heard {
            progress(far);
        }
    })?;
    let gone = gone_again(&layers)?;
    // What was in memory before stays there, whether or not it may be added to.
    if gone <= bytes / GONE_AT_MOST_ONE_IN {
        return Ok(Warmed { progress, kept: Ok(()) });
    }
    let why = not_kept.unwrap_or_else(|| format!("{} MiB of it were pushed out of memory again", gone >> 20));
    Ok(Warmed { progress, kept: Err(why) })
}

/// Bytes that are not in memory.
fn gone_again(layers: &[Layer]) -> Result<u64, FilesError> {
    let mut gone = 0;
    for layer in layers {
        let missing = Pages::of(&layer.file).and_then(|pages| pages.missing(&(0..layer.size)));
        let missing =
            missing.map_err(|source| FilesError { operation: "read", path: layer.path.clone(), source })?;
        gone += missing.iter().map(|stretch| stretch.end - stretch.start).sum::<u64>();
    }
    Ok(gone)
}

fn open_all(wanted: &Wanted<'_>) -> Result<Vec<Layer>, FilesError> {
    let absent = |path: &Path| FilesError {
        operation: "open",
        path: path.display().to_string(),
        source: io::ErrorKind::NotFound.into(),
    };
    let blobs = blobs(wanted.directory, wanted.digests)?.ok_or_else(|| absent(wanted.directory))?;
    let opened = wanted
        .digests
        .iter()
        .map(|digest| open(&blobs, digest)?.ok_or_else(|| absent(&blobs.path().join(file_name(digest)))));
    opened.collect()
}

fn open(blobs: &Directory, digest: &str) -> Result<Option<Layer>, FilesError> {
    let name = file_name(digest);
    let Some(file) = blobs.open(&name)? else { return Ok(None) };
    let size = file.metadata().map_err(|source| blobs.error_at("open", &name, source))?.len();
    Ok(Some(Layer { file, path: blobs.path().join(&name).display().to_string(), size }))
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
