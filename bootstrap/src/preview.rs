//! `plan`: every step's plan with its reason, on standard output. Reads the same things as `run` and changes nothing,
//! not even a folder; it takes no lock.

use crate::configuration::Configuration;
use crate::docker::{self, socket::Endpoint};
use crate::step::{Intent, PlannedStep, plan_table};
use crate::{Context, agent, handoff, metadata, secrets, systemd, units, volumes};
use node::config::Settings;
use node::exit;
use serde::Serialize;
use std::io::Write;
use tracing::Level;

/// What `plan --json` prints.
#[derive(Debug, Serialize)]
struct Document<'steps> {
    version: &'static str,
    steps: &'steps [PlannedStep],
}

/// Prints the plan; the exit code: 0 if nothing would be refused, 78 if user data would be.
pub(crate) async fn run(context: &Context, mut configuration: Configuration, json: bool) -> u8 {
    let mut steps = Vec::new();
    let facts = match metadata::ask(&context.imds, &configuration.tags()).await {
        Ok(facts) => {
            let reason =
                format!("{}, {} in {}", facts.instance_id, facts.instance_type, facts.availability_zone);
            steps.push(PlannedStep::new("metadata", Intent::Unchanged, reason));
            Some(facts)
        }
        Err(fault) => {
            steps.push(PlannedStep::refuse("metadata", &fault));
            handoff::of_this_boot(&context.paths).and_then(|handoff| handoff.identity)
        }
    };
    match facts.map(|facts| configuration.settle(&facts)).transpose() {
        Ok(Some(settings)) => steps.extend(prepared(context, &settings).await),
        Ok(None) => {
            let skip = |name| PlannedStep::new(name, Intent::Skip, "it is not known which instance this is");
            steps.extend(["volumes", "secrets", "docker"].map(skip));
        }
        Err(mistakes) => {
            context.log.plain(Level::ERROR, &mistakes.lines().collect::<Vec<_>>());
            return exit::INVALID_CONFIGURATION;
        }
    }
    steps.extend(last(context).await);
    // What the settings said of it counts too.
    steps.insert(0, configuration.preview(&context.paths));
    print(&steps, json);
    if let Some(refused) = &configuration.refused {
        context.log.plain(Level::ERROR, &refused.lines);
        return exit::INVALID_CONFIGURATION;
    }
    if steps.iter().any(|step| step.intent == Intent::Refuse) { exit::FAILED } else { exit::DONE }
}

async fn prepared(context: &Context, settings: &Settings) -> Vec<PlannedStep> {
    let paths = &context.paths;
    let mut steps = Vec::new();
    for (name, wanted) in &settings.volumes {
        steps.push(volumes::preview(paths, name, wanted).await);
    }
    steps.extend(settings.secrets.iter().map(|(name, secret)| secrets::preview(paths, name, secret)));
    let engine = Endpoint::of(&context.environment);
    steps.push(docker::preview(paths, &engine, &settings.docker).await);
    steps.push(agent::preview(paths, settings.agent.as_ref()));
    steps
}

async fn last(context: &Context) -> Vec<PlannedStep> {
    let paths = &context.paths;
    let engine = Endpoint::of(&context.environment);
    let handoff = format!("write {}", paths.handoff().display());
    let start = match systemd::state(units::AGENT_UNIT).await {
        Ok(state) if state.is_active() => {
            let reason =
                "it runs; start it again only if configuration, agent, environment or a secret changes";
            PlannedStep::new("start agent", Intent::Unchanged, reason)
        }
        _ if systemd::is_here() => {
            PlannedStep::new("start agent", Intent::Change, "start it and wait until it is ready")
        }
        _ => PlannedStep::new("start agent", Intent::Skip, "systemd does not run here"),
    };
    let handoff = PlannedStep::new("handoff", Intent::Change, handoff);
    vec![units::preview(paths, &engine).await, handoff, start]
}

fn print(steps: &[PlannedStep], json: bool) {
    let text = if json {
        let document = Document { version: node::VERSION, steps };
        serde_json::to_string_pretty(&document).unwrap_or_default()
    } else {
        plan_table(steps).join("\n")
    };
    // A reader that has gone away wants no more.
    let _ = writeln!(std::io::stdout(), "{text}");
}
