//! The deployments in packaging/examples are valid as they are.

use super::{check, facts, settings};
use crate::config::settings::{ModelServer, Settings, Strategy};
use std::path::PathBuf;
use std::time::Duration;

pub(super) fn examples() -> Vec<(PathBuf, String)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../packaging/examples");
    let mut examples: Vec<_> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path().join("node.toml"))
        .filter(|path| path.exists())
        .map(|path| (path.clone(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    examples.sort();
    examples
}

fn example(name: &str) -> Settings {
    let found = examples().into_iter().find(|(path, _)| path.ends_with(format!("{name}/node.toml")));
    settings(&found.unwrap_or_else(|| panic!("no example {name}")).1)
}

#[test]
fn every_example_is_valid_and_fits_on_a_screen() {
    let examples = examples();
    assert!(examples.len() >= 6, "{examples:?}");
    for (path, text) in examples {
        assert_eq!(check(&text), [""; 0], "{}", path.display());
        assert!(!settings(&text).services.is_empty(), "{}", path.display());
        assert!(text.lines().count() <= 50, "{} has {} lines", path.display(), text.lines().count());
    }
}

#[test]
fn the_api_gets_its_image_secret_and_log_group() {
    let settings = example("algoitny-api");
    let api = &settings.services["api"];
    let image = format!("{}.dkr.ecr.{}.amazonaws.com/algoitny:latest", facts().account, facts().region);
    assert_eq!(api.image.to_string(), image);
    assert_eq!(api.environment_from, ["app"]);
    assert_eq!(settings.secrets["app"].require.len(), 6);
    assert_eq!(settings.logs.unwrap().group, "/aws/ec2/algoitny-api-prod");
}

#[test]
fn what_serves_is_replaced_without_a_gap_and_what_must_be_alone_is_stopped_first() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    for (name, service, strategy, every) in [
        ("fastapi", "api", Strategy::BlueGreen, None),
        ("algoitny-api", "api", Strategy::BlueGreen, Some(minutes(1))),
        ("algoitny-worker", "worker", Strategy::Recreate, Some(minutes(1))),
        ("inference", "infer", Strategy::BlueGreen, Some(minutes(60))),
        ("ollama-chat", "ollama", Strategy::Recreate, None),
        ("ollama-chat", "backend", Strategy::BlueGreen, Some(minutes(1))),
        ("ollama-chat", "frontend", Strategy::BlueGreen, Some(minutes(1))),
        ("rag", "ollama", Strategy::Recreate, None),
        ("rag", "app", Strategy::BlueGreen, Some(minutes(1))),
    ] {
        let update = &example(name).services[service].update;
        assert_eq!((update.strategy, update.every), (strategy, every), "{service} of {name}");
    }
    let api = &example("algoitny-api").services["api"];
    assert_eq!((api.update.drain, api.stop_timeout), (minutes(1), minutes(1)));
    assert_eq!(example("algoitny-worker").services["worker"].stop_timeout, minutes(15));
}

#[test]
fn models_are_where_they_outlive_the_container_and_one_is_in_memory_before_the_node_is_ready() {
    for (name, directory, kept_loaded, others, every) in [
        (
            "ollama-chat",
            "/mnt/ollama-models/models",
            "llama2:7b",
            vec!["nomic-embed-text"],
            Some(Duration::from_secs(3600)),
        ),
        ("rag", "/var/lib/ollama/models", "llama3.2:3b", vec![], None),
    ] {
        let models = example(name).models.unwrap();
        assert_eq!(models.server, ModelServer::Service { name: "ollama".to_owned(), port: 11434 }, "{name}");
        assert_eq!((models.directory.as_deref(), models.every), (Some(directory), every), "{name}");
        let (needed, rest): (Vec<_>, Vec<_>) = models.pull.iter().partition(|(_, model)| model.required);
        let names =
            |models: Vec<(&String, _)>| models.into_iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert!(needed.iter().all(|(_, model)| model.keep_loaded), "{name}: {needed:?}");
        assert_eq!(
            (names(needed), names(rest)),
            (vec![kept_loaded.to_owned()], others.iter().map(|name| (*name).to_owned()).collect())
        );
    }
}

#[test]
fn only_what_uses_the_instances_role_reaches_the_metadata() {
    for (path, text) in examples() {
        let uses_the_role = path.to_string_lossy().contains("algoitny");
        for (name, service) in settings(&text).services {
            assert_eq!(service.imds, uses_the_role, "{name} of {}", path.display());
        }
    }
}

#[test]
fn lines_that_an_example_leaves_to_the_reader_are_valid_too() {
    let commented: Vec<_> = examples().into_iter().filter(|(_, text)| text.contains("\n# gpus")).collect();
    assert_eq!(commented.len(), 1, "{commented:?}");
    for (_, text) in commented {
        assert!(settings(&text.replace("\n# gpus", "\ngpus")).services["ollama"].gpus.is_some());
    }
}
