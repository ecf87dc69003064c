//! `run`: the steps in their order, and why it is this one.
//!
//! The configuration was checked before anything is changed. The lock comes before the first change. Who the instance
//! is comes before everything that node.toml may say by `${…}`. Volumes, secrets, Docker and the agent need only that
//! and run side by side. Units come after the agent has brought them, the handoff before the agent reads it, the
//! agent's start last. A failed step fails the run, but every step that can still be done is done: the machine ends
//! reachable, with its reasons.
//!
//! Without an identity (no metadata service, and no handoff of this boot to know it from) there are no settings: an
//! account or a region would be guessed. Then volumes, secrets and Docker are skipped, and an agent that is already
//! installed is started, so that there is someone to say what is wrong.

use crate::agent;
use crate::configuration::Configuration;
use crate::docker::socket::Endpoint;
use crate::prepare::{self, Prepared};
use crate::record::{Record, timed};
use crate::step::{Ending, Fault, table};
use crate::{Context, handoff, lock, metadata, outdated, units};
use node::config::{Mistakes, Settings};
use node::exit;
use node::fault::with_hint;
use node::handoff::Outcome;
use node::identity::Facts;
use std::sync::Arc;
use tracing::Level;

/// Does everything; the exit code.
pub(crate) async fn run(context: &Arc<Context>, configuration: &Configuration) -> u8 {
    let _lock = match lock::acquire(&context.paths, &context.clock).await {
        Ok(lock) => lock,
        Err(error) => {
            tracing::error!("{}", with_hint(&error));
            return exit::FAILED;
        }
    };
    context.log.open_file(&context.paths.bootstrap_log());
    tracing::info!("node-bootstrap {} in boot {}", node::VERSION, handoff::boot_id(&context.paths));
    let mut record = Record::new(context.clock);
    let tags = configuration.draft.tags();
    let identity = metadata::run(&context.paths, &context.imds, &tags);
    let (asked, facts) = timed(context.clock, "metadata", async {
        let (facts, ending) = identity.await;
        (ending, facts)
    })
    .await;
    record.add(asked);
    let settings = match facts.as_ref().map(|facts| configuration.draft.settings(facts)).transpose() {
        Ok(settings) => settings.map(Arc::new),
        Err(mistakes) => return refuse(context, &mistakes),
    };
    let paths = &context.paths;
    let installed = record.step("configuration", async { configuration.install(paths) }).await;
    let prepared = prepare(context, settings.as_ref(), facts.as_ref(), &mut record).await;
    record.findings.identity = facts;
    finish(context, prepared, installed == Outcome::Done, record).await
}

/// Mistakes that show only on this instance, such as a tag that it does not have.
fn refuse(context: &Context, mistakes: &Mistakes) -> u8 {
    context.log.plain(Level::ERROR, &mistakes.lines().collect::<Vec<_>>());
    exit::INVALID_CONFIGURATION
}

async fn prepare(
    context: &Arc<Context>,
    settings: Option<&Arc<Settings>>,
    facts: Option<&Facts>,
    record: &mut Record,
) -> Prepared {
    if let (Some(settings), Some(facts)) = (settings, facts) {
        return prepare::run(context, settings, &facts.region, record).await;
    }
    let reason = "it is not known which instance this is";
    for step in ["volumes", "secrets", "docker"] {
        record.step(step, async { Ending::skipped(reason) }).await;
    }
    Prepared::default()
}

/// Units, handoff, start of the agent, report.
async fn finish(context: &Context, prepared: Prepared, configured: bool, mut record: Record) -> u8 {
    let Context { paths, clock, environment, .. } = context;
    let engine = Endpoint::of(environment);
    record.step("units", units::run(paths, &engine, prepared.agent.units)).await;
    let mut changed = configured || prepared.agent.program || prepared.agent.units || prepared.secrets;
    let written = hand_over(context, &record);
    changed |= written.outcome == Outcome::Done || outdated::is_noted(paths);
    record.step("handoff", async { written }).await;
    let start = async {
        if agent::is_installed(paths) {
            agent::start(clock, changed).await
        } else {
            Ending::skipped("the agent is not installed")
        }
    };
    if record.step("start agent", start).await == Outcome::Done {
        outdated::forget(paths);
    }
    // Once more, with the steps that came after: agentctl shows them all.
    if let Err(error) = handoff::write(paths, clock, &record.findings) {
        tracing::error!("cannot write {}: {error}", paths.handoff().display());
    }
    report(context, &record)
}

/// Done when the agent has to be started anew because of it: the document itself is different every time.
fn hand_over(context: &Context, record: &Record) -> Ending {
    let Context { paths, clock, environment, .. } = context;
    let written = handoff::write_environment(paths, environment)
        .and_then(|changed| handoff::write(paths, clock, &record.findings).map(|()| changed));
    let path = paths.handoff();
    match written {
        Ok(true) => Ending::done(format!("wrote {} and the agent's environment", path.display())),
        Ok(false) => {
            Ending::unchanged(format!("wrote {}; the agent's environment is the same", path.display()))
        }
        Err(error) => {
            let message = format!("cannot write {} or the agent's environment: {error}", path.display());
            Ending::failed(Fault::new("handoff_not_written", message, None))
        }
    }
}

fn report(context: &Context, record: &Record) -> u8 {
    let mut steps = record.findings.steps.clone();
    steps.sort_by_key(|step| step.started_ms);
    context.log.plain(Level::INFO, &table(&steps));
    let seconds = context.clock.elapsed().as_secs_f64();
    if record.has_failed() {
        tracing::error!(
            "this node is not ready after {seconds:.1} s; {} problem(s), see above",
            record.findings.problems.len()
        );
        return exit::FAILED;
    }
    tracing::info!("this node is ready after {seconds:.1} s");
    exit::DONE
}
