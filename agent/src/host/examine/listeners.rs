//! Who listens on ports of this host: `/proc/net/{tcp,tcp6,udp,udp6}` (proc(5)), and the processes that hold the sockets.

use crate::examined::Listener;
use node::config::settings::Protocol;
use node::paths::Paths;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// `TCP_LISTEN` of linux/tcp_states.h, and the state of an unconnected UDP socket (`TCP_CLOSE`).
const LISTENING: &str = "0A";
const UNCONNECTED: &str = "07";

/// All of them; without their processes where these may not be looked at.
pub fn listeners(system: &Paths) -> Vec<Listener> {
    let mut sockets = BTreeMap::new();
    for (table, protocol, state) in [
        ("tcp", Protocol::Tcp, LISTENING),
        ("tcp6", Protocol::Tcp, LISTENING),
        ("udp", Protocol::Udp, UNCONNECTED),
        ("udp6", Protocol::Udp, UNCONNECTED),
    ] {
        let text = fs::read_to_string(system.at("/proc/net").join(table)).unwrap_or_default();
        for (port, inode) in text.lines().skip(1).filter_map(|line| socket(line, state)) {
            sockets.entry(inode).or_insert((protocol, port));
        }
    }
    let owners = owners(system, &sockets.keys().copied().collect());
    let of = |(inode, (protocol, port)): (u64, (Protocol, u16))| {
        let owner = owners.get(&inode);
        Listener {
            protocol,
            port,
            process: owner.map(|owner| (owner.name.clone(), owner.pid)),
            of_containers: owner.is_some_and(|owner| owner.of_containers),
        }
    };
    sockets.into_iter().map(of).collect()
}

/// Port and inode of a line in that state: `sl local_address rem_address st … uid timeout inode`.
fn socket(line: &str, state: &str) -> Option<(u16, u64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if words.get(3) != Some(&state) {
        return None;
    }
    let port = words.get(1)?.rsplit(':').next()?;
    Some((u16::from_str_radix(port, 16).ok()?, words.get(9)?.parse().ok()?))
}

struct Owner {
    name: String,
    pid: u32,
    of_containers: bool,
}

/// The first process found for each inode; a socket that several hold was passed on by it.
fn owners(system: &Paths, inodes: &BTreeSet<u64>) -> BTreeMap<u64, Owner> {
    let mut owners = BTreeMap::new();
    for entry in fs::read_dir(system.at("/proc")).into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let process = entry.path();
        for descriptor in fs::read_dir(process.join("fd")).into_iter().flatten().flatten() {
            let Some(inode) = held(&descriptor.path()).filter(|inode| inodes.contains(inode)) else {
                continue;
            };
            owners.entry(inode).or_insert_with(|| owner(&process, pid));
        }
    }
    owners
}

/// `socket:[12345]`
fn held(descriptor: &Path) -> Option<u64> {
    let target = fs::read_link(descriptor).ok()?;
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn owner(process: &Path, pid: u32) -> Owner {
    let text = |file: &str| fs::read_to_string(process.join(file)).unwrap_or_default();
    let name = text("comm").trim().to_owned();
    let groups = text("cgroup");
    let in_container = ["/docker/", "/docker-", "/containerd/"].iter().any(|part| groups.contains(part));
    let of_containers = in_container || name == "docker-proxy" || name == "dockerd";
    Owner { name, pid, of_containers }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_listens_is_found_with_its_process() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let found = listeners(&Paths::default());
        let ours = found.iter().find(|listener| (listener.protocol, listener.port) == (Protocol::Tcp, port));
        let ours = ours.unwrap_or_else(|| panic!("port {port} is not among {found:?}"));
        assert_eq!(ours.process.as_ref().map(|(_, pid)| *pid), Some(std::process::id()));
        assert!(!ours.of_containers || std::path::Path::new("/.dockerenv").exists(), "{ours:?}");
    }

    #[test]
    fn lines_of_the_kernel() {
        let line = "   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 31337 1 0 100 0";
        assert_eq!(socket(line, LISTENING), Some((8080, 31337)));
        assert_eq!(socket(line, UNCONNECTED), None);
        assert_eq!(socket("garbage", LISTENING), None);
    }
}
