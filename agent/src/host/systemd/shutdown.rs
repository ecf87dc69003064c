//! Whether the machine goes down, asked of systemd.
//!
//! Every way down (poweroff, reboot, halt, kexec, soft-reboot, an ACPI button, `shutdown -h +0`) starts shutdown.target,
//! and that job is queued in one transaction with the one that stops us and waits for it, as we are ordered before that
//! target. So while we are being stopped, the job list tells for certain; a restart of the agent, an upgrade of its
//! package and a change of the runlevel have no such job. `systemctl is-system-running` would say the same, but older
//! ones say `starting` on a machine that goes down before its boot is over.
//!
//! By the program, not by D-Bus: as root it speaks to process 1 over a socket of its own, which is there when the bus is
//! already gone; and libsystemd's bus functions would raise the version that we need.

#![expect(clippy::disallowed_methods, reason = "one of the host modules, which may run commands")]

use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// Process 1 answers in milliseconds; it has much to do when everything stops.
const DEADLINE: Duration = Duration::from_secs(5);
const TARGET: &str = "shutdown.target";

/// Whether the machine goes down. What cannot be found out counts as no: containers that run on after all are better
/// than services that are stopped for an upgrade of the agent.
pub async fn is_under_way() -> bool {
    let mut command = Command::new("systemctl");
    command.args(["list-jobs", "--plain", "--no-legend", "--no-pager", TARGET]);
    command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    match tokio::time::timeout(DEADLINE, command.output()).await {
        Ok(Ok(output)) if output.status.success() => is_queued(&String::from_utf8_lossy(&output.stdout)),
        Ok(Ok(output)) => {
            unknown(String::from_utf8_lossy(&output.stderr).trim());
            false
        }
        Ok(Err(error)) => {
            unknown(&error.to_string());
            false
        }
        Err(_) => {
            unknown(&format!("no answer within {} s", DEADLINE.as_secs()));
            false
        }
    }
}

fn unknown(why: &str) {
    tracing::warn!(
        "cannot ask systemd whether the machine goes down, so containers run on: systemctl: {why}"
    );
}

/// In `JOB UNIT TYPE STATE` lines: a job that *starts* the target. One that stops it is a shutdown that was called off.
fn is_queued(jobs: &str) -> bool {
    jobs.lines().any(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word != TARGET);
        words.next().is_some() && words.next() == Some("start")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_job_that_starts_the_target_is_a_machine_that_goes_down() {
        assert!(is_queued("712 shutdown.target start waiting\n"));
        assert!(is_queued(" 9 docker.service  stop waiting\n 712 shutdown.target start waiting"));
        assert!(!is_queued("712 shutdown.target stop waiting\n"));
        assert!(!is_queued("35 node-agent.service restart running\n"));
        assert!(!is_queued("No jobs running.\n"));
        assert!(!is_queued(""));
    }
}
