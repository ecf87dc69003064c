//! A configuration in force, and files that come after it.

use super::*;
use node::environment::Environment;
use node::files::replace;
use std::collections::BTreeMap;
use tempfile::TempDir;

const ONE: &str = "[services.api]\nimage = \"localhost:5000/api:one\"\n";

fn facts() -> Facts {
    Facts {
        instance_id: "i-0123456789abcdef0".to_owned(),
        instance_type: "t3.small".to_owned(),
        region: "eu-north-1".to_owned(),
        availability_zone: "eu-north-1a".to_owned(),
        account: "123456789012".to_owned(),
        image_id: "ami-0".to_owned(),
        tags: BTreeMap::from([("Stage".to_owned(), "prod".to_owned())]),
    }
}

/// A node on which nobody answers for the metadata service.
async fn node(text: &str) -> (TempDir, Configuration) {
    let root = tempfile::tempdir().unwrap();
    let paths = Paths::under(root.path());
    replace(&paths.configuration(), text.as_bytes(), 0o644).unwrap();
    let files = Files { paths, named: None };
    let sources = files.read().await.unwrap();
    let draft = Draft::parse(sources.clone()).unwrap();
    let resolved = draft.resolve(&facts()).unwrap();
    let nobody = [("AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(), "http://127.0.0.1:1".to_owned())];
    let imds = imds::Client::new(&nobody.into_iter().collect::<Environment>());
    let configuration = Configuration::new((files, "boot".to_owned()), imds, (facts(), resolved), &sources);
    (root, configuration)
}

fn source(text: &str) -> Vec<Source> {
    vec![Source { name: "node.toml".to_owned(), text: text.to_owned() }]
}

async fn refused(configuration: &Configuration, text: &str) -> Refusal {
    configuration.judge(source(text)).await.err().unwrap_or_else(|| panic!("taken: {text}"))
}

#[tokio::test]
async fn the_same_texts_are_known_and_others_are_not() {
    let (_root, mut configuration) = node(ONE).await;
    let same = configuration.files.read().await.unwrap();
    assert!(configuration.are_known(&same));
    assert!(!configuration.are_known(&source(ONE)), "another name is another file");
    assert!(!configuration.are_known(&same), "what was read last counts");
}

#[tokio::test]
async fn mistakes_are_a_problem_with_the_first_of_them_until_the_files_are_right() {
    let (_root, mut configuration) = node(ONE).await;
    let refusal = refused(&configuration, "[services.api]\nimagee = \"x\"\nmemory = \"lots\"\n").await;
    assert_eq!((refusal.code, refusal.mistakes.len()), (reload::INVALID, 2), "{refusal:?}");
    assert_eq!(refusal.lines().len(), 2);
    configuration.refuse(&refusal, Timestamp::UNIX_EPOCH);
    let problems = configuration.problems(Timestamp::UNIX_EPOCH);
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    assert!(problem.message.contains("node.toml:") && problem.message.contains("and 1 more"), "{problem:?}");
    assert!(problem.hint.as_ref().unwrap().contains("agentctl config check"), "{problem:?}");
    assert!(!configuration.is_undecided());
    configuration.is_confirmed();
    assert!(configuration.problems(Timestamp::UNIX_EPOCH).is_empty());
}

#[tokio::test]
async fn an_empty_file_stops_nothing_and_a_comment_means_it() {
    let (_root, configuration) = node(ONE).await;
    let refusal = refused(&configuration, " \n").await;
    assert!(refusal.message.contains("is empty"), "{refusal:?}");
    let next = configuration.judge(source("# none\n")).await.ok().unwrap();
    assert!(next.resolved.settings.services.is_empty());
    let (_root, nothing) = node("# none\n").await;
    assert!(nothing.judge(source("")).await.is_ok(), "where nothing runs, nothing is lost");
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_nobody_answers_for_leaves_it_undecided_and_one_that_is_known_does_not_ask() {
    let (_root, mut configuration) = node(ONE).await;
    let known = configuration.judge(source(&ONE.replace("one", "${tag:Stage}"))).await.ok().unwrap();
    assert_eq!(known.resolved.settings.services["api"].image.to_string(), "localhost:5000/api:prod");
    let refusal = refused(&configuration, &ONE.replace("one", "${tag:Colour}")).await;
    assert_eq!(refusal.code, reload::UNDECIDED, "{refusal:?}");
    configuration.refuse(&refusal, Timestamp::UNIX_EPOCH);
    assert!(configuration.is_undecided());
}

#[tokio::test]
async fn what_bootstrap_applies_is_told_until_it_has_run_or_is_taken_back() {
    let (root, mut configuration) = node(ONE).await;
    let with_volume = format!("{ONE}[volumes.data]\ndevice = \"/dev/sdf\"\nmount = \"/data\"\n");
    let take = async |configuration: &mut Configuration, text: &str| {
        let next = configuration.judge(source(text)).await.ok().unwrap();
        configuration.take(next);
    };
    take(&mut configuration, &with_volume).await;
    let problems = configuration.problems(Timestamp::UNIX_EPOCH);
    assert!(
        problems[0].code == BOOTSTRAP_AWAITED && problems[0].message.contains("[volumes]"),
        "{problems:?}"
    );
    assert!(!crate::status::degrades(&problems[0]), "what runs does its job");
    configuration.look_for_bootstrap();
    assert!(configuration.awaits_bootstrap());
    take(&mut configuration, ONE).await;
    assert!(!configuration.awaits_bootstrap(), "taken back");
    take(&mut configuration, &with_volume).await;
    let handoff = serde_json::json!({
        "schema": 1, "boot_id": "boot", "bootstrap_version": "0.1.0",
        "started_at": "2026-03-01T12:00:00Z", "finished_at": "2026-03-01T12:00:01Z",
        "identity": null, "volumes": [], "secrets": [], "steps": [], "problems": [],
    });
    let path = Paths::under(root.path()).handoff();
    replace(&path, handoff.to_string().as_bytes(), 0o644).unwrap();
    configuration.look_for_bootstrap();
    assert!(!configuration.awaits_bootstrap() && configuration.problems(Timestamp::UNIX_EPOCH).is_empty());
}

#[tokio::test]
async fn a_file_that_is_gone_is_told_as_such() {
    let (root, configuration) = node(ONE).await;
    std::fs::remove_file(Paths::under(root.path()).configuration()).unwrap();
    let refusal = configuration.files.read().await.unwrap_err();
    assert_eq!(refusal.code, reload::UNREADABLE);
    assert!(refusal.message.starts_with("cannot read ") && refusal.hint.is_some(), "{refusal:?}");
}
