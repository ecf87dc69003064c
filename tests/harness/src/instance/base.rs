//! The base image of the disposable instance: Debian with systemd, Docker and file system tools, made once and cached.
//!
//! In: the cache directory. Out: a directory tree that instances lay an overlay on and never change.

use super::run_on_host;
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Changing the recipe changes the number, and the old image is not taken for the new one.
const RECIPE: u32 = 2;
const RELEASE: &str = "bookworm";
const MIRROR: &str = "http://deb.debian.org/debian";
/// In debootstrap's first stage: what has no virtual dependency.
const FIRST_PACKAGES: &str = "systemd,systemd-sysv,dbus,ca-certificates,curl,iproute2,iptables,nftables,\
                              xfsprogs,e2fsprogs,procps,libsystemd0";
/// By apt-get afterwards.
const LATER_PACKAGES: [&str; 1] = ["docker.io"];

/// What bootstrap installs together with it.
const BESIDE_DOCKER: &str = "apparmor";

/// Inside the image: what apt-get fetched for these, as a repository that needs no network.
pub const PACKAGES: &str = "/opt/packages";

/// Where the image is and instances run.
#[derive(Debug, Clone)]
pub struct Base {
    cache: PathBuf,
}

/// Why there is no base image.
#[derive(Debug)]
pub struct BaseError {
    /// What was being done.
    pub doing: String,
    /// Why it failed.
    pub why: io::Error,
}

impl std::fmt::Display for BaseError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "cannot make the base image ({}): {}", self.doing, self.why)
    }
}

impl std::error::Error for BaseError {}

impl Base {
    /// The image in `cache`, made now if it is not there; `progress` hears one line a stage.
    /// It downloads: the calling thread must still be in the host's network.
    pub fn prepare(cache: &Path, mut progress: impl FnMut(&str)) -> Result<Base, BaseError> {
        let cache = cache.canonicalize().or_else(|_| fs::create_dir_all(cache).and(cache.canonicalize()));
        let cache = cache.map_err(|why| BaseError { doing: "cache directory".to_owned(), why })?;
        let base = Base { cache };
        let mut stage = |name: &str, work: &dyn Fn() -> io::Result<()>| {
            progress(name);
            work().map_err(|why| BaseError { doing: name.to_owned(), why })
        };
        let _lock = lock(&base.cache).map_err(|why| BaseError { doing: "lock".to_owned(), why })?;
        if base.root().exists() {
            return Ok(base);
        }
        let unfinished = base.cache.join("unfinished");
        let log = base.cache.join("base.log");
        if unfinished.exists() {
            stage("remove what an earlier run left", &|| fs::remove_dir_all(&unfinished))?;
        }
        stage("download and unpack Debian (about a minute)", &|| debootstrap(&unfinished, &log))?;
        stage("install Docker into it", &|| install_packages(&unfinished, &LATER_PACKAGES, &log))?;
        stage("keep its packages as a repository", &|| {
            apt(&unfinished, &["install", "--yes", "--download-only", BESIDE_DOCKER], &log)?;
            keep_packages(&unfinished)
        })?;
        stage("units of the instance", &|| write_units(&unfinished))?;
        stage("keep it for the next time", &|| fs::rename(&unfinished, base.root()))?;
        Ok(base)
    }

    /// The tree.
    pub fn root(&self) -> PathBuf {
        self.cache.join(format!("base-{RECIPE}"))
    }

    /// Where running instances keep what is theirs.
    pub fn runs(&self) -> PathBuf {
        self.cache.join("run")
    }
}

/// Two suites may start at the same time; the second waits for the first one's image.
fn lock(cache: &Path) -> io::Result<nix::fcntl::Flock<fs::File>> {
    let file = fs::File::create(cache.join("lock"))?;
    nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).map_err(|(_, errno)| errno.into())
}

/// Runs a program whose words go to `log`; the error ends with the last of them.
pub(crate) fn logged(command: &mut Command, log: &Path) -> io::Result<()> {
    let file = fs::OpenOptions::new().create(true).append(true).open(log)?;
    let status =
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).env("LC_ALL", "C").status()?;
    if status.success() {
        return Ok(());
    }
    let text = fs::read_to_string(log).unwrap_or_default();
    let last =
        text.lines().rev().take(5).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("; ");
    Err(io::Error::other(format!("{status}; the log {} ends with: {last}", log.display())))
}

fn debootstrap(root: &Path, log: &Path) -> io::Result<()> {
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", &format!("--include={FIRST_PACKAGES}"), RELEASE]);
    logged(command.arg(root).arg(MIRROR), log)
}

pub(crate) fn apt(root: &Path, arguments: &[&str], log: &Path) -> io::Result<()> {
    let mut command = Command::new("chroot");
    command.arg(root).args(["apt-get", "-o", "Acquire::Retries=3"]).args(arguments);
    logged(command.env("DEBIAN_FRONTEND", "noninteractive"), log)
}

/// Installs packages into a tree that is not running. What apt-get fetched for them, and nothing else, stays in its
/// cache.
pub(crate) fn install_packages(root: &Path, packages: &[&str], log: &Path) -> io::Result<()> {
    // Nothing may be started in it.
    write_file(root, "usr/sbin/policy-rc.d", b"#!/bin/sh\nexit 101\n", 0o755)?;
    fs::copy("/etc/resolv.conf", root.join("etc/resolv.conf"))?;
    apt(root, &["update"], log)?;
    apt(root, &["clean"], log)?;
    apt(root, &[&["install", "--yes", "--no-install-recommends"], packages].concat(), log)?;
    fs::remove_file(root.join("usr/sbin/policy-rc.d"))
}

/// A flat repository, as sources.list(5) has it: the packages and an index of them.
fn keep_packages(root: &Path) -> io::Result<()> {
    let folder = root.join(PACKAGES.trim_start_matches('/'));
    fs::create_dir_all(&folder)?;
    let mut index = String::new();
    for entry in fs::read_dir(root.join("var/cache/apt/archives"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".deb") {
            continue;
        }
        let place = folder.join(&name);
        fs::rename(entry.path(), &place)?;
        let control = Command::new("dpkg-deb").arg("--field").arg(&place).output()?;
        let bytes = fs::read(&place)?;
        let sum: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let control = String::from_utf8_lossy(&control.stdout).trim_end().to_owned();
        index.push_str(&format!("{control}\nFilename: ./{name}\nSize: {}\nSHA256: {sum}\n\n", bytes.len()));
    }
    if !index.contains("Package: docker.io\n") {
        return Err(io::Error::other("apt-get has kept no package of docker.io"));
    }
    fs::write(folder.join("Packages"), index)
}

fn write_units(root: &Path) -> io::Result<()> {
    let units = "etc/systemd/system";
    // nspawn mounts the controllers of cgroup v1 read-only; Docker needs to make groups in them.
    let control_groups = "[Unit]\nDefaultDependencies=no\nBefore=docker.service sysinit.target\n\
        [Service]\nType=oneshot\nExecStart=/bin/sh -c 'for c in /sys/fs/cgroup /sys/fs/cgroup/*; do \
        mountpoint -q $c && mount -o remount,bind,rw $c || true; done'\n[Install]\nWantedBy=sysinit.target\n";
    write_file(root, &format!("{units}/control-groups.service"), control_groups.as_bytes(), 0o644)?;
    // The name under which cloud-init runs user data, so that what is ordered against it is ordered against this.
    let user_data = "[Unit]\nDescription=Run user data\nAfter=network.target\n\
        ConditionPathExists=!/etc/cloud/no-user-data\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
        ExecStart=/usr/local/sbin/run-user-data\nStandardOutput=journal+console\nTimeoutSec=0\n\
        [Install]\nWantedBy=multi-user.target\n";
    write_file(root, &format!("{units}/cloud-final.service"), user_data.as_bytes(), 0o644)?;
    write_file(root, "etc/systemd/journald.conf.d/volatile.conf", b"[Journal]\nStorage=volatile\n", 0o644)?;
    for unit in ["control-groups.service", "cloud-final.service"] {
        run_on_host("systemctl", &["--root", &root.to_string_lossy(), "--quiet", "enable", unit], None)?;
    }
    for unit in ["apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "fstrim.timer"] {
        run_on_host("systemctl", &["--root", &root.to_string_lossy(), "--quiet", "mask", unit], None)?;
    }
    Ok(())
}

/// Writes a file of an instance's tree, `path` being absolute inside it.
pub(crate) fn write_file(root: &Path, path: &str, content: &[u8], mode: u32) -> io::Result<()> {
    let path = root.join(path.trim_start_matches('/'));
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(&path, content)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))
}
