//! Logs that lie on this host's disk, kept until they were delivered.
//!
//! In: the engine's json-file of each container, files of the node, the journal. Out: [`Feed`]s. What always holds: a file that was seen once is kept by a
//! hard link in a folder of ours, so that neither rotation nor the removal of its container takes it away before it was
//! delivered, also while the agent is dead; nothing is copied, and nothing is written into what is the engine's.
//! Not its job: sending, and deciding when.

mod budgets;
mod file_feed;
mod folder;
mod keep;
mod node_files;
mod unit_feed;
mod watch;

use super::docker::Docker;
use super::systemd::journal_feed::Wanted;
use crate::logs::assemble::Assembler;
use crate::logs::feed::{Feed, Place};
use crate::logs::json_file::Parser;
use crate::logs::refine::Refine;
use crate::logs::source::{Left, LogSource, SourceError, SourceLine};
use crate::status::Budget;
use budgets::Budgets;
use file_feed::{FileFeed, Format};
use futures_util::Stream;
use jiff::Timestamp;
use keep::FILE_KEY;
pub use keep::{Keep, Source};
use node::config::settings::{self, Field, Shaping, Units};
use node::fault::one_line;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::spawn_blocking;
use unit_feed::UnitFeed;
use watch::{News, Watch};

/// Logs of containers: from their files, and from the engine where these cannot be read.
#[derive(Debug, Clone)]
pub struct ContainerLogs {
    docker: Docker,
    keep: Arc<Keep>,
    watch: Arc<Watch>,
    rules: Arc<Rules>,
    budgets: Arc<Budgets>,
}

/// What of node.toml says how logs are read.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Largest message of one event, in bytes.
    pub max_event: usize,
    /// What of each service is shipped.
    pub services: BTreeMap<String, Shaping>,
    /// Files of the node.
    pub files: Vec<settings::LogFile>,
    /// Units whose journal is shipped.
    pub journal: Units,
    /// The kernel's words about memory that ran out are shipped.
    pub kernel: bool,
    /// Of this node.
    pub instance_id: String,
}

/// Keys of what is read of the journal begin with it.
const JOURNAL_KEY: &str = "journal-";
/// The name of a source: all units in one stream.
const ALL_UNITS: &str = "journal";
/// The same: the kernel's words about memory.
const KERNEL: &str = "kernel.oom";

impl ContainerLogs {
    /// Files are kept in `keep`; within a runtime. From now on the engine removes no container before its log is kept.
    pub fn new(docker: Docker, keep: Keep, rules: Rules, state: &Path) -> ContainerLogs {
        let keep = Arc::new(keep);
        docker.keep_logs(Arc::clone(&keep));
        keep.forget_files(|path| node_files::names(&rules.files, path));
        let budgets = Arc::new(Budgets::load(state));
        ContainerLogs { docker, keep, watch: Arc::new(Watch::new()), rules: Arc::new(rules), budgets }
    }

    fn feed(&self, source: Source) -> Box<dyn Feed> {
        let news = self.news(&source);
        json_feed(source, &self.rules, news, Some(&self.budgets))
    }

    fn news(&self, source: &Source) -> Option<News> {
        source.path.parent().and_then(|folder| self.watch.folder(folder))
    }

    /// Files of the node that nobody reads yet.
    fn new_files(&self, known: &BTreeSet<String>) -> Vec<Left> {
        let mut new = Vec::new();
        for (path, file) in node_files::there(&self.rules.files) {
            let key = keep::file_key(&path);
            if known.contains(&key) {
                continue;
            }
            let log = LogFile { service: path.display().to_string(), path, digest: None };
            match self.keep.begin(&key, &log) {
                Ok(source) => {
                    let news = self.news(&source);
                    let feed = node_file_feed(source, &file.shaping, &self.rules, (news, &self.budgets));
                    let stream = file.stream.clone();
                    new.push(Left { source: key, name: log.service, stream, of_container: false, feed });
                }
                Err(error) => tracing::warn!(reason = one_line(&error), "a file is not shipped for now"),
            }
        }
        new
    }

    /// What of the journal nobody reads yet.
    fn new_units(&self, known: &BTreeSet<String>) -> Vec<Left> {
        let of = |name: &str, wanted: Wanted| (name.to_owned(), wanted);
        let unit =
            |unit: &String| of(unit, Wanted { units: Units::These(vec![unit.clone()]), kernel: false });
        let mut all = match &self.rules.journal {
            Units::All => vec![of(ALL_UNITS, Wanted { units: Units::All, kernel: false })],
            Units::These(units) => units.iter().map(unit).collect(),
        };
        if self.rules.kernel {
            all.push(of(KERNEL, Wanted { units: Units::These(Vec::new()), kernel: true }));
        }
        let new = all.into_iter().map(|(name, wanted)| (format!("{JOURNAL_KEY}{name}"), name, wanted));
        new.filter(|(key, _, _)| !known.contains(key))
            .map(|(source, name, wanted)| {
                let cursor = self.keep.cursor(&source);
                let feed = UnitFeed::new(wanted, cursor, boot_ms(), self.rules.max_event);
                Left { source, name, stream: None, of_container: false, feed: Box::new(feed) }
            })
            .collect()
    }

    /// What is kept of containers that nobody reads yet.
    fn left_by_containers(&self, known: &BTreeSet<String>) -> Vec<Left> {
        let sources = self.keep.all_but(known).into_iter();
        let of_containers = sources.filter(|source| !source.container_id.starts_with(FILE_KEY));
        let left = |source: Source| Left {
            source: source.container_id.clone(),
            name: source.service.clone(),
            stream: None,
            of_container: true,
            feed: self.feed(source),
        };
        of_containers.map(left).collect()
    }
}

/// The log of a container that is looked at now and then.
pub fn container_feed(source: Source, rules: &Rules) -> Box<dyn Feed> {
    json_feed(source, rules, None, None)
}

fn json_feed(
    source: Source,
    rules: &Rules,
    news: Option<News>,
    budgets: Option<&Arc<Budgets>>,
) -> Box<dyn Feed> {
    let shaping = rules.services.get(&source.service).cloned().unwrap_or_default();
    let budget = budgets.filter(|_| shaping.daily.is_some());
    let refine = refined(&source, &shaping, rules, budget);
    let assembler = Assembler::new(rules.max_event, refine);
    let feed = FileFeed::new(source, Format::Json(Parser::default()), assembler, news);
    Box::new(feed.with_budget(budget.cloned()))
}

/// A file of the node.
fn node_file_feed(
    source: Source,
    shaping: &Shaping,
    rules: &Rules,
    (news, budgets): (Option<News>, &Arc<Budgets>),
) -> Box<dyn Feed> {
    let budget = shaping.daily.is_some().then_some(budgets);
    let refine = refined(&source, shaping, rules, budget);
    let feed = FileFeed::new(source, Format::Lines, Assembler::new(rules.max_event, refine), news);
    Box::new(feed.with_budget(budget.cloned()))
}

fn refined(
    source: &Source,
    shaping: &Shaping,
    rules: &Rules,
    budget: Option<&Arc<Budgets>>,
) -> Option<Refine<Place>> {
    let known = |field| match field {
        Field::Service => Some(source.service.as_str()),
        Field::ImageDigest => source.digest.as_deref(),
        Field::InstanceId => Some(rules.instance_id.as_str()),
    };
    let mut refine = Refine::new(shaping, rules.max_event, known).unwrap_or_else(|error| {
        // They were compiled when node.toml was checked. What cannot be judged is shipped.
        tracing::error!(source = source.service, reason = one_line(&error), "a log is shipped as it is");
        None
    });
    let before = budget.and_then(|budget| budget.of(&source.service));
    if let (Some(refine), Some(before)) = (&mut refine, before) {
        refine.resume(before);
    }
    refine
}

/// When the machine was started; what the journal has from before is another instance's, where the image was made.
fn boot_ms() -> i64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<i64>().ok());
    seconds.unwrap_or_default().saturating_mul(1000)
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

    fn budgets(&self, now: Timestamp) -> Vec<Budget> {
        self.budgets.shown(&self.rules.services, now)
    }

    async fn left(&self, known: BTreeSet<String>) -> Vec<Left> {
        let all = self.clone();
        let found = spawn_blocking(move || {
            let mut left = all.left_by_containers(&known);
            left.extend(all.new_files(&known));
            left.extend(all.new_units(&known));
            left
        });
        found.await.unwrap_or_default()
    }
}

/// Where the engine writes the log of a container, or a file of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Of the driver json-file, or lines.
    pub path: PathBuf,
    /// Label of the container; of a file its path.
    pub service: String,
    /// The same, of its image.
    pub digest: Option<String>,
}
