//! The metrics, and what they are made from.
//!
//! ```text
//! board, host -> collector -> endpoint
//!                          -> lines -> the log shipper
//! ```

#![expect(clippy::disallowed_methods, reason = "hands the clock to the tasks")]

use super::super::Agent;
use crate::clock::Clock;
use crate::host::measures::Host;
use crate::metrics::collector::Collector;
use crate::metrics::server::Endpoint;
use crate::metrics::{self, Embedded, Lines};
use jiff::Timestamp;
use node::config::Settings;
use node::paths::Paths;
use std::sync::Arc;

/// Starts them where node.toml has `[metrics]`. Out: the lines for CloudWatch, where it wants them there.
pub(super) fn start(agent: &mut Agent, settings: &Settings) -> Option<Lines> {
    let wanted = settings.metrics.clone()?;
    let docker = agent.docker.clone();
    let engine_folders = Arc::new(move || docker.known_storage());
    // Of the running kernel, also with another root for the files.
    let host = Host::new(Paths::default(), agent.start.paths.clone(), engine_folders);
    let clock: Clock = Arc::new(Timestamp::now);
    let collector = Arc::new(Collector::new(Arc::new(host), agent.board.clone(), Arc::clone(&clock)));
    let endpoint = Endpoint {
        listen: wanted.listen,
        collector: Arc::clone(&collector),
        board: agent.board.clone(),
        clock: Arc::clone(&clock),
    };
    let telemetry = &mut agent.parts.telemetry;
    let stop = telemetry.stop.clone();
    telemetry.spawn("metrics", endpoint.serve(stop.clone()));
    if !wanted.cloudwatch {
        return None;
    }
    let (sender, lines) = metrics::channel();
    let embedded =
        Embedded { collector, every: wanted.every, namespace: wanted.namespace, lines: sender, clock };
    telemetry.spawn("metrics for CloudWatch", metrics::embed(embedded, stop));
    Some(lines)
}
