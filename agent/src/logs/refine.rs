//! Whole messages of one source become events: lines that belong together are joined, and what is not to be shipped is
//! left out.
//!
//! In: messages in the order of the log, each with the place where it begins. Out: events in a builder, in that order, and
//! the place from which they are owed. What always holds: a message that was taken is judged once, also where its event
//! has to wait for the next builder; what was judged and not delivered is judged again from where [`Refined`] was noted.

use super::body::Builder;
use super::escape;
use super::feed::Then;
use super::multiline::{Joined, Joiner, Rule};
use super::shape::{Labels, Notice, PatternError, Reason, Shape, State, Verdict};
use node::config::settings::{Field, Shaping};
use std::collections::VecDeque;

/// Standard output and standard error.
const STREAMS: usize = 2;

/// Where the rules stand.
pub type Refined = Shape;

/// An event that was judged and is not in a builder yet.
struct Ready<P> {
    timestamp_ms: i64,
    text: String,
    begins: P,
}

/// The rules of one source. `P` is a place in its log.
pub struct Refine<P> {
    rule: Option<Rule>,
    max_event: usize,
    joiners: Vec<Joiner>,
    /// Where the lines begin that wait in each joiner.
    waiting: [VecDeque<P>; STREAMS],
    shape: Shape,
    ready: VecDeque<Ready<P>>,
    left_out: u64,
}

impl<P> std::fmt::Debug for Refine<P> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Refine({} events ready)", self.ready.len())
    }
}

impl<P: Copy + Ord> Refine<P> {
    /// The rules of a source in events of at most `max_event` bytes; `value` knows what may be added. `None`: there are no
    /// rules, every message is an event.
    ///
    /// # Errors
    /// A pattern does not compile, which was tried when the settings were checked.
    pub fn new<'v>(
        rules: &Shaping,
        max_event: usize,
        value: impl Fn(Field) -> Option<&'v str>,
    ) -> Result<Option<Refine<P>>, PatternError> {
        let shape = Shape::new(rules)?.with_labels(Labels::new(&rules.fields, value));
        let rule = rules.multiline.as_ref().map(Rule::new).transpose()?;
        if rule.is_none() && shape.is_noop() {
            return Ok(None);
        }
        let mut refine = Refine {
            rule,
            max_event,
            joiners: Vec::new(),
            waiting: Default::default(),
            shape,
            ready: VecDeque::new(),
            left_out: 0,
        };
        refine.begin_joining();
        Ok(Some(refine))
    }

    /// Goes on where the rules stood for what came before.
    pub fn resume(&mut self, state: State) {
        self.shape.resume(state);
    }

    fn begin_joining(&mut self) {
        let joiner = || self.rule.as_ref().map(|rule| Joiner::new(rule.clone(), self.max_event));
        self.joiners = (0..STREAMS).filter_map(|_| joiner()).collect();
    }

    /// Takes one message of one of the streams. `now_ms` is the time of day.
    pub fn message(&mut self, stream: usize, (timestamp_ms, text): (i64, &[u8]), begins: P, now_ms: i64) {
        let Some(joiner) = self.joiners.get_mut(stream) else {
            return self.judge(timestamp_ms, text, begins, now_ms);
        };
        let mut joined = Vec::new();
        self.waiting[stream].push_back(begins);
        joiner.line(timestamp_ms, text, &mut joined);
        self.judge_joined(stream, joined, now_ms);
    }

    /// Puts what was judged into a builder; `false` when it is full.
    pub fn drain(&mut self, into: &mut Builder) -> bool {
        while let Some(next) = self.ready.front() {
            if !put(next, self.max_event, into) {
                return false;
            }
            self.ready.pop_front();
        }
        true
    }

    /// Everything before `read` was taken, and nothing more comes for now: what waits for its next line is an event as it
    /// is, and what was left out is told where it is time to.
    pub fn close(&mut self, then: Then, read: P, now_ms: i64) {
        for stream in 0..self.joiners.len() {
            let mut joined = Vec::new();
            self.joiners[stream].flush(&mut joined);
            self.judge_joined(stream, joined, now_ms);
        }
        let notice = match then {
            Then::More => None,
            Then::Silence => self.shape.quiet(now_ms),
            Then::Nothing => self.shape.close(),
        };
        self.say(notice, read);
    }

    /// When there is something to say, should nothing come until then.
    pub fn says_at_ms(&self) -> Option<i64> {
        self.shape.quiet_at_ms()
    }

    /// The place from which events are owed, or `read` where none is.
    pub fn owed_from(&self, read: P) -> P {
        let waiting = self.waiting.iter().filter_map(VecDeque::front).copied();
        let ready = self.ready.iter().map(|event| event.begins);
        waiting.chain(ready).fold(read, Ord::min)
    }

    /// Whether anything waits.
    pub fn is_open(&self) -> bool {
        !self.ready.is_empty() || self.waiting.iter().any(|waiting| !waiting.is_empty())
    }

    /// Where the rules stand now.
    pub fn noted(&self) -> Refined {
        self.shape.clone()
    }

    /// Goes back to where they stood; what waits is read again.
    pub fn go_back(&mut self, noted: Option<&Refined>) {
        if let Some(noted) = noted {
            self.shape = noted.clone();
        }
        self.begin_joining();
        self.waiting = Default::default();
        self.ready.clear();
    }

    /// Events that a limit (`max_rate`, `daily`) has left out since the last call.
    pub fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }

    fn judge_joined(&mut self, stream: usize, joined: Vec<Joined>, now_ms: i64) {
        for Joined { timestamp_ms, text, lines } in joined {
            let mut begins = self.waiting[stream].front().copied();
            for _ in 0..lines {
                begins = begins.min(self.waiting[stream].pop_front()).or(begins);
            }
            if let Some(begins) = begins {
                self.judge(timestamp_ms, &text, begins, now_ms);
            }
        }
    }

    fn judge(&mut self, timestamp_ms: i64, text: &[u8], begins: P, now_ms: i64) {
        let verdict = self.shape.line(now_ms, timestamp_ms, text);
        let notice = self.shape.notice();
        self.say(notice, begins);
        let text = match verdict {
            Verdict::Keep => String::from_utf8_lossy(text).into_owned(),
            Verdict::KeepAs(text) => text,
            Verdict::Drop(reason) => {
                self.left_out += u64::from(matches!(reason, Reason::Rate | Reason::Daily));
                return;
            }
        };
        self.ready.push_back(Ready { timestamp_ms, text, begins });
    }

    fn say(&mut self, notice: Option<Notice>, begins: P) {
        let ready =
            |notice: Notice| Ready { timestamp_ms: notice.timestamp_ms, text: notice.message, begins };
        self.ready.extend(notice.map(ready));
    }
}

fn put<P>(event: &Ready<P>, max_event: usize, into: &mut Builder) -> bool {
    let mut inside = Vec::with_capacity(event.text.len());
    escape::push_escaped(&mut inside, &event.text);
    super::assemble::push(event.timestamp_ms, &inside, event.text.len(), max_event, into)
        == super::assemble::Taken::Yes
}

#[cfg(test)]
#[path = "refine_tests.rs"]
mod tests;
