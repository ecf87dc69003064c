//! What `agentctl doctor` finds: values, as they go over a pipe and to `--json`. Pure.

use jiff::Timestamp;
use node::fault::{Hint, one_line};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// It could not be checked, and the message says why; or there is nothing to check.
    Skip,
    /// It works, and will not always.
    Warn,
    /// Something that this node needs does not work.
    Fail,
}

/// What a check is about; the order in which they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// node.toml and its drop-ins.
    Configuration,
    /// What bootstrap did at this boot.
    Boot,
    /// The instance metadata service, and the role that it gives.
    Metadata,
    /// Endpoints and permissions.
    Aws,
    /// The clock that signatures are made with.
    Clock,
    /// The engine.
    Docker,
    /// Volumes and other file systems.
    Disks,
    /// Ports and the firewall.
    Network,
    /// Units of systemd.
    Units,
    /// The agent itself.
    Agent,
}

impl Area {
    /// All of them, in their order.
    pub const ALL: [Area; 10] = [
        Area::Configuration,
        Area::Boot,
        Area::Metadata,
        Area::Aws,
        Area::Clock,
        Area::Docker,
        Area::Disks,
        Area::Network,
        Area::Units,
        Area::Agent,
    ];
}

impl fmt::Display for Area {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Area::Configuration => "configuration",
            Area::Boot => "boot",
            Area::Metadata => "metadata",
            Area::Aws => "aws",
            Area::Clock => "clock",
            Area::Docker => "docker",
            Area::Disks => "disks",
            Area::Network => "network",
            Area::Units => "units",
            Area::Agent => "agent",
        })
    }
}

/// One check and what it came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about.
    pub area: Area,
    /// What was checked, in few words; the same in every run, with the name of the thing where there are several.
    pub check: String,
    /// What it came to.
    pub verdict: Verdict,
    /// One line: what was found.
    pub message: String,
    /// What to do about it; always there where the verdict is a warning or a failure.
    pub remedy: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn pass(area: Area, check: impl Into<String>, message: impl Into<String>) -> Finding {
        Finding { area, check: check.into(), verdict: Verdict::Pass, message: message.into(), remedy: None }
    }

    /// Not checked, for the reason in `message`.
    pub fn skip(area: Area, check: impl Into<String>, message: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Skip, ..Finding::pass(area, check, message) }
    }

    /// It works, and will not always.
    pub fn warn(
        area: Area,
        check: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        let remedy = Some(remedy.into());
        Finding { verdict: Verdict::Warn, remedy, ..Finding::pass(area, check, message) }
    }

    /// It does not work.
    pub fn fail(
        area: Area,
        check: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding { verdict: Verdict::Fail, ..Finding::warn(area, check, message, remedy) }
    }

    /// It does not work, in the words of an error; `remedy` is for one that has no hint.
    pub fn failed(area: Area, check: impl Into<String>, error: &dyn Hint, remedy: &str) -> Finding {
        Finding::fail(area, check, one_line(error), error.hint().unwrap_or_else(|| remedy.to_owned()))
    }
}

/// `agentctl doctor --json`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The worst of the findings.
    pub verdict: Verdict,
    /// When it was looked.
    pub checked_at: Timestamp,
    /// In the order of their areas.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The report of `findings`, whose order is kept within an area.
    pub fn of(mut findings: Vec<Finding>, checked_at: Timestamp) -> Report {
        findings.sort_by_key(|finding| finding.area);
        let verdict = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Skip);
        Report { verdict, checked_at, findings }
    }

    /// How many findings came to `verdict`.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_as_good_as_its_worst_finding_and_goes_by_area() {
        let findings = vec![
            Finding::skip(Area::Agent, "agent", "x"),
            Finding::warn(Area::Aws, "b", "x", "y"),
            Finding::pass(Area::Configuration, "c", "x"),
            Finding::pass(Area::Aws, "a", "x"),
        ];
        let report = Report::of(findings, Timestamp::UNIX_EPOCH);
        assert_eq!((report.verdict, report.count(Verdict::Pass)), (Verdict::Warn, 2));
        let order: Vec<&str> = report.findings.iter().map(|finding| finding.check.as_str()).collect();
        assert_eq!(order, ["c", "b", "a", "agent"]);
        let read: Report = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!(read, report);
        assert_eq!(Report::of(Vec::new(), Timestamp::UNIX_EPOCH).verdict, Verdict::Skip);
    }

    #[test]
    fn areas_are_shown_under_the_name_that_programs_get() {
        for area in Area::ALL {
            assert_eq!(serde_json::to_value(area).unwrap(), area.to_string());
        }
        assert!(Area::ALL.is_sorted());
    }
}
