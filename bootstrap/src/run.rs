//! `run`: the steps in their order, and why it is this one.
//!
//! The configuration was checked before anything is changed. The lock comes before the first change. User data that is
//! wrong is a problem of a node that goes on with the installed configuration, and the exit code in the end. Who the
//! instance is comes before everything that node.toml may say by `${…}`. The configuration file comes next: whether a
//! version of the agent that refused it is tried again depends on what is installed. Volumes, secrets, Docker and the
//! agent need only these and run side by side; units come as soon as the agent has brought them. The handoff comes
//! before the agent reads it, the agent's start last. A failed step fails the run, but every step that can still be
//! done is done: the machine ends
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
use crate::{Context, chain, handoff, lock, metadata, outdated, units};
use node::config::{Mistakes, Settings};
use node::exit;
use node::fault::with_hint;
use node::handoff::Outcome;
use node::identity::Facts;
use node::problem::Problem;
use std::sync::Arc;
use tracing::Level;

/// Does everything; the exit code.
pub(crate) async fn run(context: &Arc<Context>, configuration: Configuration) -> u8 {
    let paths = &context.paths;
    let _lock = match lock::acquire(paths, &context.clock).await {
        Ok(lock) => lock,
        Err(error) => {
            tracing::error!("{}", with_hint(&error));
            return exit::FAILED;
        }
    };
    let mut configuration = match configuration.read_again(paths) {
        Ok(configuration) => configuration,
        Err(unusable) => return crate::refuse(&context.log, &unusable),
    };
    context.log.open_file(&paths.bootstrap_log());
    tracing::info!("node-bootstrap {} in boot {}", node::VERSION, handoff::boot_id(paths));
    let mut record = Record::new(context.clock);
    let facts = identify(context, &configuration, &mut record).await;
    let settings = match facts.as_ref().map(|facts| configuration.settle(facts)).transpose() {
        Ok(settings) => settings.map(Arc::new),
        Err(mistakes) => return refuse(context, &mistakes),
    };
    let refused = configuration.refused.as_ref();
    if let Some(refused) = refused {
        context.log.plain(Level::ERROR, &refused.lines);
    }
    let installed = record
        .step("configuration", &["metadata"], async { configuration.install(paths, settings.is_some()) })
        .await;
    let mut prepared = prepare(context, settings.as_ref(), facts.as_ref(), &mut record).await;
    prepared.changed |= installed == Outcome::Done;
    record.findings.identity = facts;
    let code = finish(context, prepared, record).await;
    if refused.is_some() { exit::INVALID_CONFIGURATION } else { code }
}

async fn identify(
    context: &Arc<Context>,
    configuration: &Configuration,
    record: &mut Record,
) -> Option<Facts> {
    let (paths, tags) = (&context.paths, configuration.tags());
    let (asked, facts) = timed(context.clock, "metadata", &[], async {
        let in_vain = configuration.asked_in_vain();
        let (facts, ending) = metadata::run(paths, &context.imds, &tags, in_vain).await;
        (ending, facts)
    })
    .await;
    record.add(asked);
    facts
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
    let after = ["configuration"];
    let reason = "it is not known which instance this is";
    for step in ["volumes", "secrets", "docker"] {
        record.step(step, &after, async { Ending::skipped(reason) }).await;
    }
    let (units, unit) = prepare::units_step(context, &after).await;
    record.add(units);
    Prepared { unit, ..Prepared::default() }
}

/// Handoff, start of the agent, report.
async fn finish(context: &Context, prepared: Prepared, mut record: Record) -> u8 {
    let Context { paths, clock, environment, .. } = context;
    let Prepared { agent: changes, unit, changed } = prepared;
    let before = record.names();
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    let written = async { hand_over(context, &record) };
    let (written, ()) = timed(*clock, "handoff", &before, async { (written.await, ()) }).await;
    let changed = changed
        || changes.program
        || changes.units
        || written.step.outcome == Outcome::Done
        || outdated::is_noted(paths);
    record.add(written);
    let mut told = None;
    let start = async {
        match changes.trial {
            Some(trial) => {
                let engine = Endpoint::of(environment);
                let tell = |faults: &[Fault]| told = Some(tell(context, &record, faults));
                agent::start_on_trial(paths, clock, &engine, trial, tell).await
            }
            None if agent::is_installed(paths) => agent::start(clock, changed, unit).await,
            None => Ending::skipped("the agent is not installed"),
        }
    };
    let (started, ()) = timed(*clock, "start agent", &["handoff"], async { (start.await, ()) }).await;
    if let Some(problems) = told {
        record.findings.problems = problems;
        // The first is that of the step itself, which is added with it.
        record.findings.problems.retain(|problem| {
            Some(&problem.message) != started.ending.fault.as_ref().map(|fault| &fault.message)
        });
    }
    if started.step.outcome == Outcome::Done {
        outdated::forget(paths);
    }
    record.add(started);
    // Once more, with the steps that came after: agentctl shows them all.
    if let Err(error) = handoff::write(paths, clock, &record.findings) {
        tracing::error!("cannot write {}: {error}", paths.handoff().display());
    }
    report(context, &record)
}

/// Hands over anew, because the version before is put back: with what is wrong now, without what was wrong with the
/// units of the version that is gone. The problems as they are then.
fn tell(context: &Context, record: &Record, faults: &[Fault]) -> Vec<Problem> {
    let Context { paths, clock, .. } = context;
    let mut findings = record.findings.clone();
    findings.problems.retain(|problem| problem.code != units::RELOAD_PUT_OFF);
    findings.problems.extend(faults.iter().map(|fault| fault.problem(clock.now())));
    if let Err(error) = handoff::write(paths, clock, &findings) {
        tracing::error!("cannot write {}: {error}", paths.handoff().display());
    }
    findings.problems
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
            let hint = "look at `df /run` and `findmnt -T /run`, then run node-bootstrap again";
            Ending::failed(Fault::new("handoff_not_written", message, Some(hint)))
        }
    }
}

fn report(context: &Context, record: &Record) -> u8 {
    let mut steps = record.findings.steps.clone();
    steps.sort_by_key(|step| step.started_ms);
    let chain = chain::longest(&steps);
    let mut lines = table(&steps, &chain);
    lines.push(chain::sentence(&chain, context.clock.elapsed_ms()));
    context.log.plain(Level::INFO, &lines);
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
