//! Neighbours that are identical: so many a minute are kept, and one line says how many were not. Pure.
//!
//! What always holds: all notices together name exactly as many events as were left out, once [`Repetitions::close`] was
//! asked. The event itself is kept in memory to compare with, and nowhere else.

use super::Notice;

/// From the first of a run that is kept.
const WINDOW_MS: i64 = 60_000;

/// The run of identical events that is going on.
#[derive(Clone)]
pub(super) struct Repetitions {
    most: u32,
    run: Option<Run>,
}

#[derive(Clone)]
struct Run {
    line: Vec<u8>,
    since_ms: i64,
    kept: u32,
    dropped: u64,
    last_ms: i64,
}

impl Repetitions {
    pub(super) fn new(most: u32) -> Repetitions {
        Repetitions { most, run: None }
    }

    /// Whether this event came too often, and what is to be said before it.
    pub(super) fn look(&mut self, at_ms: i64, line: &[u8]) -> (bool, Option<Notice>) {
        let most = self.most;
        let Some(run) = self.run.as_mut().filter(|run| run.line == line) else {
            let notice = self.run.as_mut().and_then(Run::say);
            let room = self.run.take().map(|run| run.line).unwrap_or_default();
            self.run = Some(Run::begin(at_ms, line, room));
            return (false, notice);
        };
        // A clock that was set back ends the minute too: it would last until the clock is where it was.
        let notice = if (run.since_ms..run.since_ms.saturating_add(WINDOW_MS)).contains(&at_ms) {
            None
        } else {
            let notice = run.say();
            (run.since_ms, run.kept) = (at_ms, 0);
            notice
        };
        run.last_ms = at_ms;
        if run.kept < most {
            run.kept += 1;
            return (false, notice);
        }
        run.dropped += 1;
        (true, notice)
    }

    /// What has to be said because the minute is over and nothing has come since.
    pub(super) fn due(&mut self, now_ms: i64) -> Option<Notice> {
        if self.due_at_ms()? <= now_ms { self.close() } else { None }
    }

    /// From when on [`Repetitions::due`] has something to say, should nothing come until then.
    pub(super) fn due_at_ms(&self) -> Option<i64> {
        let run = self.run.as_ref().filter(|run| run.dropped > 0)?;
        Some(run.since_ms.max(run.last_ms).saturating_add(WINDOW_MS))
    }

    /// What has to be said because nothing will come.
    pub(super) fn close(&mut self) -> Option<Notice> {
        self.run.as_mut().and_then(Run::say)
    }
}

impl Run {
    /// `room` is memory that is used again.
    fn begin(at_ms: i64, line: &[u8], mut room: Vec<u8>) -> Run {
        room.clear();
        room.extend_from_slice(line);
        Run { line: room, since_ms: at_ms, kept: 1, dropped: 0, last_ms: at_ms }
    }

    fn say(&mut self) -> Option<Notice> {
        let dropped = std::mem::take(&mut self.dropped);
        let times = if dropped == 1 { "once" } else { "times" };
        let count = if dropped == 1 { String::new() } else { format!("{dropped} ") };
        let message =
            format!("[node-agent] the line before this one came {count}{times} more; that is left out");
        (dropped > 0).then_some(Notice { timestamp_ms: self.last_ms, message })
    }
}
