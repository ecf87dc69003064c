//! Docker: present or installed, started, enabled, answering.

mod answer;
mod install;
pub(crate) mod socket;

use crate::clock::Clock;
use crate::command::{self, CommandError, Invocation};
use crate::step::{Ending, Fault, Intent, PlannedStep};
use crate::systemd;
use answer::{Trouble, trouble};
use install::{Distribution, Recipe};
use node::config::settings;
use node::fault::{Hint, one_line};
use node::paths::Paths;
use socket::Endpoint;
use std::fs;
use std::time::Duration;

/// From the start of its unit to an answer: the engine reads all its containers and images first.
const READY_DEADLINE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);
/// Looking at the socket costs nothing, asking systemd a process.
const POLLS_PER_LOOK: u32 = 10;

/// How often and how long an installation is tried again.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// For another package manager (unattended upgrades, cloud-init) to be done.
    lock: Duration,
    pause: Duration,
    /// Tries without a network, each of which has retries of its own.
    network_tries: u32,
}

const PATIENCE: Patience =
    Patience { lock: Duration::from_secs(600), pause: Duration::from_secs(2), network_tries: 3 };

const UNIT: &str = "docker.service";

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Observed {
    answers: bool,
    installed: bool,
    has_systemctl: bool,
    distribution: Distribution,
    recipe: Recipe,
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
    let distribution = Distribution::parse(&os_release);
    Observed {
        answers: endpoint.answers().await,
        installed: command::find("dockerd").is_some(),
        has_systemctl: systemd::is_here(),
        recipe: install::recipe(&distribution, |program| command::find(program).is_some()),
        distribution,
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
    match &observed.recipe {
        Recipe::Commands(commands) => Plan::Install(commands.clone()),
        Recipe::NotPackaged => refuse(
            format!("{} has no Docker package of its own", observed.distribution.name()),
            "add Docker's own repository and install docker-ce in the AMI, or in user data before node-bootstrap",
        ),
        Recipe::Unknown => refuse(
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
            if let Err(fault) = install_all(clock, &commands, PATIENCE).await {
                return Ending::failed(fault);
            }
            "installed and started"
        }
    };
    match start(clock, endpoint).await {
        Ok(()) => Ending::done(reason),
        Err(fault) => Ending::failed(fault),
    }
}

/// Only the last one has to succeed: a package list that cannot be fetched anew (one broken source among many) may
/// still have the package. It is said where the last one fails.
async fn install_all(clock: &Clock, commands: &[Invocation], patience: Patience) -> Result<(), Fault> {
    let mut before = String::new();
    for (at, command) in commands.iter().enumerate() {
        match install(clock, command, patience).await {
            Ok(()) => {}
            Err(fault) if at + 1 < commands.len() => {
                tracing::warn!("docker: {}; goes on", fault.message);
                before = format!("; before that: {}", fault.message);
            }
            Err(mut fault) => {
                fault.message.push_str(&before);
                return Err(fault);
            }
        }
    }
    Ok(())
}

/// Tries again while another process holds the package lock, and a few times without a network.
async fn install(clock: &Clock, command: &Invocation, patience: Patience) -> Result<(), Fault> {
    tracing::info!("docker: {command}");
    let until = clock.elapsed() + patience.lock;
    let (mut waits_for, mut tries) = (String::new(), 1);
    loop {
        let error = match command.run().await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let trouble = trouble(error.output());
        match &trouble {
            Trouble::Locked { holder } if clock.elapsed() < until => {
                let holder = holder
                    .as_ref()
                    .map_or_else(|| "another process".to_owned(), |who| format!("process {who}"));
                if holder != waits_for {
                    tracing::info!("docker: {holder} holds the lock of the packages; waits for it");
                    waits_for = holder;
                }
            }
            Trouble::NoNetwork if tries < patience.network_tries => {
                tracing::info!(
                    "docker: {}; tries again ({tries}/{})",
                    one_line(&error),
                    patience.network_tries
                );
                tries += 1;
            }
            _ => return Err(not_installed(&error, &trouble)),
        }
        tokio::time::sleep(patience.pause).await;
    }
}

fn not_installed(error: &CommandError, trouble: &Trouble) -> Fault {
    let (what, hint) = match trouble {
        Trouble::Locked { holder } => {
            let holder = holder.as_deref().map(|who| format!(" (process {who})")).unwrap_or_default();
            (
                format!("another package manager{holder} still holds the lock: "),
                Some("see what hangs there: ps -ef; or bake Docker into the AMI".to_owned()),
            )
        }
        Trouble::NoNetwork => (
            "the packages cannot be fetched: ".to_owned(),
            Some("check the route, the name service and the security group of the instance".to_owned()),
        ),
        Trouble::UnknownPackage => (
            "its package is not known: ".to_owned(),
            Some("check the package sources of the instance (on Ubuntu, `universe`)".to_owned()),
        ),
        Trouble::Other => (String::new(), error.hint()),
    };
    let message = format!("cannot install Docker: {what}{}", one_line(error));
    Fault::new("docker_not_installed", message, hint.as_deref())
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
    for polls in 1_u32.. {
        if endpoint.answers().await {
            break;
        }
        if polls.is_multiple_of(POLLS_PER_LOOK) || clock.elapsed() >= until {
            let state = systemd::state(UNIT).await.map_err(|error| failed(&error))?;
            if state.has_failed() || clock.elapsed() >= until {
                let waited = format!("Docker does not answer; {UNIT} is {state}");
                let hint = "see journalctl -u docker.service";
                return Err(Fault::new("docker_not_started", waited, Some(hint)));
            }
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(answers: bool, installed: bool, has_systemctl: bool, os_release: &str) -> Observed {
        let distribution = Distribution::parse(os_release);
        let recipe = install::recipe(&distribution, |_| true);
        Observed { answers, installed, has_systemctl, distribution, recipe }
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

    const BRIEF: Patience =
        Patience { lock: Duration::from_secs(60), pause: Duration::from_millis(1), network_tries: 3 };

    /// A package manager that gives one answer for each line of `answers` and then succeeds.
    fn manager(folder: &std::path::Path, answers: &str) -> Invocation {
        let answers_file = folder.join("answers");
        node::files::replace(&answers_file, answers.as_bytes(), 0o644).unwrap();
        let script =
            "line=$(head -n 1 $0); sed -i 1d $0; test -z \"$line\" || { echo \"$line\" >&2; exit 100; }";
        let place = answers_file.to_string_lossy().into_owned();
        Invocation::new("sh", Duration::from_secs(60)).arguments(["-c", script, &place])
    }

    const LOCK: &str =
        "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (apt-get)\n";
    const NO_NETWORK: &str = "E: Temporary failure resolving 'deb.debian.org'\n";

    #[tokio::test]
    async fn a_lock_is_waited_for_and_a_network_is_tried_three_times() {
        let clock = Clock::start();
        let folder = tempfile::tempdir().unwrap();
        install(&clock, &manager(folder.path(), &LOCK.repeat(7)), BRIEF).await.unwrap();
        install(&clock, &manager(folder.path(), &NO_NETWORK.repeat(2)), BRIEF).await.unwrap();
        let fault = install(&clock, &manager(folder.path(), &NO_NETWORK.repeat(3)), BRIEF).await.unwrap_err();
        assert!(fault.message.contains("cannot be fetched"), "{fault:?}");
    }

    #[tokio::test]
    async fn a_lock_that_is_never_released_and_an_unknown_package_end_with_their_reasons() {
        let clock = Clock::start();
        let folder = tempfile::tempdir().unwrap();
        let none = Patience { lock: Duration::ZERO, ..BRIEF };
        let fault = install(&clock, &manager(folder.path(), LOCK), none).await.unwrap_err();
        assert!(fault.message.contains("process 7 (apt-get)) still holds the lock"), "{fault:?}");
        let unknown = "E: Unable to locate package docker.io\n";
        let fault = install(&clock, &manager(folder.path(), unknown), BRIEF).await.unwrap_err();
        assert!(fault.message.contains("not known") && fault.hint.unwrap().contains("universe"));
    }

    #[tokio::test]
    async fn a_list_that_cannot_be_fetched_is_told_only_when_the_package_cannot_be_installed() {
        let clock = Clock::start();
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let update = || manager(one.path(), &NO_NETWORK.repeat(3));
        install_all(&clock, &[update(), manager(other.path(), "")], BRIEF).await.unwrap();
        let last = manager(other.path(), "E: Unable to locate package docker.io\n");
        let fault = install_all(&clock, &[update(), last], BRIEF).await.unwrap_err();
        assert!(
            fault.message.contains("Unable to locate") && fault.message.contains("resolving"),
            "{fault:?}"
        );
    }

    #[tokio::test]
    async fn a_package_manager_that_is_frozen_meets_its_deadline() {
        let frozen = Invocation::new("sh", Duration::from_millis(100)).arguments(["-c", "sleep 600 & wait"]);
        let fault = install(&Clock::start(), &frozen, BRIEF).await.unwrap_err();
        assert!(fault.message.contains("was stopped after"), "{fault:?}");
    }
}
