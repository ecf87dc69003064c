//! What the situations share: a real engine, a real registry that demands a login, an image in it, and containers wanted.

#![expect(clippy::disallowed_methods, reason = "a suite drives the host: commands and files")]

use agent::engine::{ContainerSpec, Engine, EngineError};
use agent::host::docker::Docker;
use agent::observed::{Container, ContainerState};
use agent::registry::Login;
use harness::docker_daemon::DockerDaemon;
use node::config::settings::{Health, ImageReference, ImageVersion, Network, Probe, Service, Update};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// In a network namespace of our own every port is free.
const REGISTRY: &str = "127.0.0.1:5000";
/// `node:correct horse`, hashed with bcrypt at its lowest cost.
const HTPASSWD: &str = "node:$2b$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2\n";
const PASSWORD: &str = "correct horse";
/// Long enough on a busy machine; only a failing test waits that long.
const PLENTY: Duration = Duration::from_secs(60);

pub(crate) struct Bench {
    pub(crate) daemon: DockerDaemon,
    pub(crate) docker: Docker,
    /// Of the image in the registry, which the engine does not have at first.
    pub(crate) digest: String,
    _registry: Registry,
}

/// `docker-registry` of Debian, with its files.
struct Registry {
    process: Child,
    _directory: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Bench {
    pub(crate) fn start() -> io::Result<Bench> {
        let daemon = DockerDaemon::start()?;
        let registry = start_registry(&daemon)?;
        let docker = Docker::connect(Some(&daemon.docker_host())).map_err(io::Error::other)?;
        let mut bench = Bench { daemon, docker, digest: String::new(), _registry: registry };
        bench.digest = bench.publish("app", &["CMD [\"busybox\",\"sleep\",\"3600\"]"])?;
        Ok(bench)
    }

    /// Makes an image of busybox with these instructions, pushes it, and leaves the engine without it.
    pub(crate) fn publish(&self, repository: &str, instructions: &[&str]) -> io::Result<String> {
        let name = format!("{REGISTRY}/{repository}:latest");
        let mut arguments = vec!["import", "--change", "ENV PATH=/bin"];
        arguments.extend(instructions.iter().flat_map(|instruction| ["--change", instruction]));
        arguments.extend(["-", &name]);
        self.daemon.docker(&arguments, &busybox_root()?)?;
        let pushed = self.daemon.docker(&["push", &name], b"")?;
        self.daemon.docker(&["image", "rm", &name], b"")?;
        let digest = pushed.split_whitespace().skip_while(|word| *word != "digest:").nth(1);
        digest.map(str::to_owned).ok_or_else(|| io::Error::other(format!("no digest in: {pushed}")))
    }

    /// Makes an image on that of [`Bench::spec`], for what an import takes no instruction. Its name is its id.
    pub(crate) fn derive(&self, instructions: &[&str]) -> io::Result<String> {
        let base = self.spec("base", 1, &[]).settings.image.pinned(&self.digest);
        let recipe = format!("FROM {base}\n{}\n", instructions.join("\n"));
        self.daemon.docker(&["build", "--quiet", "-"], recipe.as_bytes())
    }

    pub(crate) fn spec(&self, service: &str, generation: u64, command: &[&str]) -> ContainerSpec {
        ContainerSpec {
            service: service.to_owned(),
            settings: settings(command),
            digest: self.digest.clone(),
            spec_hash: "5ec".to_owned(),
            generation,
            environment: vec![],
            secret_folders: vec![],
        }
    }

    /// Pulls the image that [`Bench::spec`] wants, unless it is there.
    pub(crate) async fn have_image(&self) {
        let image = reference("app");
        let pulled = self.docker.pull(&image, &self.digest, Some(login(PASSWORD)), &|_| {}).await;
        pulled.expect("the image is pulled");
    }

    /// Makes and starts a container; returns its id.
    pub(crate) async fn run(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        self.have_image().await;
        let id = self.docker.create(spec).await?;
        self.docker.start(&id).await?;
        Ok(id)
    }

    /// Our container of that name, if the engine has it.
    pub(crate) async fn find(&self, name: &str) -> Option<Container> {
        let containers = self.docker.containers().await.expect("a list of containers");
        containers.into_iter().find(|container| container.name == name)
    }

    /// Waits until the container of that name is in a state that `reached` accepts; wakes with the engine's events.
    pub(crate) async fn wait_for(&self, name: &str, reached: impl Fn(&ContainerState) -> bool) -> Container {
        let waiting = async {
            loop {
                match self.find(name).await {
                    Some(container) if reached(&container.state) => return container,
                    _ => self.docker.changed().await,
                }
            }
        };
        within(name, waiting).await
    }

    /// Removes every container, ours or not.
    pub(crate) fn clear(&self) -> io::Result<()> {
        // A situation that failed may have left it frozen, and would be waited for without an end.
        self.daemon.thaw()?;
        let ids = self.daemon.docker(&["ps", "--all", "--quiet"], b"")?;
        if ids.is_empty() {
            return Ok(());
        }
        let arguments = ["rm", "--force", "--volumes"].into_iter().chain(ids.split_whitespace());
        self.daemon.docker(&arguments.collect::<Vec<_>>(), b"").map(|_| ())
    }
}

/// `future`, which a failing test does not wait for in vain.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PLENTY, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PLENTY:?} in vain for {what}"),
    }
}

pub(crate) fn login(password: &str) -> Login {
    Login { username: "node".to_owned(), password: password.to_owned().into() }
}

pub(crate) fn right_login() -> Login {
    login(PASSWORD)
}

pub(crate) fn reference(repository: &str) -> ImageReference {
    ImageReference {
        registry: REGISTRY.to_owned(),
        repository: repository.to_owned(),
        version: ImageVersion::Tag("latest".to_owned()),
    }
}

pub(crate) fn health(probe: Probe) -> Health {
    Health {
        probe,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(2),
        retries: 1,
        start_period: Duration::ZERO,
    }
}

fn settings(command: &[&str]) -> Service {
    Service {
        image: reference("app"),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        ports: vec![],
        environment: BTreeMap::new(),
        environment_from: vec![],
        secret_files: vec![],
        mounts: vec![],
        depends_on: vec![],
        memory_bytes: None,
        nano_cpus: None,
        gpus: None,
        user: None,
        read_only: false,
        capabilities: vec![],
        imds: false,
        stop_timeout: Duration::from_secs(1),
        network: Network::Node,
        health: health(Probe::ImageOrStayedUp),
        update: Update {
            every: None,
            deadline: PLENTY,
            min_healthy: Duration::ZERO,
            strategy: node::config::settings::Strategy::Recreate,
            min_age: Duration::ZERO,
            windows: Vec::new(),
            drain: Duration::from_secs(30),
            before: Vec::new(),
            after: Vec::new(),
        },
        logs: node::config::settings::Shaping::default(),
    }
}

/// A tar with busybox under the names that the situations use.
fn busybox_root() -> io::Result<Vec<u8>> {
    let root = tempfile::tempdir()?;
    let bin = root.path().join("bin");
    fs::create_dir_all(&bin)?;
    for folder in ["tmp", "www", "etc", "run"] {
        fs::create_dir(root.path().join(folder))?;
    }
    // As every base image has it; an engine's tmpfs takes the mode from there.
    fs::set_permissions(root.path().join("tmp"), fs::Permissions::from_mode(0o1777))?;
    fs::write(root.path().join("www/index.html"), "welcome\n")?;
    fs::copy("/bin/busybox", bin.join("busybox"))?;
    for applet in
        ["sh", "sleep", "cat", "echo", "httpd", "wget", "touch", "id", "seq", "ps", "test", "yes", "grep"]
    {
        std::os::unix::fs::symlink("busybox", bin.join(applet))?;
    }
    let packed = Command::new("tar").args(["--create", "--directory"]).arg(root.path()).arg(".").output()?;
    Ok(packed.stdout)
}

/// Starts the registry and gives the `docker` program its password.
fn start_registry(daemon: &DockerDaemon) -> io::Result<Registry> {
    let directory = tempfile::tempdir()?;
    let place = |name: &str| directory.path().join(name).display().to_string();
    fs::write(place("htpasswd"), HTPASSWD)?;
    let configuration = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http: {{addr: '{REGISTRY}'}}\nauth: {{htpasswd: {{realm: test, path: {}}}}}\n",
        place("data"),
        place("htpasswd"),
    );
    fs::write(place("config.yml"), configuration)?;
    // It has nothing to put in order, and must not outlive a suite that was killed.
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--", "docker-registry", "serve", &place("config.yml")])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let process = command.stderr(fs::File::create(place("log"))?).spawn()?;
    let registry = Registry { process, _directory: directory };
    // The engine's own retries cover the moment until it listens; a login asks for it at once.
    let mut tries = 100;
    let arguments = ["login", "--username", "node", "--password-stdin", REGISTRY];
    while let Err(error) = daemon.docker(&arguments, PASSWORD.as_bytes()) {
        tries -= 1;
        if tries == 0 {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(registry)
}
