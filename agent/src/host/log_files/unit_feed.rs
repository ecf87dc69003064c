//! The journal of one unit, of all, or the kernel's words about memory, as a [`Feed`].
//!
//! In: entries from a thread of its own, which is where libsystemd has to stay. Out: events and places. What always holds:
//! what was not delivered is held here, within [`BYTES_AHEAD`], and is read again from here; the rest stays in the journal.
//! The place is a count; the cursor that belongs to it is remembered in a file when it was delivered.

use crate::host::systemd::journal_feed::{Began, Begin, Entry, JournalFeed, Origin, Wanted};
use crate::logs::assemble::Assembler;
use crate::logs::body::Builder;
use crate::logs::feed::{Ahead, Feed, FeedError, Filled, GivenUp, Place, Then};
use crate::logs::held::Held;
use node::config::settings::Units;
use node::fault::one_line;
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// Held in memory of one feed at most, so that a batch can be filled.
const BYTES_AHEAD: usize = 1 << 20;
/// Entries between the thread and the feed.
const ENTRIES_AHEAD: usize = 64;
/// The journal wakes its reader when it is written to; this is how late a reader sees that nobody takes anything any more.
const PATIENCE: Duration = Duration::from_secs(5);
/// Only root needs to know.
const MODE: u32 = 0o600;

/// The journal of some units.
pub(super) struct UnitFeed {
    wanted: Wanted,
    /// Of the cursor.
    path: PathBuf,
    /// In milliseconds since 1970: where reading begins the first time.
    since_ms: i64,
    entries: Option<Receiver<Entry>>,
    /// Held for as long as somebody takes what is read: the thread looks.
    taker: Arc<()>,
    bell: Arc<Notify>,
    assembler: Assembler<Place>,
    held: Held<Entry>,
}

impl UnitFeed {
    /// Begins behind the cursor in the file at `path`, else at `since_ms`.
    pub(super) fn new(wanted: Wanted, path: PathBuf, since_ms: i64, max_event: usize) -> UnitFeed {
        UnitFeed {
            wanted,
            path,
            since_ms,
            entries: None,
            taker: Arc::default(),
            bell: Arc::default(),
            assembler: Assembler::new(max_event, None),
            held: Held::default(),
        }
    }

    fn start(&mut self) -> Result<(), FeedError> {
        let cursor = match std::fs::read_to_string(&self.path) {
            Ok(cursor) => Some(cursor),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(FeedError { operation: "read", path: self.path.clone(), source }),
        };
        let begin = cursor.map_or(Begin::Since(self.since_ms), Begin::After);
        let (sender, entries) = sync_channel(ENTRIES_AHEAD);
        let (wanted, bell) = (self.wanted.clone(), Arc::clone(&self.bell));
        self.taker = Arc::default();
        let taker = Arc::downgrade(&self.taker);
        let thread = std::thread::Builder::new().name("journal".to_owned());
        thread
            .spawn(move || read_on(wanted, &begin, (&sender, &taker), &bell))
            .map_err(|source| FeedError { operation: "begin to read", path: "the journal".into(), source })?;
        self.entries = Some(entries);
        Ok(())
    }

    /// Takes what the thread has read, as far as there is room.
    fn take(&mut self) -> Result<(), FeedError> {
        while self.held.bytes() < BYTES_AHEAD {
            let Some(entries) = &self.entries else { return self.start() };
            match entries.try_recv() {
                Ok(entry) => {
                    let bytes = size(&entry);
                    self.held.push(entry, bytes);
                }
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => {
                    // It has said why; what was not taken is read anew from behind what is held.
                    self.entries = None;
                    self.held.clear();
                    let source = io::Error::other("its reader has ended");
                    return Err(FeedError { operation: "go on reading", path: "the journal".into(), source });
                }
            }
        }
        Ok(())
    }
}

/// With all units in one stream, each line says whose it is.
fn text<'entry>(units: &Units, entry: &'entry Entry) -> Cow<'entry, [u8]> {
    match (units, &entry.origin) {
        (Units::All, Origin::Unit(unit)) => [unit.as_bytes(), b": ", &entry.message].concat().into(),
        _ => Cow::Borrowed(&entry.message),
    }
}

fn size(entry: &Entry) -> usize {
    entry.message.len() + entry.cursor.len()
}

/// Reads until nobody takes anything any more.
fn read_on(wanted: Wanted, begin: &Begin, (entries, taker): (&SyncSender<Entry>, &Weak<()>), bell: &Notify) {
    let mut journal = match JournalFeed::open(wanted, begin) {
        Ok(journal) => journal,
        Err(error) => return tracing::warn!(reason = one_line(&error), "the journal is not shipped for now"),
    };
    if journal.began() != Began::AsAsked {
        tracing::warn!("what was to be read next is no longer in the journal; it goes on behind that");
    }
    loop {
        match journal.read_next() {
            Ok(Some(entry)) => {
                if entries.send(entry).is_err() {
                    return;
                }
                bell.notify_one();
            }
            Ok(None) => {
                if let Err(error) = journal.wait(PATIENCE) {
                    return tracing::warn!(reason = one_line(&error), "the journal is not shipped for now");
                }
                // A silent journal would never say it.
                if taker.strong_count() == 0 {
                    return;
                }
            }
            Err(error) => {
                return tracing::warn!(reason = one_line(&error), "the journal is not shipped for now");
            }
        }
    }
}

impl Feed for UnitFeed {
    fn begin(&mut self, delivered: Option<Place>) {
        self.held.begin(delivered);
    }

    fn look(&mut self) -> Result<Ahead, FeedError> {
        self.take()?;
        Ok(Ahead { rings: self.entries.is_some(), ..self.held.ahead() })
    }

    fn fill(&mut self, into: &mut Builder, _: Then, now_ms: i64) -> Result<Filled, FeedError> {
        self.assembler.it_is(now_ms);
        self.take()?;
        let units = &self.wanted.units;
        Ok(self.held.fill(&mut self.assembler, into, |entry| (entry.timestamp_ms, text(units, entry))))
    }

    fn delivered(&mut self, upto: Place) {
        if let Some(Entry { cursor, .. }) = self.held.delivered(upto)
            && let Err(error) = remember(&self.path, &cursor)
        {
            tracing::warn!(reason = one_line(&error), "cannot remember how far the journal was delivered");
        }
    }

    fn go_back(&mut self) {
        self.held.go_back();
        self.assembler.go_back(None);
    }

    fn give_up_oldest(&mut self) -> Result<Option<GivenUp>, FeedError> {
        // The journal has bounds of its own.
        Ok(None)
    }

    fn finish(&mut self) {}
}

/// Whole or not at all, also over a kill. Not synced: after a power failure some seconds are delivered again.
fn remember(path: &Path, cursor: &str) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let temporary = path.with_extension("new");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&temporary)?;
    file.write_all(cursor.as_bytes())?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::body::PUT_LOG_EVENTS;
    use crate::logs::sink::Destination;

    /// A feed that somebody else fills.
    fn feed(directory: &Path, units: Units) -> (UnitFeed, SyncSender<Entry>) {
        let wanted = Wanted { units, kernel: false };
        let mut feed = UnitFeed::new(wanted, directory.join("api.cursor"), 0, 1000);
        let (sender, entries) = sync_channel(ENTRIES_AHEAD);
        feed.entries = Some(entries);
        (feed, sender)
    }

    fn entry(number: i64) -> Entry {
        Entry {
            timestamp_ms: number,
            origin: Origin::Unit("api.service".to_owned()),
            container: None,
            message: format!("line {number}").into_bytes(),
            is_cut: false,
            cursor: format!("cursor {number}"),
        }
    }

    fn read(feed: &mut UnitFeed) -> (Vec<String>, Place) {
        let destination = Destination { group: "g".to_owned(), stream: "s".to_owned() };
        let mut into = Builder::new(&destination, PUT_LOG_EVENTS);
        let filled = feed.fill(&mut into, Then::More, 1_000).unwrap();
        let Some(body) = into.finish() else { return (Vec::new(), filled.behind) };
        let request: serde_json::Value = serde_json::from_slice(&body.json()).unwrap();
        let text = |event: &serde_json::Value| event["message"].as_str().unwrap().to_owned();
        (request["logEvents"].as_array().unwrap().iter().map(text).collect(), filled.behind)
    }

    #[test]
    fn what_was_not_delivered_is_read_again_and_the_cursor_is_that_of_what_was() {
        let directory = tempfile::tempdir().unwrap();
        let (mut feed, journal) = feed(directory.path(), Units::These(vec!["api.service".to_owned()]));
        (1..=3).for_each(|number| journal.send(entry(number)).unwrap());
        assert!(feed.look().unwrap().unread > 0);
        let (first, behind) = read(&mut feed);
        assert_eq!(first, ["line 1", "line 2", "line 3"]);
        feed.go_back();
        assert_eq!(read(&mut feed).0, first);
        feed.delivered(Place { file: 0, offset: behind.offset - 1 });
        assert_eq!(std::fs::read_to_string(directory.path().join("api.cursor")).unwrap(), "cursor 2");
        feed.go_back();
        assert_eq!(read(&mut feed).0, ["line 3"]);
        feed.delivered(behind);
        assert_eq!(feed.look().unwrap(), Ahead { rings: true, ..Ahead::default() });
    }

    #[test]
    fn all_units_in_one_stream_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let (mut feed, journal) = feed(directory.path(), Units::All);
        journal.send(entry(1)).unwrap();
        assert_eq!(read(&mut feed).0, ["api.service: line 1"]);
    }

    #[test]
    fn no_more_is_held_than_fits_however_much_there_is() {
        let directory = tempfile::tempdir().unwrap();
        let (mut feed, journal) = feed(directory.path(), Units::All);
        let large = |number| Entry { message: vec![b'x'; BYTES_AHEAD / 4], ..entry(number) };
        (0..20).for_each(|number| journal.send(large(number)).unwrap());
        let ahead = feed.look().unwrap();
        assert!(ahead.owed >= BYTES_AHEAD as u64 && ahead.owed < 2 * BYTES_AHEAD as u64, "{ahead:?}");
    }

    #[test]
    fn a_reader_that_ended_is_an_error_and_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (mut feed, journal) = feed(directory.path(), Units::All);
        drop(journal);
        assert!(feed.look().is_err());
        assert!(feed.entries.is_none(), "the next look begins anew");
    }
}
