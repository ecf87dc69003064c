//! What of one source's events is shipped: patterns, sampling, repetitions, a rate, a budget for the day, fields added.
//!
//! In: the rules of node.toml, and each event (a line, or lines that were joined) with its time. Out: a verdict for each,
//! now and then a notice that goes before it, and what was kept and left out on each day, by reason.
//!
//! The rules are asked in this order, and the first that says no has the event on its account:
//!
//! 1. `include`: none of the patterns is found -> [`Reason::Excluded`]
//! 2. `exclude`: one of the patterns is found -> [`Reason::Excluded`]
//! 3. `sample`: the first pattern that is found counts; all but the first of so many -> [`Reason::Sampled`]
//! 4. `repeat`: the same as the event before that came so far -> [`Reason::Repeated`]; a notice says how many
//! 5. `max_rate`: more bytes than the rate lets through -> [`Reason::Rate`]
//! 6. `daily`: the bytes of the day (UTC) are used up -> [`Reason::Daily`]
//!
//! What always holds: every event is kept or on one account, never both; the same events with the same times get the same
//! verdicts, for sampling counts and nothing is random; times of events decide, not when they are read, so that a backlog
//! after an outage is not taken for a flood. A clock that is set back neither fills the budget again nor stops anything
//! for longer than it lasts. Not its job: joining lines, cutting events to their limit (what fields are added to may be
//! longer than that afterwards), or printing anything of what an application wrote.

mod account;
mod labels;
mod pattern;
mod rate;
mod repeat;
#[cfg(test)]
mod tests;

use account::{Account, billed};
pub use account::{Amount, Day, Reason};
pub use labels::Labels;
use node::config::settings::{Sample, Shaping};
pub use pattern::PatternError;
use pattern::any_of;
pub(super) use pattern::compile;
use rate::Rate;
use regex::bytes::{Regex, RegexSet};
use repeat::Repetitions;
use serde::{Deserialize, Serialize};

/// What becomes of an event.
#[derive(Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is shipped as it is.
    Keep,
    /// This is shipped in its place: the same with fields added.
    KeepAs(String),
    /// It is not shipped.
    Drop(Reason),
}

/// What an application wrote is shipped and never printed, so that no trace or failed assertion can show it.
impl std::fmt::Debug for Verdict {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Verdict::Keep => write!(formatter, "Keep"),
            Verdict::KeepAs(text) => write!(formatter, "KeepAs({} bytes)", text.len()),
            Verdict::Drop(reason) => write!(formatter, "Drop({reason:?})"),
        }
    }
}

/// A line of ours, shipped in the stream of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// That of the last event that it is about.
    pub timestamp_ms: i64,
    /// Has nothing of what the application wrote.
    pub message: String,
}

/// What outlives the process: it belongs to the position behind the last event that was judged. Kept beside a position
/// before it, what is between is judged again and counts twice towards the budget of the day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    #[serde(default)]
    account: Account,
    /// How many of each `sample` came since one was kept.
    #[serde(default)]
    sampled: Vec<u32>,
}

impl State {
    /// The day in which `now_ms` is, if anything came in it.
    pub fn today(&self, now_ms: i64) -> Option<Day> {
        self.account.day(now_ms)
    }

    /// Of a later day, or with more of the same day.
    pub fn is_further_than(&self, other: &State) -> bool {
        let so_far = |state: &State| (state.account.today().number, state.account.today().seen());
        so_far(self) > so_far(other)
    }
}

/// The rules of one source, and where they stand. A copy stays where it was made.
#[derive(Clone)]
pub struct Shape {
    include: Option<RegexSet>,
    exclude: Option<RegexSet>,
    sample: Vec<Sampled>,
    repetitions: Option<Repetitions>,
    rate: Option<Rate>,
    daily: Option<u64>,
    labels: Option<Labels>,
    account: Account,
    notice: Option<Notice>,
}

/// Patterns are long, and the last line is an application's.
impl std::fmt::Debug for Shape {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Shape({:?})", self.account)
    }
}

#[derive(Clone)]
struct Sampled {
    pattern: Regex,
    one_in: u32,
    /// Since the last one that was kept, with it; 0 keeps the next.
    since: u32,
}

impl Shape {
    /// The rules of one source. Fields are added when [`Shape::with_labels`] has said what is in them.
    pub fn new(rules: &Shaping) -> Result<Shape, PatternError> {
        Ok(Shape {
            include: any_of("include", &rules.include)?,
            exclude: any_of("exclude", &rules.exclude)?,
            sample: rules.sample.iter().map(sampled).collect::<Result<_, _>>()?,
            repetitions: rules.repeat.map(Repetitions::new),
            rate: rules.max_rate.map(Rate::new),
            daily: rules.daily,
            labels: None,
            account: Account::default(),
            notice: None,
        })
    }

    /// The same, and these are added to every event. Nothing is where there are none.
    pub fn with_labels(self, labels: Labels) -> Shape {
        Shape { labels: (!labels.is_empty()).then_some(labels), ..self }
    }

    /// Goes on where another process was. What belongs to rules that have changed since is left out.
    pub fn resume(&mut self, state: State) {
        self.account = state.account;
        if state.sampled.len() == self.sample.len() {
            for (sample, since) in self.sample.iter_mut().zip(state.sampled) {
                sample.since = since % sample.one_in;
            }
        }
    }

    /// What the next process needs to know.
    pub fn state(&self) -> State {
        State {
            account: self.account.clone(),
            sampled: self.sample.iter().map(|sample| sample.since).collect(),
        }
    }

    /// There is no rule and no field: every event is kept as it is, and need not be given to [`Shape::line`]. It is on no
    /// account then.
    pub fn is_noop(&self) -> bool {
        self.include.is_none()
            && self.exclude.is_none()
            && self.sample.is_empty()
            && self.repetitions.is_none()
            && self.rate.is_none()
            && self.daily.is_none()
            && self.labels.is_none()
    }

    /// Judges one event that was written at `timestamp_ms` and is read at `now_ms`. Then [`Shape::notice`] is to be asked.
    pub fn line(&mut self, now_ms: i64, timestamp_ms: i64, line: &[u8]) -> Verdict {
        // What is stamped in the future says nothing about how fast it came.
        let at = timestamp_ms.min(now_ms);
        self.account.turn(at, now_ms);
        if let Some(reason) = self.refusal(at, line) {
            self.account.drop(reason, line.len());
            return Verdict::Drop(reason);
        }
        let labelled = self.labels.as_ref().map(|labels| labels.add(line));
        let size = labelled.as_ref().map_or(line.len(), String::len);
        if let Some(rate) = &mut self.rate {
            rate.take(billed(size));
        }
        self.account.keep(size);
        labelled.map_or(Verdict::Keep, Verdict::KeepAs)
    }

    /// The line that goes before what was judged last, if there is one. To be asked after every event.
    pub fn notice(&mut self) -> Option<Notice> {
        self.notice.take().map(|notice| self.labelled(notice))
    }

    /// What has to be said because nothing comes: to be asked now and then while the source has nothing more, and only
    /// then, for in a backlog every event is older than a minute.
    pub fn quiet(&mut self, now_ms: i64) -> Option<Notice> {
        let due = self.repetitions.as_mut().and_then(|repetitions| repetitions.due(now_ms));
        due.map(|notice| self.labelled(notice))
    }

    /// From when on [`Shape::quiet`] has something to say, should nothing come until then: milliseconds since 1970.
    pub fn quiet_at_ms(&self) -> Option<i64> {
        self.repetitions.as_ref().and_then(Repetitions::due_at_ms)
    }

    /// Nothing more comes: what has not been said yet.
    pub fn close(&mut self) -> Option<Notice> {
        let last = self.repetitions.as_mut().and_then(Repetitions::close);
        last.map(|notice| self.labelled(notice))
    }

    /// What was kept and left out today and yesterday (UTC), the latest first.
    pub fn days(&self) -> impl Iterator<Item = &Day> {
        self.account.days()
    }

    /// Asked in the order of the rules. Every rule that counts, counts here, but for the bytes of what is kept.
    fn refusal(&mut self, at: i64, line: &[u8]) -> Option<Reason> {
        if self.include.as_ref().is_some_and(|include| !include.is_match(line))
            || self.exclude.as_ref().is_some_and(|exclude| exclude.is_match(line))
        {
            return Some(Reason::Excluded);
        }
        if let Some(sample) = self.sample.iter_mut().find(|sample| sample.pattern.is_match(line)) {
            let is_first = sample.since == 0;
            sample.since = (sample.since + 1) % sample.one_in;
            if !is_first {
                return Some(Reason::Sampled);
            }
        }
        if let Some(repetitions) = &mut self.repetitions {
            let (repeats_too_often, notice) = repetitions.look(at, line);
            self.notice = notice;
            if repeats_too_often {
                return Some(Reason::Repeated);
            }
        }
        if self.rate.as_mut().is_some_and(|rate| !rate.is_open(at)) {
            return Some(Reason::Rate);
        }
        let used_up = |limit| self.account.today().kept.bytes >= limit;
        self.daily.is_some_and(used_up).then_some(Reason::Daily)
    }

    fn labelled(&self, notice: Notice) -> Notice {
        match &self.labels {
            Some(labels) => Notice { message: labels.add(notice.message.as_bytes()), ..notice },
            None => notice,
        }
    }
}

fn sampled(sample: &Sample) -> Result<Sampled, PatternError> {
    let pattern = compile("sample", &sample.pattern)?;
    Ok(Sampled { pattern, one_in: sample.one_in.max(1), since: 0 })
}
