//! When images may be taken by themselves: the windows of every week and a moment -> open or closed, and until when.
//!
//! Invariant: what is said holds until the moment that is named and not a minute longer, also where windows overlap,
//! adjoin, or reach over midnight or over the end of the week. How windows are written is not its job.

use super::settings::Window;
use jiff::Timestamp;

const NANOSECONDS_OF_A_MINUTE: i128 = 60_000_000_000;
const DAY: i128 = 24 * 60;
const WEEK: i128 = 7 * DAY;

/// The first minute of Unix time was on a Thursday, three days after the week had begun.
const BEFORE_UNIX_TIME: i128 = 3 * DAY;

/// What the windows say of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// There are no windows, or they leave no gap.
    Always,
    /// Open; from this moment on closed.
    OpenUntil(Timestamp),
    /// Closed; from this moment on open.
    ClosedUntil(Timestamp),
}

/// What `windows` say of `now`. Windows that never open are closed until the end of time.
pub fn opening(windows: &[Window], now: Timestamp) -> Opening {
    if windows.is_empty() {
        return Opening::Always;
    }
    let spans = spans(windows);
    if spans.iter().any(|span| span.until - span.from >= WEEK) {
        return Opening::Always;
    }
    let minute = now.as_nanosecond().div_euclid(NANOSECONDS_OF_A_MINUTE);
    let of_week = (minute + BEFORE_UNIX_TIME).rem_euclid(WEEK);
    let moment = |at: i128| {
        let nanoseconds = (minute - of_week + at) * NANOSECONDS_OF_A_MINUTE;
        Timestamp::from_nanosecond(nanoseconds).unwrap_or(Timestamp::MAX)
    };
    // The first that has not ended has either begun or is the next to begin.
    match spans.iter().find(|span| of_week < span.until) {
        Some(span) if span.from <= of_week => Opening::OpenUntil(moment(span.until)),
        Some(span) => Opening::ClosedUntil(moment(span.from)),
        None => Opening::ClosedUntil(Timestamp::MAX),
    }
}

/// Minutes counted from the beginning of this week; negative in the week before.
struct Span {
    from: i128,
    until: i128,
}

/// The times when at least one of `windows` is open in the week before this one, in this one and in the next, in order
/// and with a gap between any two. The neighbours are there for what reaches over the end of a week, and so that there
/// is a next one.
fn spans(windows: &[Window]) -> Vec<Span> {
    let mut openings: Vec<(i128, i128)> = Vec::new();
    for window in windows {
        let days = window.days.iter().zip(0_i128..).filter(|(opens, _)| **opens);
        for day in days.map(|(_, day)| day) {
            let from = day * DAY + i128::from(window.opens_at_minute);
            let length = i128::from(window.open_for_minutes);
            openings.extend([-WEEK, 0, WEEK].map(|week| (week + from, week + from + length)));
        }
    }
    openings.retain(|(from, until)| from < until);
    openings.sort_unstable();
    let mut spans: Vec<Span> = Vec::new();
    for (from, until) in openings {
        match spans.last_mut() {
            Some(last) if from <= last.until => last.until = last.until.max(until),
            _ => spans.push(Span { from, until }),
        }
    }
    spans
}
