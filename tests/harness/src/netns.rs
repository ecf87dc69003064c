//! Two network namespaces joined by a cable: the cloud's side and the
//! instance's side, addressed as an EC2 instance sees them.
//!
//! What always holds: names are unique to the process and the call, and both
//! namespaces are gone when the value is dropped. Needs root.

#![expect(clippy::disallowed_methods, reason = "namespaces are made by the ip command")]

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};

/// Where instances look for their metadata.
pub const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The cloud's end of the cable, and the instance's gateway.
pub const CLOUD_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The instance's end of the cable.
pub const INSTANCE_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// Name of the interface at either end.
pub const INTERFACE: &str = "eth0";

/// Why a namespace could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The command could not be started.
    #[error("cannot run {command}")]
    Run {
        /// The command line.
        command: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The command failed.
    #[error("{command} failed: {message}")]
    Failed {
        /// The command line.
        command: String,
        /// What it wrote.
        message: String,
    },
    /// The namespace could not be entered.
    #[error("cannot enter the network namespace {name}")]
    Enter {
        /// Its name.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// One network namespace, deleted when dropped. Processes still in it keep it
/// alive, unnamed, until they end.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes an empty namespace with its loopback up.
    ///
    /// # Errors
    /// [`NetnsError`] when not root, or `ip` fails.
    pub fn new(role: &str) -> Result<Self, NetnsError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{role}-{}-{number}", std::process::id());
        ip(&["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it, for `systemd-nspawn --network-namespace-path`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// A command that will run inside; only the network is another.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs `work` on a thread of its own inside. Sockets that it opens stay in
    /// this namespace wherever they are used later.
    ///
    /// # Errors
    /// [`NetnsError::Enter`] when the namespace cannot be entered.
    pub fn enter<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NetnsError> {
        enter_path(self.path(), work).map_err(|source| NetnsError::Enter { name: self.name.clone(), source })
    }

    /// A listener inside, for [`crate::local_cloud::Bind::Listener`].
    ///
    /// # Errors
    /// [`NetnsError::Enter`] when the namespace cannot be entered or the
    /// address not be bound.
    pub fn listen(&self, address: impl Into<SocketAddr>) -> Result<TcpListener, NetnsError> {
        let address = address.into();
        self.enter(move || TcpListener::bind(address))?
            .map_err(|source| NetnsError::Enter { name: format!("{} at {address}", self.name), source })
    }

    fn ip(&self, arguments: &[&str]) -> Result<(), NetnsError> {
        ip(&[&["-n", &self.name], arguments].concat())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // There is nobody to tell; the next test does not meet this name.
        ip(&["netns", "delete", &self.name]).ok();
    }
}

/// Runs `work` on a thread of its own in the network namespace behind a file
/// such as `/run/netns/NAME`.
///
/// # Errors
/// When the namespace cannot be entered, or the work panicked.
pub fn enter_path<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let thread = std::thread::spawn(move || {
        setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?;
        Ok(work())
    });
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the work inside panicked")))
}

/// The cloud and the instance, joined.
pub struct Network {
    /// Has [`METADATA_ADDRESS`] and [`CLOUD_ADDRESS`].
    pub cloud: Namespace,
    /// Has [`INSTANCE_ADDRESS`], and the cloud as its default route.
    pub instance: Namespace,
}

impl Network {
    /// Makes both namespaces and the cable between them.
    ///
    /// # Errors
    /// [`NetnsError`] when not root, or `ip` fails.
    pub fn new() -> Result<Self, NetnsError> {
        let cloud = Namespace::new("cloud")?;
        let instance = Namespace::new("instance")?;
        let cable =
            ["link", "add", INTERFACE, "netns", cloud.name(), "type", "veth", "peer", "name", INTERFACE];
        ip(&[&cable[..], &["netns", instance.name()]].concat())?;
        cloud.ip(&["address", "add", &format!("{METADATA_ADDRESS}/32"), "dev", "lo"])?;
        cloud.ip(&["address", "add", &format!("{CLOUD_ADDRESS}/30"), "dev", INTERFACE])?;
        cloud.ip(&["link", "set", INTERFACE, "up"])?;
        instance.ip(&["address", "add", &format!("{INSTANCE_ADDRESS}/30"), "dev", INTERFACE])?;
        instance.ip(&["link", "set", INTERFACE, "up"])?;
        instance.ip(&["route", "add", "default", "via", &CLOUD_ADDRESS.to_string()])?;
        Ok(Self { cloud, instance })
    }
}

fn ip(arguments: &[&str]) -> Result<(), NetnsError> {
    let command = format!("ip {}", arguments.join(" "));
    match Command::new("ip").args(arguments).output() {
        Err(source) => Err(NetnsError::Run { command, source }),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(NetnsError::Failed { command, message })
        }
    }
}
