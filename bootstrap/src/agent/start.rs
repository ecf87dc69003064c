//! Starts the agent's unit and waits until it has reported READY. Never waits for a job of systemd: bootstrap may run
//! inside one itself.

use crate::clock::Clock;
use crate::command::CommandError;
use crate::step::{Ending, Fault};
use crate::systemd::{self, State};
use node::fault::{Hint, one_line};
use std::time::Duration;

/// The agent's unit.
pub(crate) const UNIT: &str = "node-agent.service";
const CODE: &str = "agent_not_started";
/// From its start to READY: it reads its settings and its state and asks Docker once.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// As much of its journal as helps on a console.
const LAST_LINES: u32 = 15;

/// What to do with the unit. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    Keep,
    Start,
    Restart,
    /// It is starting by itself.
    Await,
}

fn plan(state: &State, changed: bool) -> Plan {
    match (state.is_active(), state.is_starting(), changed) {
        (true, _, false) => Plan::Keep,
        (_, true, false) => Plan::Await,
        (true, _, true) | (_, true, true) => Plan::Restart,
        (false, false, _) => Plan::Start,
    }
}

/// Starts it, or starts it again when something that it reads at its start has changed.
pub(crate) async fn start(clock: &Clock, changed: bool) -> Ending {
    if !systemd::is_here() {
        let message = format!("cannot start {UNIT}: systemd does not run here");
        return Ending::failed(Fault::new(CODE, message, Some("run node-bootstrap on a host with systemd")));
    }
    match start_and_wait(clock, changed).await {
        Ok(ending) => ending,
        Err(error) => {
            let message = format!("cannot start {UNIT}: {}", one_line(&error));
            Ending::failed(Fault::new(CODE, message, error.hint().as_deref()))
        }
    }
}

async fn start_and_wait(clock: &Clock, changed: bool) -> Result<Ending, CommandError> {
    let before = systemd::state(UNIT).await?;
    if !before.is_known() {
        let message = format!("systemd does not know {UNIT}");
        let hint = "install a release with its units: url and sha256 in [agent], or the AMI";
        return Ok(Ending::failed(Fault::new(CODE, message, Some(hint))));
    }
    let (old, done) = match plan(&before, changed) {
        Plan::Keep => return Ok(Ending::unchanged("it runs and is ready")),
        Plan::Await => (String::new(), "it has started"),
        Plan::Start => {
            systemd::start(UNIT).await?;
            (before.invocation(), "started")
        }
        Plan::Restart => {
            systemd::restart(UNIT).await?;
            (before.invocation(), "started again, because what it reads has changed")
        }
    };
    let until = clock.elapsed() + DEADLINE;
    loop {
        let state = systemd::state(UNIT).await?;
        // Until systemd has begun with our start, the state is that of the time before.
        let is_new = state.invocation() != old;
        if is_new && state.is_active() {
            return Ok(Ending::done(format!("{done}; ready")));
        }
        if (is_new && state.has_failed()) || clock.elapsed() >= until {
            return Ok(Ending::failed(not_ready(&state).await));
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn not_ready(state: &State) -> Fault {
    for line in systemd::last_lines(UNIT, LAST_LINES).await {
        tracing::warn!("{UNIT}: {line}");
    }
    let message = format!("{UNIT} did not become ready: {state}");
    Fault::new(CODE, message, Some("see journalctl -u node-agent.service"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_agent_is_touched_only_for_a_change() {
        let state = |active: &str| State::parse(&format!("LoadState=loaded\nActiveState={active}\n"));
        assert_eq!(plan(&state("active"), false), Plan::Keep);
        assert_eq!(plan(&state("active"), true), Plan::Restart);
        assert_eq!(plan(&state("activating"), false), Plan::Await);
        assert_eq!(plan(&state("activating"), true), Plan::Restart);
        assert_eq!(plan(&state("inactive"), false), Plan::Start);
        assert_eq!(plan(&state("failed"), true), Plan::Start);
    }
}
