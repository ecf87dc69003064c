//! Lines as CloudWatch reads them, two moments apart.

use super::super::collection::Collection;
use super::super::samples::{at, collection, container};
use super::*;
use std::collections::BTreeMap;

/// A line that was checked: its dimensions, and each metric with its unit.
#[derive(Debug)]
struct Read {
    dimensions: Vec<String>,
    metrics: BTreeMap<String, (String, f64)>,
}

/// Reads one line as the specification has it: every dimension is a text, and every metric a number, of the line itself.
fn read(line: &str, namespace: &str, timestamp: i64) -> Read {
    assert!(!line.contains('\n'), "{line}");
    let json: Value = serde_json::from_str(line).unwrap();
    assert_eq!(json["_aws"]["Timestamp"], timestamp);
    let directives = json["_aws"]["CloudWatchMetrics"].as_array().unwrap();
    let mut read = Read { dimensions: Vec::new(), metrics: BTreeMap::new() };
    for directive in directives {
        assert_eq!(directive["Namespace"], namespace);
        let sets = directive["Dimensions"].as_array().unwrap();
        assert_eq!(sets.len(), 1, "{line}");
        let names = sets[0].as_array().unwrap();
        read.dimensions =
            names.iter().map(|name| json[name.as_str().unwrap()].as_str().unwrap().to_owned()).collect();
        assert!(read.dimensions.iter().all(|value| (1..=1024).contains(&value.len())), "{line}");
        let metrics = directive["Metrics"].as_array().unwrap();
        assert!((1..=100).contains(&metrics.len()), "{line}");
        for metric in metrics {
            let (name, unit) = (metric["Name"].as_str().unwrap(), metric["Unit"].as_str().unwrap());
            let value = json[name].as_f64().unwrap_or_else(|| panic!("{name} is no number: {line}"));
            let before = read.metrics.insert(name.to_owned(), (unit.to_owned(), value));
            assert!(before.is_none(), "{name} twice: {line}");
        }
    }
    read
}

fn lines_of(now: &Collection, before: Option<&Collection>) -> Vec<Read> {
    let lines = lines("NodeAgent", now, before, at(1000));
    lines.iter().map(|line| read(line, "NodeAgent", at(1000).as_millisecond())).collect()
}

fn value(read: &Read, name: &str) -> Option<f64> {
    read.metrics.get(name).map(|(_, value)| *value)
}

#[test]
fn one_line_for_the_node_and_one_for_each_volume_and_each_service() {
    let lines = lines_of(&collection(160), Some(&collection(100)));
    let dimensions: Vec<String> = lines.iter().map(|line| line.dimensions.join(" ")).collect();
    let id = "i-0123456789abcdef0";
    let wanted = ["", " models", " /", " vol-0d", " api", " web"].map(|rest| format!("{id}{rest}"));
    assert_eq!(dimensions, wanted);
}

#[test]
fn what_grows_is_told_as_what_it_grew_by() {
    let lines = lines_of(&collection(160), Some(&collection(100)));
    let node = &lines[0];
    for (name, unit, wanted) in [
        ("MemoryUsed", "Bytes", 750.0),
        ("MemoryUsedPercent", "Percent", 75.0),
        ("CpuPercent", "Percent", 50.0),
        ("Load1", "None", 0.5),
        ("NetworkReceived", "Bytes", 60_000.0),
        ("NetworkErrors", "Count", 0.0),
        ("LogEventsShipped", "Count", 600.0),
        ("LogEventsDropped", "Count", 60.0),
        ("LogBacklog", "Bytes", 55.0),
        ("LogOldestUnshipped", "Seconds", 7.0),
        ("Problems", "Count", 3.0),
        ("ServicesRunning", "Count", 2.0),
        ("ServicesNotRunning", "Count", 0.0),
        ("ModelMemory", "Bytes", 3e9),
        ("AgentMemory", "Bytes", 16_777_216.0),
        ("AgentCpuPercent", "Percent", 10.0),
    ] {
        let (is_unit, is) = node.metrics.get(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(is_unit, unit, "{name}");
        assert!((is - wanted).abs() < 1e-6, "{name} is {is}, not {wanted}");
    }
    let models = &lines[1];
    assert_eq!((value(models, "DiskUsed"), value(models, "DiskUsedPercent")), (Some(600.0), Some(75.0)));
    assert_eq!((value(models, "InodesUsedPercent"), value(models, "EbsRead")), (Some(25.0), Some(60.0)));
    assert_eq!(value(models, "EbsVolumeIopsExceeded"), Some(60.0));
    assert_eq!(value(&lines[2], "EbsQueueLength"), Some(3.0), "the root's volume is with its file system");
    let api = &lines[4];
    assert_eq!((value(api, "CpuPercent"), value(api, "MemoryUsedPercent")), (Some(100.0), Some(25.0)));
    assert_eq!((value(api, "Restarts"), value(api, "Running")), (Some(0.0), Some(1.0)));
    assert_eq!(value(&lines[5], "MemoryWorkingSet"), None, "no container of web was measured");
}

#[test]
fn at_first_only_what_needs_no_moment_before_is_told() {
    let lines = lines_of(&collection(100), None);
    let node = &lines[0];
    assert!(value(node, "MemoryUsed").is_some() && value(node, "Load1").is_some());
    for name in ["CpuPercent", "NetworkReceived", "LogEventsShipped", "AgentCpuPercent"] {
        assert_eq!(value(node, name), None, "{name}");
    }
    assert_eq!((value(&lines[1], "EbsRead"), value(&lines[4], "CpuPercent")), (None, None));
}

#[test]
fn a_counter_that_began_anew_has_grown_by_what_it_has() {
    let (mut before, mut now) = (collection(100), collection(160));
    before.status.logs.events_shipped = 5_000;
    now.status.logs.events_shipped = 12;
    before.status.services[0].restarts = 9;
    let lines = lines_of(&now, Some(&before));
    assert_eq!(value(&lines[0], "LogEventsShipped"), Some(12.0));
    assert_eq!(value(&lines[4], "Restarts"), Some(2.0));
}

#[test]
fn two_containers_of_a_service_are_told_as_one() {
    let (mut before, mut now) = (collection(100), collection(160));
    let containers = |of: &mut Collection, all| of.kernel.as_mut().unwrap().containers = all;
    containers(&mut before, vec![container("3", 10.0), container("4", 1.0)]);
    containers(&mut now, vec![container("3", 16.0), container("4", 31.0), container("5", 99.0)]);
    let lines = lines_of(&now, Some(&before));
    let api = &lines[4];
    assert_eq!(value(api, "CpuPercent"), Some(60.0), "of the one that is new nothing is known");
    assert_eq!((value(api, "MemoryWorkingSet"), value(api, "MemoryUsedPercent")), (Some(300.0), Some(25.0)));
}

#[test]
fn a_clock_that_was_set_back_makes_no_share_of_a_negative_time() {
    let (before, mut now) = (collection(100), collection(160));
    now.at = at(50);
    let lines = lines_of(&now, Some(&before));
    assert_eq!((value(&lines[0], "AgentCpuPercent"), value(&lines[4], "CpuPercent")), (None, None));
    assert!(value(&lines[0], "CpuPercent").is_some(), "the kernel's own times need no clock");
}

#[test]
fn more_metrics_than_a_directive_may_have_are_in_two() {
    let names: Vec<&'static str> = (0..130).map(|index| &*format!("Metric{index}").leak()).collect();
    let mut group = Group::new(Some(("Volume", "x".to_owned())));
    names.iter().for_each(|name| group.add(name, Unit::Count, 1.0));
    group.add("Nothing", Unit::Count, None);
    group.add("NotANumber", Unit::Percent, f64::NAN);
    let read = read(&line("N", "i-0", &group, at(0)), "N", at(0).as_millisecond());
    assert_eq!((read.metrics.len(), read.dimensions), (130, vec!["i-0".to_owned(), "x".to_owned()]));
}
