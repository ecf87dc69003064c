//! The deployments in packaging/examples are valid as they are.

use super::{check, facts, settings};
use std::path::PathBuf;

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
    let (_, text) =
        examples().into_iter().find(|(path, _)| path.ends_with("algoitny-api/node.toml")).unwrap();
    let settings = settings(&text);
    let api = &settings.services["api"];
    let image = format!("{}.dkr.ecr.{}.amazonaws.com/algoitny:latest", facts().account, facts().region);
    assert_eq!(api.image.to_string(), image);
    assert_eq!(api.environment_from, ["app"]);
    assert_eq!(settings.secrets["app"].require.len(), 6);
    assert_eq!(settings.logs.unwrap().group, "/aws/ec2/algoitny-api-prod");
}
