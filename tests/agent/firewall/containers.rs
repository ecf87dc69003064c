//! Containers of the suite: made as the agent would, with a server in their network that says its name.

#![expect(clippy::disallowed_methods, reason = "a suite drives the host: commands and files")]

use crate::peers::{Server, serve};
use crate::scene::Scene;
use agent::engine::Engine as _;
use agent::observed::Container;
use agent::rules::{HostPort, Rules, Target};
use node::config::settings::Protocol;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;

/// Where each listens inside, for TCP and for UDP.
pub(crate) const INSIDE: u16 = 8000;
/// Ports of the host that lead to routed ones.
pub(crate) const TCP: u16 = 80;
pub(crate) const UDP: u16 = 53;

/// A container, and what answers in it.
pub(crate) struct Running {
    pub(crate) observed: Container,
    /// The network of the bridge that it is on, as address and length of its prefix.
    pub(crate) bridge: (Ipv4Addr, u8),
    _server: Server,
}

impl Running {
    pub(crate) fn address(&self) -> Ipv4Addr {
        match self.observed.address {
            Some(IpAddr::V4(address)) => address,
            other => panic!("{} has the address {other:?}", self.observed.name),
        }
    }

    pub(crate) fn network(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.observed.pid.expect("it runs")))
    }

    /// The port of the engine's proxy for TCP.
    pub(crate) fn proxy(&self, protocol: Protocol) -> Option<u16> {
        let proxy = self.observed.ipv6_ports.iter().find(|port| port.protocol == protocol);
        proxy.map(|port| port.host)
    }

    /// The rules by which ports of the host lead to it.
    pub(crate) fn rules(&self) -> Rules {
        let route = |port: &node::config::settings::Port| {
            let host = HostPort { protocol: port.protocol, number: port.host };
            let ipv6_proxy = self.proxy(port.protocol);
            (host, Target { address: self.address(), port: port.container, ipv6_proxy })
        };
        Rules {
            routes: self.observed.routed_ports.iter().map(route).collect(),
            bridges: [self.bridge].into(),
            ..Rules::default()
        }
    }
}

impl Scene {
    /// A routed container whose server says `name`.
    pub(crate) fn routed(&self, name: &str) -> Running {
        let inside = [format!("{INSIDE}"), format!("{INSIDE}/udp")];
        let ports = inside.iter().flat_map(|port| [format!("127.0.0.1::{port}"), format!("[::]::{port}")]);
        let label = format!("{TCP}:{INSIDE},{UDP}:{INSIDE}/udp");
        self.start(name, &ports.collect::<Vec<_>>(), &["--label", &format!("node-agent.ports={label}")])
    }

    /// A container whose port the engine publishes on the host's.
    pub(crate) fn published(&self, name: &str) -> Running {
        self.start(name, &[format!("{TCP}:{INSIDE}")], &[])
    }

    fn start(&self, name: &str, ports: &[String], more: &[&str]) -> Running {
        let mut arguments = vec!["run", "--detach", "--name", name, "--network", "node-agent"];
        arguments.extend(ports.iter().flat_map(|port| ["--publish", port]));
        arguments.extend(["--label", "node-agent.service=api", "--label", "node-agent.spec=5ec"]);
        arguments.extend(["--label", "node-agent.digest=sha256:aa", "--label", "node-agent.generation=1"]);
        arguments.extend(more);
        arguments.extend(["busybox", "/bin/busybox", "sleep", "3600"]);
        self.engine().daemon.docker(&arguments, b"").expect("the container runs");
        self.look(name)
    }

    /// As the agent sees it now, with a new server.
    pub(crate) fn look(&self, name: &str) -> Running {
        let containers = self.runtime.block_on(self.engine().docker.containers()).expect("a list");
        let observed = containers.into_iter().find(|it| it.name == name).expect("it is listed");
        let bridges = self.runtime.block_on(self.engine().docker.bridges()).expect("asked");
        let bridge = bridges.into_iter().next().expect("the container's");
        let network = PathBuf::from(format!("/proc/{}/ns/net", observed.pid.expect("it runs")));
        let server = serve(network, name, INSIDE).expect("a server in the container's network");
        Running { observed, bridge, _server: server }
    }
}

/// A tar with busybox.
pub(crate) fn busybox_root() -> io::Result<Vec<u8>> {
    let root = tempfile::tempdir()?;
    fs::create_dir_all(root.path().join("bin"))?;
    fs::copy("/bin/busybox", root.path().join("bin/busybox"))?;
    let packed = Command::new("tar").args(["--create", "--directory"]).arg(root.path()).arg(".").output()?;
    Ok(packed.stdout)
}
