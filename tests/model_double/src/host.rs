//! The environment, the clock and standard output: the only places that reach for them.

use std::io::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

/// A variable of the environment that is not empty.
#[expect(clippy::disallowed_methods, reason = "the program's configuration is its environment")]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The time.
#[expect(clippy::disallowed_methods, reason = "answers carry the time they were given")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Writes one line with the time in front; a reader that went away is ignored.
pub(crate) fn say(line: &Value) {
    let mut stamped = json!({"time": now()});
    if let (Some(stamped), Some(line)) = (stamped.as_object_mut(), line.as_object()) {
        stamped.extend(line.clone());
    }
    writeln!(std::io::stdout(), "{stamped}").ok();
}
