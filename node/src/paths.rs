//! Where things are on the node. The paths are part of the contract; the root is an argument so that plans and
//! handoffs can be tested on a temporary tree.

use std::path::{Path, PathBuf};

/// Every file of ours under one root, `/` on a real node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Paths::under("/")
    }
}

impl Paths {
    /// The paths under `root`.
    pub fn under(root: impl AsRef<Path>) -> Paths {
        Paths { root: root.as_ref().to_owned() }
    }

    /// `path`, which is absolute on the node, under this root.
    pub fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The configuration file.
    pub fn configuration(&self) -> PathBuf {
        self.at("etc/node-agent/node.toml")
    }

    /// Drop-ins, `*.toml`, read in the order of their names.
    pub fn drop_ins(&self) -> PathBuf {
        self.at("etc/node-agent/node.d")
    }

    /// What bootstrap found and did on this boot.
    pub fn handoff(&self) -> PathBuf {
        self.at("run/node-agent/handoff.json")
    }

    /// Environment for the agent's unit: the standard names that bootstrap was itself started with.
    pub fn agent_environment(&self) -> PathBuf {
        self.at("run/node-agent/environment")
    }

    /// tmpfs, 0700: the values of secrets.
    pub fn secrets(&self) -> PathBuf {
        self.at("run/node-agent/secrets")
    }

    /// The control API.
    pub fn control_socket(&self) -> PathBuf {
        self.at("run/node-agent/agent.sock")
    }

    /// The last status that the agent published, for `agentctl` while the agent is down.
    pub fn last_status(&self) -> PathBuf {
        self.at("run/node-agent/status.json")
    }

    /// Held by the one bootstrap that works; a second one waits for it and finds the work done.
    pub fn bootstrap_lock(&self) -> PathBuf {
        self.at("run/node-agent/bootstrap.lock")
    }

    /// What survives reboots: history, quarantine, log cursors.
    pub fn state(&self) -> PathBuf {
        self.at("var/lib/node-agent")
    }

    /// Bootstrap's own log.
    pub fn bootstrap_log(&self) -> PathBuf {
        self.at("var/log/node-bootstrap.log")
    }
}
