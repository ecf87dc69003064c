//! What of a log only we keep, and giving up the oldest of it.

use super::super::folder::Kept;
use super::{FileFeed, Step};
use crate::logs::assemble::Taken;
use crate::logs::body::{Builder, PUT_LOG_EVENTS};
use crate::logs::feed::{FeedError, GivenUp, Place, Then};
use crate::logs::sink::Destination;
use std::cmp::Ordering;

impl FileFeed {
    /// Gives up what is owed of the oldest file, if only we have it.
    pub(super) fn give_up(&mut self) -> Result<Option<GivenUp>, FeedError> {
        let Some(file) = self.oldest_kept() else { return Ok(None) };
        self.read = self.delivered.max(Place { file, offset: 0 });
        self.assembler.go_back(self.noted.front().map(|(_, noted)| noted));
        let events = self.count_events()?;
        self.next_file();
        self.delivered = self.read;
        self.noted = self.assembler.noted().map(|noted| (self.read, noted)).into_iter().collect();
        self.drop_what_is_delivered();
        Ok(Some(GivenUp { events, behind: self.delivered }))
    }

    /// Bytes of a file that were not delivered.
    fn owed_of(&self, number: u64, kept: &Kept) -> u64 {
        let before = match number.cmp(&self.delivered.file) {
            Ordering::Less => return 0,
            Ordering::Equal => self.delivered.offset,
            Ordering::Greater => 0,
        };
        self.size(kept).unwrap_or(0).saturating_sub(before)
    }

    /// Bytes that are owed and on the disk only because we keep them.
    pub(super) fn kept_bytes(&self) -> u64 {
        let files = self.source.folder.files().iter();
        let owed = files.map(|(number, kept)| (*number, self.owed_of(*number, kept)));
        owed.filter(|(number, bytes)| *bytes > 0 && self.source.folder.is_only_ours(*number))
            .map(|(_, bytes)| bytes)
            .sum()
    }

    /// The oldest file of which something is owed and that only we have.
    fn oldest_kept(&self) -> Option<u64> {
        let owed =
            self.source.folder.files().iter().filter(|(number, kept)| self.owed_of(**number, kept) > 0);
        let (number, _) = owed.min_by_key(|(number, _)| **number)?;
        self.source.folder.is_only_ours(*number).then_some(*number)
    }

    /// How many events lie behind the delivered place in its file, which is read to its end for that.
    fn count_events(&mut self) -> Result<u64, FeedError> {
        let nowhere = Destination { group: String::new(), stream: String::new() };
        let mut events = 0;
        loop {
            let mut builder = Builder::new(&nowhere, PUT_LOG_EVENTS);
            let step = self.read_file(&mut builder)?;
            // What there is to say of what was left out is no event of the log.
            let full = matches!(step, Step::Full)
                || self.assembler.close(Then::More, self.read, &mut builder) == Taken::Full;
            events += builder.len() as u64;
            if !full {
                return Ok(events);
            }
        }
    }
}
