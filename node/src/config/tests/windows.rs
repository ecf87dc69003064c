//! What windows say of a moment, as they are written: cases by hand, and thousands of moments against a model that walks
//! through the week minute by minute and knows nothing of spans.

use super::settings;
use crate::config::settings::Window;
use crate::config::text::window::window;
use crate::config::window::{Opening, opening};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use std::cell::Cell;

const SEED: u64 = 20_260_105;
const CASES: u32 = 6000;
const WEEK: usize = 7 * 24 * 60;
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// The windows of a service in whose file these texts are written.
fn windows(texts: &[String]) -> Vec<Window> {
    let all = settings(&format!("[services.a]\nimage = \"a\"\nupdate.window = {texts:?}\n"));
    all.services["a"].update.windows.clone()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// `open until …`, `closed until …` or `always`, of the moment `now`.
fn said(texts: &[&str], now: &str) -> String {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    match opening(&windows(&texts), at(now)) {
        Opening::Always => "always".to_owned(),
        Opening::OpenUntil(end) => format!("open until {end}"),
        Opening::ClosedUntil(begin) => format!("closed until {begin}"),
    }
}

#[test]
fn a_window_on_one_day() {
    // 2026-01-05 was a Monday.
    let window = ["Mon 02:00-04:00 UTC"];
    for (now, wanted) in [
        ("2026-01-05T00:00:00Z", "closed until 2026-01-05T02:00:00Z"),
        ("2026-01-05T01:59:59.999999999Z", "closed until 2026-01-05T02:00:00Z"),
        ("2026-01-05T02:00:00Z", "open until 2026-01-05T04:00:00Z"),
        ("2026-01-05T03:59:59.999999999Z", "open until 2026-01-05T04:00:00Z"),
        ("2026-01-05T04:00:00Z", "closed until 2026-01-12T02:00:00Z"),
        ("2025-12-31T23:00:00Z", "closed until 2026-01-05T02:00:00Z"),
        ("1969-12-31T23:59:59.5Z", "closed until 1970-01-05T02:00:00Z"),
    ] {
        assert_eq!(said(&window, now), wanted, "{now}");
    }
}

#[test]
fn a_window_over_midnight_and_over_the_end_of_the_week() {
    assert_eq!(said(&["Tue 22:00-02:00 UTC"], "2026-01-07T01:00:00Z"), "open until 2026-01-07T02:00:00Z");
    assert_eq!(said(&["Sun 22:00-06:00 UTC"], "2026-01-05T01:00:00Z"), "open until 2026-01-05T06:00:00Z");
    assert_eq!(said(&["Sun 22:00-06:00 UTC"], "2026-01-04T23:00:00Z"), "open until 2026-01-05T06:00:00Z");
    assert_eq!(said(&["Sun 22:00-06:00 UTC"], "2026-01-05T06:00:00Z"), "closed until 2026-01-11T22:00:00Z");
}

#[test]
fn windows_that_overlap_or_adjoin_are_one() {
    let weekend = ["Fri 22:00-24:00 UTC", "Sat,Sun 00:00-24:00 UTC", "Mon 00:00-06:00 UTC"];
    for now in ["2026-01-02T22:00:00Z", "2026-01-03T12:00:00Z", "2026-01-05T05:59:00Z"] {
        assert_eq!(said(&weekend, now), "open until 2026-01-05T06:00:00Z", "{now}");
    }
    let overlap = ["02:00-05:00 UTC", "04:00-04:30 UTC", "Wed 04:00-07:00 UTC"];
    assert_eq!(said(&overlap, "2026-01-06T04:15:00Z"), "open until 2026-01-06T05:00:00Z");
    assert_eq!(said(&overlap, "2026-01-07T02:15:00Z"), "open until 2026-01-07T07:00:00Z");
}

#[test]
fn windows_without_a_gap_are_always_open() {
    for texts in [
        &[][..],
        &["00:00-24:00 UTC"],
        &["12:00-11:59 UTC", "11:59-12:00 UTC"],
        &[
            "Mon-Fri 00:00-24:00 UTC",
            "Sat 00:00-23:00 UTC",
            "Sat 23:00-24:00 UTC",
            "Sun 00:00-00:01 UTC",
            "Sun 00:01-00:00 UTC",
        ],
    ] {
        assert_eq!(said(texts, "2026-01-05T02:00:00Z"), "always", "{texts:?}");
    }
    assert_eq!(said(&["12:00-11:59 UTC"], "2026-01-05T11:59:30Z"), "closed until 2026-01-05T12:00:00Z");
}

#[test]
fn windows_that_never_open_and_the_end_of_time() {
    let never = Window { days: [false; 7], opens_at_minute: 0, open_for_minutes: 60 };
    let empty = Window { days: [true; 7], opens_at_minute: 0, open_for_minutes: 0 };
    let now = at("2026-01-05T02:00:00Z");
    assert_eq!(opening(&[never, empty], now), Opening::ClosedUntil(Timestamp::MAX));
    let daily = Window { days: [true; 7], opens_at_minute: 0, open_for_minutes: 1439 };
    for now in [Timestamp::MIN, Timestamp::MAX] {
        assert_ne!(opening(std::slice::from_ref(&daily), now), Opening::Always);
    }
}

/// A window, kept as it is written and as the parts that it is written from.
#[derive(Debug, Clone)]
struct Written {
    /// First and last day, of a list; empty: every day.
    days: Vec<(usize, usize)>,
    from: usize,
    until: usize,
}

impl Written {
    fn text(&self) -> String {
        let day = |(first, last): &(usize, usize)| match first == last {
            true => DAYS[*first].to_owned(),
            false => format!("{}-{}", DAYS[*first], DAYS[*last]),
        };
        let days: Vec<String> = self.days.iter().map(day).collect();
        let time = |minute: usize| format!("{:02}:{:02}", minute / 60, minute % 60);
        let times = format!("{}-{} UTC", time(self.from), time(self.until));
        if days.is_empty() { times } else { format!("{} {times}", days.join(",")) }
    }

    /// Opens the minutes of the week, one by one, until the clock shows the end.
    fn open(&self, week: &mut [bool]) {
        let every_day = [(0, 6)];
        for (first, last) in if self.days.is_empty() { &every_day[..] } else { &self.days } {
            let mut day = *first;
            loop {
                let mut minute = day * 1440 + self.from;
                loop {
                    week[minute % WEEK] = true;
                    minute += 1;
                    if minute % 1440 == self.until % 1440 {
                        break;
                    }
                }
                if day == *last {
                    break;
                }
                day = (day + 1) % 7;
            }
        }
    }
}

fn written() -> impl Strategy<Value = Written> {
    let day = (0..7_usize, 0..7_usize);
    // Round times meet each other more often.
    let time = || prop_oneof![(0..24_usize).prop_map(|hour| hour * 60), 0..1440_usize];
    let until = prop_oneof![4 => time().boxed(), 1 => Just(1440).boxed()];
    (prop::collection::vec(day, 0..3), time(), until)
        .prop_filter("it must not end when it begins", |(_, from, until)| from != until)
        .prop_map(|(days, from, until)| Written { days, from, until })
}

/// Walks on, minute by minute, until the state is another one.
fn model(week: &[bool], now: Timestamp) -> Opening {
    let civil = now.to_zoned(TimeZone::UTC);
    let monday = usize::try_from(civil.weekday().to_monday_zero_offset()).unwrap();
    let clock = usize::try_from(civil.hour()).unwrap() * 60 + usize::try_from(civil.minute()).unwrap();
    let (begin, state) = (monday * 1440 + clock, week[monday * 1440 + clock]);
    let full_minute =
        now - i64::from(civil.second()).seconds() - i64::from(civil.subsec_nanosecond()).nanoseconds();
    let mut minutes = 0_i64;
    let mut index = begin;
    while week[index] == state {
        minutes += 1;
        index = (index + 1) % WEEK;
        if index == begin {
            return Opening::Always;
        }
    }
    let change = full_minute + minutes.minutes();
    if state { Opening::OpenUntil(change) } else { Opening::ClosedUntil(change) }
}

/// A moment of some week from 1960 to 2100: anywhere, or where an hour ends and the next begins.
fn moment() -> impl Strategy<Value = Timestamp> {
    let hour = 0..168_i64;
    let minute =
        prop_oneof![0..10_080_i64, hour.clone().prop_map(|h| h * 60), hour.prop_map(|h| h * 60 + 59)];
    let within = prop_oneof![Just(0_i64), Just(59_999_999_999), 0..60_000_000_000_i64];
    // 4 January 1960 was a Monday.
    (0..7300_i64, minute, within).prop_map(|(week, minute, nanosecond)| {
        at("1960-01-04T00:00:00Z") + (week * 168).hours() + minute.minutes() + nanosecond.nanoseconds()
    })
}

#[test]
fn any_windows_say_of_any_moment_what_a_walk_through_the_week_finds() {
    println!("windows against the model: seed {SEED}, {CASES} cases of 4 moments");
    let config = Config {
        cases: CASES,
        rng_seed: RngSeed::Fixed(SEED),
        failure_persistence: None,
        ..Config::default()
    };
    let strategy = (prop::collection::vec(written(), 1..5), prop::collection::vec(moment(), 4));
    let [always, open, closed] = [const { Cell::new(0) }; 3];
    TestRunner::new(config)
        .run(&strategy, |(written, moments)| {
            let mut week = vec![false; WEEK];
            written.iter().for_each(|window| window.open(&mut week));
            let texts: Vec<String> = written.iter().map(Written::text).collect();
            let windows: Vec<Window> = texts.iter().map(|text| window(text).unwrap()).collect();
            for now in moments {
                let said = opening(&windows, now);
                prop_assert_eq!(said, model(&week, now), "{:?} at {}", texts, now);
                let kind = match said {
                    Opening::Always => &always,
                    Opening::OpenUntil(_) => &open,
                    Opening::ClosedUntil(_) => &closed,
                };
                kind.set(kind.get() + 1);
            }
            Ok(())
        })
        .unwrap();
    let found = [always.get(), open.get(), closed.get()];
    println!("always, open, closed: {found:?}");
    assert!(found.iter().all(|count| *count > 300), "the cases are all alike: {found:?}");
}
