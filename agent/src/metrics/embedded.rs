//! A collection as lines of CloudWatch's embedded metric format: one for the node, one for each volume and each service.
//! Pure.
//!
//! In: a collection and the one before. Out: lines of JSON that CloudWatch Logs makes metrics of. What grows is told as
//! what it grew by since the one before, so that `Sum` and `Average` of CloudWatch mean what they say; of what was not
//! there before nothing is told, and what has begun anew has grown by all that it has. CloudWatch bills every metric of
//! every set of dimensions: only what an alarm or a graph is made of is here, the rest is on the Prometheus endpoint.
//! Source: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

mod node;
mod parts;

use super::collection::Collection;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Metrics that one directive may have.
const IN_A_DIRECTIVE: usize = 100;

/// Units of CloudWatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Bytes,
    Count,
    None,
    Percent,
    Seconds,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Bytes => "Bytes",
            Unit::Count => "Count",
            Unit::None => "None",
            Unit::Percent => "Percent",
            Unit::Seconds => "Seconds",
        }
    }
}

/// Metrics with the same dimensions.
#[derive(Debug, Clone, PartialEq)]
struct Group {
    /// Beside the instance's id.
    dimension: Option<(&'static str, String)>,
    metrics: Vec<(&'static str, Unit, f64)>,
}

impl Group {
    fn new(dimension: Option<(&'static str, String)>) -> Group {
        Group { dimension, metrics: Vec::new() }
    }

    /// Nothing where nothing is known.
    fn add(&mut self, name: &'static str, unit: Unit, value: impl Into<Option<f64>>) {
        let value = value.into().filter(|value: &f64| value.is_finite());
        self.metrics.extend(value.map(|value| (name, unit, value)));
    }
}

/// The lines. `previous` is the collection that the lines before were made from.
pub fn lines(
    namespace: &str,
    collection: &Collection,
    previous: Option<&Collection>,
    now: Timestamp,
) -> Vec<String> {
    let moments = Moments { now: collection, before: previous };
    let groups =
        [node::group(moments)].into_iter().chain(parts::volumes(moments)).chain(parts::services(moments));
    let groups = groups.filter(|group| !group.metrics.is_empty());
    groups.map(|group| line(namespace, &collection.status.node.instance_id, &group, now)).collect()
}

/// Two collections, one after the other.
#[derive(Debug, Clone, Copy)]
struct Moments<'c> {
    now: &'c Collection,
    before: Option<&'c Collection>,
}

impl<'c> Moments<'c> {
    /// How much `of` has grown; one that is smaller than before has begun anew.
    fn grown(self, of: impl Fn(&'c Collection) -> Option<f64>) -> Option<f64> {
        grown(of(self.before?)?, of(self.now)?)
    }

    /// Seconds between the two.
    fn seconds(self) -> Option<f64> {
        let seconds = self.now.at.duration_since(self.before?.at).as_secs_f64();
        Some(seconds).filter(|seconds| *seconds > 0.0)
    }
}

fn grown(before: f64, now: f64) -> Option<f64> {
    Some(if now < before { now } else { now - before })
}

/// `None` of nothing.
fn percent(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole * 100.0)
}

fn line(namespace: &str, instance_id: &str, group: &Group, now: Timestamp) -> String {
    let mut dimensions = vec!["InstanceId"];
    let mut members = Map::from_iter([("InstanceId".to_owned(), Value::from(instance_id))]);
    if let Some((name, value)) = &group.dimension {
        dimensions.push(name);
        members.insert((*name).to_owned(), Value::from(value.as_str()));
    }
    let directives = group.metrics.chunks(IN_A_DIRECTIVE).map(|metrics| {
        let metrics = metrics.iter().map(|(name, unit, _)| json!({"Name": name, "Unit": unit.name()}));
        json!({"Namespace": namespace, "Dimensions": [dimensions], "Metrics": metrics.collect::<Vec<_>>()})
    });
    let directives: Vec<Value> = directives.collect();
    let values = group.metrics.iter().map(|(name, _, value)| ((*name).to_owned(), Value::from(*value)));
    members.extend(values);
    members.insert(
        "_aws".to_owned(),
        json!({"Timestamp": now.as_millisecond(), "CloudWatchMetrics": directives}),
    );
    Value::Object(members).to_string()
}

#[cfg(test)]
#[path = "embedded_tests.rs"]
mod tests;
