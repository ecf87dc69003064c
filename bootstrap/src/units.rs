//! Units as they should be: systemd has read them, bootstrap's own starts at every boot, the folders are there.
//!
//! `systemctl daemon-reload` takes the GPUs away from running containers, and costs a tenth of a second. It is done only
//! when systemd itself says that it knows an older file, or does not find one that is there (or when it cannot be asked),
//! AND the engine says that no container runs; when a container runs, or that cannot be found out, it is put off until
//! the next boot and said so. A unit that systemd has never read needs no reload: it is read when it is first named.

use crate::command::CommandError;
use crate::docker::socket::Endpoint;
use crate::group;
use crate::step::{Ending, Fault, Intent, PlannedStep};
use crate::systemd::{self, State};
use node::fault::{Hint, one_line};
use node::paths::Paths;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, symlink};
use std::path::PathBuf;

/// The agent's unit.
pub(crate) const AGENT_UNIT: &str = "node-agent.service";
/// The unit that runs bootstrap at every boot.
const BOOTSTRAP_UNIT: &str = "node-bootstrap.service";
/// Code of the problem that systemd has not read the units.
pub(crate) const RELOAD_PUT_OFF: &str = "daemon_reload_put_off";
const ADMINISTRATOR: &str = "/etc/systemd/system";
/// Where unit files lie; the first one counts.
const FOLDERS: [&str; 3] = [ADMINISTRATOR, "/usr/lib/systemd/system", "/lib/systemd/system"];
/// What `WantedBy=multi-user.target` of bootstrap's unit becomes.
const WANTS: &str = "multi-user.target.wants";

#[derive(Debug, Clone, PartialEq, Eq)]
struct Observed {
    has_systemd: bool,
    /// The unit file of bootstrap, if there is one that is not masked.
    bootstrap_unit: Option<PathBuf>,
    is_enabled: bool,
    reading: Reading,
    /// `None` when it cannot be found out. Asked only when it matters.
    runs_containers: Option<bool>,
}

/// What systemd knows of the unit files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Current,
    Outdated,
    /// It could not be asked.
    Unknown,
}

/// In this order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Plan {
    make_group: bool,
    reload: bool,
    reload_put_off: bool,
    enable: Option<PathBuf>,
}

fn plan(observed: &Observed, has_group: bool) -> Plan {
    let outdated = observed.reading != Reading::Current;
    let safe = observed.runs_containers == Some(false);
    Plan {
        make_group: !has_group,
        reload: outdated && safe,
        // That nobody could be asked is no reason to tell of a reload that may not be needed.
        reload_put_off: observed.reading == Reading::Outdated && !safe,
        enable: observed.bootstrap_unit.clone().filter(|_| !observed.is_enabled),
    }
}

/// `there`: whether each unit has a file.
fn reading(states: Option<&[State; 2]>, there: [bool; 2]) -> Reading {
    let Some(states) = states else { return Reading::Unknown };
    let mut both = states.iter().zip(there);
    if both.any(|(state, there)| state.needs_reload() || (there && state.is_missing())) {
        Reading::Outdated
    } else {
        Reading::Current
    }
}

async fn observe(paths: &Paths, engine: &Endpoint) -> (Observed, Option<State>) {
    let has_systemd = systemd::is_here();
    let units = [AGENT_UNIT, BOOTSTRAP_UNIT];
    let states = if has_systemd { systemd::states(units).await.ok().flatten() } else { None };
    let reading = reading(states.as_ref(), units.map(|unit| file_of(paths, unit).is_some()));
    let runs_containers =
        if has_systemd && reading != Reading::Current { runs_containers(engine).await } else { None };
    let observed = Observed {
        has_systemd,
        bootstrap_unit: file_of(paths, BOOTSTRAP_UNIT),
        is_enabled: is_enabled(paths),
        reading,
        runs_containers,
    };
    (observed, states.map(|[agent, _]| agent))
}

/// The unit file that counts; `None` also for one that is masked, which is a link to /dev/null.
fn file_of(paths: &Paths, unit: &str) -> Option<PathBuf> {
    let mut places =
        FOLDERS.iter().map(|folder| (PathBuf::from(folder).join(unit), paths.at(folder).join(unit)));
    let (name, place) = places.find(|(_, place)| place.exists())?;
    let is_masked = fs::metadata(&place).is_ok_and(|metadata| metadata.file_type().is_char_device());
    (!is_masked).then_some(name)
}

/// Whether any target wants it, as systemd.unit(5) has it: a link in a folder.
fn is_enabled(paths: &Paths) -> bool {
    let wants =
        |folder: &&str| fs::read_dir(paths.at(folder)).into_iter().flatten().flatten().collect::<Vec<_>>();
    let mut folders = FOLDERS.iter().flat_map(wants);
    folders.any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_list = name.ends_with(".wants") || name.ends_with(".requires");
        is_list && entry.path().join(BOOTSTRAP_UNIT).symlink_metadata().is_ok()
    })
}

/// What `systemctl enable` makes of it, without a process for it and without systemd reading everything anew: it
/// matters at the next boot only.
fn enable(paths: &Paths, unit: &PathBuf) -> io::Result<()> {
    let folder = paths.at(ADMINISTRATOR).join(WANTS);
    fs::create_dir_all(&folder)?;
    match symlink(unit, folder.join(BOOTSTRAP_UNIT)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// An engine that does not listen runs nothing; one that listens and gives no answer may.
async fn runs_containers(engine: &Endpoint) -> Option<bool> {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    match engine.runs_containers().await {
        Ok(some) => Some(some),
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => Some(false),
        Err(_) => None,
    }
}

/// What `run` would do.
pub(crate) async fn preview(paths: &Paths, engine: &Endpoint) -> PlannedStep {
    let (observed, _) = observe(paths, engine).await;
    if !observed.has_systemd {
        return PlannedStep::refuse("units", &no_systemd());
    }
    let plan = plan(&observed, group::exists(paths));
    let intent = if plan == Plan::default() { Intent::Unchanged } else { Intent::Change };
    PlannedStep::new("units", intent, plan.to_string())
}

impl std::fmt::Display for Plan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            (self.make_group, "make the group node-agent"),
            (self.reload, "reload systemd (no container runs)"),
            (self.reload_put_off, "put off reloading systemd, because containers may be running"),
            (self.enable.is_some(), "enable node-bootstrap.service"),
        ];
        let parts: Vec<&str> =
            parts.iter().filter(|(is_planned, _)| *is_planned).map(|(_, text)| *text).collect();
        formatter.write_str(&if parts.is_empty() { "as they should be".to_owned() } else { parts.join(", ") })
    }
}

fn no_systemd() -> Fault {
    let hint = Some("run node-bootstrap on a host with systemd");
    Fault::new("systemd_missing", "systemd does not run here: nothing can be enabled or started", hint)
}

/// Makes folders, group and units as they should be; and the agent's unit as systemd has it then, if that is known.
pub(crate) async fn run(paths: &Paths, engine: &Endpoint) -> (Ending, Option<State>) {
    let (observed, agent) = observe(paths, engine).await;
    if !observed.has_systemd {
        return (Ending::failed(no_systemd()), None);
    }
    let plan = plan(&observed, group::exists(paths));
    if let Err(fault) = apply(paths, &plan).await {
        return (Ending::failed(fault), None);
    }
    let put_off = plan.reload_put_off.then(|| {
        let message = "systemd has not read the changed units, because containers may be running, and a reload takes \
                       the GPUs away from them";
        Fault::new(RELOAD_PUT_OFF, message, Some("reboot, or run systemctl daemon-reload when none run"))
    });
    let reason = plan.to_string();
    let ending = if plan == Plan::default() { Ending::unchanged(reason) } else { Ending::done(reason) };
    (ending.with_fault(put_off), agent.filter(|_| !plan.reload))
}

async fn apply(paths: &Paths, plan: &Plan) -> Result<(), Fault> {
    let failed = |message: String, hint: Option<String>| {
        Fault::new("units_not_installed", format!("cannot set up the units: {message}"), hint.as_deref())
    };
    let command = |error: CommandError| failed(one_line(&error), error.hint());
    let unwritable =
        |folder: &str| Some(format!("look at `findmnt -T {folder}`, then run node-bootstrap again"));
    make_folders(paths).map_err(|error| {
        failed(format!("a folder below /run or /var/lib: {error}"), unwritable("/var/lib/node-agent"))
    })?;
    if plan.make_group {
        // The step of its own has said why there is none; the release may have brought another way since.
        group::make(paths).await.map_err(command)?;
    }
    if plan.reload {
        systemd::daemon_reload().await.map_err(command)?;
    }
    if let Some(unit) = &plan.enable {
        enable(paths, unit).map_err(|error| {
            failed(format!("cannot enable {BOOTSTRAP_UNIT}: {error}"), unwritable("/etc/systemd/system"))
        })?;
    }
    Ok(())
}

/// As tmpfiles.d/node-agent.conf, which has its turn at the next boot, says.
fn make_folders(paths: &Paths) -> io::Result<()> {
    let handoff = paths.handoff();
    let shared = handoff.parent().map(|folder| (folder.to_owned(), 0o755));
    let private = [(paths.secrets(), 0o700), (paths.state(), 0o700)];
    for (folder, mode) in shared.into_iter().chain(private) {
        if !folder.is_dir() {
            DirBuilder::new().recursive(true).mode(mode).create(&folder)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled() -> Observed {
        Observed {
            has_systemd: true,
            bootstrap_unit: Some(PathBuf::from("/etc/systemd/system/node-bootstrap.service")),
            is_enabled: true,
            reading: Reading::Current,
            runs_containers: None,
        }
    }

    #[test]
    fn plan_nothing_to_do() {
        assert_eq!(plan(&settled(), true), Plan::default());
        assert_eq!(Plan::default().to_string(), "as they should be");
    }

    #[test]
    fn plan_reloads_only_when_no_container_runs_for_sure() {
        for (reading, runs, reload, reload_put_off) in [
            (Reading::Outdated, Some(false), true, false),
            (Reading::Outdated, Some(true), false, true),
            (Reading::Outdated, None, false, true),
            (Reading::Unknown, Some(false), true, false),
            (Reading::Unknown, Some(true), false, false),
            (Reading::Unknown, None, false, false),
        ] {
            let observed = Observed { reading, runs_containers: runs, ..settled() };
            let expected = Plan { reload, reload_put_off, ..Plan::default() };
            assert_eq!(plan(&observed, true), expected, "{reading:?} {runs:?}");
        }
    }

    #[test]
    fn plan_first_boot_makes_the_group_and_enables_bootstrap_if_it_has_a_unit() {
        let first = Observed { is_enabled: false, ..settled() };
        let enable = first.bootstrap_unit.clone();
        assert_eq!(plan(&first, false), Plan { make_group: true, enable, ..Plan::default() });
        let without = Observed { bootstrap_unit: None, ..first };
        assert_eq!(plan(&without, true), Plan::default());
    }

    #[test]
    fn a_unit_that_was_never_read_needs_no_reload_and_one_that_is_not_found_does() {
        let [loaded, outdated, missing] = [
            "LoadState=loaded\nNeedDaemonReload=no",
            "LoadState=loaded\nNeedDaemonReload=yes",
            "LoadState=not-found",
        ]
        .map(State::parse);
        let both = |one: &State, other: &State, there| reading(Some(&[one.clone(), other.clone()]), there);
        assert_eq!(both(&loaded, &loaded, [true, true]), Reading::Current);
        assert_eq!(both(&loaded, &missing, [true, false]), Reading::Current);
        assert_eq!(both(&loaded, &missing, [true, true]), Reading::Outdated);
        assert_eq!(both(&outdated, &loaded, [true, true]), Reading::Outdated);
        assert_eq!(reading(None, [true, true]), Reading::Unknown);
    }

    #[test]
    fn enabling_twice_is_enabling_once_and_a_masked_unit_is_left_masked() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::under(root.path());
        let folder = paths.at(ADMINISTRATOR);
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(file_of(&paths, BOOTSTRAP_UNIT), None);
        node::files::replace(&folder.join(BOOTSTRAP_UNIT), b"[Unit]\n", 0o644).unwrap();
        let unit = file_of(&paths, BOOTSTRAP_UNIT).unwrap();
        assert_eq!(unit, PathBuf::from("/etc/systemd/system/node-bootstrap.service"));
        assert!(!is_enabled(&paths));
        enable(&paths, &unit).unwrap();
        enable(&paths, &unit).unwrap();
        assert!(is_enabled(&paths));
        fs::remove_file(folder.join(BOOTSTRAP_UNIT)).unwrap();
        symlink("/dev/null", folder.join(BOOTSTRAP_UNIT)).unwrap();
        assert_eq!(file_of(&paths, BOOTSTRAP_UNIT), None);
    }
}
