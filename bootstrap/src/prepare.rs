//! The steps that need the settings and not each other: volumes, secrets, Docker, the group, and the agent with its
//! units, side by side. The wall time is the longest of them.

use crate::agent::{self, Changes};
use crate::docker::{self, socket::Endpoint};
use crate::record::{Ended, Record, timed};
use crate::step::{Ending, Fault};
use crate::systemd::State;
use crate::volumes::Attachments;
use crate::{Context, group, secrets, units, volumes};
use node::cloud::secrets_manager::SecretsManager;
use node::config::Settings;
use node::handoff::{self, Outcome};
use std::sync::Arc;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

/// What one of them found.
enum Found {
    Volume(handoff::Volume),
    Secret(handoff::Secret),
    Agent(Changes),
    Units(Option<State>),
    Nothing,
}

type Finished = Vec<(Ended, Found)>;

/// What the later steps need to know of these.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prepared {
    pub(crate) agent: Changes,
    /// The agent's unit as systemd has it, if that was asked and is still true.
    pub(crate) unit: Option<State>,
    /// A secret (or, for who adds it, the configuration) has a new version.
    pub(crate) changed: bool,
}

/// What all of these have waited for.
const AFTER: [&str; 1] = ["configuration"];

/// Runs them all; a failed one stops none of the others.
pub(crate) async fn run(
    context: &Arc<Context>,
    settings: &Arc<Settings>,
    region: &str,
    record: &mut Record,
) -> Prepared {
    let mut prepared = Prepared::default();
    let mut tasks = JoinSet::new();
    // What starts other programs or waits for the network comes first: this thread has work of its own after it.
    tasks.spawn(agent_steps(Arc::clone(context), Arc::clone(settings)));
    if !settings.volumes.is_empty() {
        let attachments = Attachments::listen();
        for group in volumes::groups(&settings.volumes) {
            let with = (attachments.clone(), group);
            tasks.spawn(volume_group(Arc::clone(context), Arc::clone(settings), with));
        }
    }
    tasks.spawn(docker_step(Arc::clone(context), Arc::clone(settings)));
    tasks.spawn(group_step(Arc::clone(context)));
    spawn_secrets(context, settings, region, &mut tasks);
    while let Some(finished) = tasks.join_next().await {
        // What was seen before another step ended may be minutes old.
        prepared.unit = None;
        match finished {
            Ok(steps) => {
                steps.into_iter().for_each(|(ended, found)| keep(record, &mut prepared, ended, found))
            }
            Err(error) => {
                let hint =
                    "run node-bootstrap again; `tail /var/log/node-bootstrap.log` shows what it was doing";
                let fault = Fault::new("internal_error", format!("a step was cut off: {error}"), Some(hint));
                record.step("internal", &[], async { Ending::failed(fault) }).await;
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
            prepared.changed |= ended.step.outcome == Outcome::Done;
            record.findings.secrets.push(secret);
        }
        Found::Agent(changes) => prepared.agent = changes,
        Found::Units(unit) => prepared.unit = unit,
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
    let mut after = AFTER[0].to_owned();
    for name in group {
        let Some(wanted) = settings.volumes.get(&name) else { continue };
        let work = volumes::run(&context.paths, &context.clock, attachments.clone(), (&name, wanted));
        let (mut ended, volume) = timed(context.clock, format!("volume {name}"), &[&after], work).await;
        after.clone_from(&ended.step.name);
        ended.required = !wanted.optional;
        finished.push((ended, Found::Volume(volume)));
    }
    finished
}

/// The folder first: a value is never written anywhere but to tmpfs.
fn spawn_secrets(
    context: &Arc<Context>,
    settings: &Arc<Settings>,
    region: &str,
    tasks: &mut JoinSet<Finished>,
) {
    if settings.secrets.is_empty() {
        return;
    }
    let folder = secrets::prepare_folder(&context.paths);
    let cloud = Arc::new(OnceCell::new());
    for name in settings.secrets.keys() {
        let with = Access { cloud: Arc::clone(&cloud), region: region.to_owned(), folder: folder.clone() };
        tasks.spawn(secret_step(Arc::clone(context), Arc::clone(settings), name.clone(), with));
    }
}

/// What fetching a secret needs; the client is made once, by whoever comes first.
struct Access {
    cloud: Arc<OnceCell<SecretsManager>>,
    region: String,
    /// Whether there is a place to keep it.
    folder: Result<(), Fault>,
}

impl Access {
    /// On a thread of its own: reading the certificate authorities takes longer than most of what runs beside it.
    async fn cloud(&self, context: &Arc<Context>) -> Option<&SecretsManager> {
        let make = || async {
            let (context, region) = (Arc::clone(context), self.region.clone());
            let runtime = tokio::runtime::Handle::current();
            let made = tokio::task::spawn_blocking(move || {
                runtime.block_on(node::cloud::sdk_config(&context.imds, &region, &context.environment))
            });
            made.await.map(|config| SecretsManager::new(&config))
        };
        self.cloud.get_or_try_init(make).await.ok()
    }
}

async fn secret_step(
    context: Arc<Context>,
    settings: Arc<Settings>,
    name: String,
    access: Access,
) -> Finished {
    let Some(secret) = settings.secrets.get(&name) else { return Vec::new() };
    let none = || handoff::Secret { name: name.clone(), version_id: None, fetched_at: None };
    let work = async {
        if let Err(fault) = &access.folder {
            return (Ending::failed(fault.clone()), none());
        }
        match access.cloud(&context).await {
            Some(cloud) => secrets::run(&context.paths, &context.clock, cloud, (&name, secret)).await,
            None => {
                let message = format!("secret {name}: the client of Secrets Manager could not be made");
                let hint = "run node-bootstrap again, with RUST_LOG=debug to see more";
                (Ending::failed(Fault::new("internal_error", message, Some(hint))), none())
            }
        }
    };
    let (ended, secret) = timed(context.clock, format!("secret {name}"), &AFTER, work).await;
    vec![(ended, Found::Secret(secret))]
}

async fn docker_step(context: Arc<Context>, settings: Arc<Settings>) -> Finished {
    let engine = Endpoint::of(&context.environment);
    let work = async {
        (docker::run(&context.paths, &context.clock, &engine, &settings.docker).await, Found::Nothing)
    };
    vec![timed(context.clock, "docker", &AFTER, work).await]
}

/// The agent, then the units that it has brought.
async fn agent_steps(context: Arc<Context>, settings: Arc<Settings>) -> Finished {
    let work = agent::run(&context.paths, settings.agent.as_ref());
    let (agent, changes) = timed(context.clock, "agent", &AFTER, work).await;
    let (units, unit) = units_step(&context, &["agent"]).await;
    vec![(agent, Found::Agent(changes)), (units, Found::Units(unit))]
}

/// Also for a run that knows too little for the others.
pub(crate) async fn units_step(context: &Context, after: &[&str]) -> (Ended, Option<State>) {
    let engine = Endpoint::of(&context.environment);
    timed(context.clock, "units", after, units::run(&context.paths, &engine)).await
}

async fn group_step(context: Arc<Context>) -> Finished {
    let work = async { (group::run(&context.paths).await, Found::Nothing) };
    vec![timed(context.clock, "group", &AFTER, work).await]
}
