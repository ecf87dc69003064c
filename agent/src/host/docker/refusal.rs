//! What the engine's answers mean: from the library's errors to [`EngineError`], from the engine's words to a code and a
//! hint. Pure; tested on real messages of Docker 20.10 and later.

use crate::engine::EngineError;
use bollard::errors::Error;
use std::time::Duration;

/// With this the engine only warns, and then the container ends at once with a code that says nothing.
pub(super) const OTHER_PLATFORM: &str = "does not match the detected host platform";

/// Longest message kept: the engine's can quote whole command lines.
const LONGEST_MESSAGE: usize = 300;

/// Why a call brought no result, before it is known which call it was.
#[derive(Debug)]
pub(super) enum Refusal {
    /// An HTTP status and the engine's words.
    Answered {
        /// Status; 0 for an error inside a stream that began with 200.
        status: u16,
        /// The engine's words.
        message: String,
    },
    /// No connection, or it broke.
    Unreachable(Box<dyn std::error::Error + Send + Sync>),
}

/// The cause of a passed deadline.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {} s", .0.as_secs_f64())]
pub(super) struct NoAnswer(pub(super) Duration);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                Refusal::Answered { status: status_code, message }
            }
            Error::DockerStreamError { error } => Refusal::Answered { status: 0, message: error },
            Error::IOError { err } => Refusal::Unreachable(Box::new(err)),
            Error::HyperResponseError { err } => Refusal::Unreachable(Box::new(err)),
            Error::HyperLegacyError { err } => Refusal::Unreachable(Box::new(err)),
            Error::RequestTimeoutError => Refusal::Unreachable(Box::new(error)),
            other => Refusal::Answered { status: 0, message: format!("unreadable answer: {other}") },
        }
    }
}

impl Refusal {
    /// The HTTP status of an answer.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Refusal::Answered { status, .. } => Some(*status),
            Refusal::Unreachable(_) => None,
        }
    }

    /// The error of one call: `operation` in words with its object, e.g. `start container api-3`.
    pub(super) fn of(self, operation: &str, endpoint: &str) -> EngineError {
        let operation = operation.to_owned();
        match self {
            Refusal::Unreachable(cause) => {
                EngineError::Unreachable { endpoint: endpoint.to_owned(), operation, source: Some(cause) }
            }
            Refusal::Answered { message, .. } => {
                let Meaning { code, message, hint } = meaning(&message);
                EngineError::Refused { operation, code, message, hint }
            }
        }
    }
}

/// What a message means to a person.
#[derive(Debug, PartialEq, Eq)]
struct Meaning {
    code: &'static str,
    message: String,
    hint: Option<String>,
}

/// A recognisable message.
struct Known {
    code: &'static str,
    /// Any of these, in lower case.
    says: &'static [&'static str],
    hint: &'static str,
}

/// Looked through in this order: the first that matches names the cause. What the runtime says comes before what a
/// registry says, because of "permission denied:"; "access denied" comes before "does not exist", because registries
/// say both where either may be true.
const KNOWN: &[Known] = &[
    Known {
        code: "disk_full",
        says: &["no space left on device", "disk quota exceeded"],
        hint: "look at `df -h` and `docker system df`; `docker image prune -a` frees unused images",
    },
    Known {
        code: "port_in_use",
        says: &["address already in use", "port is already allocated"],
        hint: "look for who listens with `ss -ltnp`",
    },
    // Somebody has flushed all rules, or the kernel takes none: any version would meet it.
    Known {
        code: "engine_rules_missing",
        says: &["iptables failed:"],
        hint: "the engine's own rules of the firewall are gone or cannot be set; `systemctl restart docker` sets them anew",
    },
    Known {
        code: "pull_throttled",
        says: &["toomanyrequests", "too many requests", "rate exceeded"],
        hint: "the registry limits pulls; it is tried again later",
    },
    Known {
        code: "wrong_architecture",
        says: &[
            "exec format error",
            "no matching manifest for",
            "does not match the specified platform",
            OTHER_PLATFORM,
        ],
        hint: "build the image for this machine, e.g. `docker buildx build --platform linux/amd64`",
    },
    Known {
        code: "mount_missing",
        says: &["bind source path does not exist"],
        hint: "create it, or mount the volume that should hold it; it is never created on the root disk",
    },
    // Before the entrypoint: the engine's words end with the program that it could not run itself.
    Known {
        code: "engine_refused",
        says: &["apparmor enabled on system"],
        hint: "install the package apparmor on this node; the engine needs its apparmor_parser",
    },
    Known {
        code: "entrypoint_missing",
        says: &["executable file not found", "exec: \"", "no such file or directory: unknown"],
        hint: "`command` or the image's entrypoint names a program that is not in the image or not executable",
    },
    Known {
        code: "pull_refused",
        says: &[
            "pull access denied",
            "denied:",
            "unauthorized",
            "no basic auth credentials",
            "authorization token has expired",
            "403 forbidden",
        ],
        hint: "the instance role needs ecr:GetAuthorizationToken, ecr:BatchGetImage and \
               ecr:GetDownloadUrlForLayer, and the repository policy must allow it; for other registries look at \
               [registries]",
    },
    Known {
        code: "registry_unreachable",
        says: &[
            "dial tcp",
            "tls handshake timeout",
            "i/o timeout",
            "client.timeout exceeded",
            "request canceled while waiting",
            "x509:",
            "connection reset by peer",
        ],
        hint: "check the route to the registry: NAT or VPC endpoints (ecr.api, ecr.dkr, s3), DNS, security groups",
    },
    Known {
        code: "image_not_found",
        says: &[
            "manifest unknown",
            "name unknown",
            "no such image",
            "name_unknown",
            "repository does not exist",
        ],
        hint: "look whether the tag or digest is still in the registry; a lifecycle policy may have removed it",
    },
    Known {
        code: "engine_too_old",
        says: &["is too old,", "which version of the docker api"],
        hint: "install Docker 19.03 or newer",
    },
];

fn meaning(message: &str) -> Meaning {
    let message = one_line(message);
    let lower = message.to_lowercase();
    let known = KNOWN.iter().find(|known| known.says.iter().any(|words| lower.contains(words)));
    match known {
        Some(known) if known.code == "port_in_use" => port_in_use(&message, known),
        Some(known) => Meaning { code: known.code, message, hint: Some(known.hint.to_owned()) },
        None => {
            let hint = Some("look at `journalctl -u docker -n 50`".to_owned());
            Meaning { code: "engine_refused", message, hint }
        }
    }
}

/// The engine wraps this one in the names of its internal parts; the port is all that a person needs.
fn port_in_use(message: &str, known: &Known) -> Meaning {
    match port_of(message) {
        Some(port) => Meaning {
            code: known.code,
            message: format!("host port {port} is in use"),
            hint: Some(format!("look for who listens with `ss -ltnp 'sport = :{port}'`")),
        },
        None => Meaning { code: known.code, message: message.to_owned(), hint: Some(known.hint.to_owned()) },
    }
}

/// The port in `0.0.0.0:80`, `[::]:80` or `:::80`: the host's side is always named first.
fn port_of(message: &str) -> Option<u16> {
    let addresses = ["0.0.0.0:", "[::]:", ":::", "127.0.0.1:"];
    addresses.iter().find_map(|address| {
        let (_, rest) = message.split_once(address)?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    })
}

/// Line breaks become spaces, the prefix that says nothing goes, and what is too long is cut.
fn one_line(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.strip_prefix("Error response from daemon: ").unwrap_or(&line);
    if line.is_empty() {
        return "it gave no reason".to_owned();
    }
    match line.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
#[path = "refusal_tests.rs"]
mod tests;
