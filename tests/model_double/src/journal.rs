//! Every request of the API in the order of arrival, with how it ended: for assertions, and one line each on standard
//! output.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::host;

/// All requests since the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<Value>>>);

impl Journal {
    fn entries(&self) -> MutexGuard<'_, Vec<Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has come.
    pub(crate) fn begin(&self, method: &str, path: &str, model: &str) -> Entry {
        let began = host::now();
        let mut entries = self.entries();
        entries.push(json!({"time": began, "method": method, "path": path, "model": model, "outcome": null}));
        Entry { journal: self.clone(), place: entries.len() - 1, began, ended: false }
    }

    pub(crate) fn list(&self) -> Value {
        Value::Array(self.entries().clone())
    }
}

/// A request under way; dropped without an end, its client went away.
#[derive(Debug)]
pub(crate) struct Entry {
    journal: Journal,
    place: usize,
    began: Timestamp,
    ended: bool,
}

impl Entry {
    /// It is over: status, and `success` or what the answer's error was.
    pub(crate) fn end(mut self, status: u16, outcome: &str) {
        self.close(Some(status), outcome);
    }

    fn close(&mut self, status: Option<u16>, outcome: &str) {
        self.ended = true;
        let took = host::now().duration_since(self.began).as_millis();
        let mut entries = self.journal.entries();
        let entry = &mut entries[self.place];
        entry["status"] = json!(status);
        entry["outcome"] = json!(outcome);
        entry["milliseconds"] = json!(u64::try_from(took).unwrap_or(0));
        let mut line = entry.clone();
        drop(entries);
        line["event"] = json!("request");
        if let Some(line) = line.as_object_mut() {
            // The line has its own time.
            line.remove("time");
        }
        host::say(&line);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.ended {
            self.close(None, "cancelled");
        }
    }
}
