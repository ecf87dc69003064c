//! What was kept and left out, by day of UTC and by reason. Values only.
//!
//! Bytes are those that CloudWatch Logs charges for: the message and 26 for each event. What they cost is not said here:
//! prices differ by region and change.

use node::config::settings::EVENT_OVERHEAD_BYTES;
use serde::{Deserialize, Serialize};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Why an event is not shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// `include` or `exclude`.
    Excluded,
    /// `sample`.
    Sampled,
    /// `repeat`.
    Repeated,
    /// `max_rate`.
    Rate,
    /// `daily`.
    Daily,
}

impl Reason {
    /// All of them, in the order in which they are asked.
    pub const ALL: [Reason; 5] =
        [Reason::Excluded, Reason::Sampled, Reason::Repeated, Reason::Rate, Reason::Daily];

    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Excluded => "excluded",
            Reason::Sampled => "sampled",
            Reason::Repeated => "repeated",
            Reason::Rate => "rate",
            Reason::Daily => "daily",
        }
    }
}

/// So many events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// How many.
    pub events: u64,
    /// What they would be charged as.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, message_bytes: usize) {
        self.events += 1;
        self.bytes = self.bytes.saturating_add(billed(message_bytes));
    }
}

/// What CloudWatch Logs charges for one event.
pub(super) fn billed(message_bytes: usize) -> u64 {
    u64::try_from(message_bytes.saturating_add(EVENT_OVERHEAD_BYTES)).unwrap_or(u64::MAX)
}

/// One day of UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Day {
    /// Days since 1970.
    pub number: i64,
    /// Shipped.
    pub kept: Amount,
    /// In the order of [`Reason::ALL`].
    dropped: [Amount; Reason::ALL.len()],
}

impl Day {
    /// All events, whatever became of them.
    pub(super) fn seen(&self) -> u64 {
        self.kept.events + self.dropped.iter().map(|amount| amount.events).sum::<u64>()
    }

    /// What was left out for one reason.
    pub fn dropped(&self, reason: Reason) -> Amount {
        self.dropped[reason as usize]
    }
}

/// Today and the day before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Account {
    today: Day,
    before: Option<Day>,
}

impl Account {
    pub(super) fn today(&self) -> &Day {
        &self.today
    }

    pub(super) fn days(&self) -> impl Iterator<Item = &Day> {
        std::iter::once(&self.today).chain(&self.before)
    }

    /// The day in which `at_ms` is.
    pub(super) fn day(&self, at_ms: i64) -> Option<Day> {
        let number = at_ms.div_euclid(DAY_MS);
        self.days().find(|day| day.number == number).copied()
    }

    /// Begins a new day where `at` is in one. A day that has not come yet by `now_ms` was one of a clock that has been set
    /// since: its amounts become today's, so that no clock fills a budget twice or keeps it empty for years.
    pub(super) fn turn(&mut self, at_ms: i64, now_ms: i64) {
        let (day, latest) = (at_ms.div_euclid(DAY_MS), now_ms.div_euclid(DAY_MS));
        if self.today.number > latest {
            self.today.number = latest;
        } else if day > self.today.number {
            let begun = Day { number: day, ..Day::default() };
            let ended = std::mem::replace(&mut self.today, begun);
            self.before = (ended.number == day - 1).then_some(ended);
        }
    }

    pub(super) fn keep(&mut self, message_bytes: usize) {
        self.today.kept.add(message_bytes);
    }

    pub(super) fn drop(&mut self, reason: Reason, message_bytes: usize) {
        self.today.dropped[reason as usize].add(message_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_their_places() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
    }

    #[test]
    fn a_day_ends_at_midnight_of_utc_and_yesterday_is_kept() {
        let mut account = Account::default();
        account.turn(DAY_MS - 1, DAY_MS - 1);
        account.keep(10);
        account.turn(DAY_MS, DAY_MS);
        account.drop(Reason::Rate, 4);
        let days: Vec<_> = account.days().copied().collect();
        assert_eq!(days.len(), 2);
        assert_eq!((days[0].number, days[0].kept.events), (1, 0));
        assert_eq!(days[0].dropped(Reason::Rate), Amount { events: 1, bytes: 30 });
        assert_eq!((days[1].number, days[1].kept), (0, Amount { events: 1, bytes: 36 }));
        account.turn(5 * DAY_MS, 5 * DAY_MS);
        assert_eq!(account.days().count(), 1, "the day before had nothing");
    }

    #[test]
    fn late_events_count_today_and_a_clock_that_was_ahead_takes_its_amounts_back_with_it() {
        let mut account = Account::default();
        account.turn(3 * DAY_MS, 3 * DAY_MS);
        account.keep(10);
        account.turn(2 * DAY_MS, 3 * DAY_MS);
        assert_eq!((account.today().number, account.today().kept.events), (3, 1));
        account.turn(2 * DAY_MS, 2 * DAY_MS);
        assert_eq!((account.today().number, account.today().kept.events), (2, 1), "the clock was set back");
        account.turn(3 * DAY_MS, 3 * DAY_MS);
        assert_eq!((account.today().number, account.today().kept.events), (3, 0));
    }
}
