//! Where the control groups of a container are, and what their files say: text in, folders and numbers out. Pure.
//!
//! In: `/proc/PID/cgroup` of the container's process and `/proc/self/mountinfo` of ours. Each controller is in exactly one
//! hierarchy: one of version 1 that is mounted for it, or the one of version 2. Which, is said by the process's own file,
//! so that the mixed layout, where some controllers are of one version and some of the other, is no case of its own.
//! What always holds: a folder is that of the container and no other; a process id that was given to another program
//! since leads nowhere. Source: cgroups(7), proc(5), the kernel's cgroup-v1 and cgroup-v2 documents.

use super::collection::ContainerMemory;
use std::path::{Path, PathBuf};

/// From this on, a limit of version 1 means none: the largest number of pages, in bytes, is a little below 2^63.
const NO_LIMIT: u64 = 1 << 62;

/// Versions of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy for one or a few controllers.
    One,
    /// The one for all.
    Two,
}

/// The folder in which one controller of a container has its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Which files there are.
    pub version: Version,
    /// Absolute.
    pub folder: PathBuf,
}

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    version: Version,
    /// Its controllers, of version 1.
    controllers: Vec<String>,
    /// Which of its groups is seen at `mount`.
    root: PathBuf,
    mount: PathBuf,
}

/// The hierarchies that are mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hierarchies(Vec<Hierarchy>);

impl Hierarchies {
    /// From `/proc/self/mountinfo`.
    pub fn of(mountinfo: &str) -> Hierarchies {
        Hierarchies(mountinfo.lines().filter_map(hierarchy).collect())
    }

    /// The group in which `controller` (`memory`, `cpuacct`) counts the container, if its process is in one of its own.
    /// `cgroup` is the process's `/proc/PID/cgroup`. In version 2, `cpuacct` is a part of `cpu`.
    pub fn group(&self, cgroup: &str, controller: &str, container_id: &str) -> Option<Group> {
        let lines = || cgroup.lines().filter_map(membership);
        let own = lines().find(|(controllers, _)| controllers.split(',').any(|it| it == controller));
        let unified = || lines().find(|(controllers, _)| controllers.is_empty());
        let (version, (_, path)) = match own {
            Some(own) => (Version::One, own),
            None => (Version::Two, unified()?),
        };
        let path = of_container(path, container_id)?;
        let fits = |it: &&Hierarchy| {
            it.version == version
                && (version == Version::Two || it.controllers.iter().any(|it| it == controller))
        };
        self.0.iter().filter(fits).find_map(|hierarchy| {
            let below = path.strip_prefix(&hierarchy.root).ok()?;
            Some(Group { version, folder: hierarchy.mount.join(below) })
        })
    }
}

/// One line of `/proc/PID/cgroup`, `NUMBER:CONTROLLERS:PATH`: the last two.
fn membership(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.split_once(':')?;
    rest.split_once(':')
}

/// The part of `path` that ends with the folder named after the container: `docker-ID.scope`, `ID`. A container may make
/// groups of its own below that.
fn of_container(path: &str, container_id: &str) -> Option<PathBuf> {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let mut found = PathBuf::new();
    for part in Path::new(path).components() {
        let part = part.as_os_str().to_str()?;
        // Seen from another namespace: it is not below what is mounted here.
        if part == ".." {
            return None;
        }
        found.push(part);
        if !container_id.is_empty() && part.contains(container_id) {
            return Some(found);
        }
    }
    None
}

/// One line of mountinfo: `ID PARENT DEVICE ROOT MOUNT OPTIONS [FIELD…] - TYPE SOURCE OPTIONS`.
fn hierarchy(line: &str) -> Option<Hierarchy> {
    let (mounted, kind) = line.split_once(" - ")?;
    let mut mounted = mounted.split(' ').skip(3);
    let (root, mount) = (unescaped(mounted.next()?)?, unescaped(mounted.next()?)?);
    let mut kind = kind.split(' ');
    let version = match kind.next()? {
        "cgroup" => Version::One,
        "cgroup2" => Version::Two,
        _ => return None,
    };
    let controllers = kind.nth(1)?.split(',').map(str::to_owned).collect();
    Some(Hierarchy { version, controllers, root, mount })
}

/// mountinfo writes space, tab, line feed and backslash as `\` and three octal digits.
fn unescaped(text: &str) -> Option<PathBuf> {
    let mut parts = text.split('\\');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(3)?;
        bytes.push(u8::from_str_radix(digits, 8).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok().map(PathBuf::from)
}

/// The file with the processor time of a group.
pub fn cpu_file(version: Version) -> &'static str {
    match version {
        Version::One => "cpuacct.usage",
        Version::Two => "cpu.stat",
    }
}

/// What [`cpu_file`] says, in seconds.
pub fn cpu_seconds(version: Version, text: &str) -> Option<f64> {
    match version {
        Version::One => Some(number(text)? as f64 / 1e9),
        Version::Two => Some(field(text, "usage_usec")? as f64 / 1e6),
    }
}

/// The files with what a group uses, with how, and with its limit.
pub fn memory_files(version: Version) -> [&'static str; 3] {
    match version {
        Version::One => ["memory.usage_in_bytes", "memory.stat", "memory.limit_in_bytes"],
        Version::Two => ["memory.current", "memory.stat", "memory.max"],
    }
}

/// What [`memory_files`] say. Version 1 counts a group's own pages and, apart from them, those of all below it.
pub fn memory(version: Version, usage: &str, stat: &str, limit: &str) -> Option<ContainerMemory> {
    let inactive = match version {
        Version::One => field(stat, "total_inactive_file"),
        Version::Two => field(stat, "inactive_file"),
    };
    Some(ContainerMemory {
        working_set_bytes: number(usage)?.saturating_sub(inactive.unwrap_or(0)),
        // `max` is no number.
        limit_bytes: number(limit).filter(|limit| *limit < NO_LIMIT),
    })
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The value of a line `NAME 1234`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| number(line.strip_prefix(name)?.strip_prefix(' ')?))
}

#[cfg(test)]
#[path = "control_groups_tests.rs"]
mod tests;
