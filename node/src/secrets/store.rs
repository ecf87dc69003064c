//! The store of secrets on tmpfs.
//!
//! ```text
//! /run/node-agent/secrets/          0700
//!     NAME/                         0755
//!         VERSION/KEY               0444, in a folder of 0755: what containers get mounted
//!         VERSION.json              version id, time and key names; no value
//!         current -> VERSION
//! ```
//!
//! What always holds: a folder that has its name is whole; `current` names the old version or the new one; what begins
//! with a dot is half done and swept by the next write. One program writes at a time: bootstrap, then the agent. The
//! outer folder is what keeps others out; the inner modes are for users inside containers.

use super::SecretValue;
use crate::files;
use crate::hexadecimal::hexadecimal;
use crate::paths::Paths;
use jiff::Timestamp;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use secrecy::{ExposeSecret, SecretSlice};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const CURRENT: &str = "current";
/// The longest version id of Secrets Manager is 64 characters.
const LONGEST_PLAIN_NAME: usize = 128;

/// `/run/node-agent/secrets`: one folder a secret and version, so that a running container keeps the files it was
/// started with.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// Why the store could not be read or written; never holds a value.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} secret {name} at {path}")]
pub struct StoreError {
    /// `read`, `write` or `prune`
    pub action: &'static str,
    /// `[secrets.NAME]`
    pub name: String,
    /// File or folder.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl crate::fault::Hint for StoreError {
    fn hint(&self) -> Option<String> {
        match self.source.kind() {
            ErrorKind::StorageFull => Some("the tmpfs on /run is full: see `df /run`".to_owned()),
            ErrorKind::PermissionDenied => Some("run it as root".to_owned()),
            _ => None,
        }
    }
}

/// `VERSION.json`
#[derive(Debug, Serialize, Deserialize)]
struct Metadata {
    version_id: String,
    fetched_at: Timestamp,
    keys: BTreeSet<String>,
}

impl Store {
    /// The store under `paths`. Touches nothing.
    pub fn new(paths: &Paths) -> Store {
        Store { root: paths.secrets() }
    }

    /// Writes a version, whole or not at all, and makes it the current one. Returns whether anything changed: a version
    /// never changes, so the one that is current already is left as it is.
    pub fn write(&self, value: &SecretValue) -> Result<bool, StoreError> {
        let secret = self.secret(&value.name);
        self.write_version(value, &secret).map_err(|source| StoreError {
            action: "write",
            name: value.name.clone(),
            path: secret,
            source,
        })
    }

    /// The current version, if there is one.
    pub fn current(&self, name: &str) -> Result<Option<SecretValue>, StoreError> {
        let secret = self.secret(name);
        read_current(name, &secret).map_err(|source| StoreError {
            action: "read",
            name: name.to_owned(),
            path: secret,
            source,
        })
    }

    /// The folder with one file a key (0444) of that version: what containers get mounted read-only.
    pub fn folder(&self, name: &str, version_id: &str) -> PathBuf {
        self.secret(name).join(file_name(version_id))
    }

    /// Removes all versions of the secret but the current one and `keep`, the ones that containers still use.
    pub fn prune(&self, name: &str, keep: &BTreeSet<String>) -> Result<(), StoreError> {
        let secret = self.secret(name);
        prune_versions(&secret, keep).map_err(|source| StoreError {
            action: "prune",
            name: name.to_owned(),
            path: secret,
            source,
        })
    }

    fn secret(&self, name: &str) -> PathBuf {
        self.root.join(file_name(name))
    }

    fn write_version(&self, value: &SecretValue, secret: &Path) -> io::Result<bool> {
        make_directory(&self.root, 0o700)?;
        make_directory(secret, 0o755)?;
        sweep(secret)?;
        let version = file_name(&value.version_id);
        let folder = secret.join(&version);
        let metadata = metadata_path(secret, &version);
        let whole = folder.is_dir() && metadata.is_file();
        if whole && current_version(secret)?.as_deref() == Some(version.as_str()) {
            return Ok(false);
        }
        if !whole {
            remove(&folder)?;
            write_folder(&secret.join(format!(".{version}.new")), &folder, value, &metadata)?;
        }
        let link = secret.join(".current.new");
        symlink(&version, &link)?;
        fs::rename(&link, secret.join(CURRENT))?;
        Ok(true)
    }
}

/// Whether `path`, or the nearest folder above it that exists, is on a tmpfs: what is written there never reaches a
/// disk (but for swap).
pub fn is_tmpfs(path: &Path) -> io::Result<bool> {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    Ok(statfs(existing)?.filesystem_type() == TMPFS_MAGIC)
}

/// Writes the folder of a version under a temporary name. The metadata comes before the folder gets its name, so that
/// a folder with its name is never without.
fn write_folder(temporary: &Path, folder: &Path, value: &SecretValue, metadata: &Path) -> io::Result<()> {
    make_directory(temporary, 0o755)?;
    for (key, content) in &value.values {
        write_value(&temporary.join(key), content.expose_secret())?;
    }
    let description = Metadata {
        version_id: value.version_id.clone(),
        fetched_at: value.fetched_at,
        keys: value.values.keys().cloned().collect(),
    };
    files::replace(metadata, &serde_json::to_vec(&description)?, 0o600)?;
    fs::rename(temporary, folder)
}

fn write_value(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(path)?;
    file.write_all(content)?;
    // Not by the mode at creation: the umask of a unit would take the readers away.
    file.set_permissions(Permissions::from_mode(0o444))
}

fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn read_current(name: &str, secret: &Path) -> io::Result<Option<SecretValue>> {
    let Some(version) = current_version(secret)? else {
        return Ok(None);
    };
    let metadata: Metadata = serde_json::from_slice(&fs::read(metadata_path(secret, &version))?)?;
    let folder = secret.join(&version);
    let read = |key: String| {
        Ok((folder.join(&key), key)).and_then(|(path, key)| read_value(&path).map(|value| (key, value)))
    };
    let values = metadata.keys.into_iter().map(read).collect::<io::Result<_>>()?;
    Ok(Some(SecretValue {
        name: name.to_owned(),
        version_id: metadata.version_id,
        fetched_at: metadata.fetched_at,
        values,
    }))
}

fn read_value(path: &Path) -> io::Result<SecretSlice<u8>> {
    fs::read(path).map(SecretSlice::from)
}

fn current_version(secret: &Path) -> io::Result<Option<String>> {
    match fs::read_link(secret.join(CURRENT)) {
        Ok(target) => Ok(target.to_str().map(str::to_owned)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn prune_versions(secret: &Path, keep: &BTreeSet<String>) -> io::Result<()> {
    if !secret.is_dir() {
        return Ok(());
    }
    sweep(secret)?;
    let mut kept: BTreeSet<String> = keep.iter().map(|version| file_name(version)).collect();
    kept.extend(current_version(secret)?);
    for entry in fs::read_dir(secret)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type()?.is_dir() || kept.contains(&name) {
            continue;
        }
        // Renamed first: a removal that is interrupted must not leave half a version under its name.
        let condemned = secret.join(format!(".{name}.old"));
        fs::rename(entry.path(), &condemned)?;
        remove(&metadata_path(secret, &name))?;
        remove(&condemned)?;
    }
    Ok(())
}

/// Removes what an interrupted write or prune left behind.
fn sweep(secret: &Path) -> io::Result<()> {
    for entry in fs::read_dir(secret)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn metadata_path(secret: &Path, version: &str) -> PathBuf {
    secret.join(format!("{version}.json"))
}

/// A name or version id as the name of a folder. Both are plain in practice; anything that could leave the folder, hide
/// in it or meet another name in it goes by its hash.
fn file_name(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !text.is_empty() && text.len() <= LONGEST_PLAIN_NAME && text != CURRENT && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("sha256-{}", hexadecimal(&Sha256::digest(text)))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests lay out what an interrupted write leaves")]
mod tests {
    use super::*;

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
            assert_eq!(
                read_back(&store).unwrap().1,
                [("A".to_owned(), "2".to_owned())],
                "after step {steps}"
            );
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
}
