//! The real `docker-registry` (Debian's package) on a loopback port, over a
//! directory of its own; the local cloud's registry gate stands before it.

#![expect(clippy::disallowed_methods, reason = "starts a program and writes its configuration")]

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::images::Registry;
use crate::processes::Process;
use crate::requirements;
use crate::wait::TimedOut;

/// How long the registry may take until it listens.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// Why the registry did not start.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Its directory or configuration could not be written.
    #[error("cannot prepare the registry's directory")]
    Directory(#[source] std::io::Error),
    /// The program could not be started.
    #[error("cannot start docker-registry (Debian package docker-registry)")]
    Start(#[source] std::io::Error),
    /// It never said that it listens.
    #[error(transparent)]
    Late(#[from] TimedOut),
    /// It said so in a way that is not understood.
    #[error("docker-registry did not say where it listens: {0}")]
    Address(String),
}

/// A running registry; it and its images are gone when dropped.
pub struct RegistryBackend {
    process: Process,
    url: String,
    _directory: TempDir,
}

impl RegistryBackend {
    /// Starts a registry and returns when it listens.
    ///
    /// # Errors
    /// [`RegistryError`] when the program is not installed or does not listen.
    pub fn start() -> Result<Self, RegistryError> {
        let directory = tempfile::tempdir().map_err(RegistryError::Directory)?;
        let settings = serde_json::json!({
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": directory.path()}, "delete": {"enabled": true}},
            // Relative locations are right on both sides of the gate.
            "http": {"addr": "127.0.0.1:0", "relativeurls": true},
        });
        let file = directory.path().join("config.yml");
        // JSON is YAML.
        std::fs::write(&file, settings.to_string()).map_err(RegistryError::Directory)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file);
        let mut process = Process::start("docker-registry", command).map_err(RegistryError::Start)?;
        let line = process.wait_for_line("listening on ", START_DEADLINE)?;
        let address = line.split("listening on ").nth(1).and_then(|rest| rest.split('"').next());
        let address = address.map(str::to_owned).ok_or(RegistryError::Address(line))?;
        Ok(Self { process, url: format!("http://{address}"), _directory: directory })
    }

    /// Whether the program is installed; a test says so and returns when not.
    #[must_use]
    pub fn is_installed() -> bool {
        requirements::is_on_path("docker-registry")
    }

    /// Base URL, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client to push with.
    #[must_use]
    pub fn images(&self) -> Registry {
        Registry::at(&self.url)
    }

    /// What the program wrote so far.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }
}
