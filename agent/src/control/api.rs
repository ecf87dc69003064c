//! What goes over the control socket: paths and JSON values. Pure.
//!
//! ```text
//! GET  /v1/status                        Status
//! GET  /v1/explain[?service=NAME]        [Explanation]
//! GET  /v1/config                        the validated configuration; secrets as names
//! GET  /v1/services/NAME/logs[?tail=N&follow=true]    text, as the container wrote it
//! POST /v1/services/NAME/restart         Accepted
//! POST /v1/services/NAME/update          Accepted
//! POST /v1/update                        Accepted
//! ```
//!
//! Every answer other than 2xx carries a [`Fault`].

use serde::{Deserialize, Serialize};

/// `GET`
pub const STATUS: &str = "/v1/status";
/// `GET`
pub const EXPLAIN: &str = "/v1/explain";
/// `GET`
pub const CONFIG: &str = "/v1/config";
/// `POST`
pub const UPDATE: &str = "/v1/update";

/// Lines that `/logs` gives where the caller does not say.
pub const DEFAULT_TAIL: usize = 100;
/// The most that a caller gets from the past; the rest is in the log group.
pub const LARGEST_TAIL: usize = 10_000;

/// `GET`: the reasons for one service, or for all.
pub fn explain(service: Option<&str>) -> String {
    match service {
        Some(name) => format!("{EXPLAIN}?service={}", escaped(name)),
        None => EXPLAIN.to_owned(),
    }
}

/// `GET`: a service's output.
pub fn logs(service: &str, tail: usize, follow: bool) -> String {
    format!("/v1/services/{}/logs?tail={tail}&follow={follow}", escaped(service))
}

/// `POST`: restart a service.
pub fn restart(service: &str) -> String {
    format!("/v1/services/{}/restart", escaped(service))
}

/// `POST`: look for a new image now, for one service or for all.
pub fn update(service: Option<&str>) -> String {
    match service {
        Some(name) => format!("/v1/services/{}/update", escaped(name)),
        None => UPDATE.to_owned(),
    }
}

/// Percent-encodes all that is not unreserved in RFC 3986, so that no name can become another path.
fn escaped(name: &str) -> String {
    name.bytes().fold(String::new(), |mut path, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => path.push(char::from(byte)),
            // A dot too: `..` is a path to the other end even when no slash is in it.
            other => path.push_str(&format!("%{other:02X}")),
        }
        path
    })
}

/// A command was taken; its effect is seen in the status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// One line: what will happen.
    pub message: String,
}

/// Why there is no answer, or why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Stable, `snake_case`, e.g. `service_unknown`.
    pub code: String,
    /// One line.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Fault {
    /// A fault without a hint.
    pub fn new(code: &str, message: impl Into<String>) -> Fault {
        Fault { code: code.to_owned(), message: message.into(), hint: None }
    }

    /// The same with a hint.
    pub fn hinting(self, hint: impl Into<String>) -> Fault {
        Fault { hint: Some(hint.into()), ..self }
    }
}

impl node::fault::Hint for Fault {
    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_place_in_the_path() {
        assert_eq!(restart("api"), "/v1/services/api/restart");
        assert_eq!(restart("../x?y#z"), "/v1/services/%2E%2E%2Fx%3Fy%23z/restart");
        assert_eq!(explain(Some("a&b")), "/v1/explain?service=a%26b");
        assert_eq!(logs("api", 10, true), "/v1/services/api/logs?tail=10&follow=true");
        assert_eq!(update(None), "/v1/update");
    }
}
