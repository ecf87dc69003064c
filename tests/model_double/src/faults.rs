//! What goes wrong, and how often.
//!
//! A fault is JSON: `{"kind": KIND, …}` with, where they apply, `at` (per cent of the bytes of the whole model, 50),
//! `seconds`, `text`, `share`, `code` and `path`, and for all of them `model` (a name), `digests` (of manifests or
//! weights), `times` (absent: always) and `until_restart`. A field or kind that is unknown is refused.
//!
//! | kind | what happens |
//! |---|---|
//! | `stall` | a pull brings nothing from `at` on; its lines go on with the same numbers, as Ollama's do |
//! | `silence` | the same, and no line comes either |
//! | `error` | a pull ends at `at` with `{"error": text}` inside its 200 |
//! | `no_space` | the same, with what Ollama says of a full disk |
//! | `drop` | the connection of a pull breaks at `at` |
//! | `exit` | the process ends at `at`, and keeps no more than a killed one would |
//! | `slow_load` | a load takes `seconds` more |
//! | `load_error` | a load ends with 500 and `text` |
//! | `load_hang` | a load never ends |
//! | `wrong_answer` | prompts are answered with `text` |
//! | `cpu` | loads put only `share` (0) of their bytes on the GPU |
//! | `gpu_lost` | `nvidia-smi` fails, and loads get nothing of the GPU |
//! | `silent` | requests (of `path`, else all of the API) are accepted and never answered |
//! | `status` | requests of `path` (else all) are answered with `code` and `text` |
//! | `version` | `/api/version` says `text` |
//!
//! What a `stall`, a `silence` or a `slow_load` holds up goes on when the faults are cleared.
//!
//! Those with `until_restart` are in memory only. The others are written to `double-faults.json` in the models folder
//! at every change, so that what is counted goes on after a restart; what the environment says is taken when that file
//! is not there.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use tokio::sync::watch;

const FIELDS: [&str; 11] =
    ["kind", "at", "seconds", "text", "share", "code", "path", "model", "digests", "times", "until_restart"];
const KINDS: [&str; 15] = [
    "stall",
    "silence",
    "error",
    "no_space",
    "drop",
    "exit",
    "slow_load",
    "load_error",
    "load_hang",
    "wrong_answer",
    "cpu",
    "gpu_lost",
    "silent",
    "status",
    "version",
];
/// Kinds that strike in mid-pull.
const OF_PULLS: [&str; 6] = ["stall", "silence", "error", "no_space", "drop", "exit"];

/// What a fault may be about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject {
    /// Name, short.
    pub(crate) model: String,
    /// Digests of its manifest and its weights, with their prefix.
    pub(crate) digests: Vec<String>,
}

/// One fault, as it was given.
#[derive(Clone, Debug)]
pub(crate) struct Fault(Map<String, Value>);

impl Fault {
    fn parse(value: &Value) -> Result<Self, String> {
        let fields = value.as_object().ok_or_else(|| format!("{value} is not a fault"))?;
        if let Some(odd) = fields.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            return Err(format!("a fault has no field {odd:?}"));
        }
        let fault = Self(fields.clone());
        if KINDS.contains(&fault.kind()) { Ok(fault) } else { Err(format!("no fault is called {value}")) }
    }

    pub(crate) fn kind(&self) -> &str {
        self.0.get("kind").and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn text(&self, default: &str) -> String {
        self.0.get("text").and_then(Value::as_str).unwrap_or(default).to_owned()
    }

    /// Whether what it holds up goes on when the faults are cleared.
    pub(crate) fn holds(&self) -> bool {
        ["stall", "silence", "slow_load"].contains(&self.kind())
    }

    pub(crate) fn number(&self, field: &str, default: f64) -> f64 {
        self.0.get(field).and_then(Value::as_f64).unwrap_or(default)
    }

    fn left(&self) -> Option<u64> {
        self.0.get("times").and_then(Value::as_u64)
    }

    fn is_until_restart(&self) -> bool {
        self.0.get("until_restart").and_then(Value::as_bool).unwrap_or(false)
    }

    fn is_about(&self, subject: &Subject) -> bool {
        let model = self.0.get("model").and_then(Value::as_str);
        let digests = self.0.get("digests").and_then(Value::as_array);
        let named = |digest: &Value| subject.digests.iter().any(|own| digest == own);
        model.is_none_or(|model| model == subject.model)
            && digests.is_none_or(|digests| digests.iter().any(named))
            && self.left() != Some(0)
    }

    fn is_of_path(&self, path: &str) -> bool {
        self.0.get("path").and_then(Value::as_str).is_none_or(|own| own == path)
    }
}

/// All that is set.
#[derive(Debug)]
pub(crate) struct Faults {
    set: Mutex<Vec<Fault>>,
    /// How often they were cleared.
    cleared: watch::Sender<u64>,
    file: PathBuf,
}

impl Faults {
    /// What the file says, else what the environment says.
    pub(crate) fn open(file: PathBuf, environment: Option<&str>) -> Result<Self, String> {
        let kept = std::fs::read_to_string(&file).ok();
        let text = kept.as_deref().or(environment).unwrap_or("[]");
        let faults = Self { set: Mutex::default(), cleared: watch::Sender::default(), file };
        let value = serde_json::from_str(text).map_err(|error| format!("the faults are no JSON: {error}"))?;
        faults.add(&value)?;
        Ok(faults)
    }

    fn set(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One fault, or a list of them, all or none.
    pub(crate) fn add(&self, value: &Value) -> Result<(), String> {
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let new: Vec<Fault> = values.iter().map(Fault::parse).collect::<Result<_, _>>()?;
        let mut set = self.set();
        set.extend(new);
        self.keep(&set);
        Ok(())
    }

    pub(crate) fn clear(&self) {
        let mut set = self.set();
        set.clear();
        self.keep(&set);
        self.cleared.send_modify(|times| *times += 1);
    }

    /// Changes when they are cleared, from now on.
    pub(crate) fn clearings(&self) -> watch::Receiver<u64> {
        self.cleared.subscribe()
    }

    /// What is still to come.
    pub(crate) fn list(&self) -> Value {
        self.set().iter().map(|fault| Value::Object(fault.0.clone())).collect()
    }

    #[expect(clippy::disallowed_methods, reason = "a fault that is lost with the disk is no loss")]
    fn keep(&self, set: &[Fault]) {
        let kept: Vec<Value> = set
            .iter()
            .filter(|fault| !fault.is_until_restart())
            .map(|fault| Value::Object(fault.0.clone()))
            .collect();
        // On a full disk the counting is as good as the disk.
        std::fs::write(&self.file, json!(kept).to_string()).ok();
    }

    fn take_first(&self, wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut set = self.set();
        let place = set.iter().position(wanted)?;
        let fault = set[place].clone();
        if let Some(left) = fault.left() {
            set[place].0.insert("times".to_owned(), json!(left.saturating_sub(1)));
            set.retain(|fault| fault.left() != Some(0));
            self.keep(&set);
        }
        Some(fault)
    }

    /// A fault of that kind, once less from now on.
    pub(crate) fn take(&self, kind: &str, subject: &Subject) -> Option<Fault> {
        self.take_first(|fault| fault.kind() == kind && fault.is_about(subject))
    }

    /// Whether there is a fault of that kind.
    pub(crate) fn is_set(&self, kind: &str) -> bool {
        self.set().iter().any(|fault| fault.kind() == kind)
    }

    /// The fault that strikes a pull of which so many bytes are there.
    pub(crate) fn take_in_pull(&self, subject: &Subject, done: u64, total: u64) -> Option<Fault> {
        #[expect(clippy::cast_precision_loss, reason = "a percentage")]
        let reached = |fault: &Fault| done as f64 * 100.0 >= fault.number("at", 50.0) * total as f64;
        self.take_first(|fault| OF_PULLS.contains(&fault.kind()) && fault.is_about(subject) && reached(fault))
    }

    /// The fault that meets a request of that path.
    pub(crate) fn take_at(&self, path: &str) -> Option<Fault> {
        self.take_first(|fault| ["silent", "status"].contains(&fault.kind()) && fault.is_of_path(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(folder: &std::path::Path, value: &Value) -> Faults {
        Faults::open(folder.join("faults"), Some(&value.to_string())).unwrap()
    }

    #[test]
    fn a_counted_fault_is_used_up_and_stays_so_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let given = json!([{"kind": "load_error", "times": 2}, {"kind": "gpu_lost", "until_restart": true}]);
        let before = faults(folder.path(), &given);
        assert!(before.take("load_error", &Subject::default()).is_some());
        let after = faults(folder.path(), &given);
        assert!(after.take("gpu_lost", &Subject::default()).is_none(), "it was until the restart");
        assert!(after.take("load_error", &Subject::default()).is_some());
        assert!(after.take("load_error", &Subject::default()).is_none());
        assert_eq!(faults(folder.path(), &given).list(), json!([]));
    }

    #[test]
    fn a_fault_strikes_what_it_names_at_its_percentage() {
        let folder = tempfile::tempdir().unwrap();
        let set =
            faults(folder.path(), &json!({"kind": "stall", "at": 99, "model": "m:1", "digests": ["a"]}));
        let subject =
            |model: &str, digest: &str| Subject { model: model.into(), digests: vec![digest.into()] };
        assert!(set.take_in_pull(&subject("m:1", "a"), 98, 100).is_none());
        assert!(set.take_in_pull(&subject("m:2", "a"), 99, 100).is_none());
        assert!(set.take_in_pull(&subject("m:1", "b"), 99, 100).is_none());
        assert!(set.take_in_pull(&subject("m:1", "a"), 99, 100).is_some());
    }

    #[test]
    fn a_fault_that_is_written_wrongly_is_refused_whole() {
        let folder = tempfile::tempdir().unwrap();
        let set = faults(folder.path(), &json!([]));
        for wrong in [json!({"kind": "stal"}), json!({"kind": "stall", "percent": 9}), json!(["stall"])] {
            assert!(set.add(&json!([{"kind": "stall"}, wrong])).is_err());
        }
        assert_eq!(set.list(), json!([]));
    }
}
