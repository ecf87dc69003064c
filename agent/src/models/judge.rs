//! What an outcome says: whether it is the version that is to blame, and how many failures in a row that makes. Pure.

use super::observed::{Attempt, Failure, StepKind};
use super::server::{BUSY, ServerError};
use jiff::Timestamp;
use node::config::settings::Smoke;
use node::fault::{Hint, one_line};

/// As much of an answer as is shown.
const ANSWER_SHOWN: usize = 120;

/// Words of a server with which it owns up to a trouble of its own or of its machine: the same version may well load the
/// next time. Source: ollama `llm/server.go`, `server/sched.go` and what its runner prints when it ends.
const NOT_THE_VERSION: [&str; 8] = [
    "timed out",
    "server busy",
    "context canceled",
    "connection re",
    "signal: killed",
    "cuda error",
    "permission denied",
    "input/output error",
];

/// The code of a refusal that has no other: those that have one tell of the node, the name or the net.
const REFUSED: &str = "model_server_refused";

/// What to remember of an error of the server.
pub(super) fn failed(kind: StepKind, error: &ServerError) -> Failure {
    let blames_version = match (kind, error) {
        (StepKind::Load | StepKind::Smoke, ServerError::Refused { code, message, .. }) => {
            blames(code, message)
        }
        _ => false,
    };
    Failure { code: error.code(), message: one_line(error), hint: error.hint(), blames_version }
}

fn blames(code: &str, message: &str) -> bool {
    let message = message.to_lowercase();
    let asks_too_much = message.contains("does not support");
    code == REFUSED && !asks_too_much && !NOT_THE_VERSION.iter().any(|words| message.contains(words))
}

/// Whether the answer to a smoke prompt will do.
pub(super) fn answered(model: &str, smoke: &Smoke, answer: &str) -> Result<(), Failure> {
    let answer = answer.split_whitespace().collect::<Vec<_>>().join(" ");
    let (passed, wanted) = match &smoke.expect {
        None => (!answer.is_empty(), "anything".to_owned()),
        Some(expect) => {
            let expect = expect.split_whitespace().collect::<Vec<_>>().join(" ");
            (answer.to_lowercase().contains(&expect.to_lowercase()), format!("\"{}\"", expect.escape_debug()))
        }
    };
    if passed {
        return Ok(());
    }
    let shown: String = answer.chars().take(ANSWER_SHOWN).collect();
    let more = if shown.len() < answer.len() { "…" } else { "" };
    let came = if answer.is_empty() { "nothing".to_owned() } else { format!("\"{shown}{more}\"") };
    Err(Failure {
        code: "model_smoke_failed",
        message: format!(
            "{model}: asked \"{}\", the answer was to contain {wanted}, and {came} came",
            smoke.prompt.escape_debug()
        ),
        hint: Some("look at [models.pull] smoke, or try the prompt by hand".to_owned()),
        blames_version: true,
    })
}

/// What is remembered of a kind of step after its end at `at`.
pub(super) fn attempt(
    before: Option<&Attempt>,
    digest: Option<String>,
    failure: Option<Failure>,
    at: Timestamp,
) -> Attempt {
    let before = before.filter(|before| before.digest == digest);
    let (failures, busy) = before.map_or((0, 0), |before| (before.failures, before.busy));
    let (failures, busy) = match &failure {
        Some(failure) => (failures.saturating_add(1), busy.saturating_add(u32::from(failure.code == BUSY))),
        None => (0, 0),
    };
    Attempt { failures, busy, at, digest, failure }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::server::Endpoint;
    use std::time::Duration;

    fn refused(code: &'static str, message: &str) -> ServerError {
        let operation = "load a:1".to_owned();
        ServerError::Refused { operation, code, message: message.to_owned(), hint: None }
    }

    fn unreachable() -> ServerError {
        let endpoint = Endpoint("http://127.0.0.1:11434".to_owned());
        ServerError::Unreachable { endpoint, operation: "load a:1".to_owned(), source: None }
    }

    #[test]
    fn only_what_the_server_says_of_the_version_itself_blames_it() {
        let cases = [
            (StepKind::Load, refused("model_server_refused", "unknown model architecture: 'xyz'"), true),
            (StepKind::Load, refused("model_server_refused", "invalid file magic"), true),
            (StepKind::Smoke, refused("model_server_refused", "template: unexpected \"}\""), true),
            (StepKind::Load, refused("model_out_of_memory", "model requires more system memory"), false),
            (StepKind::Load, refused("model_disk_full", "no space"), false),
            (StepKind::Load, refused("model_not_found", "model 'a:1' not found"), false),
            (StepKind::Load, refused("model_server_refused", "server busy, please try again"), false),
            (
                StepKind::Load,
                refused("model_server_refused", "llama runner process has terminated: signal: killed"),
                false,
            ),
            (
                StepKind::Load,
                refused("model_server_refused", "timed out waiting for llama runner to start"),
                false,
            ),
            (StepKind::Load, refused("model_server_refused", "CUDA error: out of memory"), false),
            (StepKind::Smoke, refused("model_server_refused", "\"a:1\" does not support generate"), false),
            (StepKind::Load, unreachable(), false),
            (StepKind::Smoke, unreachable(), false),
            (StepKind::Pull, refused("model_server_refused", "digest mismatch"), false),
            (StepKind::Name, refused("model_server_refused", "no"), false),
            (
                StepKind::Pull,
                ServerError::Stalled { operation: "pull a:1".to_owned(), idle: Duration::from_secs(60) },
                false,
            ),
        ];
        for (kind, error, blamed) in cases {
            assert_eq!(failed(kind, &error).blames_version, blamed, "{kind:?}: {error}");
        }
    }

    fn smoke(expect: Option<&str>) -> Smoke {
        let expect = expect.map(str::to_owned);
        Smoke { prompt: "2+2?".to_owned(), expect, within: Duration::from_secs(60) }
    }

    #[test]
    fn an_answer_passes_whatever_its_case_and_its_line_breaks() {
        assert!(answered("a:1", &smoke(Some("FOUR")), "It is four.").is_ok());
        assert!(answered("a:1", &smoke(Some("is four")), "It is\n  Four.").is_ok());
        assert!(answered("a:1", &smoke(None), "x").is_ok());
    }

    #[test]
    fn a_wrong_answer_blames_the_version_and_says_what_was_asked_and_what_came() {
        let wrong = answered("a:1", &smoke(Some("four")), "five").unwrap_err();
        assert!(wrong.blames_version);
        assert_eq!(
            wrong.message,
            "a:1: asked \"2+2?\", the answer was to contain \"four\", and \"five\" came"
        );
        let empty = answered("a:1", &smoke(None), " \n").unwrap_err();
        assert!(empty.message.ends_with("was to contain anything, and nothing came"), "{}", empty.message);
        let long = answered("a:1", &smoke(Some("four")), &"é".repeat(121)).unwrap_err();
        assert!(long.message.contains(&format!("\"{}…\"", "é".repeat(120))), "{}", long.message);
    }

    #[test]
    fn failures_are_counted_in_a_row_and_for_one_version() {
        let at = Timestamp::UNIX_EPOCH;
        let failure = || Some(failed(StepKind::Pull, &unreachable()));
        let one = Some("sha256:1".to_owned());
        let first = attempt(None, one.clone(), failure(), at);
        let second = attempt(Some(&first), one.clone(), failure(), at);
        assert_eq!((first.failures, second.failures), (1, 2));
        let other = attempt(Some(&second), Some("sha256:2".to_owned()), failure(), at);
        assert_eq!(other.failures, 1);
        let busy = ServerError::Busy {
            endpoint: Endpoint("http://127.0.0.1:11434".to_owned()),
            operation: "load a:1".to_owned(),
            source: "status 503".into(),
        };
        let busy = attempt(Some(&second), one.clone(), Some(failed(StepKind::Load, &busy)), at);
        assert_eq!((busy.failures, busy.tries()), (3, 2), "a busy server says nothing of the version");
        let done = attempt(Some(&second), one.clone(), None, at);
        assert_eq!((done.failures, done.failure.is_none()), (0, true));
        assert_eq!(attempt(Some(&done), one, failure(), at).failures, 1);
    }
}
