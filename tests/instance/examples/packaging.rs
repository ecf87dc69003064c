//! What packaging/ says beside the examples, held against the programs: permissions, user data, and the list of
//! examples.

use super::deployment::workspace;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What the engine asks of ECR when it pulls with the agent's token
/// (<https://docs.aws.amazon.com/AmazonECR/latest/userguide/security-iam-awsmanpol.html>, PullOnly).
const ASKED_BY_THE_ENGINE: [&str; 2] = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"];
/// The clients that the programs use, by the service that their policies name.
const CLIENTS: [(&str, &str); 3] = [
    ("aws_sdk_ecr", "ecr"),
    ("aws_sdk_cloudwatchlogs", "logs"),
    ("aws_sdk_secretsmanager", "secretsmanager"),
];
/// How AWS's operations begin that are on our clients; `set_…` and the like are settings.
const VERBS: [&str; 9] = ["batch", "create", "delete", "describe", "get", "list", "put", "start", "update"];

fn read(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap()
}

/// `CreateLogGroup` is checked for it as well where it is given tags.
const FOR_TAGS: &str = "logs:TagResource";

/// Product code of the modules that name the AWS SDK.
fn cloud_modules() -> Vec<String> {
    let files = ["agent/src/cloud", "node/src/cloud"].map(|folder| files_of(&workspace().join(folder)));
    let code = files.into_iter().flatten().filter(|path| !path.to_string_lossy().ends_with("tests.rs"));
    code.map(|path| {
        let text = fs::read_to_string(path).unwrap();
        text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
    })
    .collect()
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// `.put_log_events()` as `PutLogEvents`.
fn operations(code: &str) -> Vec<String> {
    let calls = code.split('.').skip(1).filter_map(|rest| rest.split_once("()")).map(|(name, _)| name);
    let words = calls.map(|name| name.split('_').collect::<Vec<_>>());
    let operations = words.filter(|words| words.len() > 1 && VERBS.contains(&words[0]));
    operations
        .map(|words| words.iter().map(|word| word[..1].to_uppercase() + &word[1..]).collect::<String>())
        .collect()
}

#[test]
fn the_policy_names_exactly_the_actions_that_are_called() {
    let mut called: BTreeSet<String> = ASKED_BY_THE_ENGINE.map(str::to_owned).into();
    for code in cloud_modules() {
        for (_, service) in CLIENTS.iter().filter(|(client, _)| code.contains(client)) {
            called.extend(operations(&code).iter().map(|operation| format!("{service}:{operation}")));
        }
    }
    let gives_tags = cloud_modules()
        .iter()
        .any(|code| code.contains("create_log_group().") && code.contains(".set_tags("));
    called.extend(gives_tags.then(|| FOR_TAGS.to_owned()));
    let policy: Value = serde_json::from_str(&read("packaging/iam/node-agent-policy.json")).unwrap();
    let statements = policy["Statement"].as_array().unwrap();
    let text = |action: &Value| action.as_str().unwrap().to_owned();
    let actions = statements.iter().flat_map(|statement| match &statement["Action"] {
        Value::Array(actions) => actions.iter().map(text).collect(),
        action => vec![text(action)],
    });
    assert_eq!(actions.collect::<BTreeSet<_>>(), called);
    assert!(statements.iter().all(|statement| statement["Effect"] == "Allow"), "{policy:#}");
}

#[test]
fn user_data_is_short_and_names_this_version() {
    let script = read("packaging/cloud-init/user-data.sh");
    let (head, node_toml) = script.split_once("<<'EOF'\n").unwrap();
    assert!(head.lines().count() <= 6, "{head}");
    assert!(script.lines().count() < 16, "{script}");
    assert!(node_toml.contains(&format!("/node-agent-{}-x86_64.tar.gz", env!("CARGO_PKG_VERSION"))));
    let readme = read("packaging/examples/README.md");
    for line in head.lines() {
        assert!(readme.contains(line), "packaging/examples/README.md shows other user data than: {line}");
    }
}

#[test]
fn the_ways_of_a_baked_image_are_short_and_shown_as_they_are() {
    let node_toml = read("packaging/cloud-init/node.toml");
    assert!(node_toml.starts_with("# node.toml\n") && node_toml.lines().count() < 10, "{node_toml}");
    assert!(
        read("README.md").contains(&format!("```toml\n{node_toml}```")),
        "README.md shows another node.toml"
    );
    let sections = node_toml.split_once('\n').unwrap().1;
    assert!(read("packaging/cloud-init/user-data.mime").contains(sections), "the part is another node.toml");
    let bake = read("packaging/ami/bake.sh");
    assert!(bake.lines().count() < 10, "{bake}");
    assert!(bake.contains(&format!("release=node-agent-{}-x86_64\n", env!("CARGO_PKG_VERSION"))), "{bake}");
}

#[test]
fn the_list_of_examples_names_each_with_its_images_secrets_and_log_group() {
    let readme = read("packaging/examples/README.md");
    let folders = files_of(&workspace().join("packaging/examples")).into_iter().filter(|path| path.is_dir());
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let link = format!("[{name}]({name}/node.toml)");
        let row = readme.lines().find(|line| line.contains(&link));
        let row = row.unwrap_or_else(|| panic!("packaging/examples/README.md has no row for {link}"));
        let node_toml = fs::read_to_string(folder.join("node.toml")).unwrap();
        for (before, after) in [("amazonaws.com/", ":"), ("\nid = \"", "\""), ("\ndevice = \"", "\"")] {
            let words = node_toml.split(before).skip(1).filter_map(|rest| rest.split(after).next());
            for word in words {
                assert!(row.contains(&format!("`{word}`")), "the row of {name} does not name {word}: {row}");
            }
        }
    }
}
