//! Units of systemd.

use crate::examined::{Unit, Unknown};
use crate::finding::{Area, Finding};

/// The one that may have ended: it works once at each boot.
const ONCE: &str = "node-bootstrap.service";
/// More often than this since it was started is no accident.
const MANY_RESTARTS: u64 = 5;

/// All of it.
pub fn units(facts: &Result<Vec<Unit>, Unknown>) -> Vec<Finding> {
    let units = match facts {
        Ok(units) => units,
        Err(why) => {
            let message = format!("systemd cannot be asked: {}", why.message);
            return vec![Finding::skip(Area::Units, "units", message)];
        }
    };
    let mut findings: Vec<Finding> = units.iter().map(unit).collect();
    let stale: Vec<&str> =
        units.iter().filter(|unit| unit.needs_reload).map(|unit| unit.name.as_str()).collect();
    if !stale.is_empty() {
        findings.push(Finding::warn(
            Area::Units,
            "units on disk",
            format!("systemd has not read the newest file of {}", stale.join(", ")),
            "`systemctl daemon-reload`; with GPUs in containers and the systemd cgroup driver, at the next boot",
        ));
    }
    findings
}

fn unit(unit: &Unit) -> Finding {
    let check = unit.name.clone();
    let journal = format!("see why with `journalctl -u {check} -b`");
    let says = |text: &str| format!("{text} ({}, status {})", unit.result, unit.exit_status);
    match (unit.load.as_str(), unit.active.as_str()) {
        ("not-found", _) => Finding::fail(
            Area::Units,
            check,
            "there is no such unit",
            "install the package of the release, or bake it in",
        ),
        ("masked", _) => {
            let remedy = format!("`systemctl unmask {check}`");
            Finding::fail(Area::Units, check, "it is masked: nobody can start it", remedy)
        }
        (_, "failed") => Finding::fail(Area::Units, check, says("failed"), journal),
        (_, "active" | "reloading") if unit.restarts > MANY_RESTARTS => Finding::warn(
            Area::Units,
            check,
            format!("active, and systemd had to start it again {} times", unit.restarts),
            journal,
        ),
        (_, "active" | "reloading") => Finding::pass(Area::Units, check, format!("active, {}", unit.enabled)),
        (_, "activating") => Finding::warn(Area::Units, check, "is being started", journal),
        (_, "inactive") if check == ONCE && unit.result == "success" => {
            Finding::pass(Area::Units, check, format!("ended well, {}", unit.enabled))
        }
        (_, other) => {
            let remedy = format!("`systemctl start {check}`");
            Finding::fail(Area::Units, check, says(other), remedy)
        }
    }
}
