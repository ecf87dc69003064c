//! For tests: an engine that only runs commands, and answers them as it is told.

use crate::engine::{ContainerSpec, Engine, EngineError, ExecOutcome, ImageFacts, LocalImage, PullProgress};
use crate::observed::{Container, Disk};
use crate::registry::Login;
use node::config::settings::ImageReference;
use std::time::Duration;

/// Answers every command with what the function returns.
pub(super) struct Commands<F>(pub(super) F);

impl<F> Engine for Commands<F>
where
    F: Fn() -> Result<ExecOutcome, EngineError> + Send + Sync + 'static,
{
    async fn exec(&self, _: &str, _: &[String], _: Duration) -> Result<ExecOutcome, EngineError> {
        (self.0)()
    }
    async fn containers(&self) -> Result<Vec<Container>, EngineError> {
        unreachable!("a prober lists nothing")
    }
    async fn image(&self, _: &ImageReference, _: &str) -> Result<Option<ImageFacts>, EngineError> {
        unreachable!("a prober looks at no image")
    }
    async fn pull(
        &self,
        _: &ImageReference,
        _: &str,
        _: Option<Login>,
        _: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<(), EngineError> {
        unreachable!("a prober pulls nothing")
    }
    async fn create(&self, _: &ContainerSpec) -> Result<String, EngineError> {
        unreachable!("a prober makes nothing")
    }
    async fn start(&self, _: &str) -> Result<(), EngineError> {
        unreachable!("a prober starts nothing")
    }
    async fn stop(&self, _: &str, _: Duration) -> Result<(), EngineError> {
        unreachable!("a prober stops nothing")
    }
    async fn remove(&self, _: &str) -> Result<(), EngineError> {
        unreachable!("a prober removes nothing")
    }
    async fn last_log_lines(&self, _: &str, _: usize) -> Result<Vec<String>, EngineError> {
        unreachable!("a prober reads no log")
    }
    async fn disk(&self) -> Result<Option<Disk>, EngineError> {
        unreachable!("a prober looks at no disk")
    }
    async fn images(&self) -> Result<Vec<LocalImage>, EngineError> {
        unreachable!("a prober looks at no image")
    }
    async fn remove_image(&self, _: &str) -> Result<(), EngineError> {
        unreachable!("a prober removes nothing")
    }
    async fn changed(&self) {
        unreachable!("a prober does not listen")
    }
}
