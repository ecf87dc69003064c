//! The network of a cloud with one instance: the calling thread becomes the cloud, the instance gets a namespace of
//! its own and a veth pair to it.

use super::run_on_host;
use nix::sched::{CloneFlags, unshare};
use std::io;
use std::path::PathBuf;

/// Where an instance finds its metadata service (AWS EC2 User Guide, "Instance metadata").
pub const METADATA_ADDRESS: &str = "169.254.169.254";
/// The cloud's side of the link; 198.18.0.0/15 is for tests (RFC 2544).
pub const OUTSIDE_ADDRESS: &str = "198.18.0.1";
/// The instance's address.
pub const INSTANCE_ADDRESS: &str = "198.18.0.2";

/// Moves the calling thread, and all threads and processes that it starts from now on, into a new network namespace
/// that has the metadata address. Everything in it goes with the last of them.
pub fn enter_own_network() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    run_on_host("ip", &["link", "set", "lo", "up"], None)?;
    // Both are there before the first instance is, so that the cloud can listen on them.
    for address in [METADATA_ADDRESS, OUTSIDE_ADDRESS] {
        run_on_host("ip", &["address", "add", &format!("{address}/32"), "dev", "lo"], None)?;
    }
    Ok(())
}

/// The namespace of one instance, under `/run/netns`.
#[derive(Debug)]
pub(super) struct InstanceNetwork {
    name: String,
}

impl InstanceNetwork {
    /// Makes the namespace and its link to the calling thread's one.
    pub(super) fn create(name: &str) -> io::Result<InstanceNetwork> {
        run_on_host("ip", &["netns", "add", name], None)?;
        let network = InstanceNetwork { name: name.to_owned() };
        match network.connect() {
            Ok(()) => Ok(network),
            Err(error) => {
                network.remove();
                Err(error)
            }
        }
    }

    fn connect(&self) -> io::Result<()> {
        let ip = |line: &str| run_on_host("ip", &line.split(' ').collect::<Vec<_>>(), None);
        let inside = format!("-n {}", self.name);
        ip(&format!("link add outside type veth peer name eth0 netns {}", self.name))?;
        ip(&format!("address add {OUTSIDE_ADDRESS}/30 dev outside"))?;
        ip("link set outside up")?;
        ip(&format!("{inside} link set lo up"))?;
        ip(&format!("{inside} address add {INSTANCE_ADDRESS}/30 dev eth0"))?;
        ip(&format!("{inside} link set eth0 up"))?;
        ip(&format!("{inside} route add default via {OUTSIDE_ADDRESS}"))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Removes the link and the namespace.
    pub(super) fn remove(&self) {
        // It would go with the namespace, but at a time of the kernel's choice, and the next instance makes its own.
        let _ = run_on_host("ip", &["link", "delete", "outside"], None);
        let _ = run_on_host("ip", &["netns", "delete", &self.name], None);
    }
}
