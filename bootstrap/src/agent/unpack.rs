//! The release tarball, taken apart in memory: which of its files goes where. Nothing is written here, so that a bad
//! tarball is refused as a whole.
//!
//! Layout: `node-agent-<version>-x86_64/bin/{node-agent,agentctl,node-bootstrap}`, `…/systemd/*`, and manual pages and
//! completions below `…/share`. A path never becomes a path on the node: only known names are taken, each to its one
//! place.

use flate2::read::GzDecoder;
use node::fault::Hint;
use std::io::{self, Read};
use std::path::{Component, Path};

/// Programs that are installed; others are left in the tarball.
const PROGRAMS: [&str; 3] = ["node-agent", "agentctl", "node-bootstrap"];
/// Kinds of units that are installed.
const UNIT_KINDS: [&str; 5] = [".service", ".socket", ".target", ".timer", ".path"];
/// Where manual pages and completions are, in the tarball below its folder and on the node below `/usr`.
const SHARED: [&str; 6] = [
    "share/man/man1",
    "share/man/man5",
    "share/man/man8",
    "share/bash-completion/completions",
    "share/zsh/site-functions",
    "share/fish/vendor_completions.d",
];
/// What a page or a completion of ours begins with; no other program's is ever replaced.
const OURS: [&str; 3] = ["agentctl", "node-agent", "node-bootstrap"];
/// The page of the configuration.
const CONFIGURATION_PAGE: &str = "node.toml.5.gz";
/// For the sum of all unpacked files: no release is near it, a decompression bomb is far past it.
const LARGEST_BYTES: u64 = 512 << 20;

/// Where a file belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// By name, in `/usr/bin`.
    Program(&'static str),
    /// By name, in `/etc/systemd/system`.
    Unit(String),
    /// `/usr/lib/sysusers.d/node-agent.conf`
    Users,
    /// `/usr/lib/tmpfiles.d/node-agent.conf`
    Folders,
    /// A manual page or a completion, below `/usr/share`.
    Shared {
        /// One of [`SHARED`].
        folder: &'static str,
        name: String,
    },
}

impl Target {
    /// Its path on the node.
    pub(super) fn path(&self) -> String {
        match self {
            Target::Program(name) => format!("/usr/bin/{name}"),
            Target::Unit(name) => format!("/etc/systemd/system/{name}"),
            Target::Users => "/usr/lib/sysusers.d/node-agent.conf".to_owned(),
            Target::Folders => "/usr/lib/tmpfiles.d/node-agent.conf".to_owned(),
            Target::Shared { folder, name } => format!("/usr/{folder}/{name}"),
        }
    }

    pub(super) fn mode(&self) -> u32 {
        if matches!(self, Target::Program(_)) { 0o755 } else { 0o644 }
    }
}

/// A release, unpacked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Release {
    /// `node-agent-<version>-x86_64`, for the report.
    pub(super) name: String,
    pub(super) files: Vec<(Target, Vec<u8>)>,
}

/// Why a tarball is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error("cannot unpack the tarball of the agent")]
    Broken(#[source] io::Error),
    #[error("the tarball of the agent holds {path}, which is {what}")]
    Odd { path: String, what: &'static str },
    #[error("the tarball of the agent unpacks to more than {} MiB", LARGEST_BYTES >> 20)]
    TooLarge,
    #[error("the tarball holds no {missing}")]
    Incomplete { missing: &'static str },
}

impl Hint for UnpackError {
    fn hint(&self) -> Option<String> {
        Some(
            "give the url and the sha256 of a release tarball, node-agent-<version>-x86_64.tar.gz".to_owned(),
        )
    }
}

/// Reads a `tar.gz`.
pub(super) fn unpack(reader: impl Read) -> Result<Release, UnpackError> {
    let mut archive = tar::Archive::new(GzDecoder::new(reader));
    let mut release = Release { name: String::new(), files: Vec::new() };
    let mut room = LARGEST_BYTES;
    for entry in archive.entries().map_err(UnpackError::Broken)? {
        let mut entry = entry.map_err(UnpackError::Broken)?;
        room = room.checked_sub(entry.size()).ok_or(UnpackError::TooLarge)?;
        let path = entry.path().map_err(UnpackError::Broken)?.into_owned();
        let Some((folder, target)) = target(&path)? else { continue };
        if !entry.header().entry_type().is_file() {
            return Err(UnpackError::Odd { path: path.display().to_string(), what: "no plain file" });
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(UnpackError::Broken)?;
        release.name = folder;
        release.files.push((target, content));
    }
    if release.files.iter().any(|(target, _)| *target == Target::Program("node-agent")) {
        return Ok(release);
    }
    Err(UnpackError::Incomplete { missing: "bin/node-agent" })
}

/// The top folder and the place of a file that is installed; `None` for others, such as folders and the licence.
fn target(path: &Path) -> Result<Option<(String, Target)>, UnpackError> {
    let odd = |what| Err(UnpackError::Odd { path: path.display().to_string(), what });
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => match name.to_str() {
                Some(name) => names.push(name),
                None => return odd("no UTF-8 name"),
            },
            Component::CurDir => {}
            _ => return odd("outside of its folder"),
        }
    }
    let [folder, kinds @ .., name] = names.as_slice() else { return Ok(None) };
    let target = match kinds.join("/").as_str() {
        "bin" => PROGRAMS.iter().find(|program| *program == name).map(|program| Target::Program(program)),
        "systemd" => unit_target(name),
        shared => shared_target(shared, name),
    };
    Ok(target.map(|target| ((*folder).to_owned(), target)))
}

fn unit_target(name: &str) -> Option<Target> {
    if UNIT_KINDS.iter().any(|kind| name.ends_with(kind)) && name.starts_with("node-") {
        return Some(Target::Unit(name.to_owned()));
    }
    let configuration = name.ends_with(".conf");
    match (configuration, name.contains("sysusers"), name.contains("tmpfiles")) {
        (true, true, false) => Some(Target::Users),
        (true, false, true) => Some(Target::Folders),
        _ => None,
    }
}

/// `agentctl-status.1.gz`, `_agentctl`, `agentctl.fish`, `node.toml.5.gz`
fn shared_target(folder: &str, name: &str) -> Option<Target> {
    let folder = SHARED.iter().find(|shared| **shared == folder)?;
    let bare = name.strip_prefix('_').unwrap_or(name);
    let is_of = |ours: &&str| {
        bare.strip_prefix(*ours).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']))
    };
    let is_ours = OURS.iter().any(is_of) || name == CONFIGURATION_PAGE;
    is_ours.then(|| Target::Shared { folder, name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    fn tarball(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            // Written as they are: the library's own setter refuses what a hostile tarball may hold.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn every_known_file_goes_to_its_one_place_and_others_nowhere() {
        let bytes = tarball(&[
            ("node-agent-0.1.0-x86_64/bin/node-agent", "agent"),
            ("node-agent-0.1.0-x86_64/bin/other", "x"),
            ("node-agent-0.1.0-x86_64/systemd/node-agent.service", "unit"),
            ("node-agent-0.1.0-x86_64/systemd/node-agent.sysusers.conf", "users"),
            ("node-agent-0.1.0-x86_64/systemd/node-agent.tmpfiles.conf", "folders"),
            ("node-agent-0.1.0-x86_64/systemd/sshd.service", "evil"),
            ("node-agent-0.1.0-x86_64/share/man/man1/agentctl-status.1.gz", "page"),
            ("node-agent-0.1.0-x86_64/share/man/man5/node.toml.5.gz", "page"),
            ("node-agent-0.1.0-x86_64/share/zsh/site-functions/_agentctl", "completion"),
            ("node-agent-0.1.0-x86_64/share/man/man1/ls.1.gz", "evil"),
            ("node-agent-0.1.0-x86_64/share/zsh/site-functions/_agentctlx", "evil"),
            ("node-agent-0.1.0-x86_64/share/locale/agentctl", "new"),
            ("node-agent-0.1.0-x86_64/share/man/man1/deeper/agentctl.1.gz", "new"),
            ("node-agent-0.1.0-x86_64/LICENSE", "free"),
        ]);
        let release = unpack(bytes.as_slice()).unwrap();
        assert_eq!(release.name, "node-agent-0.1.0-x86_64");
        let paths: Vec<String> = release.files.iter().map(|(target, _)| target.path()).collect();
        assert_eq!(
            paths,
            [
                "/usr/bin/node-agent",
                "/etc/systemd/system/node-agent.service",
                "/usr/lib/sysusers.d/node-agent.conf",
                "/usr/lib/tmpfiles.d/node-agent.conf",
                "/usr/share/man/man1/agentctl-status.1.gz",
                "/usr/share/man/man5/node.toml.5.gz",
                "/usr/share/zsh/site-functions/_agentctl",
            ]
        );
    }

    #[test]
    fn a_path_that_leaves_the_folder_refuses_the_whole_tarball() {
        for path in ["../bin/node-agent", "/usr/bin/node-agent", "a/../../bin/node-agent"] {
            let error =
                unpack(tarball(&[("r/bin/node-agent", "agent"), (path, "evil")]).as_slice()).unwrap_err();
            assert!(matches!(error, UnpackError::Odd { .. }), "{path}: {error}");
        }
    }

    #[test]
    fn what_is_no_release_is_refused() {
        assert!(matches!(unpack(&b"<html>"[..]).unwrap_err(), UnpackError::Broken(_)));
        let empty = tarball(&[("r/bin/agentctl", "x")]);
        assert!(matches!(unpack(empty.as_slice()).unwrap_err(), UnpackError::Incomplete { .. }));
        let cut = &tarball(&[("r/bin/node-agent", "some content")])[..40];
        assert!(unpack(cut).is_err());
    }
}
