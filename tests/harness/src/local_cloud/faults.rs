//! Faults that a test puts in the way of requests, and the count of requests.
//!
//! Pure: a rule is matched and used up here; carrying it out (waiting, cutting
//! the connection) is the server's part.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a request is about, as rules and counters see it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// `imds`, `secretsmanager`, `ecr`, `logs`, `registry`, `files`, or `aws`
    /// for a service that the cloud does not have.
    pub service: &'static str,
    /// The operation: an AWS one such as `PutLogEvents`, `PutToken` or `Get`
    /// at IMDS, `GetManifest`, `HeadManifest`, `GetBlob`, … at the registry.
    pub operation: String,
    /// Path of the request.
    pub path: String,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// The true answer, later.
    Delay {
        /// How much later, milliseconds.
        milliseconds: u64,
    },
    /// This status and body instead.
    Status {
        /// HTTP status.
        code: u16,
        /// Body.
        body: String,
    },
    /// The service's own way to say "too fast".
    Throttle,
    /// The connection is reset before an answer.
    Reset,
    /// No answer, ever; the connection stays open.
    Hang,
    /// Status 200 with this body.
    Body {
        /// Body.
        text: String,
    },
    /// The true answer, cut off after so many bytes of its body.
    Truncate {
        /// Bytes that arrive.
        after_bytes: usize,
    },
    /// The true answer, of which nothing comes after so many bytes.
    Stall {
        /// Bytes that arrive.
        after_bytes: usize,
    },
    /// The true answer, no faster than this.
    Rate {
        /// Bytes of the body in a second.
        bytes_per_second: u64,
    },
}

/// A rule: which requests, and what goes wrong with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Service as in [`Subject::service`].
    pub service: String,
    /// An operation, or a path prefix when it starts with `/`; all when absent.
    #[serde(default)]
    pub operation: Option<String>,
    /// So many matching requests pass first.
    #[serde(default)]
    pub skip: u32,
    /// So many requests are hit, then the rule is gone; all when absent.
    #[serde(default)]
    pub times: Option<u32>,
    /// What goes wrong.
    pub kind: FaultKind,
}

impl Fault {
    /// Hits every request of a service.
    #[must_use]
    pub fn on(service: &str, kind: FaultKind) -> Self {
        Self { service: service.to_owned(), operation: None, skip: 0, times: None, kind }
    }

    /// Only this operation, or paths with this prefix when it starts with `/`.
    #[must_use]
    pub fn operation(mut self, operation: &str) -> Self {
        self.operation = Some(operation.to_owned());
        self
    }

    /// Only so many requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Only the nth matching request, counted from 1.
    #[must_use]
    pub fn nth(mut self, nth: u32) -> Self {
        self.skip = nth.saturating_sub(1);
        self.times = Some(1);
        self
    }

    fn matches(&self, subject: &Subject) -> bool {
        self.service == subject.service
            && self.operation.as_deref().is_none_or(|wanted| {
                wanted == subject.operation || (wanted.starts_with('/') && subject.path.starts_with(wanted))
            })
    }
}

/// The rules in force, in the order they were set, and the requests so far.
#[derive(Default)]
pub(super) struct Traffic {
    pub(super) faults: Vec<Fault>,
    pub(super) requests: BTreeMap<String, u64>,
}

impl Traffic {
    /// Counts a request and uses up what is to happen to it: the first rule
    /// that matches and has no requests left to let pass.
    pub(super) fn arrival(&mut self, subject: &Subject) -> Option<FaultKind> {
        *self.requests.entry(format!("{}.{}", subject.service, subject.operation)).or_default() += 1;
        let mut hit = None;
        for (at, fault) in self.faults.iter_mut().enumerate().filter(|(_, fault)| fault.matches(subject)) {
            if fault.skip > 0 {
                fault.skip -= 1;
            } else if hit.is_none() {
                hit = Some(at);
            }
        }
        let at = hit?;
        let kind = self.faults[at].kind.clone();
        if let Some(times) = &mut self.faults[at].times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                self.faults.remove(at);
            }
        }
        Some(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(operation: &str) -> Subject {
        Subject { service: "logs", operation: operation.to_owned(), path: "/".to_owned() }
    }

    #[test]
    fn the_second_request_alone_is_hit() {
        let fault = Fault::on("logs", FaultKind::Throttle).operation("PutLogEvents").nth(2);
        let mut traffic = Traffic { faults: vec![fault], ..Traffic::default() };
        let hits: Vec<bool> = ["PutLogEvents", "CreateLogGroup", "PutLogEvents", "PutLogEvents"]
            .map(|operation| traffic.arrival(&subject(operation)).is_some())
            .to_vec();
        assert_eq!(hits, [false, false, true, false]);
        assert_eq!(traffic.requests["logs.PutLogEvents"], 3);
        assert!(traffic.faults.is_empty());
    }

    #[test]
    fn a_rule_reads_from_json_and_refuses_what_it_does_not_know() {
        let rule =
            r#"{"service":"imds","operation":"/latest/meta-data","kind":{"status":{"code":503,"body":""}}}"#;
        let rule: Fault = serde_json::from_str(rule).unwrap();
        assert_eq!(rule.kind, FaultKind::Status { code: 503, body: String::new() });
        let path = "/latest/meta-data/instance-id".to_owned();
        assert!(rule.matches(&Subject { service: "imds", operation: "Get".into(), path }));
        assert!(serde_json::from_str::<Fault>(r#"{"service":"imds","time":1,"kind":"hang"}"#).is_err());
    }
}
