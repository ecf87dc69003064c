//! How far each log was delivered, on disk: one line for each answer, in one file.
//!
//! In: places, moved only after the destination's answer. Out: `log-places.jsonl` in the agent's state directory. What
//! always holds: the file is never ahead of what was delivered, and a kill of the agent loses nothing of it: a line is
//! written before the next batch is. It reaches the disk itself every few seconds ([`Places::sync`]), so that a power
//! failure repeats some seconds of logs. Lines that make no sense are skipped; the last of each source counts.

use super::feed::Place;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// In the agent's state directory.
pub const FILE_NAME: &str = "log-places.jsonl";

/// Only root needs to know.
const MODE: u32 = 0o600;

/// Beyond this size the file is written anew with the last line of each source: half a minute of full speed.
const LARGEST: u64 = 256 * 1024;

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    source: String,
    /// Absent: the source is gone.
    place: Option<Place>,
}

#[derive(Debug, Default)]
struct Memory {
    places: BTreeMap<String, Place>,
    file: Option<File>,
    bytes: u64,
    unsynced: bool,
}

/// The places of all sources.
#[derive(Debug)]
pub struct Places {
    path: PathBuf,
    memory: Mutex<Memory>,
}

impl Places {
    /// What an earlier run left; nothing when there is no file. With an error come no places, and everything that is
    /// still there is delivered again.
    pub fn load(directory: &Path) -> (Places, Option<io::Error>) {
        let path = directory.join(FILE_NAME);
        let (places, error) = match std::fs::read(&path) {
            Ok(content) => (read(&content), None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (BTreeMap::new(), None),
            Err(error) => (BTreeMap::new(), Some(error)),
        };
        // The first line is written into a file made anew.
        let memory = Memory { places, bytes: LARGEST, ..Memory::default() };
        (Places { path, memory: Mutex::new(memory) }, error)
    }

    /// Up to where a source was delivered.
    pub fn of(&self, source: &str) -> Option<Place> {
        self.memory().places.get(source).copied()
    }

    /// Everything before `place` was delivered. With an error it is remembered, but not on disk.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn delivered(&self, source: &str, place: Place) -> io::Result<()> {
        let mut memory = self.memory();
        memory.places.insert(source.to_owned(), place);
        self.append(&mut memory, &Line { source: source.to_owned(), place: Some(place) })
    }

    /// A source is gone, and everything of it was delivered.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn forget(&self, source: &str) -> io::Result<()> {
        let mut memory = self.memory();
        if memory.places.remove(source).is_none() {
            return Ok(());
        }
        self.append(&mut memory, &Line { source: source.to_owned(), place: None })
    }

    /// Whether everything that was written is on the disk.
    pub fn is_synced(&self) -> bool {
        !self.memory().unsynced
    }

    /// Brings what was written to the disk.
    ///
    /// # Errors
    /// It cannot be.
    pub fn sync(&self) -> io::Result<()> {
        let file = {
            let mut memory = self.memory();
            if !std::mem::take(&mut memory.unsynced) {
                return Ok(());
            }
            memory.file.as_ref().map(File::try_clone).transpose()?
        };
        file.map_or(Ok(()), |file| file.sync_data())
    }

    fn append(&self, memory: &mut Memory, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let added = text.len() as u64;
        match &mut memory.file {
            Some(file) if memory.bytes + added <= LARGEST => {
                if let Err(error) = file.write_all(&text) {
                    // Half a line may be there: the next one goes into a new file.
                    memory.file = None;
                    return Err(error);
                }
            }
            _ => return self.rewrite(memory),
        }
        memory.bytes += added;
        memory.unsynced = true;
        Ok(())
    }

    fn rewrite(&self, memory: &mut Memory) -> io::Result<()> {
        let mut text = Vec::new();
        for (source, place) in &memory.places {
            serde_json::to_writer(&mut text, &Line { source: source.clone(), place: Some(*place) })?;
            text.push(b'\n');
        }
        memory.file = None;
        node::files::replace(&self.path, &text, MODE)?;
        memory.file = Some(OpenOptions::new().append(true).mode(MODE).open(&self.path)?);
        memory.bytes = text.len() as u64;
        memory.unsynced = false;
        Ok(())
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Every change is whole before the lock is given back, so what a panic leaves behind is right.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(content: &[u8]) -> BTreeMap<String, Place> {
    let mut places = BTreeMap::new();
    for line in content.split(|byte| *byte == b'\n') {
        match serde_json::from_slice(line) {
            Ok(Line { source, place: Some(place) }) => drop(places.insert(source, place)),
            Ok(Line { source, place: None }) => drop(places.remove(&source)),
            // The end of a write that a power failure cut.
            Err(_) => {}
        }
    }
    places
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
