//! What a container is made of, and what becomes of failures.

use super::*;
use crate::simulation::samples::service;
use node::paths::Paths;
use secrecy::SecretSlice;

fn store() -> (tempfile::TempDir, Store) {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(&Paths::under(root.path()));
    (root, store)
}

fn secret(name: &str, values: &[(&str, &[u8])]) -> SecretValue {
    let values = values.iter().map(|(key, value)| ((*key).to_owned(), SecretSlice::from(value.to_vec())));
    SecretValue {
        name: name.to_owned(),
        version_id: format!("{name}-1"),
        fetched_at: Timestamp::UNIX_EPOCH,
        values: values.collect(),
    }
}

fn version() -> Version {
    Version { digest: "sha256:one".to_owned(), spec: "spec".to_owned() }
}

fn from_secret(secret: &str, key: &str) -> EnvironmentValue {
    EnvironmentValue::FromSecret { secret: secret.to_owned(), key: key.to_owned() }
}

fn plain(spec: &ContainerSpec) -> Vec<(&str, &str)> {
    spec.environment.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect()
}

#[test]
fn the_environment_is_literals_over_keys_over_whole_secrets() {
    let (_root, store) = store();
    store.write(&secret("app", &[("A", b"app-a"), ("B", b"app-b")])).unwrap();
    store.write(&secret("more", &[("B", b"more-b"), ("C", b"more-c")])).unwrap();
    let mut wanted = service("api", "spec");
    wanted.settings.environment_from = vec!["app".to_owned(), "more".to_owned()];
    wanted.settings.environment = [
        ("C".to_owned(), EnvironmentValue::Literal("literal".to_owned())),
        ("D".to_owned(), from_secret("app", "A")),
    ]
    .into();
    let spec = container_spec(&store, &wanted, &version(), 7).unwrap();
    assert_eq!(plain(&spec), [("A", "app-a"), ("B", "more-b"), ("C", "literal"), ("D", "app-a")]);
    assert_eq!((spec.container_name().as_str(), spec.digest.as_str()), ("api-7", "sha256:one"));
    assert_eq!(spec.secret_folders, []);
}

#[test]
fn secret_files_are_mounted_from_the_folder_of_their_version() {
    let (_root, store) = store();
    store.write(&secret("app", &[("A", b"\xff\x00binary")])).unwrap();
    let mut wanted = service("api", "spec");
    wanted.settings.secret_files = vec!["app".to_owned()];
    let spec = container_spec(&store, &wanted, &version(), 1).unwrap();
    assert_eq!(spec.secret_folders, [("app".to_owned(), store.folder("app", "app-1"))]);
    assert_eq!(plain(&spec), []);
}

#[test]
fn what_is_missing_is_named_and_no_value_is_told() {
    let (_root, store) = store();
    store.write(&secret("app", &[("A", b"planted-value"), ("BINARY", b"planted\xff")])).unwrap();
    let cases = [
        (from_secret("other", "A"), "service api: secret other is not there", "secret_missing"),
        (from_secret("app", "B"), "service api: secret app has no key B", "secret_key_missing"),
        (
            from_secret("app", "BINARY"),
            "service api: key BINARY of secret app is no text, and cannot be an environment variable",
            "secret_not_text",
        ),
    ];
    for (value, message, code) in cases {
        let mut wanted = service("api", "spec");
        wanted.settings.environment = [("X".to_owned(), value)].into();
        let error = container_spec(&store, &wanted, &version(), 1).unwrap_err();
        let failure = error.failure(Timestamp::UNIX_EPOCH);
        assert_eq!((failure.message.as_str(), failure.code.as_str()), (message, code));
        assert!(!failure.version_to_blame && failure.hint.is_some(), "{failure:?}");
        assert!(!format!("{error:?} {failure:?}").contains("planted"), "{error:?}");
    }
}

#[test]
fn only_definite_answers_about_the_version_are_held_against_it() {
    let refused = |code| EngineError::Refused {
        operation: "start api-1".to_owned(),
        code,
        message: "no".to_owned(),
        hint: None,
    };
    let silent = EngineError::Unreachable {
        endpoint: "socket".to_owned(),
        operation: "start api-1".to_owned(),
        source: None,
    };
    let cases = [
        (refused("entrypoint_missing"), true, true),
        (refused("port_in_use"), true, true),
        (refused("mount_missing"), false, true),
        (refused("disk_full"), false, false),
        (silent, false, false),
    ];
    for (source, to_blame, spent) in cases {
        let failure = ApplyError::Engine { service: "api".to_owned(), source }.failure(Timestamp::UNIX_EPOCH);
        assert_eq!((failure.version_to_blame, failure.container_spent), (to_blame, spent), "{failure:?}");
    }
}
