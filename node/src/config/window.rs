//! When windows of every week are open. Pure.
//!
//! In: the windows of a service, a moment. Out: whether one is open then, and until when that stays so.

use super::settings::Window;
use jiff::Timestamp;
use std::time::Duration;

const MINUTES_OF_A_DAY: i64 = 24 * 60;
const MINUTES_OF_A_WEEK: i64 = 7 * MINUTES_OF_A_DAY;
/// The first day of 1970 was a Thursday, three days after a Monday.
const EPOCH_AFTER_MONDAY: i64 = 3 * MINUTES_OF_A_DAY;

/// Whether a window is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// There is no window, or they leave no gap.
    Always,
    /// One is, until then.
    OpenUntil(Timestamp),
    /// None is, until then.
    ClosedUntil(Timestamp),
}

/// Whether one of `windows` is open at `now`. Windows that touch count as one.
pub fn opening(windows: &[Window], now: Timestamp) -> Opening {
    if windows.is_empty() {
        return Opening::Always;
    }
    let minute = now.as_second().div_euclid(60);
    let monday = minute - (minute + EPOCH_AFTER_MONDAY).rem_euclid(MINUTES_OF_A_WEEK);
    let spans = spans(windows, monday);
    let mut end = minute;
    while let Some(later) =
        spans.iter().filter(|(from, to)| (*from..*to).contains(&end)).map(|(_, to)| *to).max()
    {
        end = later;
        if end - minute >= MINUTES_OF_A_WEEK {
            return Opening::Always;
        }
    }
    if end > minute {
        return Opening::OpenUntil(at(end));
    }
    match spans.iter().map(|(from, _)| *from).filter(|from| *from > minute).min() {
        Some(next) => Opening::ClosedUntil(at(next)),
        // No window has a day: the configuration refuses that, and what never opens is not there.
        None => Opening::Always,
    }
}

/// Beginnings and ends, in minutes since 1970, of last week's windows to those of the week after next.
fn spans(windows: &[Window], monday: i64) -> Vec<(i64, i64)> {
    let mut spans = Vec::new();
    for window in windows {
        for (day, _) in (0_i64..).zip(window.days).filter(|(_, open)| *open) {
            for week in -1..=2 {
                let midnight = monday + week * MINUTES_OF_A_WEEK + day * MINUTES_OF_A_DAY;
                let from = midnight + i64::from(window.opens_at_minute);
                spans.push((from, from + i64::from(window.open_for_minutes)));
            }
        }
    }
    spans
}

fn at(minute: i64) -> Timestamp {
    let length = Duration::from_secs(u64::try_from(minute.saturating_mul(60)).unwrap_or(0));
    Timestamp::UNIX_EPOCH.checked_add(length).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: [bool; 7], opens_at_minute: u16, open_for_minutes: u16) -> Window {
        Window { days, opens_at_minute, open_for_minutes }
    }

    fn when(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    const WEEKDAYS: [bool; 7] = [true, true, true, true, true, false, false];

    #[test]
    fn without_windows_it_is_always_open() {
        assert_eq!(opening(&[], when("2026-11-21T12:00:00Z")), Opening::Always);
    }

    #[test]
    fn a_window_of_working_days_is_closed_over_the_week_end() {
        // 2026-11-20 was a Friday.
        let windows = [window(WEEKDAYS, 120, 120)];
        let open = Opening::OpenUntil(when("2026-11-20T04:00:00Z"));
        assert_eq!(opening(&windows, when("2026-11-20T02:00:00Z")), open);
        assert_eq!(opening(&windows, when("2026-11-20T03:59:59Z")), open);
        let monday = Opening::ClosedUntil(when("2026-11-23T02:00:00Z"));
        assert_eq!(opening(&windows, when("2026-11-20T04:00:00Z")), monday);
        assert_eq!(opening(&windows, when("2026-11-22T23:00:00Z")), monday);
    }

    #[test]
    fn a_window_over_midnight_at_the_end_of_the_week_reaches_into_the_next_one() {
        let mut sunday = [false; 7];
        sunday[6] = true;
        let windows = [window(sunday, 23 * 60, 120)];
        let open = Opening::OpenUntil(when("2026-11-23T01:00:00Z"));
        assert_eq!(opening(&windows, when("2026-11-22T23:30:00Z")), open);
        assert_eq!(opening(&windows, when("2026-11-23T00:59:00Z")), open);
        let next = Opening::ClosedUntil(when("2026-11-29T23:00:00Z"));
        assert_eq!(opening(&windows, when("2026-11-23T01:00:00Z")), next);
    }

    #[test]
    fn windows_that_touch_count_as_one_and_without_a_gap_as_always() {
        let touching = [window(WEEKDAYS, 60, 60), window(WEEKDAYS, 120, 60)];
        let open = Opening::OpenUntil(when("2026-11-20T03:00:00Z"));
        assert_eq!(opening(&touching, when("2026-11-20T01:30:00Z")), open);
        let whole_days = [window([true; 7], 0, 1440)];
        assert_eq!(opening(&whole_days, when("2026-11-20T01:30:00Z")), Opening::Always);
    }
}
