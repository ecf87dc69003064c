//! What came from a source that does not keep it, in memory until it was delivered.
//!
//! In: entries with their sizes, and how far they were delivered. Out: the next one to read, and places, which are counts.
//! What always holds: what was not delivered can be read again. Not its job: how much may be held.

use super::assemble::{Assembler, Taken};
use super::body::Builder;
use super::feed::{Ahead, Filled, Place};
use std::borrow::Cow;
use std::collections::VecDeque;

/// Entries that were not delivered.
#[derive(Debug)]
pub struct Held<T> {
    entries: VecDeque<(T, usize)>,
    bytes: usize,
    /// How many of them were read.
    read: usize,
    /// How many were delivered so far, by this run and the ones before.
    delivered: u64,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Held { entries: VecDeque::new(), bytes: 0, read: 0, delivered: 0 }
    }
}

impl<T> Held<T> {
    /// Places go on behind one of an earlier run.
    pub fn begin(&mut self, delivered: Option<Place>) {
        self.delivered = delivered.map_or(0, |place| place.offset);
    }

    /// Holds one more.
    pub fn push(&mut self, entry: T, bytes: usize) {
        self.entries.push_back((entry, bytes));
        self.bytes += bytes;
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all that are held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What lies behind what was read, and behind what was delivered.
    pub fn ahead(&self) -> Ahead {
        let unread: usize = self.entries.iter().skip(self.read).map(|(_, bytes)| bytes).sum();
        Ahead { unread: unread as u64, owed: self.bytes as u64, ..Ahead::default() }
    }

    /// Reads on until the builder is full or everything is read. `event` says the time of an entry, in milliseconds since
    /// 1970, and its text.
    pub fn fill(
        &mut self,
        assembler: &mut Assembler<Place>,
        into: &mut Builder,
        event: impl Fn(&T) -> (i64, Cow<'_, [u8]>),
    ) -> Filled {
        let mut more = false;
        while let Some((entry, _)) = self.entries.get(self.read) {
            let ((timestamp_ms, text), begins) = (event(entry), self.place());
            if assembler.text(timestamp_ms, &text, begins, into) == Taken::Full {
                more = true;
                break;
            }
            self.read += 1;
        }
        Filled { behind: self.place(), more, left_out: 0 }
    }

    fn place(&self) -> Place {
        Place { file: 0, offset: self.delivered + self.read as u64 }
    }

    /// Lets go of everything before a place, and gives the last of it.
    pub fn delivered(&mut self, upto: Place) -> Option<T> {
        let mut last = None;
        while self.delivered < upto.offset {
            let Some((entry, bytes)) = self.entries.pop_front() else { break };
            self.bytes -= bytes;
            self.read = self.read.saturating_sub(1);
            self.delivered += 1;
            last = Some(entry);
        }
        last
    }

    /// What was not delivered is read again.
    pub fn go_back(&mut self) {
        self.read = 0;
    }

    /// Lets go of everything: it comes again from where it came.
    pub fn clear(&mut self) {
        self.entries.clear();
        (self.bytes, self.read) = (0, 0);
    }
}
