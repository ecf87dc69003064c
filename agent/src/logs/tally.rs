//! What the shipper says of itself: counters and problems, from what each stream reports.
//!
//! In: events of delivery and reading, with the time. Out: [`Logs`] and the problems of [`crate::board::Owner::Logs`].
//! Nothing that an application wrote is kept here.

use super::sink::{Answer, PutError};
use crate::status::{Behind, LOGS_LEFT_OUT, Logs};
use jiff::Timestamp;
use node::fault::{Hint, one_line};
use node::problem::Problem;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How long events may stay undelivered before it is a problem: a short throttling or a failover is none.
pub(super) const UNDELIVERED_SECONDS: i64 = 60;

/// Lines that wait longer than this are shown by stream; a batch waits for two seconds.
const BEHIND_SECONDS: u64 = 10;

/// Shown of them.
const BEHIND_SHOWN: usize = 10;

/// Lines that wait longer than this for longer than [`UNDELIVERED_SECONDS`] are a problem, also where every call is
/// answered: more is written than is shipped.
const LAG_SECONDS: u64 = 300;

/// For how long it is shown that a limit has left out events.
const LEFT_OUT_SECONDS: i64 = 3_600;

/// What the role of the instance must allow.
const PERMISSIONS: &str = "allow logs:PutLogEvents, logs:CreateLogStream, logs:CreateLogGroup and \
                           logs:PutRetentionPolicy on the group to the role of the instance";

/// What a stream has read and not delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) bytes: u64,
    pub(super) earliest_ms: Option<i64>,
}

#[derive(Debug, Default)]
struct Stream {
    /// Name of the stream at the destination.
    name: String,
    waiting: Waiting,
    /// Bytes that are on the disk only because they are owed.
    kept: u64,
    left_out: Option<LeftOut>,
    /// Since when, and whether the instance may do it at all.
    undelivered: Option<Trouble>,
    unreadable: Option<Trouble>,
}

/// What limits have left out of one source.
#[derive(Debug, Clone, Copy)]
struct LeftOut {
    since: Timestamp,
    latest: Timestamp,
    events: u64,
}

impl LeftOut {
    fn is_fresh(&self, now: Timestamp) -> bool {
        now.as_second() - self.latest.as_second() < LEFT_OUT_SECONDS
    }
}

#[derive(Debug, Clone)]
struct Trouble {
    since: Timestamp,
    denied: bool,
    reason: String,
    hint: Option<String>,
}

#[derive(Debug, Default)]
struct Counted {
    shipped: Logs,
    /// By source.
    streams: BTreeMap<String, Stream>,
    cursors: Option<Trouble>,
    /// Since when lines wait for too long.
    lags_since: Option<Timestamp>,
}

impl Counted {
    fn logs(&self, now: Timestamp) -> Logs {
        let age = |earliest_ms: Option<i64>| {
            let milliseconds =
                earliest_ms.map_or(0, |earliest| now.as_millisecond().saturating_sub(earliest));
            u64::try_from(milliseconds / 1000).unwrap_or(0)
        };
        let mut behind: Vec<Behind> = Vec::new();
        for stream in self.streams.values().filter(|stream| stream.waiting.bytes > 0) {
            let seconds = age(stream.waiting.earliest_ms);
            if seconds > BEHIND_SECONDS {
                behind.push(Behind {
                    stream: stream.name.clone(),
                    backlog_bytes: stream.waiting.bytes,
                    oldest_unshipped_seconds: seconds,
                    error: stream.undelivered.as_ref().map(|trouble| trouble.reason.clone()),
                });
            }
        }
        behind.sort_by_key(|stream| std::cmp::Reverse(stream.oldest_unshipped_seconds));
        behind.truncate(BEHIND_SHOWN);
        let waiting = || self.streams.values().map(|stream| stream.waiting);
        Logs {
            events_dropped: self.shipped.dropped.sum(),
            backlog_bytes: waiting().map(|waiting| waiting.bytes).sum(),
            oldest_unshipped_seconds: age(waiting().filter_map(|waiting| waiting.earliest_ms).min()),
            behind,
            ..self.shipped.clone()
        }
    }
}

/// The counters; one for the whole shipper.
#[derive(Debug)]
pub(super) struct Tally {
    group: String,
    counted: Mutex<Counted>,
}

impl Tally {
    pub(super) fn new(group: &str) -> Tally {
        let shipped = Logs { group: Some(group.to_owned()), ..Logs::default() };
        Tally { group: group.to_owned(), counted: Mutex::new(Counted { shipped, ..Counted::default() }) }
    }

    /// The name of a source's stream, for those who read of it.
    pub(super) fn begins(&self, source: &str, stream: &str) {
        self.stream(source, |known| stream.clone_into(&mut known.name));
    }

    /// What the stream of a container holds now.
    pub(super) fn waiting(&self, container_id: &str, waiting: Waiting) {
        self.stream(container_id, |stream| stream.waiting = waiting);
    }

    /// The destination answered. `bytes` is the size of the messages that it took. True when that ends an outage.
    pub(super) fn answered(&self, container_id: &str, events: u64, bytes: u64, answer: Answer) -> bool {
        let mut counted = self.counted();
        counted.shipped.events_shipped += events;
        counted.shipped.bytes_shipped += bytes;
        let dropped = &mut counted.shipped.dropped;
        dropped.expired += answer.expired as u64;
        dropped.too_old += answer.too_old as u64;
        dropped.too_new += answer.too_new as u64;
        let stream = counted.streams.entry(container_id.to_owned()).or_default();
        stream.undelivered.take().is_some()
    }

    /// Events were given up, because more would have been kept than may be.
    pub(super) fn given_up(&self, events: u64) {
        self.counted().shipped.dropped.over_the_queue += events;
    }

    /// The destination does not take this event, and never will.
    pub(super) fn refused(&self) {
        self.counted().shipped.dropped.refused += 1;
    }

    /// A limit of node.toml has left out events of a source. It is a problem until nothing was left out for an hour.
    pub(super) fn left_out(&self, source: &str, events: u64, now: Timestamp) {
        let mut counted = self.counted();
        counted.shipped.dropped.over_a_limit += events;
        let stream = counted.streams.entry(source.to_owned()).or_default();
        let before = stream.left_out.filter(|before| before.is_fresh(now));
        let since = before.map_or(now, |before| before.since);
        let all = before.map_or(0, |before| before.events) + events;
        stream.left_out = Some(LeftOut { since, latest: now, events: all });
    }

    /// A source keeps so much of what its own place has lost. True when all sources together keep more than `bound` and
    /// none keeps more than this one.
    pub(super) fn keeps_too_much(&self, source: &str, kept: u64, bound: u64) -> bool {
        let mut counted = self.counted();
        counted.streams.entry(source.to_owned()).or_default().kept = kept;
        let all: u64 = counted.streams.values().map(|stream| stream.kept).sum();
        kept > 0 && all > bound && counted.streams.values().all(|stream| stream.kept <= kept)
    }

    /// The destination did not take the events. True for the first time in a row.
    pub(super) fn undelivered(&self, container_id: &str, error: &PutError, now: Timestamp) -> bool {
        let denied = matches!(error, PutError::Denied { .. });
        let hint = denied.then(|| PERMISSIONS.to_owned());
        let reason = one_line(error);
        let mut first = false;
        self.stream(container_id, |stream| {
            let since = stream.undelivered.as_ref().map_or(now, |trouble| trouble.since);
            first = stream.undelivered.is_none();
            stream.undelivered = Some(Trouble { since, denied, reason, hint });
        });
        first
    }

    /// The log of a container could not be read. True for the first time in a row.
    pub(super) fn unreadable(&self, container_id: &str, error: &impl Hint, now: Timestamp) -> bool {
        let trouble = Trouble { since: now, denied: false, reason: one_line(error), hint: error.hint() };
        let mut first = false;
        self.stream(container_id, |stream| {
            first = stream.unreadable.is_none();
            let since = stream.unreadable.as_ref().map_or(now, |trouble| trouble.since);
            stream.unreadable = Some(Trouble { since, ..trouble });
        });
        first
    }

    /// The log of a container gives lines, or its end.
    pub(super) fn readable(&self, container_id: &str) {
        self.stream(container_id, |stream| stream.unreadable = None);
    }

    /// A container is done with.
    pub(super) fn forget(&self, container_id: &str) {
        self.counted().streams.remove(container_id);
    }

    /// Whether the cursors could be written. True when that changed.
    pub(super) fn cursors_written(&self, result: &std::io::Result<()>, now: Timestamp) -> bool {
        let mut counted = self.counted();
        let before = counted.cursors.take();
        counted.cursors = result.as_ref().err().map(|error| Trouble {
            since: before.as_ref().map_or(now, |trouble| trouble.since),
            denied: false,
            reason: one_line(error),
            hint: Some("look at `df -h /var/lib/node-agent`".to_owned()),
        });
        before.is_some() != counted.cursors.is_some()
    }

    /// The counters and the problems as of `now`.
    pub(super) fn report(&self, now: Timestamp) -> (Logs, Vec<Problem>) {
        let mut counted = self.counted();
        let logs = counted.logs(now);
        counted.lags_since = match logs.oldest_unshipped_seconds > LAG_SECONDS {
            true => counted.lags_since.or(Some(now)),
            false => None,
        };
        let mut problems = self.problems(&counted, now);
        problems.extend(self.lag(&counted, &logs, now));
        (logs, problems)
    }

    /// Where calls are answered and lines wait all the same. Where they are not, that is the problem.
    fn lag(&self, counted: &Counted, logs: &Logs, now: Timestamp) -> Option<Problem> {
        let since = counted.lags_since?;
        let fresh = now.as_second() - since.as_second() < UNDELIVERED_SECONDS;
        if fresh || counted.streams.values().any(|stream| stream.undelivered.is_some()) {
            return None;
        }
        let first = logs.behind.first()?;
        let (seconds, stream, group) = (first.oldest_unshipped_seconds, &first.stream, &self.group);
        Some(Problem {
            code: "logs_behind".to_owned(),
            message: format!(
                "log lines of {stream} wait for {seconds} s to be delivered to log group {group}"
            ),
            hint: Some("it writes more than is shipped: look at max_rate in [services.NAME.logs]".to_owned()),
            since,
        })
    }

    /// One problem of each kind: what is wrong with one stream of the group is nearly always wrong with all.
    fn problems(&self, counted: &Counted, now: Timestamp) -> Vec<Problem> {
        let undelivered = || counted.streams.values().filter_map(|stream| stream.undelivered.as_ref());
        let oldest = |troubles: &mut dyn Iterator<Item = &Trouble>| {
            troubles.min_by_key(|trouble| trouble.since).cloned()
        };
        let denied = oldest(&mut undelivered().filter(|trouble| trouble.denied));
        let long = |trouble: &&Trouble| now.as_second() - trouble.since.as_second() >= UNDELIVERED_SECONDS;
        let unreachable = oldest(&mut undelivered().filter(|trouble| !trouble.denied).filter(long));
        let unreadable =
            oldest(&mut counted.streams.values().filter_map(|stream| stream.unreadable.as_ref()));
        let group = &self.group;
        let problems = [
            ("logs_denied", format!("not allowed to write to log group {group}"), denied),
            ("logs_unreachable", format!("log lines cannot be delivered to log group {group}"), unreachable),
            ("logs_unreadable", "log lines cannot be read".to_owned(), unreadable),
            ("log_cursors_unwritable", "cannot remember which log lines were delivered".to_owned(), {
                counted.cursors.clone()
            }),
        ];
        let left_out = left_out(counted, now);
        let stated = problems.into_iter().filter_map(|(code, what, trouble)| {
            let Trouble { since, reason, hint, .. } = trouble?;
            Some(Problem { code: code.to_owned(), message: format!("{what}: {reason}"), hint, since })
        });
        stated.chain(left_out).collect()
    }

    fn stream(&self, container_id: &str, change: impl FnOnce(&mut Stream)) {
        let mut counted = self.counted();
        match counted.streams.get_mut(container_id) {
            Some(stream) => change(stream),
            None => change(counted.streams.entry(container_id.to_owned()).or_default()),
        }
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        // Plain counters: whatever a panic left behind is still a count.
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lines are missing at the destination because node.toml says so; whoever looks for them there should know.
fn left_out(counted: &Counted, now: Timestamp) -> Option<Problem> {
    let fresh =
        || counted.streams.values().filter_map(|stream| stream.left_out).filter(|it| it.is_fresh(now));
    let since = fresh().map(|left_out| left_out.since).min()?;
    let events: u64 = fresh().map(|left_out| left_out.events).sum();
    Some(Problem {
        code: LOGS_LEFT_OUT.to_owned(),
        message: format!("{events} log events were left out by max_rate or daily"),
        hint: Some("raise the limit in [services.NAME.logs], or have the service write less".to_owned()),
        since,
    })
}

#[cfg(test)]
#[path = "tally_tests.rs"]
mod tests;
