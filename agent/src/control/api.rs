//! What goes over the control socket: paths and JSON values. Pure.
//!
//! [`super::routes`] has the table of all calls; here are what the client asks for, and the values that are its own.
//!
//! Every answer other than 2xx carries a [`Fault`].

use jiff::Timestamp;
use node::config::Mistake;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET`
pub const STATUS: &str = "/v1/status";
/// `GET`: the status now, and a line with it whenever it changes.
pub const FOLLOW_STATUS: &str = "/v1/status?follow=true";
/// `GET`: the description of the API, as OpenAPI has it.
pub const DESCRIPTION: &str = "/v1/openapi.json";
/// `GET`
pub const EXPLAIN: &str = "/v1/explain";
/// `GET`
pub const CONFIG: &str = "/v1/config";
/// `GET`
pub const CONFIG_TOML: &str = "/v1/config/toml";
/// `POST`
pub const CONFIG_DIFF: &str = "/v1/config/diff";
/// `POST`
pub const CONFIG_RELOAD: &str = "/v1/config/reload";
/// `POST`
pub const UPDATE: &str = "/v1/update";

/// `GET`
pub const MODELS: &str = "/v1/models";

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

/// `GET`: a service's output; without `tail` as much as is usual, or all since `since`.
pub fn logs(service: &str, tail: Option<usize>, since: Option<Timestamp>, follow: bool) -> String {
    let tail = tail.map_or_else(String::new, |tail| format!("&tail={tail}"));
    let since = since.map_or_else(String::new, |since| format!("&since={}", escaped(&since.to_string())));
    format!("/v1/services/{}/logs?follow={follow}{tail}{since}", escaped(service))
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

/// `POST`: run that image, whatever node.toml names.
pub fn target(service: &str, to: &str, retry: bool) -> String {
    format!("/v1/services/{}/target?to={}&retry={retry}", escaped(service), escaped(to))
}

/// `POST`: run an image that ran before.
pub fn rollback(service: &str, to: Option<&str>) -> String {
    let query = to.map_or_else(String::new, |to| format!("?to={}", escaped(to)));
    format!("/v1/services/{}/rollback{query}", escaped(service))
}

/// `POST`: what needs no more than the service's name: `retry`, `hold`, `release`, `stop`, `start`.
pub fn plain(service: &str, verb: &str) -> String {
    format!("/v1/services/{}/{verb}", escaped(service))
}

/// `POST`: a command for the models: `pull`, `update`, `rollback`, `pin`, `unpin`. `more` are names and values of its own.
/// The model is in the query, not in the path: slashes and colons are a part of its name.
pub fn models(verb: &str, model: Option<&str>, more: &[(&str, &str)]) -> String {
    let model = model.map(|model| ("model", model));
    let parts = model.iter().chain(more).map(|(name, value)| format!("{name}={}", escaped(value)));
    let query = parts.collect::<Vec<_>>().join("&");
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{MODELS}/{verb}{mark}{query}")
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// One line: what will happen.
    pub message: String,
    /// What the service, or the model, is to be from now on, where the command says so.
    #[serde(default)]
    pub target: Option<Goal>,
}

/// The version that a service or a model is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Goal {
    /// `sha256:…`
    pub digest: String,
    /// When it became so; the same as in the service's explanation.
    pub at: Timestamp,
}

/// Why there is no answer, or why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
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

/// A [`Fault`] about a configuration, with every mistake that has a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{fault}")]
pub struct Refused {
    /// As for everything else.
    #[serde(flatten)]
    pub fault: Fault,
    /// In the order of files and lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mistakes: Vec<Mistake>,
}

impl node::fault::Hint for Refused {
    fn hint(&self) -> Option<String> {
        self.fault.hint.clone()
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
        assert_eq!(logs("api", Some(10), None, true), "/v1/services/api/logs?follow=true&tail=10");
        let since = Some(Timestamp::UNIX_EPOCH);
        let since = logs("api", None, since, false);
        assert_eq!(since, "/v1/services/api/logs?follow=false&since=1970-01-01T00%3A00%3A00Z");
        assert_eq!(update(None), "/v1/update");
        assert_eq!(plain("api", "hold"), "/v1/services/api/hold");
        assert_eq!(rollback("api", None), "/v1/services/api/rollback");
        assert_eq!(models("pull", None, &[]), "/v1/models/pull");
        assert_eq!(models("update", None, &[("retry", "true")]), "/v1/models/update?retry=true");
        let pin = models("pin", Some("hf.co/a/b:Q4&digest=x"), &[("digest", "sha256:0")]);
        assert_eq!(pin, "/v1/models/pin?model=hf%2Eco%2Fa%2Fb%3AQ4%26digest%3Dx&digest=sha256%3A0");
        let to = target("api", "host/app@sha256:00&retry=true", false);
        assert_eq!(to, "/v1/services/api/target?to=host%2Fapp%40sha256%3A00%26retry%3Dtrue&retry=false");
    }
}
