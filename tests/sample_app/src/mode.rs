//! How the application is told to behave.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::numbered::Numbered;

/// The value of `MODE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Does everything right.
    Healthy,
    /// Serves, but `/health` answers 503.
    Unhealthy,
    /// Exits with 1 at once.
    Exit,
    /// Exits with 1 after so long.
    CrashAfter(Duration),
    /// Listens only after so long.
    SlowStart(Duration),
    /// Goes on after SIGTERM.
    IgnoreTerm,
    /// Does one task of so long after the other, and listens nowhere.
    Worker(Duration),
    /// Serves, and takes so many MiB of memory each second.
    Leak(u32),
    /// Writes numbered lines, and listens nowhere.
    Numbered(Numbered),
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds = |text: &str| {
            text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        };
        let known = match text.split_once('=') {
            None => match text {
                "" | "healthy" => Some(Self::Healthy),
                "unhealthy" => Some(Self::Unhealthy),
                "exit" => Some(Self::Exit),
                "ignore-term" => Some(Self::IgnoreTerm),
                _ => None,
            },
            Some(("crash-after", delay)) => seconds(delay).map(Self::CrashAfter),
            Some(("slow-start", delay)) => seconds(delay).map(Self::SlowStart),
            Some(("worker", task)) => seconds(task).map(Self::Worker),
            Some(("leak", pace)) => pace.parse().ok().map(Self::Leak),
            Some(("numbered", how)) => how.parse().ok().map(Self::Numbered),
            Some(_) => None,
        };
        known.ok_or_else(|| {
            format!("MODE {text:?} is not one of healthy, unhealthy, exit, crash-after=SECONDS, slow-start=SECONDS, ignore-term, worker=SECONDS, leak=MIB, numbered=COUNT[@PACE][,exit]")
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => write!(out, "healthy"),
            Self::Unhealthy => write!(out, "unhealthy"),
            Self::Exit => write!(out, "exit"),
            Self::CrashAfter(delay) => write!(out, "crash-after={}", delay.as_secs_f64()),
            Self::SlowStart(delay) => write!(out, "slow-start={}", delay.as_secs_f64()),
            Self::IgnoreTerm => write!(out, "ignore-term"),
            Self::Worker(task) => write!(out, "worker={}", task.as_secs_f64()),
            Self::Leak(pace) => write!(out, "leak={pace}"),
            Self::Numbered(how) => write!(out, "numbered={how}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_as_they_are_written_and_others_are_refused() {
        let known = ["healthy", "unhealthy", "exit", "crash-after=1.5", "slow-start=20", "ignore-term"];
        let more =
            ["worker=12", "leak=64", "numbered=10", "numbered=10@5", "numbered=7,exit", "numbered=10@5,exit"];
        for text in known.into_iter().chain(more) {
            assert_eq!(text.parse::<Mode>().unwrap().to_string(), text);
        }
        let unknown = ["sick", "crash-after", "crash-after=-1", "slow-start=soon", "exit=1", "leak=-1"];
        for text in unknown.into_iter().chain(["numbered", "numbered=x", "numbered=3@", "numbered=,exit"]) {
            assert!(text.parse::<Mode>().unwrap_err().contains(text), "{text}");
        }
    }
}
