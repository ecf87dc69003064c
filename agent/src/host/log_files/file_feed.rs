//! The log of one container, or one file of the node, as a [`Feed`].
//!
//! In: its files, as [`super::folder`] keeps them. Out: events in a builder, and places. What always holds: reading never
//! passes a line that is not written to its end, but in a file that is over; what was torn there is delivered as it is.

mod bound;

use super::budgets::Budgets;
use super::folder::Kept;
use super::keep::Source;
use super::watch::News;
use crate::logs::assemble::{Assembler, Taken};
use crate::logs::body::Builder;
use crate::logs::feed::{Ahead, Feed, FeedError, Filled, GivenUp, Place, Then};
use crate::logs::json_file::{Entry, Parser, second_beginning, torn_text};
use crate::logs::refine::Refined;
use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Notify;

/// Read at once: what stays in a processor's own cache until it is in the body. Longer lines are rare.
const CHUNK: usize = 64 * 1024;
/// A longer line is none of the engine's, and is delivered in pieces of this size.
const LONGEST_LINE: usize = 1024 * 1024;

/// What the lines of a log are.
#[derive(Debug)]
pub(super) enum Format {
    /// The engine's, one for each message or piece of one.
    Json(Parser),
    /// Each a message; its time is that at which the file was written last.
    Lines,
}

/// A writer that was told of a rotation may write to the file before for as long as this.
const LATE_WRITES_MS: i64 = 5_000;

/// Reads one log.
#[derive(Debug)]
pub(super) struct FileFeed {
    source: Source,
    news: Option<News>,
    budget: Option<Arc<Budgets>>,
    format: Format,
    assembler: Assembler<Place>,
    read: Place,
    delivered: Place,
    /// Where the rules stood at places that were read and not delivered, and at the delivered one.
    noted: VecDeque<(Place, Refined)>,
    /// The time of the last line, for what has none. Before the first one, when the file was written last.
    latest_ms: Option<i64>,
    buffer: Vec<u8>,
}

/// How reading one file went on.
enum Step {
    /// The builder is full.
    Full,
    /// There is no more in this file, for now or for ever.
    End,
}

impl FileFeed {
    pub(super) fn new(
        source: Source,
        format: Format,
        assembler: Assembler<Place>,
        news: Option<News>,
    ) -> FileFeed {
        let first = Place { file: 0, offset: 0 };
        FileFeed {
            source,
            news,
            budget: None,
            format,
            noted: assembler.noted().map(|noted| (first, noted)).into_iter().collect(),
            assembler,
            read: first,
            delivered: first,
            latest_ms: None,
            buffer: Vec::new(),
        }
    }

    /// The same, whose rules tell how far they are with what was delivered.
    pub(super) fn with_budget(self, budget: Option<Arc<Budgets>>) -> FileFeed {
        FileFeed { budget, ..self }
    }

    /// Bytes from a place to the end of the log.
    fn bytes_behind(&self, place: Place) -> Result<u64, FeedError> {
        let mut bytes = 0;
        for (number, kept) in self.source.folder.files().range(place.file..) {
            let size = self.size(kept)?;
            bytes += if *number == place.file { size.saturating_sub(place.offset) } else { size };
        }
        Ok(bytes)
    }

    fn size(&self, kept: &Kept) -> Result<u64, FeedError> {
        let metadata = kept.file.metadata().map_err(|source| self.failed("look at", source))?;
        Ok(metadata.size())
    }

    /// What was written is less than was read: somebody emptied the file.
    fn begin_anew_where_truncated(&mut self) -> Result<(), FeedError> {
        let Some(kept) = self.source.folder.files().get(&self.read.file) else { return Ok(()) };
        if self.size(kept)? < self.read.offset {
            let service = &self.source.service;
            tracing::warn!(service, "a log was emptied by somebody; it is read from its new beginning");
            self.read.offset = 0;
            self.delivered = self.delivered.min(self.read);
            self.assembler.go_back(None);
        }
        Ok(())
    }

    /// Moves on from a file that is over. `false`: there is no other one.
    fn next_file(&mut self) -> bool {
        let next = self.source.folder.files().range(self.read.file + 1..).next().map(|(number, _)| *number);
        if let Some(file) = next {
            self.read = Place { file, offset: 0 };
        }
        next.is_some()
    }

    fn is_over(&self) -> bool {
        self.source.folder.files().range(self.read.file + 1..).next().is_some()
    }

    /// Reads on in the present file.
    fn read_file(&mut self, into: &mut Builder) -> Result<Step, FeedError> {
        let mut wanted = CHUNK;
        loop {
            let got = self.read_chunk(wanted)?;
            if got == 0 {
                return Ok(Step::End);
            }
            let buffer = std::mem::take(&mut self.buffer);
            let taken = self.take_lines(&buffer[..got], into);
            let whole = taken.as_ref().is_none_or(|used| *used > 0);
            self.buffer = buffer;
            if taken.is_none() {
                return Ok(Step::Full);
            }
            if whole {
                wanted = CHUNK;
                continue;
            }
            // Not one line ends in it.
            if got == wanted && wanted < LONGEST_LINE {
                wanted = LONGEST_LINE;
            } else if got >= LONGEST_LINE || self.is_over() {
                if self.take_torn(got, into) == Taken::Full {
                    return Ok(Step::Full);
                }
                wanted = CHUNK;
            } else {
                return Ok(Step::End);
            }
        }
    }

    fn read_chunk(&mut self, wanted: usize) -> Result<usize, FeedError> {
        let Some(kept) = self.source.folder.files().get(&self.read.file) else { return Ok(0) };
        // A log that has a line every second needs no room for more.
        let there = self.size(kept)?.saturating_sub(self.read.offset);
        let wanted = usize::try_from(there).map_or(wanted, |there| wanted.min(there));
        self.buffer.resize(wanted, 0);
        let mut got = 0;
        while got < wanted {
            let offset = self.read.offset + got as u64;
            match kept.file.read_at(&mut self.buffer[got..wanted], offset) {
                Ok(0) => break,
                Ok(more) => got += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.failed("read", source)),
            }
        }
        Ok(got)
    }

    /// Takes the lines that end in `chunk`; how many bytes they are. `None`: the builder is full before one of them.
    fn take_lines(&mut self, chunk: &[u8], into: &mut Builder) -> Option<usize> {
        let mut begin = 0;
        for end in memchr::memchr_iter(b'\n', chunk) {
            if self.take_line(&chunk[begin..end], into) == Taken::Full {
                return None;
            }
            self.read.offset += 1;
            begin = end + 1;
        }
        Some(begin)
    }

    /// Takes one line without its break, and moves behind it.
    fn take_line(&mut self, line: &[u8], into: &mut Builder) -> Taken {
        if matches!(self.format, Format::Lines) {
            let (time, begins) = (self.written_ms(), self.read);
            let taken = self.assembler.text(time, line, begins, into);
            if taken == Taken::Yes {
                self.latest_ms = Some(time);
                self.read.offset += line.len() as u64;
            }
            return taken;
        }
        let mut rest = line;
        loop {
            if let Some(entry) = self.parsed(rest) {
                let taken = self.assembler.entry(&entry, self.read, into);
                if taken == Taken::Yes {
                    self.latest_ms = Some(entry.timestamp_ms);
                    self.read.offset += rest.len() as u64;
                }
                return taken;
            }
            let torn = second_beginning(rest).unwrap_or(rest.len());
            let text = torn_text(&rest[..torn]);
            let (time, begins) = (self.time_of_torn(), self.read);
            if self.assembler.text(time, text.as_bytes(), begins, into) == Taken::Full {
                return Taken::Full;
            }
            self.read.offset += torn as u64;
            rest = &rest[torn..];
            if rest.is_empty() {
                return Taken::Yes;
            }
        }
    }

    fn parsed<'line>(&mut self, line: &'line [u8]) -> Option<Entry<'line>> {
        match &mut self.format {
            Format::Json(parser) => parser.line(line),
            Format::Lines => None,
        }
    }

    /// Takes the first `bytes` of the buffer, in which no line ends.
    fn take_torn(&mut self, bytes: usize, into: &mut Builder) -> Taken {
        let buffer = std::mem::take(&mut self.buffer);
        let taken = match self.format {
            Format::Json(_) => {
                let text = torn_text(&buffer[..bytes]);
                self.assembler.text(self.time_of_torn(), text.as_bytes(), self.read, into)
            }
            Format::Lines => self.assembler.text(self.written_ms(), &buffer[..bytes], self.read, into),
        };
        self.buffer = buffer;
        if taken == Taken::Yes {
            self.read.offset += bytes as u64;
        }
        taken
    }

    fn time_of_torn(&self) -> i64 {
        self.latest_ms.unwrap_or_else(|| self.written_ms())
    }

    /// When the present file was written last; never before what was read before.
    fn written_ms(&self) -> i64 {
        let kept = self.source.folder.files().get(&self.read.file);
        let metadata = kept.and_then(|kept| kept.file.metadata().ok());
        let written =
            metadata.map_or(0, |metadata| metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000);
        written.max(self.latest_ms.unwrap_or_default())
    }

    /// Whether nobody writes to the present file any more, now that there is another one.
    fn may_leave(&self, now_ms: i64) -> bool {
        match self.format {
            // The engine closes a file before it begins the next one.
            Format::Json(_) => true,
            Format::Lines => {
                let kept = self.source.folder.files().get(&self.read.file);
                let metadata = kept.and_then(|kept| kept.file.metadata().ok());
                metadata.is_none_or(|metadata| metadata.mtime() * 1000 + LATE_WRITES_MS < now_ms)
            }
        }
    }

    /// Has the bell ring at the next write to what may still be written to.
    fn rings_when_written_to(&self) -> bool {
        let Some(news) = &self.news else { return false };
        let files = self.source.folder.files();
        !files.is_empty()
            && (news.is_armed() || news.arm(files.range(self.read.file..).map(|(_, kept)| &kept.file)))
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> FeedError {
        FeedError { operation, path: self.source.path.clone(), source }
    }

    /// Nothing of a file is needed any more when all of it was delivered and nobody else has it; but the newest gives the
    /// others their numbers.
    fn drop_what_is_delivered(&mut self) {
        let newest = self.source.folder.files().last_key_value().map(|(number, _)| *number);
        let before: Vec<u64> =
            self.source.folder.files().range(..self.delivered.file).map(|(number, _)| *number).collect();
        for number in before {
            if Some(number) != newest && self.source.folder.is_only_ours(number) {
                self.source.folder.remove(number);
            }
        }
    }
}

impl Feed for FileFeed {
    fn begin(&mut self, delivered: Option<Place>) {
        if let Some(place) = delivered {
            (self.read, self.delivered) = (place, place);
        }
    }

    fn bell(&self) -> Option<Arc<Notify>> {
        self.news.as_ref().map(News::bell)
    }

    fn look(&mut self) -> Result<Ahead, FeedError> {
        // Asked first: what is found afterwards was written before.
        let engine_has_it = self.source.path.parent().is_some_and(Path::exists);
        let history = matches!(self.format, Format::Json(_));
        let there = self.source.folder.find_files(&self.source.path, history)?;
        let ended = if history { !engine_has_it } else { !there };
        self.begin_anew_where_truncated()?;
        self.drop_what_is_delivered();
        let mut owed = self.bytes_behind(self.delivered)?;
        let rings = owed == 0 && !ended && self.rings_when_written_to();
        if rings {
            // What was written before the bell was armed does not ring.
            owed = self.bytes_behind(self.delivered)?;
        }
        let unread = self.bytes_behind(self.read)?;
        let kept = if owed > 0 { self.kept_bytes() } else { 0 };
        Ok(Ahead { unread, owed, kept, ended, says_at_ms: self.assembler.says_at_ms(), rings })
    }

    fn fill(&mut self, into: &mut Builder, then: Then, now_ms: i64) -> Result<Filled, FeedError> {
        self.assembler.it_is(now_ms);
        if !self.source.folder.files().contains_key(&self.read.file) {
            self.next_file();
        }
        let more = loop {
            match self.read_file(into)? {
                Step::Full => break true,
                Step::End if self.may_leave(now_ms) && self.next_file() => {}
                Step::End if then == Then::More => break false,
                Step::End => break self.assembler.close(then, self.read, into) == Taken::Full,
            }
        };
        // Between two fills nothing is held.
        self.buffer = Vec::new();
        let behind = self.assembler.owed_from(self.read);
        self.noted.extend(self.assembler.noted().map(|noted| (behind, noted)));
        Ok(Filled { behind, more, left_out: self.assembler.take_left_out() })
    }

    fn delivered(&mut self, upto: Place) {
        self.delivered = upto;
        while self.noted.get(1).is_some_and(|(place, _)| *place <= upto) {
            self.noted.pop_front();
        }
        if let (Some(budget), Some((_, refined))) = (&self.budget, self.noted.front()) {
            budget.note(&self.source.service, refined.state());
        }
        self.drop_what_is_delivered();
    }

    fn go_back(&mut self) {
        self.read = self.delivered;
        self.noted.truncate(1);
        self.assembler.go_back(self.noted.front().map(|(_, noted)| noted));
    }

    fn give_up_oldest(&mut self) -> Result<Option<GivenUp>, FeedError> {
        self.give_up()
    }

    fn finish(&mut self) {
        self.source.folder.clear();
    }
}

#[cfg(test)]
#[path = "file_feed_tests.rs"]
mod tests;
