//! Logs that lie on this host's disk, kept until they were delivered.
//!
//! In: the engine's json-file of each container. Out: [`Feed`]s. What always holds: a file that was seen once is kept by a
//! hard link in a folder of ours, so that neither rotation nor the removal of its container takes it away before it was
//! delivered, also while the agent is dead; nothing is copied, and nothing is written into what is the engine's.
//! Not its job: sending, and deciding when.

mod folder;
mod json_feed;
mod keep;
mod watch;

use super::docker::Docker;
use crate::logs::assemble::Assembler;
use crate::logs::feed::Feed;
use crate::logs::refine::Refine;
use crate::logs::source::{Left, LogSource, SourceError, SourceLine};
use futures_util::Stream;
use jiff::Timestamp;
use json_feed::JsonFeed;
pub use keep::{Keep, Source};
use node::config::settings::{Field, Shaping};
use node::fault::one_line;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use watch::Watch;

/// Logs of containers: from their files, and from the engine where these cannot be read.
#[derive(Debug, Clone)]
pub struct ContainerLogs {
    docker: Docker,
    keep: Arc<Keep>,
    watch: Arc<Watch>,
    rules: Arc<Rules>,
}

/// What of node.toml says how logs are read.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Largest message of one event, in bytes.
    pub max_event: usize,
    /// What of each service is shipped.
    pub services: BTreeMap<String, Shaping>,
    /// Of this node.
    pub instance_id: String,
}

impl ContainerLogs {
    /// Files are kept in `keep`; within a runtime. From now on the engine removes no container before its log is kept.
    pub fn new(docker: Docker, keep: Keep, rules: Rules) -> ContainerLogs {
        let keep = Arc::new(keep);
        docker.keep_logs(Arc::clone(&keep));
        ContainerLogs { docker, keep, watch: Arc::new(Watch::new()), rules: Arc::new(rules) }
    }

    fn feed(&self, source: Source) -> Box<dyn Feed> {
        let begun = source.path.parent().and_then(|folder| self.watch.folder(folder));
        container_feed(source, &self.rules, begun)
    }
}

/// The log of a container. `begun` rings when it may have a new file.
pub fn container_feed(source: Source, rules: &Rules, begun: Option<Arc<Notify>>) -> Box<dyn Feed> {
    let known = |field| match field {
        Field::Service => Some(source.service.as_str()),
        Field::ImageDigest => source.digest.as_deref(),
        Field::InstanceId => Some(rules.instance_id.as_str()),
    };
    let shaping = rules.services.get(&source.service).cloned().unwrap_or_default();
    let refine = Refine::new(&shaping, rules.max_event, known).unwrap_or_else(|error| {
        // They were compiled when node.toml was checked. What cannot be judged is shipped.
        tracing::error!(service = source.service, reason = one_line(&error), "a log is shipped as it is");
        None
    });
    let assembler = Assembler::new(rules.max_event, refine);
    Box::new(JsonFeed::new(source, assembler, begun))
}

impl LogSource for ContainerLogs {
    fn follow(
        &self,
        container_id: &str,
        since: Option<Timestamp>,
    ) -> impl Stream<Item = Result<SourceLine, SourceError>> + Send {
        self.docker.follow(container_id, since)
    }

    async fn open(&self, container_id: &str) -> Result<Option<Box<dyn Feed>>, SourceError> {
        let (keep, id) = (Arc::clone(&self.keep), container_id.to_owned());
        if let Ok(Some(source)) = spawn_blocking(move || keep.find(&id)).await {
            return Ok(Some(self.feed(source)));
        }
        let Some(log) = self.docker.log_file(container_id).await? else { return Ok(None) };
        let (keep, id) = (Arc::clone(&self.keep), container_id.to_owned());
        let begun = spawn_blocking(move || keep.begin(&id, &log)).await;
        let reason = match begun {
            Ok(Ok(source)) => return Ok(Some(self.feed(source))),
            Ok(Err(error)) => one_line(&error),
            Err(error) => one_line(&error),
        };
        tracing::warn!(container_id, reason, "a log is read through the engine, which costs more");
        Ok(None)
    }

    async fn left(&self, known: BTreeSet<String>) -> Vec<Left> {
        let keep = Arc::clone(&self.keep);
        let sources = spawn_blocking(move || keep.all_but(&known)).await.unwrap_or_default();
        let left = |source: Source| Left {
            container_id: source.container_id.clone(),
            service: source.service.clone(),
            feed: self.feed(source),
        };
        sources.into_iter().map(left).collect()
    }
}

/// Where the engine writes the log of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Of the driver json-file.
    pub path: PathBuf,
    /// Label of the container.
    pub service: String,
    /// The same, of its image.
    pub digest: Option<String>,
}
