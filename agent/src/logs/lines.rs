//! Lines that are made on this node and lie nowhere, such as metrics, as a [`Feed`].
//!
//! In: a function that gives the next one, if there is one. Out: events and places, which are counts. What always holds:
//! what was not delivered is held, [`HELD_AT_MOST`] lines of it; more is left where it comes from. A kill loses what is
//! held.

use super::assemble::Assembler;
use super::body::Builder;
use super::feed::{Ahead, Feed, FeedError, Filled, GivenUp, Place, Then};
use super::held::Held;
use std::borrow::Cow;

/// Held while the service does not answer: hours of metrics of a small node.
const HELD_AT_MOST: usize = 4096;

/// Time in milliseconds since 1970, and text.
type Line = (i64, String);

/// Lines from memory.
pub struct LinesFeed<N> {
    next: N,
    assembler: Assembler<Place>,
    held: Held<Line>,
}

impl<N: FnMut() -> Option<Line> + Send + 'static> LinesFeed<N> {
    /// Takes lines from `next`, which does not wait.
    pub fn new(next: N, max_event: usize) -> LinesFeed<N> {
        let assembler = Assembler::new(max_event, None);
        LinesFeed { next, assembler, held: Held::default() }
    }

    fn take(&mut self) {
        while self.held.len() < HELD_AT_MOST
            && let Some(line) = (self.next)()
        {
            let bytes = line.1.len();
            self.held.push(line, bytes);
        }
    }
}

impl<N: FnMut() -> Option<Line> + Send + 'static> Feed for LinesFeed<N> {
    fn begin(&mut self, delivered: Option<Place>) {
        self.held.begin(delivered);
    }

    fn look(&mut self) -> Result<Ahead, FeedError> {
        self.take();
        Ok(self.held.ahead())
    }

    fn fill(&mut self, into: &mut Builder, _: Then, now_ms: i64) -> Result<Filled, FeedError> {
        self.assembler.it_is(now_ms);
        self.take();
        Ok(self.held.fill(&mut self.assembler, into, |(timestamp_ms, text)| {
            (*timestamp_ms, Cow::Borrowed(text.as_bytes()))
        }))
    }

    fn delivered(&mut self, upto: Place) {
        self.held.delivered(upto);
    }

    fn go_back(&mut self) {
        self.held.go_back();
        self.assembler.go_back(None);
    }

    fn give_up_oldest(&mut self) -> Result<Option<GivenUp>, FeedError> {
        Ok(None)
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::super::body::PUT_LOG_EVENTS;
    use super::super::sink::Destination;
    use super::*;

    fn fill(feed: &mut impl Feed) -> (usize, Place) {
        let destination = Destination { group: "g".to_owned(), stream: "s".to_owned() };
        let mut into = Builder::new(&destination, PUT_LOG_EVENTS);
        let filled = feed.fill(&mut into, Then::More, 1_000).unwrap();
        (into.finish().map_or(0, |body| body.len()), filled.behind)
    }

    #[test]
    fn lines_are_held_until_they_were_delivered_and_no_more_are_taken_than_are_held() {
        let mut number = 0;
        let endless = move || {
            number += 1;
            Some((number, format!("{{\"number\":{number}}}")))
        };
        let mut feed = LinesFeed::new(endless, 1000);
        assert!(feed.look().unwrap().unread > 0);
        let (first, behind) = fill(&mut feed);
        assert_eq!(first, HELD_AT_MOST);
        feed.go_back();
        assert_eq!(fill(&mut feed), (HELD_AT_MOST, behind), "they are read again");
        feed.delivered(behind);
        assert_eq!(fill(&mut feed).1.offset, 2 * HELD_AT_MOST as u64);
    }
}
