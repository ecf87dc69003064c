//! What is shown, read by a parser of its own: names, heads, series, escapes, and counters that only grow.

use super::super::families::families;
use super::super::samples::{collection, file_system, service};
use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// One series: its name and its labels.
type Series = (String, BTreeMap<String, String>);

#[derive(Debug, Default)]
struct Read {
    help: BTreeMap<String, String>,
    kinds: BTreeMap<String, String>,
    values: BTreeMap<Series, f64>,
}

/// Reads the format as its documentation has it, and refuses what that forbids: a second head of a family, one after its
/// samples, a family in two places, a series twice, a name that is none.
fn read(text: &str) -> Read {
    assert!(text.ends_with('\n'), "the last line ends as well");
    let mut read = Read::default();
    let mut families_seen = BTreeSet::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(read.help.insert(name.to_owned(), words.to_owned()).is_none(), "a second HELP: {line}");
            assert!(families_seen.insert(name.to_owned()), "HELP after the samples: {line}");
            current = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert!(read.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "a second TYPE: {line}");
            assert_eq!(name, current, "TYPE of another family");
        } else {
            let (series, value) = sample(line);
            assert_eq!(series.0, current, "a sample outside its family: {line}");
            assert!(read.kinds.contains_key(&current), "a sample before its TYPE: {line}");
            assert!(read.values.insert(series, value).is_none(), "a series twice: {line}");
        }
    }
    read
}

fn sample(line: &str) -> (Series, f64) {
    let characters: Vec<char> = line.chars().collect();
    let mut at = 0;
    let take = |at: &mut usize, good: &dyn Fn(char) -> bool| {
        let begin = *at;
        while characters.get(*at).copied().is_some_and(good) {
            *at += 1;
        }
        characters[begin..*at].iter().collect::<String>()
    };
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let name = take(&mut at, &word);
    assert!(name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'), "no name: {line}");
    let mut labels = BTreeMap::new();
    if characters[at] == '{' {
        while characters[at] != '}' {
            at += 1;
            let label = take(&mut at, &word);
            assert_eq!(characters[at..at + 2], ['=', '"'], "{line}");
            at += 2;
            let mut value = String::new();
            while characters[at] != '"' {
                if characters[at] == '\\' {
                    at += 1;
                    value.push(match characters[at] {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        other => panic!("\\{other} is no escape: {line}"),
                    });
                } else {
                    value.push(characters[at]);
                }
                at += 1;
            }
            at += 1;
            assert!(labels.insert(label, value).is_none(), "a label twice: {line}");
        }
        at += 1;
    }
    assert_eq!(characters[at], ' ', "{line}");
    let value: String = characters[at + 1..].iter().collect();
    ((name, labels), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
}

fn shown(seconds: u32) -> Read {
    read(&text(&families(&collection(seconds))))
}

fn value(read: &Read, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    read.values.get(&(name.to_owned(), labels)).copied()
}

#[test]
fn every_family_has_a_name_of_ours_a_help_and_a_kind_that_its_name_tells() {
    let read = shown(100);
    assert!(read.kinds.len() > 60, "{:?}", read.kinds.keys());
    assert_eq!(read.help.len(), read.kinds.len());
    for (name, kind) in &read.kinds {
        assert!(name.starts_with("node_agent_"), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        for unit in ["milli", "micro", "kib", "percent", "_ms"] {
            assert!(!name.contains(unit), "{name} is in no base unit");
        }
        assert!(read.help[name].ends_with('.'), "{name}: {}", read.help[name]);
    }
    println!("{} families, {} series", read.kinds.len(), read.values.len());
}

#[test]
fn numbers_stand_under_the_names_that_the_readme_promises() {
    let read = shown(100);
    let is = |name: &str, labels: &[(&str, &str)]| value(&read, &format!("node_agent_{name}"), labels);
    assert_eq!(is("build_info", &[("version", "0.1.0")]), Some(1.0));
    assert_eq!(is("memory_available_bytes", &[]), Some(250.0));
    assert_eq!(is("cpu_seconds_total", &[("mode", "user")]), Some(100.0));
    assert_eq!(is("network_receive_bytes_total", &[("interface", "ens5")]), Some(100_000.0));
    let models = [("volume", "models"), ("mount", "/mnt/models")];
    assert_eq!(is("filesystem_available_bytes", &models), Some(200.0));
    assert_eq!(is("filesystem_inodes_free", &models), Some(75.0));
    assert_eq!(is("volume_mounted", &models), Some(1.0));
    assert_eq!(is("volume_mounted", &[("volume", "spare"), ("mount", "/mnt/spare")]), Some(0.0));
    for (volume, volume_id, seconds) in
        [("models", "vol-0a", 100.0), ("/", "vol-0c", 1.0), ("", "vol-0d", 1.0)]
    {
        let labels = [("volume", volume), ("volume_id", volume_id)];
        assert_eq!(is("ebs_volume_iops_exceeded_seconds_total", &labels), Some(seconds), "{volume_id}");
    }
    let api = [("service", "api"), ("container", "api-3")];
    assert_eq!(is("container_cpu_seconds_total", &api), Some(100.0));
    assert_eq!(is("container_memory_working_set_bytes", &api), Some(100.0));
    assert_eq!(is("container_memory_limit_bytes", &api), Some(400.0));
    assert_eq!(is("service_restarts_total", &[("service", "api")]), Some(2.0));
    assert_eq!(is("service_state", &[("service", "api"), ("state", "running")]), Some(1.0));
    assert_eq!(is("service_state", &[("service", "api"), ("state", "failed")]), Some(0.0));
    assert_eq!(is("service_update_state", &[("service", "web"), ("state", "held")]), Some(1.0));
    assert_eq!(is("model_memory_bytes", &[("model", "llama3.2:3b")]), Some(3e9));
    assert_eq!(is("log_events_dropped_total", &[("reason", "over the queue")]), Some(100.0));
    assert_eq!(is("log_events_dropped_total", &[("reason", "too old")]), Some(0.0));
    assert_eq!(is("log_oldest_unshipped_seconds", &[]), Some(7.0));
    assert_eq!(is("problems", &[("code", "x")]), Some(2.0));
    assert_eq!(is("process_resident_memory_bytes", &[]), Some(16_777_216.0));
}

#[test]
fn what_was_not_measured_is_not_shown() {
    let mut unknown = collection(1);
    (unknown.kernel, unknown.file_systems, unknown.ebs) = (None, None, None);
    let read = read(&text(&families(&unknown)));
    let parts = [
        "memory_total",
        "cpu",
        "load",
        "network",
        "filesystem",
        "volume_mounted",
        "ebs",
        "container",
        "process",
    ];
    for name in read.kinds.keys() {
        assert!(!parts.iter().any(|part| name.starts_with(&format!("node_agent_{part}"))), "{name}");
    }
    assert!(value(&read, "node_agent_log_backlog_bytes", &[]).is_some(), "what the agent knows itself is");
}

#[test]
fn counters_only_grow() {
    let mut before = shown(1);
    let mut compared = 0;
    for seconds in 2..50 {
        let after = shown(seconds);
        for (series, value) in before.values.iter().filter(|((name, _), _)| before.kinds[name] == "counter") {
            assert!(after.values[series] >= *value, "{series:?} fell at {seconds}");
            compared += 1;
        }
        before = after;
    }
    assert!(compared > 1000, "{compared}");
}

#[test]
fn a_file_system_without_inodes_has_none_to_show() {
    let mut collection = collection(1);
    let mut without = file_system("models", "/mnt/models");
    (without.inodes, without.inodes_free) = (0, 0);
    collection.file_systems = Some(vec![without]);
    let read = read(&text(&families(&collection)));
    assert!(!read.kinds.contains_key("node_agent_filesystem_inodes"), "{:?}", read.kinds.keys());
    assert!(read.kinds.contains_key("node_agent_filesystem_size_bytes"));
}

proptest! {
    #[test]
    fn any_text_in_a_label_is_read_back_as_it_was(
        name in "\\PC*|[\\\\\"\n{},= ]{1,8}",
        image in ".*",
    ) {
        let mut collection = collection(1);
        let mut odd = service(&name);
        odd.image = image.replace('\n', " ");
        collection.status.services = vec![odd];
        let read = read(&text(&families(&collection)));
        let restarts = value(&read, "node_agent_service_restarts_total", &[("service", &name)]);
        prop_assert_eq!(restarts, Some(2.0));
    }
}
