//! Which configuration is taken, and what becomes of one that is wrong.

use super::*;
use std::path::Path;

const GOOD: &str = "[services.web]\nimage = \"nginx:1\"\n";
const BETTER: &str = "[services.web]\nimage = \"nginx:2\"\n";
const WRONG: &str = "[services.web]\nimage = \"nginx:1\"\nports = [\"99999:1\"]\nimag = 1\n";

fn root(installed: Option<&str>) -> (tempfile::TempDir, Paths) {
    let root = tempfile::tempdir().unwrap();
    let paths = Paths::under(root.path());
    if let Some(text) = installed {
        files::replace(&paths.configuration(), text.as_bytes(), MODE).unwrap();
    }
    (root, paths)
}

fn user_data(text: &str) -> Asked {
    Asked::Answer(UserData::NodeToml { text: text.to_owned(), is_part: false })
}

fn silent() -> Asked {
    Asked::Unknown(Fault::new("imds_unreachable", "cannot reach it", None))
}

fn facts() -> Facts {
    Facts {
        instance_id: "i-1".to_owned(),
        instance_type: "t3.small".to_owned(),
        region: "eu-north-1".to_owned(),
        availability_zone: "eu-north-1a".to_owned(),
        account: "123456789012".to_owned(),
        image_id: "ami-1".to_owned(),
        tags: std::collections::BTreeMap::new(),
    }
}

/// What the image of the only service follows, such as `Tag("1")`.
fn image(configuration: &mut Configuration) -> String {
    let settings = configuration.settle(&facts()).unwrap();
    settings.services.values().map(|service| format!("{:?}", service.image)).collect()
}

fn file(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn user_data_comes_before_the_installed_file_and_is_installed() {
    let (_root, paths) = root(Some(GOOD));
    let mut configuration = found(&paths, user_data(BETTER)).unwrap();
    assert!(image(&mut configuration).contains("\"2\""));
    assert_eq!(configuration.preview(&paths).intent, Intent::Change);
    assert_eq!(file(&paths.configuration()), GOOD, "a preview changes nothing");
    let ending = configuration.install(&paths, true);
    assert_eq!(ending.reason, "replace the installed configuration with the node.toml that user data is");
    assert_eq!(file(&paths.configuration()), BETTER);
    let again = found(&paths, user_data(BETTER)).unwrap();
    assert_eq!(
        again.install(&paths, true),
        Ending::unchanged("the node.toml that user data is is installed already")
    );
}

#[test]
fn the_installed_file_is_used_where_user_data_is_none_or_somebody_elses_or_not_known() {
    let (_root, paths) = root(Some(GOOD));
    for (asked, why, in_vain) in [
        (Asked::Nothing, "there is no user data", false),
        (Asked::Answer(UserData::Other("is a script")), "user data is a script", false),
        (silent(), "user data is not known: cannot reach it", true),
    ] {
        let configuration = found(&paths, asked).unwrap();
        assert_eq!(configuration.asked_in_vain(), in_vain, "{why}");
        let ending = configuration.install(&paths, true);
        assert_eq!(ending, Ending::unchanged(format!("the installed one is valid; {why}")));
    }
}

#[test]
fn without_any_configuration_it_is_said_which_one_was_looked_for() {
    let (_root, paths) = root(None);
    let absent = |asked| match found(&paths, asked) {
        Err(Unusable::Absent(fault)) => fault,
        other => panic!("{other:?}"),
    };
    let fault = absent(Asked::Answer(UserData::Other("is a script")));
    assert!(fault.message.ends_with("etc/node-agent/node.toml, and user data is a script"), "{fault:?}");
    assert!(absent(Asked::Nothing).hint.is_some());
    assert!(matches!(found(&paths, silent()), Err(Unusable::Unknown(_))));
}

#[test]
fn wrong_user_data_leaves_the_last_good_configuration_in_force() {
    let (_root, paths) = root(Some(GOOD));
    let mut configuration = found(&paths, user_data(WRONG)).unwrap();
    assert!(image(&mut configuration).contains("\"1\""));
    let refused = configuration.refused.clone().unwrap();
    assert_eq!(refused.lines.len(), 2, "every mistake: {refused:?}");
    assert!(refused.lines.iter().all(|line| line.starts_with("<user data>:")), "{refused:?}");
    let Fault { code, message, hint } = &refused.fault;
    assert_eq!(code, "configuration_invalid");
    assert!(message.starts_with("<user data>:3:") && message.ends_with("(and 1 more)"), "{message}");
    assert!(hint.is_some());
    assert_eq!(configuration.install(&paths, true).outcome, node::handoff::Outcome::Failed);
    assert_eq!(configuration.preview(&paths).intent, Intent::Refuse);
    assert_eq!(file(&paths.configuration()), GOOD);
}

#[test]
fn a_mistake_that_shows_only_on_this_instance_is_refused_as_the_others_are() {
    let needs_tag = "[services.web]\nimage = \"nginx:${tag:Stage}\"\n";
    let (_root, paths) = root(Some(GOOD));
    let mut configuration = found(&paths, user_data(needs_tag)).unwrap();
    assert_eq!(configuration.tags(), BTreeSet::from(["Stage".to_owned()]));
    assert!(image(&mut configuration).contains("\"1\""));
    assert!(configuration.refused.as_ref().unwrap().fault.message.contains("Stage"), "{configuration:?}");
    assert_eq!(configuration.install(&paths, true).outcome, node::handoff::Outcome::Failed);
    assert_eq!(file(&paths.configuration()), GOOD);

    let unsettled = found(&paths, user_data(needs_tag)).unwrap();
    assert_eq!(unsettled.install(&paths, false).outcome, node::handoff::Outcome::Skipped);
    assert_eq!(file(&paths.configuration()), GOOD);

    let (_root, paths) = root(None);
    let mut alone = found(&paths, user_data(needs_tag)).unwrap();
    assert!(alone.settle(&facts()).is_err() && alone.refused.is_none());
}

#[test]
fn wrong_user_data_with_nothing_good_installed_is_refused() {
    for installed in [None, Some(WRONG)] {
        let (_root, paths) = root(installed);
        let Err(Unusable::Refused(refused)) = found(&paths, user_data(WRONG)) else {
            panic!("{installed:?}")
        };
        assert_eq!(refused.lines.len(), 2);
        let unreadable = Asked::Answer(UserData::Unreadable("has a part node.toml that is not UTF-8"));
        let Err(Unusable::Refused(refused)) = found(&paths, unreadable) else { panic!("{installed:?}") };
        assert!(refused.lines[0].starts_with("user data has a part node.toml that is not UTF-8 (hint: "));
    }
    let (_root, paths) = root(Some(WRONG));
    assert!(matches!(found(&paths, Asked::Nothing), Err(Unusable::Load(LoadError::Invalid(_)))));
}

#[test]
fn what_is_given_is_used_or_refused_and_nothing_else_in_its_place() {
    let (folder, paths) = root(Some(GOOD));
    let path = folder.path().join("given.toml");
    let name = path.to_str().unwrap();
    assert!(matches!(given(&paths, name), Err(Unusable::Load(LoadError::Read { .. }))));
    files::replace(&path, WRONG.as_bytes(), MODE).unwrap();
    assert!(matches!(given(&paths, name), Err(Unusable::Load(LoadError::Invalid(_)))));
    files::replace(&path, BETTER.as_bytes(), MODE).unwrap();
    let ending = given(&paths, name).unwrap().install(&paths, true);
    assert_eq!(ending.reason, "replace the installed configuration with the given configuration");
    assert_eq!(file(&paths.configuration()), BETTER);
}

#[test]
fn who_waited_for_its_turn_uses_what_was_installed_meanwhile() {
    let (_root, paths) = root(Some(GOOD));
    let waiting = found(&paths, Asked::Nothing).unwrap();
    files::replace(&paths.configuration(), BETTER.as_bytes(), MODE).unwrap();
    assert!(image(&mut waiting.read_again(&paths).unwrap()).contains("\"2\""));
}
