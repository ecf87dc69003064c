//! Pieces of messages become events of a body: pieces of one message are joined, too long ones are cut.
//!
//! In: the lines of a log in their order, each with the place where it begins. Out: events in a [`Builder`], and the place
//! up to which every message is in it. What always holds: each byte of each message is in exactly one event, with invalid
//! sequences replaced; a line that does not fit any more changes nothing. Standard output and standard error are joined
//! apart, for the engine mixes their pieces.
//!
//! A message whose end does not come (a prompt, an application that was killed) is closed when its log goes on without it
//! for [`PATIENCE_MS`] of the log's own time, or when [`Assembler::close`] is called.

use super::body::Builder;
use super::escape;
use super::feed::Then;
use super::json_file::Entry;
use super::refine::{Refine, Refined};

/// The engine writes the pieces of one message right after each other.
const PATIENCE_MS: i64 = 1_000;

/// Whether a line was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is in the builder, or open.
    Yes,
    /// The builder is full; nothing was changed.
    Full,
}

/// A message whose end has not come.
struct Open<P> {
    timestamp_ms: i64,
    latest_ms: i64,
    inside: Vec<u8>,
    decoded: usize,
    begins: P,
}

impl<P: Copy> Open<P> {
    fn message(&self) -> Message<'_, P> {
        Message {
            timestamp_ms: self.timestamp_ms,
            inside: &self.inside,
            decoded: self.decoded,
            begins: self.begins,
        }
    }
}

/// A whole message.
struct Message<'m, P> {
    timestamp_ms: i64,
    inside: &'m [u8],
    decoded: usize,
    begins: P,
}

/// What an application wrote is shipped and never printed, so that no trace or failed assertion can show it.
impl<P> std::fmt::Debug for Open<P> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Open({} ms, {} bytes)", self.timestamp_ms, self.decoded)
    }
}

/// Joins and cuts. `P` is a place in the log.
#[derive(Debug)]
pub struct Assembler<P> {
    /// Largest message of one event, in bytes of UTF-8.
    max_event: usize,
    /// Of standard output and of standard error.
    open: [Option<Open<P>>; 2],
    /// Rules, where there are any.
    refine: Option<Refine<P>>,
    /// The time of day, as it was told last.
    now_ms: i64,
}

impl<P: Copy + Ord> Assembler<P> {
    /// With nothing open; with rules, whole messages go through them.
    pub fn new(max_event: usize, refine: Option<Refine<P>>) -> Assembler<P> {
        Assembler { max_event, open: [None, None], refine, now_ms: i64::MAX }
    }

    /// What rules about rates need to know.
    pub fn it_is(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    /// Where reading has to begin again after a kill: the beginning of the oldest open message, else `read`.
    pub fn owed_from(&self, read: P) -> P {
        let owed = self.open.iter().flatten().map(|open| open.begins).fold(read, Ord::min);
        self.refine.as_ref().map_or(owed, |refine| refine.owed_from(owed))
    }

    /// Whether a message waits for its end.
    pub fn is_open(&self) -> bool {
        self.open.iter().any(Option::is_some) || self.refine.as_ref().is_some_and(Refine::is_open)
    }

    /// Takes one line that begins at `begins`.
    pub fn entry(&mut self, entry: &Entry<'_>, begins: P, into: &mut Builder) -> Taken {
        if !self.drained(into) || self.close_older(entry, into) == Taken::Full {
            return Taken::Full;
        }
        let which = usize::from(entry.stderr);
        if self.refine.is_none()
            && self.open[which].is_none()
            && entry.ends
            && entry.valid
            && entry.decoded <= self.max_event
        {
            return push_whole(entry, into);
        }
        self.joined(entry, which, begins, into)
    }

    fn joined(&mut self, entry: &Entry<'_>, which: usize, begins: P, into: &mut Builder) -> Taken {
        let text;
        let (inside, decoded) = match entry.valid {
            true => (entry.inside, entry.decoded),
            false => {
                let decoded = escape::decode(entry.inside);
                let mut inside = Vec::with_capacity(decoded.len());
                escape::push_escaped(&mut inside, &decoded);
                text = inside;
                (text.as_slice(), decoded.len())
            }
        };
        let before = self.open[which].as_ref();
        if before.is_some_and(|open| open.decoded + decoded > self.max_event) {
            // What is open is as long as an event may be.
            if self.close_one(which, into) == Taken::Full {
                return Taken::Full;
            }
        }
        if !entry.ends {
            let open = self.open[which].get_or_insert_with(|| Open {
                timestamp_ms: entry.timestamp_ms,
                latest_ms: entry.timestamp_ms,
                inside: Vec::new(),
                decoded: 0,
                begins,
            });
            open.latest_ms = entry.timestamp_ms;
            open.inside.extend_from_slice(inside);
            open.decoded += decoded;
            return Taken::Yes;
        }
        let Some(open) = self.open[which].take() else {
            let message = Message { timestamp_ms: entry.timestamp_ms, inside, decoded, begins };
            return self.push(which, &message, into);
        };
        let mut whole = Vec::with_capacity(open.inside.len() + inside.len());
        whole.extend_from_slice(&open.inside);
        whole.extend_from_slice(inside);
        let message = Message { inside: &whole, decoded: open.decoded + decoded, ..open.message() };
        let taken = self.push(which, &message, into);
        if taken == Taken::Full {
            self.open[which] = Some(open);
        }
        taken
    }

    /// A text that is a whole message, such as a line of a file.
    pub fn text(&mut self, timestamp_ms: i64, line: &[u8], begins: P, into: &mut Builder) -> Taken {
        if !self.drained(into) {
            return Taken::Full;
        }
        let text = String::from_utf8_lossy(line);
        let mut inside = Vec::with_capacity(text.len());
        escape::push_escaped(&mut inside, &text);
        let message = Message { timestamp_ms, inside: &inside, decoded: text.len(), begins };
        self.push(0, &message, into)
    }

    /// Closes what is open: everything before `read` was taken, and its log has ended, or has been silent for long enough.
    pub fn close(&mut self, then: Then, read: P, into: &mut Builder) -> Taken {
        // The one that began first goes first.
        let order = match (&self.open[0], &self.open[1]) {
            (Some(out), Some(err)) if err.begins < out.begins => [1, 0],
            _ => [0, 1],
        };
        for which in order {
            if self.close_one(which, into) == Taken::Full {
                return Taken::Full;
            }
        }
        if let Some(refine) = &mut self.refine {
            refine.close(then, read, self.now_ms);
        }
        if self.drained(into) { Taken::Yes } else { Taken::Full }
    }

    /// When there is something to say of what was left out, should nothing come until then: milliseconds since 1970.
    pub fn says_at_ms(&self) -> Option<i64> {
        self.refine.as_ref().and_then(Refine::says_at_ms)
    }

    /// Forgets what is open, which is read again; rules stand where they stood then.
    pub fn go_back(&mut self, noted: Option<&Refined>) {
        self.open = [None, None];
        if let Some(refine) = &mut self.refine {
            refine.go_back(noted);
        }
    }

    /// Where the rules stand now.
    pub fn noted(&self) -> Option<Refined> {
        self.refine.as_ref().map(Refine::noted)
    }

    /// Events that a limit has left out since the last call.
    pub fn take_left_out(&mut self) -> u64 {
        self.refine.as_mut().map_or(0, Refine::take_left_out)
    }

    /// What was judged and had no room before goes first.
    fn drained(&mut self, into: &mut Builder) -> bool {
        self.refine.as_mut().is_none_or(|refine| refine.drain(into))
    }

    fn close_older(&mut self, entry: &Entry<'_>, into: &mut Builder) -> Taken {
        for which in [0, 1] {
            let left = self.open[which]
                .as_ref()
                .is_some_and(|open| entry.timestamp_ms > open.latest_ms + PATIENCE_MS);
            if left && self.close_one(which, into) == Taken::Full {
                return Taken::Full;
            }
        }
        Taken::Yes
    }

    fn close_one(&mut self, which: usize, into: &mut Builder) -> Taken {
        let Some(open) = self.open[which].take() else { return Taken::Yes };
        let taken = self.push(which, &open.message(), into);
        if taken == Taken::Full {
            self.open[which] = Some(open);
        }
        taken
    }

    /// Hands on a whole message.
    fn push(&mut self, which: usize, message: &Message<'_, P>, into: &mut Builder) -> Taken {
        let Message { timestamp_ms, inside, decoded, begins } = *message;
        let Some(refine) = &mut self.refine else {
            return push(timestamp_ms, inside, decoded, self.max_event, into);
        };
        let text = escape::decode(inside);
        refine.message(which, (timestamp_ms, text.as_bytes()), begins, self.now_ms);
        // What has no room waits there, before the next line is taken.
        refine.drain(into);
        Taken::Yes
    }
}

/// Puts a message into a builder, in pieces where it is longer than an event may be.
pub(super) fn push(
    timestamp_ms: i64,
    inside: &[u8],
    decoded: usize,
    max_event: usize,
    into: &mut Builder,
) -> Taken {
    if decoded <= max_event {
        return push_one(timestamp_ms, inside, decoded, into);
    }
    let text = escape::decode(inside);
    let pieces = cut(&text, max_event);
    let room = into.room(timestamp_ms, text.len(), inside.len(), pieces.len());
    if !room {
        return Taken::Full;
    }
    for piece in pieces {
        let mut inside = Vec::with_capacity(piece.len());
        escape::push_escaped(&mut inside, piece);
        into.push(timestamp_ms, &inside, piece.len());
    }
    Taken::Yes
}

fn push_whole(entry: &Entry<'_>, into: &mut Builder) -> Taken {
    push_one(entry.timestamp_ms, entry.inside, entry.decoded, into)
}

/// An empty message has no event: the service takes none.
fn push_one(timestamp_ms: i64, inside: &[u8], decoded: usize, into: &mut Builder) -> Taken {
    if decoded == 0 {
        return Taken::Yes;
    }
    if !into.room(timestamp_ms, decoded, inside.len(), 1) {
        return Taken::Full;
    }
    into.push(timestamp_ms, inside, decoded);
    Taken::Yes
}

/// Pieces of at most `limit` bytes, cut between characters.
fn cut(text: &str, limit: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end =
            (0..=limit.min(rest.len())).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        let (piece, tail) = rest.split_at(if end == 0 { rest.len() } else { end });
        pieces.push(piece);
        rest = tail;
    }
    pieces
}

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;
