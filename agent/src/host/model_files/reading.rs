//! Reads files in order, with much asked for ahead: one thread asks the kernel for pieces, another takes them as they come.
//!
//! In: open files, a rate, whether pages may stay. Out: every byte, in order, and how fast they came.
//! What always holds: at most [`AHEAD`] bytes are asked for and not taken yet; what was in memory before stays there; what
//! may not stay is dropped piece by piece as it was read. A volume whose blocks are far away answers each request late and
//! many at once, so it is the number of requests under way that makes the speed; a thread for each would be no faster.

#![expect(clippy::disallowed_methods, reason = "it measures how fast the device is, and keeps to a rate")]

use super::pages::{Pages, let_go, page_size};
use super::rate::Bucket;
use crate::models::files::{FilesError, WarmProgress};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Asked for ahead. A volume from a snapshot wants about thirty requests of a mebibyte.
const AHEAD: u64 = 32 << 20;
/// Asked for, and taken, at once.
const PIECE: u64 = 1 << 20;
/// Copied at once: small enough for the cache of the processor.
const COPIED: usize = 256 << 10;
/// From one look at the memory to the next.
const BETWEEN_LOOKS: u64 = 64 << 20;
/// From one word of progress to the next: at most four in a second.
const BETWEEN_WORDS: Duration = Duration::from_millis(250);
/// Whoever waits looks so often whether all is over.
const TURN: Duration = Duration::from_millis(50);

/// A file to read.
#[derive(Debug)]
pub(super) struct Layer {
    /// Open.
    pub(super) file: File,
    /// For messages.
    pub(super) path: String,
    /// Bytes.
    pub(super) size: u64,
}

/// How it is read.
pub(super) struct Wish<'a> {
    /// Bytes per second from the device, at most.
    pub(super) rate: Option<u64>,
    /// Whether what comes may stay in memory, else why not. Asked again and again; a no is for good.
    pub(super) may_stay: &'a (dyn Fn() -> Result<(), String> + Sync),
    /// Set by who has heard enough.
    pub(super) stop: &'a AtomicBool,
}

/// What is told meanwhile.
pub(super) enum Heard<'a> {
    /// The next bytes.
    Bytes(&'a [u8]),
    /// How far it is.
    Progress(WarmProgress),
}

/// How it ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// What was read.
    pub(super) progress: WarmProgress,
    /// Why not all of it may stay.
    pub(super) not_kept: Option<String>,
}

/// Reads all of them.
pub(super) fn read(
    layers: &[Layer],
    wish: &Wish<'_>,
    hear: &mut dyn FnMut(Heard<'_>),
) -> Result<Ended, FilesError> {
    let line = Line::default();
    std::thread::scope(|scope| {
        let asking = std::thread::Builder::new().name("read ahead".to_owned());
        let asking = asking.spawn_scoped(scope, || {
            let asked = ask(layers, wish, &line);
            line.change(|state| state.all_asked = true);
            asked
        });
        let asking = asking.map_err(|source| layer_error(layers.first(), source))?;
        let taken = take(layers, wish, &line, hear);
        line.change(|state| state.over = true);
        // A panic of that thread is told as what it is; there is none that we know of.
        let asked =
            asking.join().map_err(|_| layer_error(layers.first(), io::Error::other("a thread broke")))?;
        let progress = taken?;
        Ok(Ended { progress, not_kept: asked? })
    })
}

fn layer_error(layer: Option<&Layer>, source: io::Error) -> FilesError {
    let path = layer.map(|layer| layer.path.clone()).unwrap_or_default();
    FilesError { operation: "read", path, source }
}

/// A piece that was asked for.
struct Piece {
    layer: usize,
    range: Range<u64>,
    /// Stretches that were not in memory.
    missing: Vec<Range<u64>>,
    stays: bool,
}

/// Pieces that were asked for and not taken yet.
#[derive(Default)]
struct Line {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<Piece>,
    bytes: u64,
    all_asked: bool,
    over: bool,
    /// Since when anything has been asked for and not taken, and how long that was so before.
    busy_since: Option<Instant>,
    busy: Duration,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits for at most one turn.
    fn wait<'a>(&self, state: MutexGuard<'a, State>, at_most: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, at_most.min(TURN));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits until there is room for so many bytes; `false` when all is over.
    fn has_room(&self, bytes: u64, stop: &AtomicBool) -> bool {
        let mut state = self.lock();
        loop {
            if state.over || stop.load(Ordering::Relaxed) {
                return false;
            }
            if state.bytes == 0 || state.bytes + bytes <= AHEAD {
                return true;
            }
            state = self.wait(state, TURN);
        }
    }

    /// The next piece, `None` after the last.
    fn next(&self, stop: &AtomicBool) -> Option<Piece> {
        let mut state = self.lock();
        loop {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(piece) = state.pieces.pop_front() {
                return Some(piece);
            }
            if state.all_asked {
                return None;
            }
            state = self.wait(state, TURN);
        }
    }

    /// How long anything was under way.
    fn took(&self, bytes: u64) -> Duration {
        let mut state = self.lock();
        state.bytes -= bytes;
        let now = Instant::now();
        let since = state.busy_since.replace(now).unwrap_or(now);
        state.busy += now.saturating_duration_since(since);
        if state.bytes == 0 {
            state.busy_since = None;
        }
        let busy = state.busy;
        drop(state);
        self.changed.notify_all();
        busy
    }
}

/// Asks for everything, in order; why not all of it may stay.
fn ask(layers: &[Layer], wish: &Wish<'_>, line: &Line) -> Result<Option<String>, FilesError> {
    let start = Instant::now();
    let mut bucket = wish.rate.map(|rate| Bucket::new(rate, start.elapsed()));
    let page = page_size() as u64;
    let piece = bucket.as_ref().map_or(PIECE, |bucket| (bucket.piece() / page * page).clamp(page, PIECE));
    let (mut not_kept, mut until_look) = (None, 0_u64);
    for (index, layer) in layers.iter().enumerate() {
        let failed = |source| layer_error(Some(layer), source);
        let pages = Pages::of(&layer.file).map_err(failed)?;
        let mut offset = 0;
        while offset < layer.size {
            let range = offset..(offset + piece).min(layer.size);
            offset = range.end;
            let bytes = range.end - range.start;
            if !line.has_room(bytes, wish.stop) {
                return Ok(not_kept);
            }
            let missing = pages.missing(&range).map_err(failed)?;
            let from_device = missing.iter().map(|stretch| stretch.end - stretch.start).sum();
            if let Some(bucket) = &mut bucket {
                while let Err(wait) = bucket.take(from_device, start.elapsed()) {
                    if wish.stop.load(Ordering::Relaxed) {
                        return Ok(not_kept);
                    }
                    drop(line.wait(line.lock(), wait));
                }
            }
            until_look = until_look.saturating_sub(bytes);
            if not_kept.is_none() && until_look == 0 {
                not_kept = (wish.may_stay)().err();
                until_look = BETWEEN_LOOKS;
            }
            line.change(|state| {
                state.busy_since.get_or_insert_with(Instant::now);
                state.bytes += bytes;
            });
            missing.iter().try_for_each(|stretch| pages.fetch(stretch)).map_err(failed)?;
            let piece = Piece { layer: index, range, missing, stays: not_kept.is_none() };
            line.change(|state| state.pieces.push_back(piece));
        }
    }
    Ok(not_kept)
}

/// Takes what was asked for, in order.
fn take(
    layers: &[Layer],
    wish: &Wish<'_>,
    line: &Line,
    hear: &mut dyn FnMut(Heard<'_>),
) -> Result<WarmProgress, FilesError> {
    let mut buffer = vec![0; COPIED];
    let mut progress =
        WarmProgress { total_bytes: layers.iter().map(|layer| layer.size).sum(), ..WarmProgress::default() };
    let mut told: Option<Instant> = None;
    while let Some(piece) = line.next(wish.stop) {
        let Some(layer) = layers.get(piece.layer) else { break };
        let failed = |source| layer_error(Some(layer), source);
        copy(&layer.file, &piece.range, &mut buffer, hear).map_err(failed)?;
        if !piece.stays {
            piece.missing.iter().try_for_each(|stretch| let_go(&layer.file, stretch)).map_err(failed)?;
        }
        let bytes = piece.range.end - piece.range.start;
        let busy = line.took(bytes);
        progress.read_bytes += bytes;
        progress.from_device_bytes +=
            piece.missing.iter().map(|stretch| stretch.end - stretch.start).sum::<u64>();
        #[expect(clippy::cast_precision_loss, reason = "shown to people")]
        let mebibytes = progress.read_bytes as f64 / f64::from(1 << 20);
        progress.mebibytes_per_second = mebibytes / busy.as_secs_f64().max(f64::MIN_POSITIVE);
        if told.is_none_or(|told| told.elapsed() >= BETWEEN_WORDS) {
            told = Some(Instant::now());
            hear(Heard::Progress(progress));
        }
    }
    if wish.stop.load(Ordering::Relaxed) {
        return Err(layer_error(layers.first(), io::ErrorKind::Interrupted.into()));
    }
    Ok(progress)
}

fn copy(
    file: &File,
    range: &Range<u64>,
    buffer: &mut [u8],
    hear: &mut dyn FnMut(Heard<'_>),
) -> io::Result<()> {
    let mut offset = range.start;
    while offset < range.end {
        let wanted = usize::try_from(range.end - offset).unwrap_or(usize::MAX).min(buffer.len());
        let bytes = match file.read_at(&mut buffer[..wanted], offset) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter")),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hear(Heard::Bytes(&buffer[..bytes]));
        offset += bytes as u64;
    }
    Ok(())
}

#[cfg(test)]
#[path = "reading_tests.rs"]
mod tests;
