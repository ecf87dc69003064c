//! From a collection to families of samples, as Prometheus has them: every name that is shown, its help and its kind.
//! Pure.
//!
//! What always holds: names are `node_agent_…` in base units, counters end with `_total`; a family is there once; no two
//! samples of one have the same labels; what is absent in the collection is no sample.

mod services;
mod volumes;

pub(super) use volumes::name_of;

use super::collection::{Collection, Interface, Kernel};
use crate::status::{NodeState, Status};
use std::collections::BTreeMap;

/// Kinds of families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up, and begins anew when what counts does.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// All samples of one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// `node_agent_…`
    pub name: &'static str,
    /// One line.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// One for each set of labels.
    pub samples: Vec<Sample>,
}

/// One number.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Names and values.
    pub labels: Vec<(&'static str, String)>,
    /// Finite.
    pub value: f64,
}

/// Names and values of labels, before they are owned.
type Labels<'a> = &'a [(&'static str, &'a str)];

impl Family {
    fn counter(name: &'static str, help: &'static str) -> Family {
        Family { name, help, kind: Kind::Counter, samples: Vec::new() }
    }

    fn gauge(name: &'static str, help: &'static str) -> Family {
        Family { name, help, kind: Kind::Gauge, samples: Vec::new() }
    }

    fn add(&mut self, labels: Labels<'_>, value: f64) {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.samples.push(Sample { labels, value });
    }

    fn one(mut self, value: f64) -> Family {
        self.add(&[], value);
        self
    }

    /// One sample for each of `things`, where `value` knows it.
    fn each<'t, T: 't>(
        mut self,
        things: impl IntoIterator<Item = &'t T>,
        labels: impl Fn(&'t T) -> Vec<(&'static str, &'t str)>,
        value: impl Fn(&T) -> Option<f64>,
    ) -> Family {
        for thing in things {
            if let Some(value) = value(thing) {
                self.add(&labels(thing), value);
            }
        }
        self
    }
}

/// All families, those without a sample left out.
pub fn families(collection: &Collection) -> Vec<Family> {
    let status = &collection.status;
    let mut all = about(status);
    if let Some(kernel) = &collection.kernel {
        all.extend(node(kernel));
        all.extend(network(&kernel.interfaces));
        all.extend(agent(kernel));
    }
    all.extend(volumes::file_systems(collection));
    all.extend(volumes::ebs(collection));
    let containers = collection.kernel.as_ref().map(|kernel| kernel.containers.as_slice());
    all.extend(services::containers(containers.unwrap_or_default()));
    all.extend(services::services(&status.services));
    all.extend(services::models(status));
    all.extend(logs(status));
    all.push(
        Family::gauge("node_agent_collection_seconds", "How long it took to measure all this.")
            .one(collection.took_seconds),
    );
    all.push(
        Family::counter(
            "node_agent_metrics_lines_dropped_total",
            "Lines of metrics for CloudWatch that were dropped because nothing took them.",
        )
        .one(collection.lines_dropped as f64),
    );
    all.retain(|family| !family.samples.is_empty());
    all
}

fn about(status: &Status) -> Vec<Family> {
    let node = &status.node;
    let mut build = Family::gauge("node_agent_build_info", "Always 1; the version of the agent.");
    build.add(&[("version", &node.version)], 1.0);
    let mut info = Family::gauge("node_agent_node_info", "Always 1; who the node is.");
    let labels = [
        ("name", node.name.as_str()),
        ("instance_id", &node.instance_id),
        ("instance_type", &node.instance_type),
        ("region", &node.region),
        ("availability_zone", &node.availability_zone),
    ];
    info.add(&labels, 1.0);
    let mut state =
        Family::gauge("node_agent_node_state", "1 for the state that the node is in, 0 for the others.");
    for (name, one) in [
        ("starting", NodeState::Starting),
        ("ready", NodeState::Ready),
        ("degraded", NodeState::Degraded),
        ("draining", NodeState::Draining),
    ] {
        state.add(&[("state", name)], truth(one == node.state));
    }
    let mut by_code: BTreeMap<&str, usize> = BTreeMap::new();
    for problem in &status.problems {
        *by_code.entry(&problem.code).or_default() += 1;
    }
    let mut problems = Family::gauge("node_agent_problems", "Problems that stand, by their code.");
    for (code, count) in by_code {
        problems.add(&[("code", code)], count as f64);
    }
    vec![build, info, state, problems]
}

fn node(kernel: &Kernel) -> Vec<Family> {
    let mut all = Vec::new();
    let mut gauge = |name, help, value: Option<f64>| {
        all.extend(value.map(|value| Family::gauge(name, help).one(value)));
    };
    let memory = kernel.memory;
    let bytes = |of: fn(super::collection::Memory) -> u64| memory.map(|memory| of(memory) as f64);
    gauge("node_agent_memory_total_bytes", "Memory of the node.", bytes(|it| it.total_bytes));
    gauge("node_agent_memory_free_bytes", "Memory that nobody uses.", bytes(|it| it.free_bytes));
    let help = "Memory that a new program could get without swapping.";
    gauge("node_agent_memory_available_bytes", help, bytes(|it| it.available_bytes));
    gauge("node_agent_memory_cached_bytes", "Memory with pages of files.", bytes(|it| it.cached_bytes));
    gauge(
        "node_agent_memory_buffers_bytes",
        "Memory with pages of block devices.",
        bytes(|it| it.buffers_bytes),
    );
    gauge("node_agent_swap_total_bytes", "Swap of the node.", bytes(|it| it.swap_total_bytes));
    gauge("node_agent_swap_free_bytes", "Swap that nobody uses.", bytes(|it| it.swap_free_bytes));
    let load = kernel.load;
    gauge("node_agent_load1", "Load of the node, over a minute.", load.map(|load| load.one));
    gauge("node_agent_load5", "Load of the node, over five minutes.", load.map(|load| load.five));
    gauge("node_agent_load15", "Load of the node, over fifteen minutes.", load.map(|load| load.fifteen));
    if let Some(cpu) = &kernel.cpu {
        gauge("node_agent_cpus", "Processors of the node.", Some(cpu.count as f64));
        let help = "What the processors of the node did, in seconds, all of them together.";
        let seconds = Family::counter("node_agent_cpu_seconds_total", help);
        all.push(seconds.each(
            &cpu.seconds,
            |(mode, _)| vec![("mode", *mode)],
            |(_, seconds)| Some(*seconds),
        ));
    }
    all
}

fn network(interfaces: &[Interface]) -> Vec<Family> {
    let family = |name, help, value: fn(&Interface) -> u64| {
        Family::counter(name, help).each(
            interfaces,
            |it| vec![("interface", it.name.as_str())],
            |it| Some(value(it) as f64),
        )
    };
    vec![
        family("node_agent_network_receive_bytes_total", "Bytes received.", |it| it.received.bytes),
        family("node_agent_network_receive_packets_total", "Packets received.", |it| it.received.packets),
        family("node_agent_network_receive_errors_total", "Packets received that were damaged.", |it| {
            it.received.errors
        }),
        family("node_agent_network_receive_dropped_total", "Packets received that found no room.", |it| {
            it.received.dropped
        }),
        family("node_agent_network_transmit_bytes_total", "Bytes sent.", |it| it.sent.bytes),
        family("node_agent_network_transmit_packets_total", "Packets sent.", |it| it.sent.packets),
        family("node_agent_network_transmit_errors_total", "Packets that could not be sent.", |it| {
            it.sent.errors
        }),
        family("node_agent_network_transmit_dropped_total", "Packets to send that found no room.", |it| {
            it.sent.dropped
        }),
    ]
}

fn agent(kernel: &Kernel) -> Vec<Family> {
    let Some(process) = kernel.agent else { return Vec::new() };
    let help = "Processor time of the agent itself.";
    vec![
        Family::counter("node_agent_process_cpu_seconds_total", help).one(process.cpu_seconds),
        Family::gauge("node_agent_process_resident_memory_bytes", "Memory of the agent itself.")
            .one(process.resident_bytes as f64),
    ]
}

fn logs(status: &Status) -> Vec<Family> {
    let logs = &status.logs;
    let counter = |name, help, value: u64| Family::counter(name, help).one(value as f64);
    let gauge = |name, help, value: u64| Family::gauge(name, help).one(value as f64);
    vec![
        counter(
            "node_agent_log_events_shipped_total",
            "Log events that CloudWatch Logs took.",
            logs.events_shipped,
        ),
        Family::counter("node_agent_log_events_dropped_total", "Log events that were given up, by reason.")
            .each(
                &logs.dropped.by_reason(),
                |(why, _)| vec![("reason", *why)],
                |(_, events)| Some(*events as f64),
            ),
        counter(
            "node_agent_log_bytes_shipped_total",
            "Bytes of the events that were taken.",
            logs.bytes_shipped,
        ),
        gauge("node_agent_log_backlog_bytes", "Bytes that were read and not taken yet.", logs.backlog_bytes),
        gauge(
            "node_agent_log_oldest_unshipped_seconds",
            "Age of the oldest event that was not taken yet; 0 without one.",
            logs.oldest_unshipped_seconds,
        ),
    ]
}

/// How Prometheus writes a truth.
fn truth(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}
