//! The versions of one secret in its folder on tmpfs, as `store` shows it.
//!
//! In: the folder of a secret. Out: a version of it, or its values. What always holds: a folder that has its name is
//! whole; `current` names the old version or the new one; what begins with a dot is half done and swept by the next
//! write.
//! Not its job: where secrets lie, and naming the secret in errors.

use super::SecretValue;
use crate::files;
use crate::hexadecimal::hexadecimal;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretSlice};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// The link to the version that is current.
pub(super) const CURRENT: &str = "current";
/// The longest version id of Secrets Manager is 64 characters.
const LONGEST_PLAIN_NAME: usize = 128;

/// `VERSION.json`
#[derive(Debug, Serialize, Deserialize)]
struct Metadata {
    version_id: String,
    fetched_at: Timestamp,
    keys: BTreeSet<String>,
}

/// Writes a version, whole or not at all, and makes it the current one. Returns whether anything changed.
pub(super) fn write(value: &SecretValue, secret: &Path) -> io::Result<bool> {
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

pub(super) fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// The version that is current, with its values.
pub(super) fn read_current(name: &str, secret: &Path) -> io::Result<Option<SecretValue>> {
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

/// Removes all versions but the current one and `keep`.
pub(super) fn prune(secret: &Path, keep: &BTreeSet<String>) -> io::Result<()> {
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
pub(super) fn file_name(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !text.is_empty() && text.len() <= LONGEST_PLAIN_NAME && text != CURRENT && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("sha256-{}", hexadecimal(&Sha256::digest(text)))
}
