//! What systemd says of units, and the kernel of its clock.

use crate::examined::{KernelClock, Unit};
use crate::host::program;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(5);
const LONGEST_ANSWER: u64 = 64 << 10;

/// `systemctl show` of these units, in their order; an error is why there is no answer.
pub async fn units(names: &[&str]) -> Result<Vec<Unit>, String> {
    const PROPERTIES: &str =
        "--property=Id,LoadState,ActiveState,Result,ExecMainStatus,NRestarts,UnitFileState,NeedDaemonReload";
    let mut arguments = vec!["show", "--no-pager", PROPERTIES];
    arguments.extend(names);
    let text = program::ask("systemctl", &arguments, DEADLINE, LONGEST_ANSWER).await?.answer()?;
    Ok(text.split("\n\n").filter(|part| !part.trim().is_empty()).map(unit).collect())
}

fn unit(properties: &str) -> Unit {
    let mut unit = Unit::default();
    for (name, value) in properties.lines().filter_map(|line| line.split_once('=')) {
        match name {
            "Id" => value.clone_into(&mut unit.name),
            "LoadState" => value.clone_into(&mut unit.load),
            "ActiveState" => value.clone_into(&mut unit.active),
            "Result" => value.clone_into(&mut unit.result),
            "UnitFileState" => value.clone_into(&mut unit.enabled),
            "ExecMainStatus" => unit.exit_status = value.parse().unwrap_or_default(),
            "NRestarts" => unit.restarts = value.parse().unwrap_or_default(),
            "NeedDaemonReload" => unit.needs_reload = value == "yes",
            _ => {}
        }
    }
    unit
}

/// What the kernel thinks of its clock; `None` where it does not say.
pub fn kernel_clock() -> Option<KernelClock> {
    // SAFETY: with no mode set the kernel only fills in the structure, which is plain numbers.
    let (state, clock) = unsafe {
        let mut clock: nix::libc::timex = std::mem::zeroed();
        (nix::libc::adjtimex(&raw mut clock), clock)
    };
    (state >= 0).then(|| KernelClock {
        synchronised: clock.status & nix::libc::STA_UNSYNC == 0,
        maximum_error: Duration::from_micros(u64::try_from(clock.maxerror).unwrap_or_default()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_become_a_unit() {
        let text = "Id=node-agent.service\nLoadState=loaded\nActiveState=active\nResult=success\nExecMainStatus=0\n\
                    NRestarts=2\nUnitFileState=enabled\nNeedDaemonReload=yes\nUnknown=1\n";
        let expected = Unit {
            name: "node-agent.service".to_owned(),
            load: "loaded".to_owned(),
            active: "active".to_owned(),
            result: "success".to_owned(),
            exit_status: 0,
            restarts: 2,
            enabled: "enabled".to_owned(),
            needs_reload: true,
        };
        assert_eq!(unit(text), expected);
    }

    #[test]
    fn the_kernel_has_a_clock() {
        assert!(kernel_clock().is_some());
    }
}
