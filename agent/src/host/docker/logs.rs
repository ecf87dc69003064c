//! What containers write, through the engine's logs API: for the log shipper with times, for a person as it is.
//!
//! What always holds: a stream reads no further ahead than its connection's buffers while nobody polls it, and it ends
//! after its first error. Not its job: remembering what was read.
//!
//! A silent log is normal, so the stream itself has no deadline; before it the engine is asked about the container with
//! one, which tells an engine that is away, and a container that is gone, from one that has nothing to say.

use super::frames::{Joiner, NotALine};
use super::refusal::Refusal;
use super::{ASK_DEADLINE, Docker};
use crate::control::logs::{ContainerOutput, Lines, Output};
use crate::engine::EngineError;
use crate::logs::source::{LogSource, SourceError, SourceLine};
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::LogsOptionsBuilder;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use jiff::Timestamp;

/// Frames as the engine sends them.
type Frames = BoxStream<'static, Result<LogOutput, Error>>;

impl LogSource for Docker {
    fn follow(
        &self,
        container_id: &str,
        since: Option<Timestamp>,
    ) -> impl Stream<Item = Result<SourceLine, SourceError>> + Send {
        let follower = Follower {
            docker: self.clone(),
            container_id: container_id.to_owned(),
            since,
            frames: None,
            joiner: Joiner::default(),
            ended: false,
        };
        stream::unfold(follower, Follower::next)
    }
}

/// One reading of one log.
struct Follower {
    docker: Docker,
    container_id: String,
    since: Option<Timestamp>,
    /// Opened at the first line that is asked for.
    frames: Option<Frames>,
    joiner: Joiner,
    ended: bool,
}

impl Follower {
    async fn next(mut self) -> Option<(Result<SourceLine, SourceError>, Follower)> {
        loop {
            if let Some(line) = self.joiner.line() {
                return Some((Ok(line), self));
            }
            if self.ended {
                return None;
            }
            if let Err(refusal) = self.read().await {
                self.ended = true;
                let error = self.error(refusal);
                return Some((Err(error), self));
            }
        }
    }

    /// Takes one more frame, or notes the end.
    async fn read(&mut self) -> Result<(), Refusal> {
        let frames = match &mut self.frames {
            Some(frames) => frames,
            None => {
                let frames = open(&self.docker, &self.container_id, self.since).await?;
                self.frames.insert(frames)
            }
        };
        match frames.next().await {
            Some(frame) => self.joiner.frame(frame?).map_err(refused),
            None => {
                self.joiner.end();
                self.ended = true;
                Ok(())
            }
        }
    }

    fn error(&self, refusal: Refusal) -> SourceError {
        if refusal.status() == Some(404) {
            return SourceError::Gone { container_id: self.container_id.clone() };
        }
        SourceError::Engine(self.docker.log_error(&self.container_id, refusal))
    }
}

async fn open(docker: &Docker, container_id: &str, since: Option<Timestamp>) -> Result<Frames, Refusal> {
    docker.ask(ASK_DEADLINE, docker.client().inspect_container(container_id, None)).await?;
    // The library asks in whole seconds of 32 bits; an earlier time gives more lines, which is allowed.
    let seconds = since.map_or(0, |since| since.as_second());
    let options = LogsOptionsBuilder::default()
        .follow(true)
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .since(i32::try_from(seconds).unwrap_or(0))
        .build();
    Ok(docker.client().logs(container_id, Some(options)).boxed())
}

fn refused(frame: NotALine) -> Refusal {
    let message = match frame {
        NotALine::Engine(words) => words,
        NotALine::NoTimestamp => "a line without a time".to_owned(),
    };
    Refusal::Answered { status: 0, message }
}

impl ContainerOutput for Docker {
    fn output(&self, container_id: &str, lines: Lines) -> Output {
        self.output_of(container_id, lines).boxed()
    }
}

impl Docker {
    /// Lines that a container wrote to both streams, byte for byte. Each piece is a line or a part of a long one.
    fn output_of(
        &self,
        container_id: &str,
        lines: Lines,
    ) -> impl Stream<Item = Result<Bytes, EngineError>> + Send + 'static {
        // As in `open`: whole seconds, and an earlier one is allowed.
        let seconds = lines.since.map_or(0, |since| since.as_second());
        let options = LogsOptionsBuilder::default()
            .follow(lines.follow)
            .stdout(true)
            .stderr(true)
            .since(i32::try_from(seconds).unwrap_or(0))
            .tail(&lines.tail.to_string())
            .build();
        let frames = self.client().logs(container_id, Some(options));
        let (docker, container_id) = (self.clone(), container_id.to_owned());
        frames.map(move |frame| {
            frame.map(LogOutput::into_bytes).map_err(|error| docker.log_error(&container_id, error.into()))
        })
    }

    fn log_error(&self, container_id: &str, refusal: Refusal) -> EngineError {
        self.refused(&format!("read the log of container {}", self.called(container_id)), refusal)
    }
}

#[cfg(test)]
#[path = "logs_tests.rs"]
mod tests;
