//! What is known of containers without asking again. Pure.
//!
//! In: the engine's list, its events, answers about single containers. Out: which of them are still true. What always
//! holds: an answer counts until an event names its container, until the events broke off, or until the list tells
//! something else; while nobody listens, nothing counts. An answer that was on its way when its container changed is
//! thrown away.

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum, EndpointSettings, PortSummary};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What the list tells of a container: enough to see that it is not as it was, should an event have been lost.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Summary {
    names: Vec<String>,
    state: Option<ContainerSummaryStateEnum>,
    /// In brackets: the verdict of the image's HEALTHCHECK, an exit status, "Paused".
    remark: String,
    networks: HashMap<String, EndpointSettings>,
    /// As text, sorted: the engine gives them in any order.
    ports: Vec<String>,
    age: Age,
}

/// How long it has been in its state, in the engine's words: unit and number. It only grows, unless it was started anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Age {
    unit: usize,
    number: u64,
}

impl Summary {
    pub(super) fn of(listed: &ContainerSummary) -> Summary {
        let status = listed.status.as_deref().unwrap_or_default();
        let remark = status.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
        let networks = listed.network_settings.as_ref().and_then(|settings| settings.networks.clone());
        let text =
            |port: &PortSummary| format!("{:?}", (&port.ip, port.private_port, port.public_port, port.typ));
        let mut ports: Vec<String> = listed.ports.iter().flatten().map(text).collect();
        ports.sort_unstable();
        Summary {
            names: listed.names.clone().unwrap_or_default(),
            state: listed.state,
            remark: remark.map_or("", |(remark, _)| remark).to_owned(),
            networks: networks.unwrap_or_default(),
            ports,
            age: Age::of(status),
        }
    }

    fn goes_on_from(&self, before: &Summary) -> bool {
        self.age >= before.age && Summary { age: before.age, ..self.clone() } == *before
    }
}

impl Age {
    /// From `Up 5 minutes (healthy)`, `Exited (0) About an hour ago`, `Up Less than a second`.
    fn of(status: &str) -> Age {
        const UNITS: [&str; 7] = ["second", "minute", "hour", "day", "week", "month", "year"];
        let words: Vec<&str> = status.split_whitespace().collect();
        let unit_of = |word: &str| UNITS.iter().position(|unit| word.trim_end_matches('s') == *unit);
        let found = words.iter().enumerate().find_map(|(at, word)| Some((at, unit_of(word)?)));
        let Some((at, unit)) = found else { return Age::default() };
        let number = match words.get(at.wrapping_sub(1)).copied() {
            _ if words.contains(&"Less") => 0,
            Some(number) => number.parse().unwrap_or(1),
            None => 1,
        };
        Age { unit, number }
    }
}

/// The answers about containers, by id.
#[derive(Debug)]
pub(super) struct Inspections<T> {
    listening: bool,
    /// Containers that were sent a signal since their start.
    signalled: BTreeSet<String>,
    entries: BTreeMap<String, Entry<T>>,
    questions: u64,
}

#[derive(Debug)]
enum Entry<T> {
    /// The question is under way.
    Asked(u64),
    Known(Summary, T),
}

/// A question under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked(u64);

impl<T> Default for Inspections<T> {
    fn default() -> Self {
        Inspections { listening: false, signalled: BTreeSet::new(), entries: BTreeMap::new(), questions: 0 }
    }
}

impl<T: Clone> Inspections<T> {
    /// From now on every change is told.
    pub(super) fn listen(&mut self) {
        self.listening = true;
    }

    /// Changes are no longer told.
    pub(super) fn break_off(&mut self) {
        self.listening = false;
        self.signalled.clear();
        self.entries.clear();
    }

    /// The engine did this to a container.
    pub(super) fn happened(&mut self, id: Option<&str>, action: Option<&str>) {
        self.changed(id);
        match (id, action) {
            (Some(id), Some("kill")) => drop(self.signalled.insert(id.to_owned())),
            (Some(id), Some("start" | "destroy")) => drop(self.signalled.remove(id)),
            _ => {}
        }
    }

    /// Containers that were sent a signal since they were started.
    pub(super) fn signalled(&self) -> &BTreeSet<String> {
        &self.signalled
    }

    /// Something happened to that container; to any of them, without an id.
    pub(super) fn changed(&mut self, id: Option<&str>) {
        match id {
            Some(id) => drop(self.entries.remove(id)),
            None => self.entries.clear(),
        }
    }

    /// The answer about a container that the list describes like this, if it still counts.
    pub(super) fn known(&mut self, id: &str, now: &Summary) -> Option<T> {
        match self.entries.get_mut(id) {
            Some(Entry::Known(before, answer)) if now.goes_on_from(before) => {
                before.age = now.age;
                Some(answer.clone())
            }
            _ => None,
        }
    }

    /// A container is being asked about.
    pub(super) fn ask(&mut self, id: &str) -> Asked {
        self.questions += 1;
        if self.listening {
            self.entries.insert(id.to_owned(), Entry::Asked(self.questions));
        }
        Asked(self.questions)
    }

    /// The answer to a question that was asked when the list described the container like this.
    pub(super) fn answered(&mut self, id: &str, asked: Asked, then: Summary, answer: T) {
        if let Some(entry @ Entry::Asked(_)) = self.entries.get_mut(id)
            && matches!(entry, Entry::Asked(number) if *number == asked.0)
        {
            *entry = Entry::Known(then, answer);
        }
    }

    /// Forgets what is no longer in the list.
    pub(super) fn retain(&mut self, listed: &BTreeSet<&str>) {
        self.entries.retain(|id, _| listed.contains(id.as_str()));
    }
}

#[cfg(test)]
#[path = "inspections_tests.rs"]
mod tests;
