//! The journal of this machine as a source of log lines: entry after entry, each with the cursor to go on behind it.
//!
//! In: which units, and where to begin. Out: entries in the journal's order; whether the beginning was the one asked for.
//! What always holds:
//!
//! - behind the cursor of an entry comes exactly what came behind the entry, through rotation and restarts;
//! - a cursor whose entry is gone (vacuumed, another journal) is said, and reading begins at the oldest entry behind its
//!   place; only where that cannot be told, entries are given again. None that is still there is skipped;
//! - an entry that cannot be read (a damaged file) is counted, and ends nothing.
//!
//! libsystemd reads files and waits for the kernel to tell of changes, and its handle must stay on the thread that made it
//! (the type is not `Send`). So a feed lives on *one thread of its own*, made with `std::thread`, never on one of the async
//! runtime: the thread opens it, loops over [`JournalFeed::read_next`] until there is nothing, hands on what it got through a
//! bounded channel, and then calls [`JournalFeed::wait`], which is also how libsystemd hears of rotated and deleted files
//! and lets go of them. Not its job: remembering cursors, joining or shaping lines.

use node::config::settings::Units;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;
use systemd::id128::Id128;
use systemd::journal::{Journal, OpenDirectoryOptions, OpenOptions};

/// What of one message is read. Longer ones are memory dumps; the agent has 192 MB for everything.
const MESSAGE_BYTES: usize = 4 << 20;

/// What the kernel says when memory has run out: who asked for it, which group, who was killed.
const OUT_OF_MEMORY: [&[u8]; 4] =
    [b"invoked oom-killer", b"oom-kill:", b"Memory cgroup out of memory", b"Out of memory: Kill"];

/// What is read of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What these units wrote, and what systemd says of them.
    pub units: Units,
    /// The kernel's messages about memory that ran out.
    pub kernel: bool,
}

/// Where reading begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// Behind the entry with this cursor.
    After(String),
    /// With the first entry of this time or later, in milliseconds since 1970.
    Since(i64),
}

/// Where reading began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Began {
    /// Where it should.
    AsAsked,
    /// The entry of the cursor is gone, and with it perhaps others behind it. Reading began at the oldest that is behind its
    /// place.
    BehindAGap,
    /// The cursor is none of this journal: what was delivered before may be given again.
    Again,
}

/// Who wrote an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This unit, or systemd about it.
    Unit(String),
    /// The kernel.
    Kernel,
}

/// One entry.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// When the journal got it.
    pub timestamp_ms: i64,
    /// Who wrote it.
    pub origin: Origin,
    /// Of a container whose engine writes to the journal: its id, shortened as the engine does it.
    pub container: Option<String>,
    /// What was written, which may be several lines, and no text.
    pub message: Vec<u8>,
    /// It was longer than what is read of one.
    pub is_cut: bool,
    /// To go on behind it.
    pub cursor: String,
}

/// What an application wrote is shipped and never printed, so that no trace or failed assertion can show it.
impl std::fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Entry({} ms, {:?}, {} bytes)", self.timestamp_ms, self.origin, self.message.len())
    }
}

/// The journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the journal")]
pub struct JournalError {
    action: &'static str,
    source: systemd::Error,
}

impl node::fault::Hint for JournalError {
    fn hint(&self) -> Option<String> {
        Some("look at `journalctl --verify` and at the disk of /var/log/journal".to_owned())
    }
}

/// Names what failed.
fn to(action: &'static str) -> impl Fn(systemd::Error) -> JournalError {
    move |source| JournalError { action, source }
}

/// The journal, read on.
pub struct JournalFeed {
    journal: Journal,
    wanted: Wanted,
    began: Began,
    /// It stands on an entry that was not given yet.
    is_on_next: bool,
    unreadable: u64,
}

impl JournalFeed {
    /// The journal of this machine's system.
    pub fn open(wanted: Wanted, begin: &Begin) -> Result<JournalFeed, JournalError> {
        let journal = OpenOptions::default().system(true).local_only(true).open();
        JournalFeed::new(journal.map_err(to("open"))?, wanted, begin)
    }

    /// The journal files in a directory.
    pub fn open_directory(
        directory: &Path,
        wanted: Wanted,
        begin: &Begin,
    ) -> Result<JournalFeed, JournalError> {
        let invalid = |_| systemd::Error::from(std::io::Error::from(std::io::ErrorKind::InvalidInput));
        let path = CString::new(directory.as_os_str().as_bytes()).map_err(invalid).map_err(to("open"))?;
        let journal = OpenDirectoryOptions::default().open_directory(path.as_c_str());
        JournalFeed::new(journal.map_err(to("open"))?, wanted, begin)
    }

    fn new(mut journal: Journal, wanted: Wanted, begin: &Begin) -> Result<JournalFeed, JournalError> {
        journal.set_data_threshold(MESSAGE_BYTES).map_err(to("open"))?;
        let mut feed =
            JournalFeed { journal, wanted, began: Began::AsAsked, is_on_next: false, unreadable: 0 };
        match begin {
            Begin::Since(milliseconds) => {
                feed.only_what_is_wanted()?;
                let microseconds = u64::try_from(milliseconds.saturating_mul(1000)).unwrap_or_default();
                feed.journal.seek_realtime_usec(microseconds).map_err(to("seek in"))?;
            }
            Begin::After(cursor) => feed.go_behind(cursor)?,
        }
        Ok(feed)
    }

    /// Where reading began.
    pub fn began(&self) -> Began {
        self.began
    }

    /// How many entries could not be read.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// The next entry, or none as yet. Does not wait for one.
    pub fn read_next(&mut self) -> Result<Option<Entry>, JournalError> {
        if self.wanted == (Wanted { units: Units::These(Vec::new()), kernel: false }) {
            // Nothing to ask the journal for would be everything.
            return Ok(None);
        }
        loop {
            if !std::mem::take(&mut self.is_on_next) && !self.step()? {
                return Ok(None);
            }
            match self.read() {
                Ok(Some(entry)) => return Ok(Some(entry)),
                Ok(None) => {}
                Err(_) => self.unreadable += 1,
            }
        }
    }

    /// Waits until the journal has changed, or for so long; whether it has changed.
    pub fn wait(&mut self, limit: Duration) -> Result<bool, JournalError> {
        use systemd::journal::JournalWaitResult;
        let result = self.journal.wait(Some(limit)).map_err(to("wait for"))?;
        Ok(!matches!(result, JournalWaitResult::Nop))
    }

    fn step(&mut self) -> Result<bool, JournalError> {
        self.journal.next().map(|steps| steps > 0).map_err(to("read"))
    }

    /// Terms of one field are any of them, terms of several are all of them, and a disjunction begins another choice.
    fn only_what_is_wanted(&mut self) -> Result<(), JournalError> {
        for (index, terms) in choices(&self.wanted).into_iter().enumerate() {
            if index > 0 {
                self.journal.match_or().map_err(to("filter"))?;
            }
            for (field, value) in terms {
                self.journal.match_add(field, value).map_err(to("filter"))?;
            }
        }
        Ok(())
    }

    /// Looks for the entry among all, for it need not be wanted any more; then takes its place among those that are.
    fn go_behind(&mut self, cursor: &str) -> Result<(), JournalError> {
        if self.journal.seek_cursor(cursor).is_err() {
            // No cursor at all.
            self.began = Began::Again;
            self.only_what_is_wanted()?;
            return self.journal.seek_head().map_err(to("seek in"));
        }
        let is_there = self.step()? && self.is_at(cursor)?;
        self.only_what_is_wanted()?;
        self.journal.seek_cursor(cursor).map_err(to("seek in"))?;
        let is_on_one = self.step()?;
        self.is_on_next = is_on_one && !self.is_at(cursor)?;
        if is_there {
            return Ok(());
        }
        self.began = Began::BehindAGap;
        if is_on_one { Ok(()) } else { self.nothing_is_behind(cursor) }
    }

    fn is_at(&self, cursor: &str) -> Result<bool, JournalError> {
        self.journal.test_cursor(cursor).map_err(to("seek in"))
    }

    /// The entry is gone, and all that there is lies before its place. In the boot that it was written in that is so, and
    /// what comes next is new. Of another boot only the clock tells, which may have been set back since: then this boot is
    /// given from its beginning, and so is every file without an entry of it.
    fn nothing_is_behind(&mut self, cursor: &str) -> Result<(), JournalError> {
        let boot = Id128::from_boot().map_err(to("seek in"))?;
        let is_of_this_boot = cursor.split(';').any(|part| part == format!("b={boot}"));
        if !is_of_this_boot {
            self.began = Began::Again;
            return self.journal.seek_monotonic_usec(boot, 0).map_err(to("seek in"));
        }
        self.journal.seek_tail().map_err(to("seek in"))?;
        if self.journal.previous().map_err(to("read"))? == 0 {
            // From the end of nothing libsystemd would never move.
            self.journal.seek_head().map_err(to("seek in"))?;
        }
        Ok(())
    }

    /// The entry it stands on, if it is wanted.
    fn read(&mut self) -> Result<Option<Entry>, systemd::Error> {
        let Some(origin) = self.origin()? else { return Ok(None) };
        let mut message = self.field("MESSAGE")?.unwrap_or_default();
        if origin == Origin::Kernel && !is_about_memory(&message) {
            return Ok(None);
        }
        let is_cut = message.len() > MESSAGE_BYTES;
        message.truncate(MESSAGE_BYTES);
        let timestamp_ms = i64::try_from(self.journal.timestamp_usec()? / 1000).unwrap_or(i64::MAX);
        let container = self.text("CONTAINER_ID")?;
        Ok(Some(Entry { timestamp_ms, origin, container, message, is_cut, cursor: self.journal.cursor()? }))
    }

    fn origin(&mut self) -> Result<Option<Origin>, systemd::Error> {
        let mut unit = self.text("_SYSTEMD_UNIT")?;
        if self.text("_PID")?.as_deref() == Some("1") {
            unit = self.text("UNIT")?.or(unit);
        }
        Ok(match (unit, &self.wanted.units) {
            (Some(unit), Units::All) => Some(Origin::Unit(unit)),
            (Some(unit), Units::These(units)) => units.contains(&unit).then_some(Origin::Unit(unit)),
            (None, _) if self.wanted.kernel => {
                (self.text("_TRANSPORT")?.as_deref() == Some("kernel")).then_some(Origin::Kernel)
            }
            (None, _) => None,
        })
    }

    fn text(&mut self, field: &str) -> Result<Option<String>, systemd::Error> {
        Ok(self.field(field)?.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    fn field(&mut self, field: &str) -> Result<Option<Vec<u8>>, systemd::Error> {
        let found = self.journal.get_data(field)?;
        Ok(found.and_then(|found| found.value().map(<[u8]>::to_vec)))
    }
}

/// What an entry may have; without any choice all entries will do.
fn choices(wanted: &Wanted) -> Vec<Vec<(&'static str, &str)>> {
    let Units::These(units) = &wanted.units else { return Vec::new() };
    let named = |field| units.iter().map(move |unit| (field, unit.as_str()));
    let mut choices = Vec::new();
    if !units.is_empty() {
        choices.push(named("_SYSTEMD_UNIT").collect());
        // What systemd says of them: started, failed, killed. Others may claim to be about a unit; it is the first process.
        choices.push(std::iter::once(("_PID", "1")).chain(named("UNIT")).collect());
    }
    if wanted.kernel {
        choices.push(vec![("_TRANSPORT", "kernel")]);
    }
    choices
}

fn is_about_memory(message: &[u8]) -> bool {
    OUT_OF_MEMORY.iter().any(|words| message.windows(words.len()).any(|window| window == *words))
}

#[cfg(test)]
#[path = "journal_feed_tests.rs"]
mod tests;
