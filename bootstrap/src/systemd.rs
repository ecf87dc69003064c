//! systemctl, as far as bootstrap needs it. Nothing here waits for a job of systemd: bootstrap may itself be one that
//! others wait for.

use crate::command::{self, CommandError, Invocation};
use std::collections::BTreeMap;
use std::time::Duration;

/// Each call is answered by systemd at once; under load at boot it may take its time.
const DEADLINE: Duration = Duration::from_secs(30);

/// Whether there is a systemd to talk to: its program, and it being in charge (sd_booted(3)).
pub(crate) fn is_here() -> bool {
    command::find("systemctl").is_some() && std::path::Path::new("/run/systemd/system").is_dir()
}

/// Properties of a unit that bootstrap looks at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct State {
    properties: BTreeMap<String, String>,
}

impl State {
    /// From the output of `systemctl show` for one unit.
    pub(crate) fn parse(output: &str) -> State {
        let pairs = output.lines().filter_map(|line| line.split_once('='));
        State { properties: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect() }
    }

    /// From the output for several units: one paragraph each, in the order in which they were named.
    fn parse_all(output: &str) -> Vec<State> {
        let paragraphs = output.split("\n\n").map(str::trim).filter(|text| !text.is_empty());
        paragraphs.map(State::parse).collect()
    }

    fn get(&self, name: &str) -> &str {
        self.properties.get(name).map(String::as_str).unwrap_or_default()
    }

    pub(crate) fn is_known(&self) -> bool {
        !matches!(self.get("LoadState"), "" | "not-found" | "masked")
    }

    /// For `Type=notify` this says that it has reported READY.
    pub(crate) fn is_active(&self) -> bool {
        self.get("ActiveState") == "active"
    }

    pub(crate) fn is_starting(&self) -> bool {
        matches!(self.get("ActiveState"), "activating" | "reloading")
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.get("ActiveState") == "failed"
    }

    /// systemd has found no file for it.
    pub(crate) fn is_missing(&self) -> bool {
        self.get("LoadState") == "not-found"
    }

    /// systemd knows an older content of its file.
    pub(crate) fn needs_reload(&self) -> bool {
        self.get("NeedDaemonReload") == "yes"
    }

    /// Its last start ended, and not as it should.
    pub(crate) fn has_ended_badly(&self) -> bool {
        !matches!(self.get("Result"), "" | "success") || self.get("SubState") == "auto-restart"
    }

    /// When its main process was last started; another text for each start.
    pub(crate) fn main_start(&self) -> &str {
        self.get("ExecMainStartTimestampMonotonic")
    }

    /// Of its main process, if that ended by itself: code 1 is CLD_EXITED (waitid(2)).
    pub(crate) fn exit_status(&self) -> Option<u8> {
        let exited = self.get("ExecMainCode") == "1";
        if exited { self.get("ExecMainStatus").parse().ok() } else { None }
    }

    /// Another one for each time that the unit was started. systemd 219 (Amazon Linux 2) has no invocation ids, only
    /// the time at which the main process started.
    pub(crate) fn invocation(&self) -> String {
        format!("{} {}", self.get("InvocationID"), self.get("ExecMainStartTimestampMonotonic"))
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (active, sub, result) = (self.get("ActiveState"), self.get("SubState"), self.get("Result"));
        write!(formatter, "{active} ({sub}, result {result}")?;
        match self.exit_status() {
            Some(status) if self.has_ended_badly() => write!(formatter, ", exit status {status})"),
            _ => write!(formatter, ")"),
        }
    }
}

fn systemctl(arguments: &[&str]) -> Invocation {
    Invocation::new("systemctl", DEADLINE).brought_by("systemd").arguments(arguments.iter().copied())
}

const PROPERTIES: &str = "LoadState,ActiveState,SubState,Result,NeedDaemonReload,InvocationID,\
                          ExecMainStartTimestampMonotonic,ExecMainCode,ExecMainStatus";

pub(crate) async fn state(unit: &str) -> Result<State, CommandError> {
    Ok(State::parse(&systemctl(&["show", "-p", PROPERTIES, unit]).run().await?))
}

/// Two units with one question; `None` for an answer that is not about two.
pub(crate) async fn states(units: [&str; 2]) -> Result<Option<[State; 2]>, CommandError> {
    let [one, other] = units;
    let answer = systemctl(&["show", "-p", PROPERTIES, one, other]).run().await?;
    Ok(State::parse_all(&answer).try_into().ok())
}

/// Enqueues the start and returns.
pub(crate) async fn start(unit: &str) -> Result<(), CommandError> {
    systemctl(&["start", "--no-block", unit]).run().await.map(|_| ())
}

/// Enqueues the restart and returns.
pub(crate) async fn restart(unit: &str) -> Result<(), CommandError> {
    systemctl(&["restart", "--no-block", unit]).run().await.map(|_| ())
}

/// Makes the unit start at every boot. `enable` would reload systemd by itself, which takes the GPUs away from running
/// containers.
pub(crate) async fn enable(unit: &str) -> Result<(), CommandError> {
    systemctl(&["enable", "--no-reload", unit]).run().await.map(|_| ())
}

pub(crate) async fn daemon_reload() -> Result<(), CommandError> {
    systemctl(&["daemon-reload"]).run().await.map(|_| ())
}

/// What the unit's processes said last in this boot, by the journal; empty where there is none.
/// Of that one start, where systemd tells which it is.
pub(crate) async fn last_lines(unit: &str, state: &State, lines: u32) -> Vec<String> {
    let by_start = Some(state.get("InvocationID")).filter(|id| !id.is_empty());
    let unit =
        by_start.map_or_else(|| format!("_SYSTEMD_UNIT={unit}"), |id| format!("_SYSTEMD_INVOCATION_ID={id}"));
    let lines = lines.to_string();
    let asked = Invocation::new("journalctl", DEADLINE)
        .arguments(["-b", "--no-pager", "-q", "-o", "cat", "-n", &lines, &unit])
        .run()
        .await;
    asked.unwrap_or_default().lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_systemctl_show_is_understood() {
        let state = State::parse(
            "LoadState=loaded\nActiveState=activating\nSubState=start\nResult=success\nInvocationID=ab\n",
        );
        assert!(state.is_known() && state.is_starting() && !state.is_active() && !state.needs_reload());
        assert_eq!(state.to_string(), "activating (start, result success)");
        assert!(!State::parse("LoadState=not-found\nActiveState=inactive\n").is_known());
    }

    #[test]
    fn two_units_are_told_apart_in_one_answer() {
        let both = State::parse_all("LoadState=loaded\nNeedDaemonReload=yes\n\nLoadState=not-found\n");
        assert_eq!(both.len(), 2);
        assert!(both[0].needs_reload() && !both[0].is_missing());
        assert!(!both[1].needs_reload() && both[1].is_missing());
    }
}
