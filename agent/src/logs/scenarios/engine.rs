//! A container engine that holds the lines that the story writes.

use crate::engine::EngineError;
use crate::logs::source::{LogSource, SourceError, SourceLine};
use bytes::Bytes;
use futures_util::Stream;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

#[derive(Debug, Default, Clone)]
struct Log {
    lines: Vec<SourceLine>,
    ended: bool,
    removed: bool,
    /// Lines given out, over all streams.
    given: usize,
    /// Streams opened.
    opened: usize,
}

#[derive(Debug, Default)]
struct State {
    logs: BTreeMap<String, Log>,
    away: bool,
    /// Counts the times that all streams were broken.
    breaks: usize,
}

/// Clones share it.
#[derive(Debug, Clone)]
pub(super) struct ScriptedEngine {
    state: Arc<Mutex<State>>,
    changes: watch::Sender<()>,
}

impl Default for ScriptedEngine {
    fn default() -> Self {
        ScriptedEngine { state: Arc::default(), changes: watch::Sender::new(()) }
    }
}

impl ScriptedEngine {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changes.send_replace(());
    }

    fn log<T>(&self, container: &str, read: impl FnOnce(&Log) -> T) -> T {
        read(self.state.lock().unwrap().logs.get(container).unwrap_or(&Log::default()))
    }

    /// The container writes.
    pub(super) fn write(&self, container: &str, lines: Vec<(Timestamp, String)>) {
        self.change(|state| {
            let log = state.logs.entry(container.to_owned()).or_default();
            log.ended = false;
            log.lines.extend(
                lines
                    .into_iter()
                    .map(|(timestamp, text)| SourceLine { timestamp, message: Bytes::from(text) }),
            );
        });
    }

    /// The container ends, and with it the streams.
    pub(super) fn end(&self, container: &str) {
        self.change(|state| state.logs.entry(container.to_owned()).or_default().ended = true);
    }

    /// The container is removed; streams that are open give what there is.
    pub(super) fn remove(&self, container: &str) {
        self.change(|state| {
            let log = state.logs.entry(container.to_owned()).or_default();
            (log.ended, log.removed) = (true, true);
        });
    }

    /// The engine forgets its oldest lines.
    pub(super) fn rotate(&self, container: &str, lines: usize) {
        self.change(|state| {
            state.logs.entry(container.to_owned()).or_default().lines.drain(..lines);
        });
    }

    /// The engine stops: streams break, and no new ones are to be had until it is back.
    pub(super) fn away(&self, away: bool) {
        self.change(|state| {
            state.away = away;
            state.breaks += 1;
        });
    }

    pub(super) fn written(&self, container: &str) -> Vec<String> {
        self.log(container, |log| {
            log.lines.iter().map(|line| String::from_utf8_lossy(&line.message).into_owned()).collect()
        })
    }

    pub(super) fn count(&self, container: &str) -> usize {
        self.log(container, |log| log.lines.len())
    }

    pub(super) fn given(&self, container: &str) -> usize {
        self.log(container, |log| log.given)
    }

    pub(super) fn opened(&self, container: &str) -> usize {
        self.log(container, |log| log.opened)
    }

    /// The next step of a stream that has looked at the lines before `index`.
    fn step(&self, reading: &mut Reading) -> Step {
        let mut state = self.state.lock().unwrap();
        if state.away || (reading.opened && state.breaks != reading.breaks) {
            return Step::Fail;
        }
        reading.breaks = state.breaks;
        let Some(log) = state.logs.get_mut(&reading.container).filter(|log| reading.opened || !log.removed)
        else {
            return Step::Gone;
        };
        if !reading.opened {
            (reading.opened, log.opened) = (true, log.opened + 1);
        }
        let old = |line: &&SourceLine| reading.since.is_some_and(|since| line.timestamp < since);
        reading.index += log.lines[reading.index.min(log.lines.len())..].iter().take_while(old).count();
        match log.lines.get(reading.index) {
            Some(line) => {
                reading.index += 1;
                log.given += 1;
                Step::Line(line.clone())
            }
            None if log.ended => Step::End,
            None => Step::Wait,
        }
    }
}

enum Step {
    Line(SourceLine),
    Wait,
    End,
    Fail,
    Gone,
}

struct Reading {
    engine: ScriptedEngine,
    changes: watch::Receiver<()>,
    container: String,
    since: Option<Timestamp>,
    index: usize,
    opened: bool,
    breaks: usize,
    over: bool,
}

impl LogSource for ScriptedEngine {
    fn follow(
        &self,
        container_id: &str,
        since: Option<Timestamp>,
    ) -> impl Stream<Item = Result<SourceLine, SourceError>> + Send {
        let reading = Reading {
            engine: self.clone(),
            changes: self.changes.subscribe(),
            container: container_id.to_owned(),
            since,
            index: 0,
            opened: false,
            breaks: 0,
            over: false,
        };
        futures_util::stream::unfold(reading, async |mut reading| {
            if reading.over {
                return None;
            }
            loop {
                let engine = reading.engine.clone();
                let failure = match engine.step(&mut reading) {
                    Step::Line(line) => return Some((Ok(line), reading)),
                    Step::End => return None,
                    Step::Wait => {
                        reading.changes.changed().await.ok()?;
                        continue;
                    }
                    Step::Gone => SourceError::Gone { container_id: reading.container.clone() },
                    Step::Fail => SourceError::Engine(EngineError::Unreachable {
                        endpoint: "/run/docker.sock".to_owned(),
                        operation: "read a log".to_owned(),
                        source: None,
                    }),
                };
                reading.over = true;
                return Some((Err(failure), reading));
            }
        })
    }
}
