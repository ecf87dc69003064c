//! What operators get beside the numbers: alert rules and a dashboard, held against the families that there are, and all
//! three against promtool. Where that is not installed, the tests that need it say so and do nothing.

#![expect(
    clippy::disallowed_methods,
    reason = "runs promtool, and writes what it reads into a folder of the test's"
)]

use super::exposition;
use super::families::families;
use super::samples::whole;
use harness::requirements::{is_on_path, skipped};
use regex::Regex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a scrape adds.
const OF_THE_SCRAPE: [&str; 2] = ["instance", "job"];

fn packaged(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(name)
}

fn read(name: &str) -> String {
    let path = packaged(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names of families and the labels that they have.
fn shown() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let labels = |samples: &[super::families::Sample]| {
        samples.iter().flat_map(|sample| &sample.labels).map(|(name, _)| *name).collect()
    };
    families(&whole(100)).iter().map(|family| (family.name, labels(&family.samples))).collect()
}

/// Expressions of the rules: on the line of `expr:`, or on the lines below that are indented further.
fn expressions_of_rules() -> Vec<(String, String)> {
    let text = read("prometheus/node-agent.rules.yml");
    let indent = |line: &str| line.len() - line.trim_start().len();
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut alert = "";
    for (index, line) in lines.iter().enumerate() {
        if let Some(name) = line.trim_start().strip_prefix("- alert: ") {
            alert = name;
        } else if let Some(written) = line.trim_start().strip_prefix("expr: ") {
            let below = lines[index + 1..].iter().take_while(|below| indent(below) > indent(line));
            let expression = match written {
                ">-" => below.map(|line| line.trim()).collect::<Vec<_>>().join(" "),
                written => written.to_owned(),
            };
            found.push((alert.to_owned(), expression));
        }
    }
    assert_eq!(found.len(), text.matches("- alert: ").count(), "an alert without expression: {found:?}");
    found
}

fn dashboard() -> Value {
    serde_json::from_str(&read("grafana/node-agent.json")).unwrap()
}

fn panels(dashboard: &Value) -> &Vec<Value> {
    dashboard["panels"].as_array().unwrap()
}

fn expressions_of_dashboard() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let mut found = Vec::new();
    for panel in panels(&dashboard).iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "a panel without a question: {panel}");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{target}");
            let expression = target["expr"].as_str().unwrap();
            assert!(expression.contains("$instance"), "it mixes nodes: {expression}");
            found.push((panel["title"].as_str().unwrap().to_owned(), expression.to_owned()));
        }
    }
    found
}

/// Runs promtool; `None`, said, where there is none.
fn promtool(arguments: &[&str], input: &str) -> Option<Output> {
    if !is_on_path("promtool") {
        skipped("no promtool (package prometheus)");
        return None;
    }
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap())
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

#[test]
fn the_whole_sample_has_every_family_that_the_code_names() {
    let sources = [
        include_str!("families.rs"),
        include_str!("families/services.rs"),
        include_str!("families/volumes.rs"),
    ];
    let name = Regex::new("\"(node_agent_[a-z0-9_]+)\"").unwrap();
    let named: BTreeSet<&str> = sources
        .iter()
        .flat_map(|text| name.captures_iter(text).map(|found| found.get(1).unwrap().as_str()))
        .collect();
    assert_eq!(named, shown().into_keys().collect(), "they are not the same");
}

#[test]
fn the_exposition_is_clean_for_promtool() {
    let text = exposition::text(&families(&whole(100)));
    let Some(output) = promtool(&["check", "metrics"], &text) else { return };
    assert!(output.status.success() && said(&output).is_empty(), "{}\n{text}", said(&output));
    let bad = "# TYPE node_agent_x_milliseconds counter\nnode_agent_x_milliseconds 1\n";
    let output = promtool(&["check", "metrics"], bad).unwrap();
    assert!(!output.status.success(), "it finds nothing wrong with anything: {}", said(&output));
}

#[test]
fn every_metric_and_label_of_alerts_and_dashboard_is_exposed() {
    let shown = shown();
    let selector = Regex::new(r"(node_agent_[a-z0-9_]+)(?:\{([^}]*)\})?").unwrap();
    let matcher = Regex::new(r#"([a-z_]+)\s*(?:=~|!~|!=|=)\s*"[^"]*""#).unwrap();
    let grouping = Regex::new(r"(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)").unwrap();
    let mut tried = 0;
    for (place, expression) in expressions_of_rules().into_iter().chain(expressions_of_dashboard()) {
        let mut known: BTreeSet<&str> = OF_THE_SCRAPE.into();
        for found in selector.captures_iter(&expression) {
            let name = found.get(1).unwrap().as_str();
            let labels = shown.get(name).unwrap_or_else(|| panic!("{place}: nobody shows {name}"));
            known.extend(labels);
            for label in matcher.captures_iter(found.get(2).map_or("", |it| it.as_str())) {
                let label = label.get(1).unwrap().as_str();
                let is_known = labels.contains(label) || OF_THE_SCRAPE.contains(&label);
                assert!(is_known, "{place}: {name} has no label {label}");
            }
            tried += 1;
        }
        let grouped =
            grouping.captures_iter(&expression).flat_map(|it| it.get(1).unwrap().as_str().split(','));
        for label in grouped.map(str::trim).filter(|label| !label.is_empty()) {
            assert!(known.contains(label), "{place}: nothing in it has a label {label}");
        }
    }
    assert!(tried > 80, "{tried}");
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_to_type() {
    let text = read("prometheus/node-agent.rules.yml");
    let command = Regex::new("`(agentctl|node-bootstrap|systemctl|du|docker) ").unwrap();
    for rule in text.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        for part in ["severity: ", "summary: ", "description: "] {
            assert!(rule.contains(part), "{name} has no {part}");
        }
        let description = rule.split_once("description: ").unwrap().1;
        assert!(command.is_match(description), "{name} does not say what to type: {description}");
    }
}

#[test]
fn every_alert_fires_in_its_situation_and_is_silent_on_a_node_that_is_well() {
    let tests = read("prometheus/node-agent.rules.test.yml");
    for (alert, _) in expressions_of_rules() {
        assert!(tests.contains(&format!("- alertname: {alert}\n")), "no situation has {alert} fire");
        let silent = format!("{{ alertname: {alert}, eval_time: 10h, exp_alerts: [] }}");
        assert!(tests.contains(&silent), "{alert} is not asked for on a node that is well");
    }
    for (verb, file) in [("check", "node-agent.rules.yml"), ("test", "node-agent.rules.test.yml")] {
        let file = packaged("prometheus").join(file);
        let Some(output) = promtool(&[verb, "rules", file.to_str().unwrap()], "") else { return };
        assert!(output.status.success(), "{}", said(&output));
    }
}

#[test]
fn a_rule_that_does_not_fire_fails_its_test() {
    let folder = tempfile::tempdir().unwrap();
    let rules = read("prometheus/node-agent.rules.yml");
    let broken = rules.replace("node_agent_volume_mounted == 0", "node_agent_volume_mounted == 2");
    assert_ne!(rules, broken);
    std::fs::write(folder.path().join("node-agent.rules.yml"), broken).unwrap();
    let tests = folder.path().join("node-agent.rules.test.yml");
    std::fs::copy(packaged("prometheus/node-agent.rules.test.yml"), &tests).unwrap();
    let Some(output) = promtool(&["test", "rules", tests.to_str().unwrap()], "") else { return };
    assert!(
        !output.status.success() && said(&output).contains("NodeAgentVolumeMissing"),
        "{}",
        said(&output)
    );
}

#[test]
fn every_expression_of_the_dashboard_is_read_by_promtool() {
    let rules = expressions_of_dashboard().into_iter().enumerate().map(|(index, (_, expression))| {
        // Grafana's own variables, as it would fill them in.
        let expression = expression.replace("$__rate_interval", "5m").replace("$instance", ".*");
        serde_json::json!({"record": format!("panel:{index}"), "expr": expression})
    });
    let groups = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules.collect::<Vec<_>>()}]});
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dashboard.yml");
    // JSON is YAML.
    std::fs::write(&file, groups.to_string()).unwrap();
    let Some(output) = promtool(&["check", "rules", file.to_str().unwrap()], "") else { return };
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn the_panels_of_the_dashboard_have_their_own_ids_and_places() {
    let dashboard = dashboard();
    let panels = panels(&dashboard);
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "an id twice");
    let mut taken: BTreeMap<(u64, u64), &str> = BTreeMap::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        let number =
            |key: &str| panel["gridPos"][key].as_u64().unwrap_or_else(|| panic!("{title}: no {key}"));
        let (x, y, width, height) = (number("x"), number("y"), number("w"), number("h"));
        assert!(width > 0 && height > 0 && x + width <= 24, "{title} is not on the grid");
        for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
            let other = taken.insert(cell, title);
            assert_eq!(other, None, "{title} lies on another panel at {cell:?}");
        }
    }
    let variables: Vec<&Value> = dashboard["templating"]["list"].as_array().unwrap().iter().collect();
    let names: Vec<&str> = variables.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "instance"]);
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 38, "of Grafana 10 or newer");
}
