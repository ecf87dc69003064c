//! What is used up of each service's budget of the day, over restarts of the agent and of the service's containers.
//!
//! In: where the rules of a source stand behind what was delivered. Out: where they go on, in the next process and for the
//! next container of the same service; what to show. What always holds: a kill forgets a few seconds of it, in favour of
//! the application. Two containers of one service at the same time each count for themselves, and the one that has shipped
//! more counts for the next. Not its job: judging.

use crate::logs::shape::{Reason, State};
use crate::status::Budget;
use jiff::Timestamp;
use node::config::settings::Shaping;
use node::fault::one_line;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// In the agent's state directory.
const FILE_NAME: &str = "log-budgets.json";
/// Only root needs to know.
const MODE: u32 = 0o600;
/// Between two writes.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// By service; of a file of the node by its path.
type States = BTreeMap<String, State>;

/// The budgets of all services that have one.
#[derive(Debug)]
pub(super) struct Budgets {
    path: PathBuf,
    memory: Mutex<Memory>,
}

#[derive(Debug)]
struct Memory {
    states: States,
    written: Option<Instant>,
    is_dirty: bool,
}

impl Budgets {
    /// What an earlier run left in the agent's state directory.
    pub(super) fn load(state: &Path) -> Budgets {
        let path = state.join(FILE_NAME);
        let states = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                tracing::warn!(reason = one_line(&error), "the budgets of the day begin anew");
                States::default()
            }),
            // None yet, or none that can be read, which is said when one is written.
            Err(_) => States::default(),
        };
        Budgets { path, memory: Mutex::new(Memory { states, written: None, is_dirty: false }) }
    }

    /// Where the rules of a service stand.
    pub(super) fn of(&self, service: &str) -> Option<State> {
        self.memory().states.get(service).cloned()
    }

    /// Everything of a service up to here was delivered.
    #[expect(clippy::disallowed_methods, reason = "how often a file is written")]
    pub(super) fn note(&self, service: &str, state: State) {
        let mut memory = self.memory();
        let before = memory.states.get(service);
        if before.is_some_and(|before| !state.is_further_than(before)) {
            return;
        }
        memory.states.insert(service.to_owned(), state);
        memory.is_dirty = true;
        if memory.written.is_none_or(|written| written.elapsed() >= WRITE_EVERY) {
            memory.written = Some(Instant::now());
            write(&self.path, &mut memory);
        }
    }

    /// What to show of the services that have a budget.
    pub(super) fn shown(&self, rules: &BTreeMap<String, Shaping>, now: Timestamp) -> Vec<Budget> {
        let memory = self.memory();
        let limited = rules.iter().filter_map(|(service, rules)| Some((service, rules.daily?)));
        limited
            .map(|(service, daily_bytes)| {
                let today = memory.states.get(service).and_then(|state| state.today(now.as_millisecond()));
                let today = today.unwrap_or_default();
                Budget {
                    service: service.clone(),
                    daily_bytes,
                    used_bytes: today.kept.bytes,
                    events_left_out: today.dropped(Reason::Daily).events,
                }
            })
            .collect()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Every change is whole before the lock is given back.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Budgets {
    fn drop(&mut self) {
        let memory = self.memory.get_mut().unwrap_or_else(PoisonError::into_inner);
        if memory.is_dirty {
            write(&self.path, memory);
        }
    }
}

fn write(path: &Path, memory: &mut Memory) {
    memory.is_dirty = false;
    let text = serde_json::to_vec(&memory.states).map_err(std::io::Error::other);
    if let Err(error) = text.and_then(|text| node::files::replace(path, &text, MODE)) {
        tracing::warn!(reason = one_line(&error), "cannot remember the budgets of the day");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::shape::Shape;

    const NOON: i64 = 1_796_040_000_000;
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;

    fn rules(daily: u64) -> Shaping {
        Shaping { daily: Some(daily), ..Shaping::default() }
    }

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    /// How many of `count` lines of 74 bytes, billed as 100, are kept.
    fn kept(shape: &mut Shape, count: usize, now: i64) -> usize {
        let line = [b'x'; 74];
        let judged = (0..count).map(|_| shape.line(now, now, &line));
        judged.filter(|verdict| *verdict == crate::logs::shape::Verdict::Keep).count()
    }

    #[test]
    fn a_restart_and_a_new_container_go_on_with_what_is_left_of_the_day() {
        let directory = tempfile::tempdir().unwrap();
        let budgets = Budgets::load(directory.path());
        let mut first = Shape::new(&rules(1_000)).unwrap();
        assert_eq!(kept(&mut first, 7, NOON), 7);
        budgets.note("api", first.state());
        drop(budgets);
        let budgets = Budgets::load(directory.path());
        let mut second = Shape::new(&rules(1_000)).unwrap();
        second.resume(budgets.of("api").unwrap());
        assert_eq!(kept(&mut second, 7, NOON), 3);
        budgets.note("api", second.state());
        let rules =
            BTreeMap::from([("api".to_owned(), rules(1_000)), ("web".to_owned(), Shaping::default())]);
        let shown = budgets.shown(&rules, at(NOON));
        let used =
            Budget { service: "api".to_owned(), daily_bytes: 1_000, used_bytes: 1_000, events_left_out: 4 };
        assert_eq!(shown, std::slice::from_ref(&used));
        let tomorrow = budgets.shown(&rules, at(NOON + DAY_MS));
        assert_eq!(tomorrow, [Budget { used_bytes: 0, events_left_out: 0, ..used }]);
        second.resume(budgets.of("api").unwrap());
        assert_eq!(kept(&mut second, 20, NOON + DAY_MS), 10);
    }

    #[test]
    fn who_has_shipped_less_does_not_give_the_budget_back() {
        let directory = tempfile::tempdir().unwrap();
        let budgets = Budgets::load(directory.path());
        let (mut old, mut new) = (Shape::new(&rules(1_000)).unwrap(), Shape::new(&rules(1_000)).unwrap());
        kept(&mut old, 5, NOON);
        kept(&mut new, 1, NOON);
        budgets.note("api", old.state());
        budgets.note("api", new.state());
        assert_eq!(budgets.of("api"), Some(old.state()));
        kept(&mut new, 1, NOON + DAY_MS);
        budgets.note("api", new.state());
        assert_eq!(budgets.of("api"), Some(new.state()), "a new day");
    }

    #[test]
    fn a_damaged_file_begins_the_day_anew_and_is_written_over() {
        let directory = tempfile::tempdir().unwrap();
        node::files::replace(&directory.path().join(FILE_NAME), b"{\"api\":", MODE).unwrap();
        let budgets = Budgets::load(directory.path());
        assert_eq!(budgets.of("api"), None);
        let mut shape = Shape::new(&rules(1_000)).unwrap();
        kept(&mut shape, 1, NOON);
        budgets.note("api", shape.state());
        assert_eq!(Budgets::load(directory.path()).of("api"), Some(shape.state()));
    }
}
