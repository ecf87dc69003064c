//! GPUs, as the serving container sees them: `nvidia-smi -L` inside it, beside the loop.
//!
//! A container can lose its GPUs while the node keeps them, so that only the container can tell. A question that gets no
//! answer changes nothing.

use super::observe::Place;
use super::observed::GpuView;
use crate::engine::{Engine, EngineError, ExecOutcome};
use jiff::Timestamp;
use node::fault::one_line;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// From one question to the next; a load has it asked again at once.
const EVERY: Duration = Duration::from_secs(60);
/// For the answer. A driver that is being woken takes a few seconds.
const DEADLINE: Duration = Duration::from_secs(20);
/// Exit codes of an exec whose program is missing or cannot be run.
const NO_PROGRAM: [i64; 2] = [126, 127];

/// What a question brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Present(u32),
    Lost(String),
    /// It has no `nvidia-smi`.
    CannotTell,
    Silent,
}

/// An answer, and of which run of the container.
pub(super) struct Told {
    run: String,
    answer: Answer,
}

/// Keeps what was told.
pub(super) struct Gpus<E> {
    engine: Arc<E>,
    view: GpuView,
    /// Of which run of the container that is.
    run: String,
    asked: Option<Instant>,
    /// At most one question.
    asking: JoinSet<Told>,
}

impl<E: Engine> Gpus<E> {
    pub(super) fn new(engine: Arc<E>, wanted: bool) -> Gpus<E> {
        let view = if wanted { GpuView::Unknown } else { GpuView::NotWanted };
        Gpus { engine, view, run: String::new(), asked: None, asking: JoinSet::new() }
    }

    pub(super) fn view(&self) -> GpuView {
        self.view.clone()
    }

    /// To be asked again soon.
    pub(super) fn forget(&mut self) {
        self.asked = None;
    }

    /// Asks, where that is due.
    pub(super) fn look(&mut self, place: &Place) {
        let Place::At { run, container: Some(container), .. } = place else { return };
        if self.view == GpuView::NotWanted {
            return;
        }
        if self.run != *run {
            // Another run has other devices.
            self.run.clone_from(run);
            self.view = GpuView::Unknown;
            self.asked = None;
            self.asking = JoinSet::new();
        }
        if self.asked.is_some_and(|asked| asked.elapsed() < EVERY) || !self.asking.is_empty() {
            return;
        }
        self.asked = Some(Instant::now());
        let (engine, run, container) = (Arc::clone(&self.engine), run.clone(), container.clone());
        self.asking.spawn(async move {
            let command = ["nvidia-smi".to_owned(), "-L".to_owned()];
            let answer = judged(engine.exec(&container, &command, DEADLINE).await);
            Told { run, answer }
        });
    }

    /// The next answer; never, while no question is under way. Cancel safe.
    pub(super) async fn next(&mut self) -> Told {
        loop {
            match self.asking.join_next().await {
                Some(Ok(told)) => return told,
                // A panic ends the process.
                Some(Err(error)) => tracing::error!("the question for GPUs broke off: {error}"),
                None => std::future::pending().await,
            }
        }
    }

    /// Takes an answer over.
    pub(super) fn take(&mut self, told: Told, now: Timestamp) {
        if told.run != self.run {
            return;
        }
        self.view = match told.answer {
            Answer::Present(count) => GpuView::Present(count),
            Answer::CannotTell => GpuView::Unknown,
            Answer::Silent => return,
            Answer::Lost(reason) => {
                let since = match &self.view {
                    GpuView::Lost { since, .. } => *since,
                    _ => {
                        tracing::warn!("the model server's container has lost its GPU: {reason}");
                        now
                    }
                };
                GpuView::Lost { reason, since }
            }
        };
    }
}

/// What the end of `nvidia-smi -L` says.
fn judged(result: Result<ExecOutcome, EngineError>) -> Answer {
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(EngineError::Unreachable { .. }) => return Answer::Silent,
        Err(error) => {
            tracing::debug!("the container cannot be asked for its GPUs: {}", one_line(&error));
            return Answer::CannotTell;
        }
    };
    let listed = outcome.output.lines().filter(|line| is_gpu(line)).count();
    match (outcome.code, u32::try_from(listed).unwrap_or(u32::MAX)) {
        (code, _) if NO_PROGRAM.contains(&code) => Answer::CannotTell,
        (0, listed) if listed > 0 => Answer::Present(listed),
        (code, _) => {
            let first = outcome.output.lines().map(str::trim).find(|line| !line.is_empty());
            let words = first.map_or_else(|| format!("it ended with {code}"), str::to_owned);
            Answer::Lost(format!("nvidia-smi: {words}"))
        }
    }
}

/// `GPU 0: NVIDIA L4 (UUID: GPU-…)`
fn is_gpu(line: &str) -> bool {
    let number = line.trim_start().strip_prefix("GPU ").and_then(|rest| rest.split_once(':'));
    number.is_some_and(|(number, _)| number.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: i64, output: &str) -> Answer {
        judged(Ok(ExecOutcome { code, output: output.to_owned() }))
    }

    #[test]
    fn gpus_are_counted_a_loss_has_its_words_and_a_missing_program_says_nothing() {
        let two = "GPU 0: NVIDIA L4 (UUID: GPU-1)\nGPU 1: NVIDIA L4 (UUID: GPU-2)\n";
        assert_eq!(ended(0, two), Answer::Present(2));
        let lost = "Failed to initialize NVML: Unknown Error\n";
        assert_eq!(
            ended(255, lost),
            Answer::Lost("nvidia-smi: Failed to initialize NVML: Unknown Error".into())
        );
        assert_eq!(
            ended(0, "No devices were found\n"),
            Answer::Lost("nvidia-smi: No devices were found".into())
        );
        assert_eq!(ended(9, ""), Answer::Lost("nvidia-smi: it ended with 9".into()));
        assert_eq!(ended(127, "exec: \"nvidia-smi\": executable file not found"), Answer::CannotTell);
        assert_eq!(ended(126, ""), Answer::CannotTell);
    }

    #[test]
    fn an_engine_that_does_not_answer_tells_nothing() {
        let silent = EngineError::Unreachable {
            endpoint: "unix".to_owned(),
            operation: "exec".to_owned(),
            source: None,
        };
        assert_eq!(judged(Err(silent)), Answer::Silent);
        let refused = EngineError::Refused {
            operation: "exec".to_owned(),
            code: "engine_refused",
            message: "executable file not found in $PATH".to_owned(),
            hint: None,
        };
        assert_eq!(judged(Err(refused)), Answer::CannotTell);
    }
}
