//! Docker: present or installed, started, enabled, answering.

mod install;
pub(crate) mod socket;

use crate::clock::Clock;
use crate::command::{self, CommandError, Invocation};
use crate::step::{Ending, Fault, Intent, PlannedStep};
use crate::systemd;
use install::Distribution;
use node::config::settings;
use node::fault::{Hint, one_line};
use node::paths::Paths;
use socket::Endpoint;
use std::fs;
use std::time::Duration;

/// From the start of its unit to an answer: the engine reads all its containers and images first.
const READY_DEADLINE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(200);
/// Another package manager (unattended upgrades, cloud-init) may hold a lock that its wait does not cover.
const LOCK_TRIES: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_secs(10);

const UNIT: &str = "docker.service";

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Observed {
    answers: bool,
    installed: bool,
    has_systemctl: bool,
    distribution: Distribution,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Plan {
    Keep,
    Start,
    Install(Vec<Invocation>),
    Refuse(Fault),
}

async fn observe(paths: &Paths, endpoint: &Endpoint) -> Observed {
    let os_release = fs::read_to_string(paths.at("/etc/os-release"))
        .or_else(|_| fs::read_to_string(paths.at("/usr/lib/os-release")))
        .unwrap_or_default();
    Observed {
        answers: endpoint.answers().await,
        installed: command::find("dockerd").is_some(),
        has_systemctl: systemd::is_here(),
        distribution: Distribution::parse(&os_release),
    }
}

fn plan(observed: &Observed, wanted: &settings::Docker) -> Plan {
    if observed.answers {
        return Plan::Keep;
    }
    let refuse =
        |message: String, hint: &str| Plan::Refuse(Fault::new("docker_missing", message, Some(hint)));
    if !observed.has_systemctl {
        return refuse(
            "Docker does not answer, and there is no systemctl to start it".to_owned(),
            "run node-bootstrap on a host with systemd, or start the Docker engine yourself",
        );
    }
    if observed.installed {
        return Plan::Start;
    }
    if !wanted.install {
        let message = "Docker is not installed, and [docker] install = false".to_owned();
        return refuse(message, "bake Docker into the AMI, or set install = true");
    }
    match install::commands(&observed.distribution) {
        Some(commands) => Plan::Install(commands),
        None => refuse(
            format!("it is not known how to install Docker on {}", observed.distribution.name()),
            "bake Docker into the AMI, or install it in user data before node-bootstrap",
        ),
    }
}

/// What `run` would do.
pub(crate) async fn preview(paths: &Paths, endpoint: &Endpoint, wanted: &settings::Docker) -> PlannedStep {
    match plan(&observe(paths, endpoint).await, wanted) {
        Plan::Keep => PlannedStep::new("docker", Intent::Unchanged, "the engine answers"),
        Plan::Start => PlannedStep::new("docker", Intent::Change, "start the installed engine"),
        Plan::Install(commands) => {
            let lines: Vec<String> = commands.iter().map(ToString::to_string).collect();
            PlannedStep::new("docker", Intent::Change, format!("install the engine: {}", lines.join("; ")))
        }
        Plan::Refuse(fault) => PlannedStep::refuse("docker", &fault),
    }
}

/// Gets the engine to answer.
pub(crate) async fn run(
    paths: &Paths,
    clock: &Clock,
    endpoint: &Endpoint,
    wanted: &settings::Docker,
) -> Ending {
    let observed = observe(paths, endpoint).await;
    let reason = match plan(&observed, wanted) {
        Plan::Keep => return Ending::unchanged("the engine answers"),
        Plan::Refuse(fault) => return Ending::failed(fault),
        Plan::Start => "started",
        Plan::Install(commands) => {
            for command in commands {
                if let Err(error) = install(&command).await {
                    let message = format!("cannot install Docker: {}", one_line(&error));
                    return Ending::failed(Fault::new(
                        "docker_not_installed",
                        message,
                        error.hint().as_deref(),
                    ));
                }
            }
            "installed and started"
        }
    };
    match start(clock, endpoint).await {
        Ok(()) => Ending::done(reason),
        Err(fault) => Ending::failed(fault),
    }
}

/// Tries again while another process holds the package lock.
async fn install(command: &Invocation) -> Result<(), CommandError> {
    tracing::info!("docker: {command}");
    let mut tries = 1;
    loop {
        match command.run().await {
            Ok(_) => return Ok(()),
            Err(error) if tries < LOCK_TRIES && is_locked(error.output()) => {
                tracing::info!(
                    "docker: another process holds the package lock; tries again ({tries}/{LOCK_TRIES})"
                );
                tries += 1;
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn is_locked(output: &str) -> bool {
    [
        "Could not get lock",
        "Unable to lock",
        "is another process using it",
        "Another app is currently holding",
    ]
    .iter()
    .any(|sign| output.contains(sign))
}

/// Without waiting for systemd's job: bootstrap's own unit may be ordered before Docker's, and a job that waits for us
/// while we wait for it would never end. The socket is what counts.
async fn start(clock: &Clock, endpoint: &Endpoint) -> Result<(), Fault> {
    let failed = |error: &CommandError| {
        let message = format!("cannot start Docker: {}", one_line(error));
        Fault::new("docker_not_started", message, error.hint().as_deref())
    };
    systemd::enable(UNIT).await.map_err(|error| failed(&error))?;
    systemd::start(UNIT).await.map_err(|error| failed(&error))?;
    let until = clock.elapsed() + READY_DEADLINE;
    while !endpoint.answers().await {
        let state = systemd::state(UNIT).await.map_err(|error| failed(&error))?;
        if state.has_failed() || clock.elapsed() >= until {
            let waited = format!("Docker does not answer; {UNIT} is {state}");
            let hint = "see journalctl -u docker.service";
            return Err(Fault::new("docker_not_started", waited, Some(hint)));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(answers: bool, installed: bool, has_systemctl: bool, os_release: &str) -> Observed {
        Observed { answers, installed, has_systemctl, distribution: Distribution::parse(os_release) }
    }

    fn refusal(plan: Plan) -> String {
        match plan {
            Plan::Refuse(fault) => fault.message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_engine_that_answers_is_left_alone() {
        let (install, leave) = (settings::Docker { install: true }, settings::Docker { install: false });
        assert_eq!(plan(&observed(true, false, false, ""), &install), Plan::Keep);
        assert_eq!(plan(&observed(true, true, true, "ID=debian"), &leave), Plan::Keep);
    }

    #[test]
    fn an_installed_engine_is_started_and_a_missing_one_installed() {
        let wanted = settings::Docker { install: true };
        assert_eq!(plan(&observed(false, true, true, "ID=debian"), &wanted), Plan::Start);
        assert!(matches!(plan(&observed(false, false, true, "ID=debian"), &wanted), Plan::Install(_)));
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_its_reason() {
        let (install, leave) = (settings::Docker { install: true }, settings::Docker { install: false });
        assert!(refusal(plan(&observed(false, true, false, "ID=debian"), &install)).contains("no systemctl"));
        assert!(
            refusal(plan(&observed(false, false, true, "ID=debian"), &leave)).contains("install = false")
        );
        assert!(refusal(plan(&observed(false, false, true, "ID=nixos"), &install)).contains("on nixos"));
    }
}
