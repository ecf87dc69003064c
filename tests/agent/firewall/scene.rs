//! The instance of the suite: a namespace with a cable to the cloud's, an engine or none, and our table.

#![expect(clippy::disallowed_methods, reason = "a suite drives the host: commands and files")]

use crate::containers::busybox_root;
use agent::firewall::Firewall;
use agent::host::docker::Docker;
use agent::host::firewall::Nftables;
use agent::rules::Rules;
use harness::docker_daemon::DockerDaemon;
use harness::netns::{INTERFACE, Network};
use std::fmt;
use std::io;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// The cloud's end of the cable, and the instance's.
const CLOUD_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x198, 0, 0, 0, 0, 0, 1);
pub(crate) const INSTANCE_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x198, 0, 0, 0, 0, 0, 2);
/// Long enough on a busy machine; only a failing situation waits that long.
pub(crate) const PLENTY: Duration = Duration::from_secs(30);

/// Which iptables the engine writes its rules with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavor {
    NoEngine,
    Nft,
    Legacy,
}

impl fmt::Display for Flavor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Flavor::NoEngine => "alone",
            Flavor::Nft => "iptables-nft",
            Flavor::Legacy => "iptables-legacy",
        })
    }
}

impl Flavor {
    fn program(self) -> Option<&'static str> {
        match self {
            Flavor::NoEngine => None,
            Flavor::Nft => Some("/usr/sbin/xtables-nft-multi"),
            Flavor::Legacy => Some("/usr/sbin/xtables-legacy-multi"),
        }
    }

    /// Why it cannot be had here.
    pub(crate) fn is_missing(self) -> Option<String> {
        let program = self.program()?;
        let answer = Command::new(program).args(["iptables", "-t", "nat", "-L", "-n"]).output();
        match answer {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Some(format!("{program}: {error}")),
        }
    }
}

/// What the situations of one flavor share.
pub(crate) struct Scene {
    pub(crate) network: Arc<Network>,
    pub(crate) firewall: Nftables,
    pub(crate) runtime: Runtime,
    pub(crate) engine: Option<Engine>,
}

/// An engine with an image of busybox and the node's bridge.
pub(crate) struct Engine {
    pub(crate) daemon: DockerDaemon,
    pub(crate) docker: Docker,
    _programs: tempfile::TempDir,
}

impl Scene {
    /// On the thread that calls, which is on the instance's side of `network`.
    pub(crate) fn set(network: Arc<Network>, flavor: Flavor) -> io::Result<Scene> {
        for (side, address) in [(&network.cloud, CLOUD_IPV6), (&network.instance, INSTANCE_IPV6)] {
            let address = format!("{address}/64");
            output(side.command("ip").args(["address", "add", &address, "dev", INTERFACE, "nodad"]))?;
        }
        // One thread, so that whatever it starts is on this side too.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let firewall = runtime.block_on(async { Nftables::open() });
        let engine = flavor.program().map(Engine::start).transpose()?;
        Ok(Scene { network, firewall, runtime, engine })
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("this flavor has an engine")
    }

    /// Puts rules in force; they must be read back.
    pub(crate) fn replace(&self, rules: &Rules) {
        self.runtime.block_on(self.firewall.replace(rules)).expect("replaced");
        assert_eq!(self.rules(), *rules, "{}", self.ruleset());
    }

    pub(crate) fn rules(&self) -> Rules {
        self.runtime.block_on(self.firewall.rules()).expect("read")
    }

    /// `changed()` returned by itself within a while.
    pub(crate) fn rings(&self, within: Duration) -> bool {
        let waiting = async { tokio::time::timeout(within, self.firewall.changed()).await.is_ok() };
        self.runtime.block_on(waiting)
    }

    /// What others did and our own replacements made it ring for is heard, and forgotten.
    pub(crate) fn quiet(&self) {
        while self.rings(Duration::from_millis(50)) {}
    }

    /// Runs `nft`.
    pub(crate) fn nft(&self, arguments: &[&str]) -> String {
        output(Command::new("nft").args(arguments)).expect("nft does it")
    }

    /// The whole firewall, counters left out.
    pub(crate) fn ruleset(&self) -> String {
        self.nft(&["--stateless", "list", "ruleset"])
    }

    /// The same without our table, and with what iptables-legacy keeps beside.
    pub(crate) fn foreign(&self) -> String {
        let ruleset = self.ruleset();
        let mut foreign: String = ruleset
            .split_inclusive("\n}\n")
            .filter(|table| !table.contains("table inet node-agent {"))
            .collect();
        for table in ["nat", "filter", "raw"] {
            let saved = Command::new("iptables-legacy-save").args(["-t", table]).output();
            let saved = saved.map(|output| output.stdout).unwrap_or_default();
            let saved = String::from_utf8_lossy(&saved);
            let lines = saved.lines().filter(|line| !line.starts_with('#'));
            // Counters of chains stand behind their policies.
            foreign.extend(lines.map(|line| format!("{}\n", line.split(" [").next().unwrap_or_default())));
        }
        foreign
    }

    /// No rules of ours, no containers.
    pub(crate) fn clear(&mut self) {
        self.replace(&Rules::default());
        if let Some(engine) = &self.engine {
            engine.clear().expect("the engine is cleared");
        }
    }
}

impl Engine {
    fn start(iptables: &str) -> io::Result<Engine> {
        let programs = tempfile::tempdir()?;
        for (name, target) in [("iptables", iptables), ("ip6tables", iptables)] {
            std::os::unix::fs::symlink(target, programs.path().join(name))?;
        }
        let folder = PathBuf::from(programs.path());
        let daemon = DockerDaemon::start_with(Some(folder))?;
        daemon.docker(&["import", "-", "busybox"], &busybox_root()?)?;
        daemon.docker(&["network", "create", "node-agent"], b"")?;
        let docker = Docker::connect(Some(&daemon.docker_host())).map_err(io::Error::other)?;
        Ok(Engine { daemon, docker, _programs: programs })
    }

    fn clear(&self) -> io::Result<()> {
        let ids = self.daemon.docker(&["ps", "--all", "--quiet"], b"")?;
        if ids.is_empty() {
            return Ok(());
        }
        let arguments = ["rm", "--force", "--volumes"].into_iter().chain(ids.split_whitespace());
        self.daemon.docker(&arguments.collect::<Vec<_>>(), b"").map(|_| ())
    }
}

/// What a command printed; its words where it failed.
pub(crate) fn output(command: &mut Command) -> io::Result<String> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}
