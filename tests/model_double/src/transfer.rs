//! One blob on its way: parts by Range requests into a sparse file of full length, taken up again where they were.
//!
//! Source: ollama `server/download.go`. `BLOB-partial` has its full length at once; `BLOB-partial-N` is the JSON of a
//! part, written when it is made and when its request ends, cancelled ones too, so that a killed process loses what the
//! open requests had brought. Waiters share a transfer; when the last one leaves it is cancelled and its files stay.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::faults::{Fault, Faults, Subject};
use crate::fetch;
use crate::store::words;

/// Requests of one blob that are open at once.
const AT_ONCE: usize = 16;
const TRIES: u32 = 6;
/// Between two looks at whether a fault strikes.
const PIECE: usize = 16 << 10;

/// Where a blob comes from and what pull it is part of.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// `http://HOST:PORT`
    pub(crate) base: String,
    /// `/v2/NAMESPACE/MODEL/blobs/DIGEST`
    pub(crate) path: String,
    pub(crate) digest: String,
    pub(crate) subject: Subject,
    /// Bytes of the model that were there before this blob, and all of them.
    pub(crate) before: u64,
    pub(crate) total: u64,
}

/// How transfers go about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) part_bytes: Option<u64>,
    pub(crate) retry: Duration,
    pub(crate) stall: Duration,
}

/// All blobs on their way.
#[derive(Debug)]
pub(crate) struct Transfers {
    running: tokio::sync::Mutex<HashMap<String, Arc<Transfer>>>,
    faults: Arc<Faults>,
    pace: Pace,
}

#[derive(Debug)]
struct Part {
    number: usize,
    offset: u64,
    size: u64,
    completed: AtomicU64,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Transfer {
    source: Source,
    place: PathBuf,
    pub(crate) total: u64,
    parts: Vec<Part>,
    waiters: AtomicUsize,
    cancelled: watch::Sender<bool>,
    outcome: watch::Sender<Option<Result<(), String>>>,
    /// The last fault that struck, and how often the faults had been cleared then.
    struck: watch::Sender<Option<(Fault, u64)>>,
    /// One look at a time, so that a fault that strikes once does so once.
    looking: Mutex<()>,
    stopped: AtomicBool,
}

/// Somebody who waits for a transfer.
pub(crate) struct Waiter(pub(crate) Arc<Transfer>);

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.0.waiters.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.cancelled.send_replace(true);
        }
    }
}

impl Waiter {
    /// Ends with the transfer.
    pub(crate) async fn outcome(&self) -> Result<(), String> {
        let mut outcome = self.0.outcome.subscribe();
        let ended = outcome.wait_for(Option::is_some).await;
        ended.ok().and_then(|outcome| outcome.clone()).unwrap_or_else(|| Err("context canceled".to_owned()))
    }

    /// Ends when a fault strikes.
    pub(crate) async fn struck(&self) -> Fault {
        let mut struck = self.0.struck.subscribe();
        let fault = struck.wait_for(Option::is_some).await.ok().and_then(|struck| struck.clone());
        match fault {
            Some((fault, _)) => fault,
            None => std::future::pending().await,
        }
    }

    /// Bytes that are there.
    pub(crate) fn completed(&self) -> u64 {
        self.0.completed()
    }
}

impl Transfers {
    pub(crate) fn new(faults: Arc<Faults>, pace: Pace) -> Self {
        Self { running: tokio::sync::Mutex::default(), faults, pace }
    }

    /// Waits for the blob with whoever waits already, or begins, or goes on with what is on disk.
    pub(crate) async fn join(self: &Arc<Self>, source: Source, place: &Path) -> Result<Waiter, String> {
        let mut running = self.running.lock().await;
        while let Some(transfer) = running.get(&source.digest).cloned() {
            transfer.waiters.fetch_add(1, Ordering::AcqRel);
            let waiter = Waiter(transfer);
            if !*waiter.0.cancelled.borrow() {
                return Ok(waiter);
            }
            drop(running);
            waiter.outcome().await.ok();
            running = self.running.lock().await;
            if running.get(&source.digest).is_some_and(|other| Arc::ptr_eq(other, &waiter.0)) {
                running.remove(&source.digest);
            }
        }
        let transfer = Arc::new(self.prepare(source, place).await?);
        running.insert(transfer.source.digest.clone(), Arc::clone(&transfer));
        let (transfers, begun) = (Arc::clone(self), Arc::clone(&transfer));
        tokio::spawn(async move {
            let outcome = begun.run(&transfers.faults, transfers.pace).await;
            let mut running = transfers.running.lock().await;
            if running.get(&begun.source.digest).is_some_and(|other| Arc::ptr_eq(other, &begun)) {
                running.remove(&begun.source.digest);
            }
            drop(running);
            begun.outcome.send_replace(Some(outcome));
        });
        Ok(Waiter(transfer))
    }

    async fn prepare(&self, source: Source, place: &Path) -> Result<Transfer, String> {
        let mut parts = parts_on_disk(place)?;
        if parts.is_empty() {
            let answer = fetch::ask(&source.base, "HEAD", &source.path, &[]).await?;
            let total = match (answer.status, answer.length) {
                (200, Some(total)) => total,
                (404, _) => return Err("file does not exist".to_owned()),
                (status, _) => return Err(format!("{status}: ")),
            };
            let size = self.pace.part_bytes.unwrap_or_else(|| (total / 16).clamp(100_000_000, 1_000_000_000));
            parts = parts_of(total, size.max(1));
            for part in &parts {
                part.write(place)?;
            }
        }
        Ok(Transfer {
            total: parts.iter().map(|part| part.size).sum(),
            source,
            place: place.to_owned(),
            parts,
            waiters: AtomicUsize::new(1),
            cancelled: watch::Sender::new(false),
            outcome: watch::Sender::new(None),
            struck: watch::Sender::new(None),
            looking: Mutex::default(),
            stopped: AtomicBool::new(false),
        })
    }
}

fn parts_of(total: u64, size: u64) -> Vec<Part> {
    let offsets = (0..total).step_by(usize::try_from(size).unwrap_or(usize::MAX)).enumerate();
    let part = |(number, offset): (usize, u64)| Part {
        number,
        offset,
        size: size.min(total - offset),
        completed: AtomicU64::new(0),
    };
    offsets.map(part).collect()
}

fn partial(place: &Path) -> PathBuf {
    PathBuf::from(format!("{}-partial", place.display()))
}

fn parts_on_disk(place: &Path) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    for number in numbers_on_disk(place) {
        let file = format!("{}-{number}", partial(place).display());
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        // As with Ollama, one that a full disk has left empty stops every pull of this blob until it is removed.
        let end = if text.is_empty() { "EOF" } else { "unexpected EOF" };
        let part: Value = serde_json::from_str(&text).map_err(|_| end.to_owned())?;
        let field = |name: &str| part[name].as_u64().unwrap_or(0);
        parts.push(Part {
            number,
            offset: field("Offset"),
            size: field("Size"),
            completed: AtomicU64::new(field("Completed")),
        });
    }
    Ok(parts)
}

/// Of the parts that are there, in order. As with Ollama, that some may be missing is not seen.
fn numbers_on_disk(place: &Path) -> Vec<usize> {
    let path = partial(place);
    let prefix = format!("{}-", path.file_name().unwrap_or_default().to_string_lossy());
    let folder = path.parent().unwrap_or(Path::new("."));
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let number = |name: std::ffi::OsString| name.to_str()?.strip_prefix(&prefix)?.parse().ok();
    let mut numbers: Vec<usize> = names.filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

impl Part {
    fn done(&self) -> u64 {
        self.completed.load(Ordering::Acquire)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "Ollama does not write it atomically, and so this must not"
    )]
    fn write(&self, place: &Path) -> Result<(), String> {
        let file = PathBuf::from(format!("{}-{}", partial(place).display(), self.number));
        let part =
            json!({"N": self.number, "Offset": self.offset, "Size": self.size, "Completed": self.done()});
        std::fs::write(&file, format!("{part}\n")).map_err(|error| words("write", &file, &error))
    }
}

impl Transfer {
    fn completed(&self) -> u64 {
        self.parts.iter().map(Part::done).sum()
    }

    async fn run(self: &Arc<Self>, faults: &Arc<Faults>, pace: Pace) -> Result<(), String> {
        let path = partial(&self.place);
        let file = File::options().create(true).write(true).truncate(false).open(&path);
        let file = Arc::new(file.map_err(|error| words("open", &path, &error))?);
        file.set_len(self.total).map_err(|error| words("truncate", &path, &error))?;
        let mut cancelled = self.cancelled.subscribe();
        let mut fetching = JoinSet::new();
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        for number in 0..self.parts.len() {
            let (transfer, file) = (Arc::clone(self), Arc::clone(&file));
            let (faults, slots) = (Arc::clone(faults), Arc::clone(&slots));
            fetching.spawn(async move {
                let _slot = slots.acquire().await;
                transfer.fetch(&transfer.parts[number], &file, &faults, pace).await
            });
        }
        let ended = loop {
            tokio::select! {
                part = fetching.join_next() => match part {
                    None => break Ok(()),
                    Some(Ok(Ok(()))) => {}
                    Some(Ok(Err(why))) => break Err(why),
                    Some(Err(error)) => break Err(error.to_string()),
                },
                _ = cancelled.wait_for(|cancelled| *cancelled) => break Err("context canceled".to_owned()),
            }
        };
        fetching.shutdown().await;
        // A process that is told to end like a killed one writes nothing more.
        if ended.is_err() && !self.stopped.load(Ordering::Acquire) {
            // Where the disk is full this fails too, and the first error is the one to tell.
            self.parts.iter().for_each(|part| drop(part.write(&self.place)));
        }
        ended?;
        // By place and not by number: where one is missing, this fails at every pull.
        for place in 0..self.parts.len() {
            let part = PathBuf::from(format!("{}-{place}", path.display()));
            std::fs::remove_file(&part).map_err(|error| words("remove", &part, &error))?;
        }
        std::fs::rename(&path, &self.place).map_err(|error| words("rename", &path, &error))
    }

    /// One part, with the tries that Ollama gives it; a stall does not count as one.
    async fn fetch(&self, part: &Part, file: &File, faults: &Faults, pace: Pace) -> Result<(), String> {
        let mut tries = 0;
        while part.done() < part.size {
            let why = match self.request(part, file, faults, pace.stall).await {
                Ok(()) => continue,
                Err(Failure::Stalled) => continue,
                Err(Failure::Disk(why)) => return Err(why),
                Err(Failure::Request(why)) => why,
            };
            part.write(&self.place)?;
            if tries == TRIES - 1 {
                return Err(format!("max retries exceeded: {why}"));
            }
            tokio::time::sleep(pace.retry * 2_u32.pow(tries)).await;
            tries += 1;
        }
        part.write(&self.place)
    }

    async fn request(
        &self,
        part: &Part,
        file: &File,
        faults: &Faults,
        stall: Duration,
    ) -> Result<(), Failure> {
        self.look(faults).await;
        let (start, stop) = (part.offset + part.done(), part.offset + part.size);
        let range = [("range", format!("bytes={start}-{}", stop - 1))];
        let asked =
            tokio::time::timeout(stall, fetch::ask(&self.source.base, "GET", &self.source.path, &range));
        let mut answer = asked.await.map_err(|_| Failure::Stalled)?.map_err(Failure::Request)?;
        if answer.status != 206 && !(answer.status == 200 && start == 0) {
            return Err(Failure::Request(format!("unexpected status code {}", answer.status)));
        }
        while part.done() < part.size {
            let data = tokio::time::timeout(stall, answer.next()).await.map_err(|_| Failure::Stalled)?;
            let data = data.ok_or_else(|| Failure::Request("unexpected EOF".to_owned()))?;
            for piece in data.map_err(Failure::Request)?.chunks(PIECE) {
                let left = usize::try_from(part.size - part.done()).unwrap_or(usize::MAX);
                let piece = &piece[..piece.len().min(left)];
                file.write_all_at(piece, part.offset + part.done())
                    .map_err(|error| Failure::Disk(words("write", &partial(&self.place), &error)))?;
                part.completed.fetch_add(piece.len() as u64, Ordering::AcqRel);
                self.look(faults).await;
            }
        }
        Ok(())
    }

    /// Where a fault has struck or strikes now, this ends when the faults are cleared, or never.
    async fn look(&self, faults: &Faults) {
        loop {
            let mut clearings = faults.clearings();
            let cleared = *clearings.borrow();
            match self.strikes(faults, cleared) {
                None => return,
                Some(fault) if fault.holds() => drop(clearings.changed().await),
                Some(_) => std::future::pending().await,
            }
        }
    }

    /// The fault that has struck, or strikes now, when the faults were cleared so often.
    fn strikes(&self, faults: &Faults, cleared: u64) -> Option<Fault> {
        let _one = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let struck = self.struck.borrow().clone();
        let stays = |(fault, then): &(Fault, u64)| !fault.holds() || *then >= cleared;
        if let Some((fault, _)) = struck.filter(stays) {
            return Some(fault);
        }
        let done = self.source.before + self.completed();
        let fault = faults.take_in_pull(&self.source.subject, done, self.source.total)?;
        self.stopped.store(fault.kind() == "exit", Ordering::Release);
        self.struck.send_replace(Some((fault.clone(), cleared)));
        Some(fault)
    }
}

enum Failure {
    Stalled,
    Disk(String),
    Request(String),
}
