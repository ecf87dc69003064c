//! Stores as they are written, read back and pruned, and what an interrupted write leaves.

#![expect(clippy::disallowed_methods, reason = "the tests lay out what an interrupted write leaves")]

use super::super::versions::CURRENT;
use super::*;
use secrecy::{ExposeSecret, SecretSlice};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

struct Fixture {
    root: tempfile::TempDir,
    store: Store,
}

fn fixture() -> Fixture {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(&Paths::under(root.path()));
    Fixture { root, store }
}

fn version(version_id: &str, values: &[(&str, &str)]) -> SecretValue {
    let secret = |text: &str| SecretSlice::from(text.as_bytes().to_vec());
    SecretValue {
        name: "app".into(),
        version_id: version_id.into(),
        fetched_at: "2026-01-02T03:04:05Z".parse().unwrap(),
        values: values.iter().map(|(key, value)| ((*key).to_owned(), secret(value))).collect(),
    }
}

fn read_back(store: &Store) -> Option<(String, Vec<(String, String)>)> {
    let show = |value: &SecretSlice<u8>| String::from_utf8(value.expose_secret().to_vec()).unwrap();
    let current = store.current("app").unwrap()?;
    assert_eq!(current.fetched_at, "2026-01-02T03:04:05Z".parse().unwrap());
    let values = current.values.iter().map(|(key, value)| (key.clone(), show(value))).collect();
    Some((current.version_id, values))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_version_is_written_once_and_read_back_with_the_modes_of_the_layout() {
    let Fixture { root, store } = fixture();
    assert!(read_back(&store).is_none());
    assert!(store.write(&version("v1", &[("A", "1"), ("B", "")])).unwrap());
    assert!(!store.write(&version("v1", &[("A", "1"), ("B", "")])).unwrap());
    let wanted = vec![("A".to_owned(), "1".to_owned()), ("B".to_owned(), String::new())];
    assert_eq!(read_back(&store), Some(("v1".to_owned(), wanted)));
    let secrets = root.path().join("run/node-agent/secrets");
    assert_eq!(entries(&secrets.join("app")), ["current", "v1", "v1.json"]);
    assert_eq!(mode(&secrets), 0o700);
    assert_eq!(mode(&secrets.join("app")), 0o755);
    assert_eq!(mode(&store.folder("app", "v1")), 0o755);
    assert_eq!(mode(&store.folder("app", "v1").join("A")), 0o444);
    assert!(!fs::read_to_string(secrets.join("app/v1.json")).unwrap().contains("\"1\""));
}

#[test]
fn a_new_version_leaves_the_old_folder_until_it_is_pruned() {
    let Fixture { root, store } = fixture();
    for id in ["v1", "v2", "v3"] {
        assert!(store.write(&version(id, &[("A", id)])).unwrap());
    }
    assert_eq!(fs::read_to_string(store.folder("app", "v1").join("A")).unwrap(), "v1");
    store.prune("app", &BTreeSet::from(["v1".to_owned()])).unwrap();
    let folder = root.path().join("run/node-agent/secrets/app");
    assert_eq!(entries(&folder), ["current", "v1", "v1.json", "v3", "v3.json"]);
    store.prune("app", &BTreeSet::new()).unwrap();
    assert_eq!(entries(&folder), ["current", "v3", "v3.json"]);
    store.prune("never-written", &BTreeSet::new()).unwrap();
}

#[test]
fn going_back_to_a_kept_version_only_moves_the_link() {
    let Fixture { root: _root, store } = fixture();
    store.write(&version("v1", &[("A", "1")])).unwrap();
    store.write(&version("v2", &[("A", "2")])).unwrap();
    assert!(store.write(&version("v1", &[("A", "1")])).unwrap());
    assert_eq!(read_back(&store).unwrap().0, "v1");
}

/// Each case is what lies there when a write of v2 over v1 was interrupted after one more step.
#[test]
fn an_interrupted_write_leaves_the_old_version_or_the_new_one_and_the_next_write_finishes() {
    let half_folder = |secret: &Path| {
        fs::create_dir(secret.join(".v2.new")).unwrap();
        fs::write(secret.join(".v2.new/A"), "ha").unwrap();
    };
    let metadata = |secret: &Path| fs::write(secret.join("v2.json"), "{").unwrap();
    let half_link = |secret: &Path| symlink("v2", secret.join(".current.new")).unwrap();
    for steps in 0..4 {
        let Fixture { root, store } = fixture();
        store.write(&version("v1", &[("A", "1")])).unwrap();
        let secret = root.path().join("run/node-agent/secrets/app");
        match steps {
            0 => half_folder(&secret),
            1 => {
                half_folder(&secret);
                metadata(&secret);
            }
            2 => {
                // Everything but the move of the link.
                store.write(&version("v2", &[("A", "2")])).unwrap();
                fs::remove_file(secret.join(CURRENT)).unwrap();
                symlink("v1", secret.join(CURRENT)).unwrap();
            }
            _ => half_link(&secret),
        }
        assert_eq!(read_back(&store).unwrap().0, "v1", "after step {steps}: {:?}", entries(&secret));
        assert!(store.write(&version("v2", &[("A", "2")])).unwrap());
        assert_eq!(read_back(&store).unwrap().1, [("A".to_owned(), "2".to_owned())], "after step {steps}");
        assert_eq!(entries(&secret), ["current", "v1", "v1.json", "v2", "v2.json"], "after step {steps}");
    }
}

#[test]
fn ids_that_could_leave_the_folder_go_by_their_hash_and_stay_apart() {
    let Fixture { root, store } = fixture();
    let ids = ["../../etc", "a/b", "", ".", "current", "v1.json", ".hidden", &"x".repeat(300)];
    for id in ids {
        assert!(store.write(&version(id, &[("A", id)])).unwrap(), "{id}");
        assert_eq!(read_back(&store).unwrap().0, id);
    }
    let secret = root.path().join("run/node-agent/secrets/app");
    assert_eq!(entries(&secret).len(), 2 * ids.len() + 1);
    assert_eq!(entries(&root.path().join("run/node-agent/secrets")), ["app"]);
}

#[test]
fn an_error_names_the_secret_and_no_value() {
    let Fixture { root, store } = fixture();
    fs::create_dir_all(root.path().join("run/node-agent")).unwrap();
    fs::write(root.path().join("run/node-agent/secrets"), "a file").unwrap();
    let error = store.write(&version("v1", &[("A", "planted-value")])).unwrap_err();
    assert!(error.to_string().starts_with("cannot write secret app at "), "{error}");
    assert!(!format!("{error:?} {}", crate::fault::one_line(&error)).contains("planted"));
}

#[test]
fn memory_is_told_from_disk_also_where_nothing_was_written_yet() {
    assert!(is_tmpfs(Path::new("/dev/shm/not/there/yet")).unwrap());
    assert!(!is_tmpfs(Path::new("/proc")).unwrap());
}
