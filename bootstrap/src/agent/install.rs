//! Puts the files of a version in their places, and those of the version before back.
//!
//! What holds at every point where the program may be killed: the record of what is installed is written after the last
//! file; the old version's files lie complete in `/usr/lib/node-agent/previous` before the first of them is replaced, and
//! `trial.json` says so. Doing any of it once more is harmless.

use super::InstallError;
use super::plan::PROGRAM;
use super::unpack::{Release, Target};
use super::version::{self, INSTALLED, TRIAL, Trial, Version, is_for_people};
use super::{Changes, file_error};
use crate::outdated;
use node::fault::one_line;
use node::files;
use node::paths::Paths;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const PREVIOUS: &str = "/usr/lib/node-agent/previous";

/// Installs a release in place of what is there.
pub(super) fn install(
    paths: &Paths,
    sha256: &str,
    mut release: Release,
    installed: Option<Version>,
) -> Result<(Version, Changes), InstallError> {
    // The agent itself comes last: on a first installation that was cut off there is none, and nothing to go back to.
    release.files.sort_by_key(|(target, _)| *target == Target::Program("node-agent"));
    let listed = release.files.iter().map(|(target, _)| target.path()).collect();
    let new = Version { sha256: sha256.to_owned(), name: release.name.clone(), files: listed };
    let trial = begin_trial(paths, &new, installed, &release)?;
    let mut changes = Changes::default();
    for (target, content) in &release.files {
        let file = target.path();
        match replace(paths, &file, content, target.mode()) {
            Ok(changed) => changes.note(&file, changed),
            // An image without manuals, or with them on something that cannot be written to, runs the agent all the same.
            Err(error) if is_for_people(&file) => {
                tracing::warn!("agent: {}; goes on without it", one_line(&error))
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(trial) = &trial {
        let gone: Vec<String> =
            trial.old.files.iter().filter(|file| goes_with_its_version(file)).cloned().collect();
        remove_files(paths, &gone, &trial.new.files, &mut changes)?;
    }
    let record = paths.state().join(INSTALLED);
    version::write(paths, INSTALLED, &new).map_err(file_error("write", &record))?;
    changes.trial = trial;
    Ok((new, changes))
}

/// A unit or a page that the next version does not bring. Never bootstrap: it is what repairs a node, and may be of the
/// image.
fn goes_with_its_version(file: &str) -> bool {
    is_for_people(file)
        || (file.starts_with("/etc/systemd/system/") && !file.ends_with("/node-bootstrap.service"))
}

/// Keeps the old version, if there is one, and says that it is being replaced.
fn begin_trial(
    paths: &Paths,
    new: &Version,
    installed: Option<Version>,
    release: &Release,
) -> Result<Option<Trial>, InstallError> {
    if !paths.at(PROGRAM).is_file() || installed.as_ref().is_some_and(|old| old.sha256 == new.sha256) {
        return Ok(None);
    }
    let mut old = installed.unwrap_or_else(|| of_the_image(paths, release));
    // What is missing already cannot be put back.
    old.files.retain(|file| paths.at(file).is_file());
    let previous = paths.at(PREVIOUS);
    match fs::remove_dir_all(&previous) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(file_error("empty", &previous)(error));
        }
        _ => {}
    }
    for file in &old.files {
        keep(&paths.at(file), &kept(paths, file))?;
    }
    let trial = Trial { old, new: new.clone(), failure: None };
    version::write(paths, TRIAL, &trial).map_err(file_error("write", &paths.state().join(TRIAL)))?;
    Ok(Some(trial))
}

/// What an image brings has no record: it is what lies where the release's files go.
fn of_the_image(paths: &Paths, release: &Release) -> Version {
    let places = release.files.iter().map(|(target, _)| target.path());
    let files = places.filter(|file| paths.at(file).is_file()).collect();
    Version { sha256: String::new(), name: "the agent of the image".to_owned(), files }
}

fn kept(paths: &Paths, file: &str) -> PathBuf {
    paths.at(PREVIOUS).join(file.trim_start_matches('/'))
}

/// A second name for the same content, where that is possible: what replaces the first name does not touch it.
fn keep(from: &Path, to: &Path) -> Result<(), InstallError> {
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder).map_err(file_error("create", folder))?;
    if fs::hard_link(from, to).is_err() {
        let content = fs::read(from).map_err(file_error("read", from))?;
        files::replace(to, &content, mode_of(from)).map_err(file_error("keep the old", to))?;
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(file_error("keep the old", to))
}

fn keep_time(from: &Path, to: &Path) -> io::Result<()> {
    let time = fs::metadata(from)?.modified()?;
    File::options().write(true).open(to)?.set_modified(time)
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).map_or(0o644, |metadata| metadata.permissions().mode() & 0o777)
}

/// Of the files that are put back. systemd reads a unit anew when its file is newer than what it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    /// systemd still knows the old version's units.
    Old,
    /// It knows the new one's, or that is not known.
    New,
}

/// Puts the old version's files back.
pub(super) fn restore(paths: &Paths, trial: &Trial, times: Times) -> Result<Changes, InstallError> {
    let mut changes = Changes::default();
    for file in &trial.old.files {
        let (from, to) = (kept(paths, file), paths.at(file));
        let content = fs::read(&from).map_err(file_error("read the old", &from))?;
        let changed = replace(paths, file, &content, mode_of(&from))?;
        changes.note(file, changed);
        if changed && times == Times::Old {
            keep_time(&from, &to).map_err(file_error("date", &to))?;
        }
    }
    remove_files(paths, &trial.new.files, &trial.old.files, &mut changes)?;
    let record = paths.state().join(INSTALLED);
    let written = if trial.old.sha256.is_empty() {
        version::forget(paths, INSTALLED)
    } else {
        version::write(paths, INSTALLED, &trial.old)
    };
    written.map_err(file_error("write", &record))?;
    Ok(changes)
}

/// Files that one version has and the other has not.
fn remove_files(
    paths: &Paths,
    files: &[String],
    but: &[String],
    changes: &mut Changes,
) -> Result<(), InstallError> {
    for file in files.iter().filter(|file| !but.contains(file)) {
        let path = paths.at(file);
        match fs::remove_file(&path) {
            Ok(()) => changes.note(file, true),
            Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => {
            }
            Err(error) => return Err(file_error("remove", &path)(error)),
        }
    }
    Ok(())
}

/// Whether it was another content.
fn replace(paths: &Paths, file: &str, content: &[u8], mode: u32) -> Result<bool, InstallError> {
    let path = paths.at(file);
    if fs::read(&path).is_ok_and(|there| there == content) {
        return Ok(false);
    }
    let put = match is_for_people(file) {
        true => files::replace_unsynced,
        false => {
            outdated::note(paths);
            files::replace
        }
    };
    put(&path, content, mode).map_err(file_error("install", &path))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(version: &str, with_socket: bool) -> Release {
        let content = |name: &str| format!("{name} {version}").into_bytes();
        let mut files = vec![
            (Target::Program("node-agent"), content("agent")),
            (Target::Program("agentctl"), content("ctl")),
            (Target::Unit("node-agent.service".to_owned()), content("unit")),
        ];
        files.push((page("agentctl.1.gz"), content("page")));
        if with_socket {
            files.push((Target::Unit("node-agent.socket".to_owned()), content("socket")));
            files.push((page("agentctl-socket.1.gz"), content("page")));
        }
        Release { name: format!("node-agent-{version}-x86_64"), files }
    }

    fn page(name: &str) -> Target {
        Target::Shared { folder: "share/man/man1", name: name.to_owned() }
    }

    /// Every file of the agent on the node and its content.
    fn node(paths: &Paths) -> Vec<(String, String)> {
        let folders = ["/usr/bin", "/etc/systemd/system", "/usr/share/man/man1"];
        let entries = folders.iter().flat_map(|folder| fs::read_dir(paths.at(folder)).into_iter().flatten());
        let mut files: Vec<(String, String)> = entries
            .flatten()
            .map(|entry| {
                let content = fs::read_to_string(entry.path()).unwrap();
                (entry.file_name().to_string_lossy().into_owned(), content)
            })
            .collect();
        files.sort();
        files
    }

    fn installed(paths: &Paths) -> Option<Version> {
        version::read(paths, INSTALLED)
    }

    #[test]
    fn a_first_installation_has_nothing_to_go_back_to() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::under(root.path());
        let (_, changes) = install(&paths, "aa", release("1", false), None).unwrap();
        assert!(changes.program && changes.units && changes.trial.is_none());
        assert_eq!(version::read::<Trial>(&paths, TRIAL), None);
        let (_, changes) = install(&paths, "aa", release("1", false), installed(&paths)).unwrap();
        assert_eq!(changes, Changes::default(), "the same once more");
    }

    #[test]
    fn going_back_restores_every_file_and_leaves_none_of_the_new_version() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::under(root.path());
        install(&paths, "aa", release("1", false), None).unwrap();
        let before = node(&paths);
        let (new, changes) = install(&paths, "bb", release("2", true), installed(&paths)).unwrap();
        assert_eq!(installed(&paths), Some(new));
        let trial = changes.trial.unwrap();
        assert_eq!(version::read(&paths, TRIAL), Some(trial.clone()));
        assert_eq!(node(&paths).len(), before.len() + 2);
        for time in ["first", "second"] {
            let changes = restore(&paths, &trial, Times::New).unwrap();
            assert_eq!((changes.program, changes.units), (time == "first", time == "first"));
            assert_eq!(node(&paths), before, "{time}");
            assert_eq!(installed(&paths).unwrap().sha256, "aa");
        }
    }

    #[test]
    fn pages_start_nothing_anew_and_are_no_reason_to_fail() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::under(root.path());
        install(&paths, "aa", release("1", false), None).unwrap();
        outdated::forget(&paths);
        let mut other_page = release("1", false);
        other_page
            .files
            .iter_mut()
            .filter(|(target, _)| *target == page("agentctl.1.gz"))
            .for_each(|it| it.1.push(b'x'));
        let (_, changes) = install(&paths, "bb", other_page, installed(&paths)).unwrap();
        assert!(!changes.program && !changes.units, "{changes:?}");
        assert!(!outdated::is_noted(&paths));
        // Where the folder of the pages should be is a file: nobody can write below it.
        let bare = tempfile::tempdir().unwrap();
        let paths = Paths::under(bare.path());
        files::replace(&bare.path().join("usr/share/man"), b"in the way", 0o644).unwrap();
        install(&paths, "aa", release("1", false), None).unwrap();
        assert!(paths.at(PROGRAM).is_file());
        // A version that has every page takes its place, and goes again.
        let (_, changes) = install(&paths, "bb", release("2", true), installed(&paths)).unwrap();
        restore(&paths, &changes.trial.unwrap(), Times::New).unwrap();
        assert_eq!(fs::read_to_string(paths.at(PROGRAM)).unwrap(), "agent 1");
    }

    #[test]
    fn the_agent_of_an_image_is_put_back_too() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::under(root.path());
        files::replace(&paths.at(PROGRAM), b"baked", 0o755).unwrap();
        let before = node(&paths);
        let (_, changes) = install(&paths, "bb", release("2", false), None).unwrap();
        restore(&paths, &changes.trial.unwrap(), Times::Old).unwrap();
        assert_eq!((node(&paths), installed(&paths)), (before, None));
        assert_eq!(mode_of(&paths.at(PROGRAM)), 0o755);
    }

    #[test]
    fn a_replacement_that_is_cut_off_after_any_file_is_undone_whole() {
        let files = release("2", true).files.len();
        for replaced in 0..=files {
            let root = tempfile::tempdir().unwrap();
            let paths = Paths::under(root.path());
            install(&paths, "aa", release("1", false), None).unwrap();
            let before = node(&paths);
            let wanted = release("2", true);
            let listed = wanted.files.iter().map(|(target, _)| target.path()).collect();
            let new = Version { sha256: "bb".to_owned(), name: wanted.name.clone(), files: listed };
            let trial = begin_trial(&paths, &new, installed(&paths), &wanted).unwrap().unwrap();
            for (target, content) in wanted.files.iter().take(replaced) {
                replace(&paths, &target.path(), content, target.mode()).unwrap();
            }
            restore(&paths, &trial, Times::New).unwrap();
            assert_eq!(node(&paths), before, "cut off after {replaced} files");
        }
        println!("{} points", files + 1);
    }
}
