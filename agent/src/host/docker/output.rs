//! What a container writes, as it comes, for `agentctl logs`.

use super::Docker;
use super::refusal::Refusal;
use crate::control::logs::{ContainerOutput, Output};
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;

impl ContainerOutput for Docker {
    fn output(&self, container_id: &str, tail: usize, follow: bool) -> Output {
        let tail = tail.to_string();
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).follow(follow).tail(&tail).build();
        let docker = self.clone();
        let operation = format!("read the log of container {}", self.called(container_id));
        let pieces = self.client().logs(container_id, Some(options));
        pieces
            .map(move |piece| match piece {
                Ok(piece) => Ok(piece.into_bytes()),
                Err(error) => Err(docker.refused(&operation, Refusal::from(error))),
            })
            .boxed()
    }
}
