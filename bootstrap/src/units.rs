//! Group, units and whether systemd reads them anew.
//!
//! `systemctl daemon-reload` takes the GPUs away from running containers. It is done only when a unit has changed AND
//! the engine says that no container runs; when a container runs, or that cannot be found out, it is put off until the
//! next boot and said so. A unit that systemd has never read needs no reload: it is read when it is first started.

use crate::agent::UNIT as AGENT_UNIT;
use crate::command::{CommandError, Invocation};
use crate::docker::socket::Endpoint;
use crate::step::{Ending, Fault, Intent, PlannedStep};
use crate::systemd;
use node::fault::{Hint, one_line};
use node::paths::Paths;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The unit that runs bootstrap at every boot.
pub(crate) const BOOTSTRAP_UNIT: &str = "node-bootstrap.service";
/// Who may change things over the control API.
const GROUP: &str = "node-agent";
const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Observed {
    has_systemd: bool,
    has_group: bool,
    /// The unit file of bootstrap exists.
    has_bootstrap_unit: bool,
    is_enabled: bool,
    /// A unit that systemd knows has changed on disk.
    needs_reload: bool,
    /// `None` when it cannot be found out.
    runs_containers: Option<bool>,
}

/// In this order: the group is named by the units, and a unit is enabled as it was last read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Plan {
    make_group: bool,
    reload: bool,
    reload_put_off: bool,
    enable: bool,
}

fn plan(observed: &Observed) -> Plan {
    let safe = observed.runs_containers == Some(false);
    Plan {
        make_group: !observed.has_group,
        reload: observed.needs_reload && safe,
        reload_put_off: observed.needs_reload && !safe,
        enable: observed.has_bootstrap_unit && !observed.is_enabled,
    }
}

async fn observe(paths: &Paths, engine: &Endpoint, units_changed: bool) -> Observed {
    let has_systemd = systemd::is_here();
    let mut needs_reload = false;
    if has_systemd {
        for unit in [AGENT_UNIT, BOOTSTRAP_UNIT] {
            needs_reload |= systemd::state(unit).await.is_ok_and(|state| state.needs_reload());
        }
    }
    let unit_files = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
    Observed {
        has_systemd,
        has_group: has_group(paths),
        has_bootstrap_unit: unit_files.iter().any(|folder| paths.at(folder).join(BOOTSTRAP_UNIT).is_file()),
        is_enabled: has_systemd && systemd::is_enabled(BOOTSTRAP_UNIT).await,
        needs_reload: needs_reload || units_changed,
        runs_containers: runs_containers(engine).await,
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

fn has_group(paths: &Paths) -> bool {
    let groups = fs::read_to_string(paths.at("/etc/group")).unwrap_or_default();
    groups.lines().any(|line| line.split(':').next() == Some(GROUP))
}

/// What `run` would do.
pub(crate) async fn preview(paths: &Paths, engine: &Endpoint) -> PlannedStep {
    let observed = observe(paths, engine, false).await;
    if !observed.has_systemd {
        return PlannedStep::refuse("units", &no_systemd());
    }
    let plan = plan(&observed);
    let intent = if plan == Plan::default() { Intent::Unchanged } else { Intent::Change };
    PlannedStep::new("units", intent, plan.to_string())
}

impl std::fmt::Display for Plan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            (self.make_group, "make the group node-agent"),
            (self.reload, "reload systemd (no container runs)"),
            (self.reload_put_off, "put off reloading systemd, because containers may be running"),
            (self.enable, "enable node-bootstrap.service"),
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

/// Makes group and units as they should be. `units_changed`: this run has installed units.
pub(crate) async fn run(paths: &Paths, engine: &Endpoint, units_changed: bool) -> Ending {
    let observed = observe(paths, engine, units_changed).await;
    if !observed.has_systemd {
        return Ending::failed(no_systemd());
    }
    let plan = plan(&observed);
    if let Err(error) = apply(paths, &plan, units_changed).await {
        let message = format!("cannot set up the units: {}", one_line(&error));
        return Ending::failed(Fault::new("units_not_installed", message, error.hint().as_deref()));
    }
    let put_off = plan.reload_put_off.then(|| {
        let message = "systemd has not read the changed units, because containers may be running, and a reload takes \
                       the GPUs away from them";
        Fault::new("daemon_reload_put_off", message, Some("reboot, or run systemctl daemon-reload when none run"))
    });
    let reason = plan.to_string();
    let ending = if plan == Plan::default() { Ending::unchanged(reason) } else { Ending::done(reason) };
    ending.with_fault(put_off)
}

async fn apply(paths: &Paths, plan: &Plan, units_changed: bool) -> Result<(), CommandError> {
    if plan.make_group {
        make_group(paths).await?;
    }
    if units_changed {
        let folders =
            Invocation::new("systemd-tmpfiles", DEADLINE).arguments(["--create", "node-agent.conf"]);
        if let Err(error) = folders.run().await {
            tracing::warn!("cannot make the folders of tmpfiles.d/node-agent.conf: {}", one_line(&error));
        }
    }
    if plan.reload {
        systemd::daemon_reload().await?;
    }
    if plan.enable {
        systemd::enable(BOOTSTRAP_UNIT).await?;
    }
    Ok(())
}

/// By sysusers.d where that is installed; it may come from a package whose file has another name.
async fn make_group(paths: &Paths) -> Result<(), CommandError> {
    let file = ["/usr/lib/sysusers.d/node-agent.conf", "/etc/sysusers.d/node-agent.conf"];
    if file.iter().any(|path| Path::new(&paths.at(path)).is_file()) {
        let users = Invocation::new("systemd-sysusers", DEADLINE).arguments(["node-agent.conf"]);
        match users.run().await {
            Ok(_) if has_group(paths) => return Ok(()),
            Ok(_) => {}
            Err(error) => tracing::warn!("systemd-sysusers: {}", one_line(&error)),
        }
    }
    let add = Invocation::new("groupadd", DEADLINE).brought_by("passwd or shadow-utils");
    add.arguments(["--system", GROUP]).run().await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled() -> Observed {
        Observed {
            has_systemd: true,
            has_group: true,
            has_bootstrap_unit: true,
            is_enabled: true,
            needs_reload: false,
            runs_containers: Some(true),
        }
    }

    #[test]
    fn plan_nothing_to_do() {
        assert_eq!(plan(&settled()), Plan::default());
        assert_eq!(Plan::default().to_string(), "as they should be");
    }

    #[test]
    fn plan_reloads_only_when_no_container_runs_for_sure() {
        for (runs, reload, put_off) in
            [(Some(false), true, false), (Some(true), false, true), (None, false, true)]
        {
            let observed = Observed { needs_reload: true, runs_containers: runs, ..settled() };
            assert_eq!(
                plan(&observed),
                Plan { reload, reload_put_off: put_off, ..Plan::default() },
                "{runs:?}"
            );
        }
    }

    #[test]
    fn plan_first_boot_makes_the_group_and_enables_bootstrap_if_it_has_a_unit() {
        let first = Observed { has_group: false, is_enabled: false, ..settled() };
        assert_eq!(plan(&first), Plan { make_group: true, enable: true, ..Plan::default() });
        let without = Observed { has_bootstrap_unit: false, ..first };
        assert_eq!(plan(&without), Plan { make_group: true, ..Plan::default() });
    }
}
