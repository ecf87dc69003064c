//! Starts the agent's unit and waits until it has reported READY. Never waits for a job of systemd: bootstrap may run
//! inside one itself.

use super::version::Failure;
use crate::clock::Clock;
use crate::command::CommandError;
use crate::step::{Ending, Fault};
use crate::systemd::{self, State};
use crate::units::AGENT_UNIT as UNIT;
use node::exit;
use node::fault::{Hint, one_line};
use std::collections::BTreeSet;
use std::time::Duration;

const CODE: &str = "agent_not_started";
/// From its start to READY: it reads its settings and its state and asks Docker once.
const DEADLINE: Duration = Duration::from_secs(60);
/// A healthy agent is ready after a tenth of a second; asking costs a hundredth of a processor's.
const POLL: Duration = Duration::from_millis(20);
const POLLS_AT_FIRST: u32 = 25;
const LATER_POLL: Duration = Duration::from_millis(100);
/// Starts of a version on trial that ended before READY; systemd would go on for ever.
const STARTS_ON_TRIAL: usize = 3;
/// As much of its journal as helps on a console.
const LAST_LINES: u32 = 15;
/// Of its last line, in a problem.
const LONGEST_QUOTE: usize = 160;

/// How long it is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// There is nothing better to do than to hope until the deadline.
    Usual,
    /// There is a version that is known to work.
    Trial,
}

/// What can be said of the version that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Ready,
    NotReady(Failure),
    /// systemd could not be asked.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Started {
    pub(super) ending: Ending,
    pub(super) verdict: Verdict,
}

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

/// What was seen of the unit since its start was asked for. Pure.
#[derive(Debug, Default)]
struct Watch {
    /// The run before ours, which is not judged.
    old: String,
    starts: BTreeSet<String>,
    /// The last way in which a start has ended.
    failure: Option<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Ready,
    Wait,
    NotReady,
}

impl Watch {
    fn look(&mut self, state: &State, patience: Patience) -> Look {
        // Until systemd has begun with our start, the state is that of the time before.
        if state.invocation() == self.old {
            return Look::Wait;
        }
        if state.is_active() {
            return Look::Ready;
        }
        if state.has_ended_badly() {
            self.starts.insert(state.main_start().to_owned());
            self.failure = Some(state.clone());
        }
        let is_hopeless = patience == Patience::Trial && self.starts.len() >= STARTS_ON_TRIAL;
        if state.has_failed() || is_hopeless { Look::NotReady } else { Look::Wait }
    }
}

/// Starts it, or starts it again when something that it reads at its start has changed.
pub(crate) async fn start(clock: &Clock, changed: bool, known: Option<State>) -> Ending {
    start_with(clock, changed, known, Patience::Usual).await.ending
}

pub(super) async fn start_with(
    clock: &Clock,
    changed: bool,
    known: Option<State>,
    patience: Patience,
) -> Started {
    let unknown = |fault| Started { ending: Ending::failed(fault), verdict: Verdict::Unknown };
    if !systemd::is_here() {
        let message = format!("cannot start {UNIT}: systemd does not run here");
        return unknown(Fault::new(CODE, message, Some("run node-bootstrap on a host with systemd")));
    }
    match start_and_wait(clock, changed, known, patience).await {
        Ok(started) => started,
        Err(error) => {
            let message = format!("cannot start {UNIT}: {}", one_line(&error));
            unknown(Fault::new(CODE, message, error.hint().as_deref()))
        }
    }
}

async fn start_and_wait(
    clock: &Clock,
    changed: bool,
    known: Option<State>,
    patience: Patience,
) -> Result<Started, CommandError> {
    let before = match known {
        Some(state) => state,
        None => systemd::state(UNIT).await?,
    };
    if !before.is_known() {
        return Ok(unit_unknown());
    }
    let ready = |ending| Started { ending, verdict: Verdict::Ready };
    let mut watch = Watch { old: before.invocation(), ..Watch::default() };
    let done = match plan(&before, changed) {
        Plan::Keep => return Ok(ready(Ending::unchanged("it runs and is ready"))),
        Plan::Await => {
            watch.old.clear();
            "it has started"
        }
        Plan::Start => {
            systemd::start(UNIT).await?;
            "started"
        }
        Plan::Restart => {
            systemd::restart(UNIT).await?;
            "started again, because what it reads has changed"
        }
    };
    let until = clock.elapsed() + DEADLINE;
    let mut polls = 0;
    loop {
        let state = systemd::state(UNIT).await?;
        match watch.look(&state, patience) {
            Look::Ready => return Ok(ready(Ending::done(format!("{done}; ready")))),
            Look::Wait if clock.elapsed() < until => {}
            _ => return Ok(not_ready(watch.failure.as_ref().unwrap_or(&state), watch.starts.len()).await),
        }
        polls += 1;
        tokio::time::sleep(if polls < POLLS_AT_FIRST { POLL } else { LATER_POLL }).await;
    }
}

fn unit_unknown() -> Started {
    let why = format!("systemd does not know {UNIT}");
    let hint = "install a release with its units: url and sha256 in [agent], or the AMI";
    let ending = Ending::failed(Fault::new(CODE, why.clone(), Some(hint)));
    Started { ending, verdict: Verdict::NotReady(Failure { why, refuses_configuration: false }) }
}

async fn not_ready(state: &State, starts: usize) -> Started {
    let lines = systemd::last_lines(UNIT, state, LAST_LINES).await;
    for line in &lines {
        tracing::warn!("{UNIT}: {line}");
    }
    let quote = lines.last().map(|line| {
        let line: String = line.chars().take(LONGEST_QUOTE).collect();
        format!("; it said: {line}")
    });
    let times = if starts > 1 { format!(" after {starts} starts") } else { String::new() };
    let why = format!("{state}{times}{}", quote.unwrap_or_default());
    let message = format!("{UNIT} did not become ready: {why}");
    let failure =
        Failure { why, refuses_configuration: state.exit_status() == Some(exit::INVALID_CONFIGURATION) };
    let fault = Fault::new(CODE, message, Some("see journalctl -u node-agent.service"));
    Started { ending: Ending::failed(fault), verdict: Verdict::NotReady(failure) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(text: &str) -> State {
        State::parse(&text.replace(' ', "\n"))
    }

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

    fn start_of(number: u32, rest: &str) -> State {
        state(&format!("InvocationID={number} ExecMainStartTimestampMonotonic={number} {rest}"))
    }

    fn watch() -> Watch {
        Watch { old: start_of(1, "").invocation(), ..Watch::default() }
    }

    const CRASHED: &str = "ActiveState=activating SubState=auto-restart Result=exit-code ExecMainStatus=1";

    #[test]
    fn the_run_before_ours_is_not_judged() {
        let mut watch = watch();
        assert_eq!(watch.look(&start_of(1, "ActiveState=active"), Patience::Trial), Look::Wait);
        assert_eq!(
            watch.look(&start_of(1, "ActiveState=failed Result=exit-code"), Patience::Trial),
            Look::Wait
        );
        assert_eq!(watch.look(&start_of(2, "ActiveState=active"), Patience::Trial), Look::Ready);
    }

    #[test]
    fn a_version_on_trial_that_ends_three_times_is_hopeless_and_another_may_go_on_trying() {
        for (patience, last) in [(Patience::Trial, Look::NotReady), (Patience::Usual, Look::Wait)] {
            let mut watch = watch();
            for number in [2, 2, 3, 3] {
                assert_eq!(watch.look(&start_of(number, CRASHED), patience), Look::Wait, "{number}");
            }
            let starting = "ActiveState=activating SubState=start Result=success";
            assert_eq!(watch.look(&start_of(4, starting), patience), Look::Wait);
            assert_eq!(watch.look(&start_of(4, CRASHED), patience), last, "{patience:?}");
            assert!(watch.failure.unwrap().to_string().contains("exit-code"));
        }
    }

    #[test]
    fn one_that_refuses_the_configuration_is_not_started_again_by_systemd_and_is_judged_at_once() {
        let refused = "ActiveState=failed SubState=failed Result=exit-code ExecMainCode=1 ExecMainStatus=78";
        let mut watch = watch();
        assert_eq!(watch.look(&start_of(2, refused), Patience::Usual), Look::NotReady);
        assert_eq!(watch.failure.unwrap().exit_status(), Some(exit::INVALID_CONFIGURATION));
    }

    #[test]
    fn one_that_hangs_is_waited_for_until_the_deadline() {
        let mut watch = watch();
        let hangs = "ActiveState=activating SubState=start Result=success";
        for _ in 0..1000 {
            assert_eq!(watch.look(&start_of(2, hangs), Patience::Trial), Look::Wait);
        }
        let timed_out = "ActiveState=activating SubState=auto-restart Result=timeout";
        assert_eq!(watch.look(&start_of(2, timed_out), Patience::Trial), Look::Wait);
        assert_eq!(watch.starts.len(), 1);
    }
}
