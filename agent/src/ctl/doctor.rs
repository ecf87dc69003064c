//! `agentctl doctor`: has `node-agent doctor` look, which has the clients of AWS that this program shall not have, and
//! shows what it found.

use super::{Ending, Session, now, output, render};
use crate::finding::{Area, Finding, Report, Verdict};
use crate::host::program::{self, OWN};
use node::exit;
use std::time::Duration;

/// Longer than any area takes.
const DEADLINE: Duration = Duration::from_secs(90);

pub(super) async fn doctor(session: &Session, json: bool, verbose: bool) -> Result<u8, Ending> {
    let report = report(session).await;
    let text = if json {
        format!("{:#}\n", serde_json::to_value(&report).unwrap_or_default())
    } else {
        render::doctor::render(&report, verbose, output::page())
    };
    output::data(text.as_bytes())?;
    Ok(if report.verdict == Verdict::Fail { exit::FAILED } else { exit::DONE })
}

/// What is found; that the program itself cannot be run is a finding, too.
pub(super) async fn report(session: &Session) -> Report {
    let mut findings = Vec::new();
    let mut areas = 0;
    let shown = output::terminal_of_notes().is_some();
    let arguments = [OWN.doctor.into(), "--root".into(), session.paths.at("/").into_os_string()];
    let agent = program::own(OWN.agent);
    let ended = program::lines(&agent, &arguments, DEADLINE, |line| {
        if let Ok(finding) = serde_json::from_str::<Finding>(line) {
            areas += usize::from(findings.last().is_none_or(|last: &Finding| last.area != finding.area));
            findings.push(finding);
            if shown {
                output::in_place(&format!("looking: {areas} of {} areas", Area::ALL.len()));
            }
        }
    });
    let ended = ended.await;
    if shown {
        output::in_place("");
    }
    if let Err(why) = ended {
        let remedy = "install the program node-agent of the same release beside agentctl";
        findings.push(Finding::fail(Area::Agent, "the doctor itself", why, remedy));
    }
    Report::of(findings, now())
}
