//! What can be learned of an agent that does not answer: what systemd says of its unit, and the unit's last lines.

use crate::examined::Unit;
use crate::host::{examine, program};
use node::paths::Paths;
use std::path::Path;
use std::time::Duration;

const UNIT: &str = "node-agent.service";
/// The journal may be gigabytes; its end is found in milliseconds.
const DEADLINE: Duration = Duration::from_secs(5);
const LINES: &str = "5";
const LONGEST: u64 = 16 << 10;

/// What was learned; nothing where there is no systemd, or the files are another host's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Absent {
    /// `node-agent.service is failed (exit-code, status 78)`
    pub unit: Option<String>,
    /// The last lines of its journal.
    pub journal: Vec<String>,
}

/// Asks systemd and the journal.
pub(super) async fn look(paths: &Paths) -> Absent {
    if paths.at("/") != Path::new("/") {
        return Absent::default();
    }
    const ARGUMENTS: [&str; 8] = ["--no-pager", "--quiet", "-o", "cat", "-n", LINES, "-u", UNIT];
    let journal = program::ask("journalctl", &ARGUMENTS, DEADLINE, LONGEST);
    let names = [UNIT];
    let (units, journal) = tokio::join!(examine::units(&names), journal);
    let lines = journal.ok().and_then(|ended| ended.answer().ok()).unwrap_or_default();
    Absent {
        unit: units.ok().and_then(|units| units.first().map(in_words)),
        journal: lines.lines().map(str::to_owned).collect(),
    }
}

fn in_words(unit: &Unit) -> String {
    match (unit.load.as_str(), unit.active.as_str()) {
        ("not-found", _) => format!("{UNIT} is not installed"),
        (_, "active") => format!("{UNIT} is active"),
        (_, active) => format!("{UNIT} is {active} ({}, status {})", unit.result, unit.exit_status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_in_words() {
        let unit = |load: &str, active: &str| Unit {
            load: load.to_owned(),
            active: active.to_owned(),
            result: "exit-code".to_owned(),
            exit_status: 78,
            ..Unit::default()
        };
        assert_eq!(in_words(&unit("loaded", "active")), "node-agent.service is active");
        assert_eq!(
            in_words(&unit("loaded", "failed")),
            "node-agent.service is failed (exit-code, status 78)"
        );
        assert_eq!(in_words(&unit("not-found", "inactive")), "node-agent.service is not installed");
    }

    #[tokio::test]
    async fn of_another_root_nothing_is_known() {
        assert_eq!(look(&Paths::under("/nowhere")).await, Absent::default());
    }
}
