//! The rules of the house: what ARCHITECTURE.md says of imports and pure modules is true, because it is read from there.

#![expect(clippy::expect_used, reason = "a test that cannot read the tree has failed")]

#[path = "sources/mod.rs"]
mod sources;

use sources::{product_sources, rust_files, workspace};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

const LINES_OF_A_FILE: usize = 400;

/// Product code of the three crates: path from the workspace's root, and the lines before the tests, without comments.
fn product_code() -> Vec<(String, String)> {
    let without_tests = |text: &str| {
        let code = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
        code.filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    };
    product_sources(|_| true).into_iter().map(|(path, text)| (path, without_tests(&text))).collect()
}

/// Rows of the table in ARCHITECTURE.md whose first column is headed `head`: the words in backticks of each column.
fn table(head: &str) -> Vec<Vec<Vec<String>>> {
    let text = fs::read_to_string(workspace().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let rows = text.lines().skip_while(|line| !line.starts_with(&format!("| {head} |"))).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let table: Vec<Vec<Vec<String>>> = rows
        .map(|row| {
            let cells = row.trim_matches('|').split('|');
            cells.map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()).collect()
        })
        .collect();
    assert!(!table.is_empty(), "ARCHITECTURE.md has no table headed `{head}`");
    table
}

fn report(rule: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}

#[test]
fn outside_libraries_are_named_only_where_architecture_says() {
    let files = product_code();
    let mut offences = Vec::new();
    for row in table("library") {
        let (words, places) = (&row[0], &row[1]);
        for (path, code) in &files {
            let allowed = places.iter().any(|place| path.starts_with(place.as_str()));
            for word in words.iter().filter(|word| !allowed && code.contains(word.as_str())) {
                offences.push(format!("{path} names {word}"));
            }
        }
    }
    report("a library is named outside its place", &offences);
}

#[test]
fn pure_modules_do_no_input_or_output_read_no_clock_and_do_not_log() {
    let forbidden = [
        "std::fs",
        "std::process",
        "std::env",
        "std::net::Tcp",
        "std::thread",
        "tokio::",
        "async fn",
        ".await",
        "tracing::",
        "::now()",
        "println!",
        "reqwest::",
        "File::open",
    ];
    let files = product_code();
    let mut offences = Vec::new();
    let mut seen = 0;
    for row in table("pure module") {
        for place in &row[0] {
            let matching = files.iter().filter(|(path, _)| path.starts_with(place.as_str()));
            for (path, code) in matching.inspect(|_| seen += 1) {
                let found = forbidden.iter().filter(|word| code.contains(**word));
                offences.extend(found.map(|word| format!("{path} uses {word}")));
            }
            assert!(files.iter().any(|(path, _)| path.starts_with(place.as_str())), "{place} does not exist");
        }
    }
    println!("{seen} pure files");
    report("a pure module is not pure", &offences);
}

/// The agent's modules that a file imports, taken from its `crate::…` paths.
fn imports(code: &str) -> BTreeSet<String> {
    let name =
        |rest: &str| rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or("").to_owned();
    let mut found = BTreeSet::new();
    for (_, rest) in code.match_indices("crate::").map(|(at, word)| (at, &code[at + word.len()..])) {
        match rest.strip_prefix('{') {
            Some(group) => {
                let group = group.split("};").next().unwrap_or(group);
                found.extend(group.split(',').map(|part| name(part.trim())));
            }
            None => {
                found.insert(name(rest));
            }
        }
    }
    found.remove("");
    found
}

#[test]
fn imports_between_the_modules_of_the_agent_go_the_way_of_architecture() {
    let mut allowed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in table("module of the agent") {
        for module in &row[0] {
            allowed.insert(module.clone(), row[1].iter().cloned().collect());
        }
    }
    let modules: BTreeSet<String> = allowed.keys().cloned().collect();
    let mut offences = Vec::new();
    for (path, code) in product_code() {
        let Some(inside) = path.strip_prefix("agent/src/") else { continue };
        let module = inside.split(['/', '.']).next().unwrap_or_default().to_owned();
        if ["lib", "bin"].contains(&module.as_str()) {
            continue;
        }
        let Some(may) = allowed.get(&module) else {
            offences.push(format!("{path}: module {module} is not in the table"));
            continue;
        };
        let used = imports(&code);
        let wrong =
            used.iter().filter(|name| modules.contains(*name) && **name != module && !may.contains(*name));
        offences.extend(wrong.map(|name| format!("{path} imports {name}")));
    }
    report("an import goes against the data flow", &offences);
}

#[test]
fn the_table_of_imports_has_no_cycle() {
    let rows = table("module of the agent");
    let mut allowed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in &rows {
        for module in &row[0] {
            allowed.insert(module, row[1].iter().map(String::as_str).collect());
        }
    }
    while !allowed.is_empty() {
        let free = allowed.iter().find(|(_, uses)| uses.iter().all(|used| !allowed.contains_key(used)));
        let Some((&free, _)) = free else {
            panic!("these modules import each other in a circle: {:?}", allowed.keys().collect::<Vec<_>>())
        };
        allowed.remove(free);
    }
}

#[test]
fn files_are_short_and_named_for_what_they_hold() {
    let mut offences = Vec::new();
    for (path, code) in product_code() {
        let lines = code.lines().count();
        if lines > LINES_OF_A_FILE {
            offences.push(format!("{path}: {lines} lines without comments and tests"));
        }
        let vague = ["util", "common", "manager", "helper", "misc"];
        // "Secrets Manager" is the name of the AWS service.
        let name = path.rsplit('/').next().unwrap_or_default().replace("secrets_manager", "");
        offences.extend(
            vague.iter().filter(|word| name.contains(**word)).map(|word| format!("{path}: `{word}`")),
        );
    }
    report("a file is too long or has a vague name", &offences);
}

#[test]
fn every_file_says_at_its_head_what_it_is() {
    let root = workspace();
    let directories = ["node/src", "bootstrap/src", "agent/src", "tests"];
    let files = directories.iter().flat_map(|name| rust_files(&root.join(name)));
    let silent = files.filter(|path| {
        let text = fs::read_to_string(path).expect("a readable source file");
        !text.trim_start_matches(|c: char| c.is_whitespace()).starts_with("//!")
    });
    let silent: Vec<String> = silent.map(|path| path.display().to_string()).collect();
    report("a file has no header", &silent);
}

#[test]
fn every_seed_deployment_has_its_example_node() {
    let examples = workspace().join("packaging/examples");
    for name in ["ollama-chat", "fastapi", "inference", "rag", "algoitny-api", "algoitny-worker"] {
        assert!(examples.join(name).join("node.toml").exists(), "no example for {name}");
    }
}
