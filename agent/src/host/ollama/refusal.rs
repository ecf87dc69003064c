//! What a refusal of the model server means: from its words to a code, a hint and a line that can be shown. Pure.

use crate::models::server::{Endpoint, ServerError};
use serde_json::Value;
use std::time::Duration;

/// Longest message kept: the server's can quote whole answers of a registry.
const LONGEST_MESSAGE: usize = 300;

/// Why a call brought no result, before it is known which call it was.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection, it broke, or no answer in time: nothing is known.
    #[error("no answer")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server says that it cannot now: nothing is known.
    #[error("the server is busy")]
    Busy(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It said no.
    #[error("{}", .0.message)]
    Refused(Meaning),
    /// Nothing new came for so long.
    #[error("no byte came for {} s", .0.as_secs())]
    Stalled(Duration),
    /// Its answer makes no sense.
    #[error("{0}")]
    Broken(String),
}

impl Failure {
    /// The error of one call: `operation` in words with its object, e.g. `load llama3.2:3b`.
    pub(super) fn of(self, endpoint: &Endpoint, operation: String) -> ServerError {
        match self {
            Failure::Unreachable(source) => {
                ServerError::Unreachable { endpoint: endpoint.clone(), operation, source: Some(source) }
            }
            Failure::Busy(source) => ServerError::Busy { endpoint: endpoint.clone(), operation, source },
            Failure::Refused(Meaning { code, message, hint }) => {
                ServerError::Refused { operation, code, message, hint: Some(hint.to_owned()) }
            }
            Failure::Stalled(idle) => ServerError::Stalled { operation, idle },
            Failure::Broken(message) => ServerError::Broken { operation, message },
        }
    }
}

/// What a message means to a person.
#[derive(Debug, PartialEq, Eq)]
pub struct Meaning {
    pub(super) code: &'static str,
    pub(super) message: String,
    hint: &'static str,
}

/// The server cannot say now: it is busy, starts, or what stands before it cannot reach it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotNow(String);

/// A recognisable message.
struct Known {
    code: &'static str,
    /// Any of these, in lower case.
    says: &'static [&'static str],
    hint: &'static str,
}

/// Looked through in this order: the first that matches names the cause. What the disk and the memory say comes first: it
/// stands at the end of messages that begin with anything.
const KNOWN: &[Known] = &[
    Known {
        code: "model_disk_full",
        says: &["no space left on device", "disk quota exceeded"],
        hint: "make the volume of the models larger, or remove models that nobody needs",
    },
    Known {
        code: "model_out_of_memory",
        says: &[
            "model requires more system memory",
            "out of memory",
            "cudamalloc failed",
            "failed to allocate",
            "unable to allocate",
            // The kernel ends the process that holds the model when memory is short.
            "signal: killed",
        ],
        hint: "take a smaller model or a smaller quantisation, keep fewer models loaded, or take a larger instance",
    },
    // What it says of a registry's status 412, before what it says of all of them.
    Known {
        code: "model_server_refused",
        says: &["requires a newer version of ollama", "unknown model architecture", "unsupported model"],
        hint: "take a newer image for the service that serves models",
    },
    Known {
        code: "model_not_found",
        says: &["file does not exist", "try pulling it first", "pull model manifest: 404"],
        hint: NAME_HINT,
    },
    Known {
        code: "model_registry_denied",
        says: &["unauthorized", "pull model manifest: 401", "pull model manifest: 403"],
        hint: "the server has no right to this model: give its key (`id_ed25519.pub`) to the owner, or take another name",
    },
    // Only the way to a registry: the process that holds a model is reached over the network of the server, too, and says
    // `connection refused` when it has ended.
    Known {
        code: "model_registry_unreachable",
        says: &[
            "no such host",
            "server misbehaving",
            "i/o timeout",
            "tls handshake timeout",
            "network is unreachable",
            "no route to host",
            "x509:",
            "max retries exceeded",
        ],
        hint: "the server cannot reach the registry: check DNS, NAT and security groups as its container sees them",
    },
    Known {
        code: "model_server_refused",
        says: &["insecure protocol http"],
        hint: "write the name with `http://` before its host, when a registry without TLS is meant",
    },
    Known {
        code: "model_server_refused",
        says: &["digest mismatch"],
        hint: "what came was not what the manifest names; it is fetched again",
    },
];

const NAME_HINT: &str = "check the name and the tag: https://ollama.com/library lists those without a host";
const OTHER_HINT: &str = "look at the server's log";

/// Of the server's words, and the status where they came with one.
pub(super) fn meaning(status: Option<u16>, text: &str) -> Meaning {
    let message = shown(text);
    let lower = message.to_lowercase();
    match KNOWN.iter().find(|known| known.says.iter().any(|words| lower.contains(words))) {
        Some(known) => Meaning { code: known.code, message, hint: known.hint },
        None if status == Some(404) => Meaning { code: "model_not_found", message, hint: NAME_HINT },
        None => Meaning { code: "model_server_refused", message, hint: OTHER_HINT },
    }
}

/// What a status other than success means; `body` is the beginning of the answer.
pub(super) fn of_status(status: u16, body: &[u8]) -> Failure {
    let text = error_of(body).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let text = text.trim();
    match status {
        300..=399 => Failure::Broken(format!("it sends us elsewhere (status {status})")),
        // 499: it let go of the request itself. 503: too many wait (`OLLAMA_MAX_QUEUE`), or it starts.
        429 | 499 | 502..=504 => {
            let words = if text.is_empty() { String::new() } else { format!(": {}", shown(text)) };
            let not_now = Box::new(NotNow(format!("status {status}{words}")));
            if matches!(status, 429 | 503) { Failure::Busy(not_now) } else { Failure::Unreachable(not_now) }
        }
        _ if text.is_empty() => Failure::Refused(meaning(Some(status), &format!("status {status}"))),
        _ => Failure::Refused(meaning(Some(status), text)),
    }
}

/// `error` of an answer that is JSON, whatever its status was.
pub(super) fn error_of(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Answer {
        error: Option<Value>,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    answer.error.map(|error| words(&error))
}

/// The text of an error, which is a string in all servers that are known.
pub(super) fn words(error: &Value) -> String {
    match error {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// One line that may be shown: line breaks become spaces, what is too long is cut, and URLs lose name, password and
/// query. The server quotes those to which a registry sends it, and their query is as good as a password.
pub(super) fn shown(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(without_secrets).collect();
    let line: String = words.join(" ").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(LONGEST_MESSAGE) {
        _ if line.is_empty() => "it gave no reason".to_owned(),
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn without_secrets(word: &str) -> String {
    let Some((before, url)) = word.split_once("://") else { return word.to_owned() };
    let bare = url.split(['?', '#']).next().unwrap_or_default();
    // What stands around the URL in a sentence, so that the rest of it still reads well.
    let end = if bare.len() == url.len() {
        ""
    } else {
        &url[url.trim_end_matches(['"', '\'', ':', ',', ')']).len()..]
    };
    let (authority, path) = bare.split_at(bare.find('/').unwrap_or(bare.len()));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    format!("{before}://{host}{path}{end}")
}

#[cfg(test)]
#[path = "refusal_tests.rs"]
mod tests;
