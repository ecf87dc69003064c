//! Running a command inside a container and waiting for its end.
//!
//! A command that outlives its time is an answer of the container, not silence of the engine: it is refused as
//! `exec_timeout`, and its process is killed, because the engine would let it run on and the next question would start
//! another one beside it.

use super::{ASK_DEADLINE, Docker, Refusal};
use crate::engine::{EngineError, ExecOutcome};
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{ExecConfig, ExecInspectResponse};
use futures_util::{Stream, StreamExt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Duration;

/// What is kept of the output.
const LONGEST_OUTPUT: usize = 1024;
/// The engine ends the output a moment before it writes down the exit status.
const STATUS_POLL: Duration = Duration::from_millis(10);

impl Docker {
    pub(super) async fn run_inside(
        &self,
        container_id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutcome, EngineError> {
        // Only the program is named: arguments may hold what nobody should read in a log.
        let program = command.first().map_or("nothing", String::as_str);
        let operation = format!("run `{program}` in container {}", self.called(container_id));
        let refused = |refusal| self.refused(&operation, refusal);
        let config = ExecConfig {
            cmd: Some(command.to_vec()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..ExecConfig::default()
        };
        let made = self.ask(ASK_DEADLINE, self.client().create_exec(container_id, config)).await;
        let exec = made.map_err(refused)?.id;
        let started = self.ask(ASK_DEADLINE, self.client().start_exec(&exec, None::<StartExecOptions>)).await;
        let StartExecResults::Attached { output, input: _input } = started.map_err(refused)? else {
            return Err(refused(Refusal::Answered { status: 0, message: "it ran detached".to_owned() }));
        };
        match tokio::time::timeout(timeout, collect(output)).await {
            Ok(output) => {
                let output = output.map_err(Refusal::from).map_err(refused)?;
                let code = self.exit_code(&exec).await.map_err(refused)?;
                Ok(ExecOutcome { code, output })
            }
            Err(_) => {
                // Asked first: only an engine that answers can say that the command is what hangs.
                let exec = self.inspect_exec(&exec).await.map_err(refused)?;
                kill_leftover(container_id, &exec);
                Err(EngineError::Refused {
                    operation,
                    code: "exec_timeout",
                    message: format!("it did not end within {} s", timeout.as_secs_f64()),
                    hint: Some("run it by hand with `docker exec` to see what it waits for".to_owned()),
                })
            }
        }
    }

    async fn inspect_exec(&self, exec: &str) -> Result<ExecInspectResponse, Refusal> {
        self.ask(ASK_DEADLINE, self.client().inspect_exec(exec)).await
    }

    async fn exit_code(&self, exec: &str) -> Result<i64, Refusal> {
        let ended = async {
            loop {
                let exec = self.client().inspect_exec(exec).await?;
                match exec.exit_code {
                    Some(code) if exec.running != Some(true) => return Ok(code),
                    _ => tokio::time::sleep(STATUS_POLL).await,
                }
            }
        };
        self.ask(ASK_DEADLINE, ended).await
    }
}

/// Reads to the end, keeps the beginning.
async fn collect(mut output: impl Stream<Item = Result<LogOutput, Error>> + Unpin) -> Result<String, Error> {
    let mut kept = Vec::new();
    while let Some(piece) = output.next().await {
        let piece = piece?.into_bytes();
        let room = LONGEST_OUTPUT.saturating_sub(kept.len()).min(piece.len());
        kept.extend_from_slice(&piece[..room]);
    }
    Ok(String::from_utf8_lossy(&kept).trim_end().to_owned())
}

/// Kills the process of a command whose time is over. Process ids come around again and the engine may be another host's,
/// so only a process that the kernel places in this very container is touched.
fn kill_leftover(container_id: &str, exec: &ExecInspectResponse) {
    let (Some(true), Some(pid)) = (exec.running, exec.pid) else { return };
    let Ok(pid) = i32::try_from(pid) else { return };
    let placed = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .is_ok_and(|cgroups| !container_id.is_empty() && cgroups.contains(container_id));
    if pid > 1
        && placed
        && let Err(error) = kill(Pid::from_raw(pid), Signal::SIGKILL)
    {
        tracing::debug!(pid, %error, "cannot kill a command whose time is over");
    }
}
