//! The steps that need the settings and not each other: volumes, secrets, Docker and the agent, side by side. The wall
//! time is the longest of them.

use crate::agent::{self, Changes};
use crate::docker::{self, socket::Endpoint};
use crate::record::{Ended, Record, timed};
use crate::step::{Ending, Fault};
use crate::volumes::Attachments;
use crate::{Context, secrets, volumes};
use node::cloud::secrets_manager::SecretsManager;
use node::config::Settings;
use node::handoff::{self, Outcome};
use std::sync::Arc;
use tokio::task::JoinSet;

/// What one of them found.
enum Found {
    Volume(handoff::Volume),
    Secret(handoff::Secret),
    Agent(Changes),
    Nothing,
}

type Finished = Vec<(Ended, Found)>;

/// What the later steps need to know of these.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Prepared {
    pub(crate) agent: Changes,
    /// A secret has a new version.
    pub(crate) secrets: bool,
}

/// Runs them all; a failed one stops none of the others.
pub(crate) async fn run(
    context: &Arc<Context>,
    settings: &Arc<Settings>,
    region: &str,
    record: &mut Record,
) -> Prepared {
    let mut tasks = JoinSet::new();
    if !settings.volumes.is_empty() {
        let attachments = Attachments::listen();
        for group in volumes::groups(&settings.volumes) {
            let with = (attachments.clone(), group);
            tasks.spawn(volume_group(Arc::clone(context), Arc::clone(settings), with));
        }
    }
    spawn_secrets(context, settings, region, &mut tasks).await;
    tasks.spawn(docker_step(Arc::clone(context), Arc::clone(settings)));
    tasks.spawn(agent_step(Arc::clone(context), Arc::clone(settings)));
    let mut prepared = Prepared::default();
    while let Some(finished) = tasks.join_next().await {
        match finished {
            Ok(steps) => {
                steps.into_iter().for_each(|(ended, found)| keep(record, &mut prepared, ended, found))
            }
            Err(error) => {
                let fault = Fault::new("internal_error", format!("a step was cut off: {error}"), None);
                record.step("internal", async { Ending::failed(fault) }).await;
            }
        }
    }
    record.findings.volumes.sort_by(|left, right| left.name.cmp(&right.name));
    record.findings.secrets.sort_by(|left, right| left.name.cmp(&right.name));
    prepared
}

fn keep(record: &mut Record, prepared: &mut Prepared, ended: Ended, found: Found) {
    match found {
        Found::Volume(volume) => record.findings.volumes.push(volume),
        Found::Secret(secret) => {
            prepared.secrets |= ended.step.outcome == Outcome::Done;
            record.findings.secrets.push(secret);
        }
        Found::Agent(changes) => prepared.agent = changes,
        Found::Nothing => {}
    }
    record.add(ended);
}

/// Volumes that lie inside each other, one after the other.
async fn volume_group(
    context: Arc<Context>,
    settings: Arc<Settings>,
    (attachments, group): (Attachments, Vec<String>),
) -> Finished {
    let mut finished = Vec::new();
    for name in group {
        let Some(wanted) = settings.volumes.get(&name) else { continue };
        let work = volumes::run(&context.paths, &context.clock, attachments.clone(), (&name, wanted));
        let (mut ended, volume) = timed(context.clock, format!("volume {name}"), work).await;
        ended.required = !wanted.optional;
        finished.push((ended, Found::Volume(volume)));
    }
    finished
}

/// The folder first: a value is never written anywhere but to tmpfs.
async fn spawn_secrets(
    context: &Arc<Context>,
    settings: &Arc<Settings>,
    region: &str,
    tasks: &mut JoinSet<Finished>,
) {
    if settings.secrets.is_empty() {
        return;
    }
    let folder = secrets::prepare_folder(&context.paths);
    let config = node::cloud::sdk_config(&context.imds, region, &context.environment).await;
    let cloud = SecretsManager::new(&config);
    for name in settings.secrets.keys() {
        let with = (cloud.clone(), folder.clone());
        tasks.spawn(secret_step(Arc::clone(context), Arc::clone(settings), name.clone(), with));
    }
}

/// One secret; `folder` says whether there is a place to keep it.
async fn secret_step(
    context: Arc<Context>,
    settings: Arc<Settings>,
    name: String,
    (cloud, folder): (SecretsManager, Result<(), Fault>),
) -> Finished {
    let Some(secret) = settings.secrets.get(&name) else { return Vec::new() };
    let work = async {
        match folder {
            Ok(()) => secrets::run(&context.paths, &context.clock, &cloud, (&name, secret)).await,
            Err(fault) => {
                let none = handoff::Secret { name: name.clone(), version_id: None, fetched_at: None };
                (Ending::failed(fault), none)
            }
        }
    };
    let (ended, secret) = timed(context.clock, format!("secret {name}"), work).await;
    vec![(ended, Found::Secret(secret))]
}

async fn docker_step(context: Arc<Context>, settings: Arc<Settings>) -> Finished {
    let engine = Endpoint::of(&context.environment);
    let work = async {
        (docker::run(&context.paths, &context.clock, &engine, &settings.docker).await, Found::Nothing)
    };
    vec![timed(context.clock, "docker", work).await]
}

async fn agent_step(context: Arc<Context>, settings: Arc<Settings>) -> Finished {
    let work = agent::run(&context.paths, settings.agent.as_ref());
    let (ended, changes) = timed(context.clock, "agent", work).await;
    vec![(ended, Found::Agent(changes))]
}
