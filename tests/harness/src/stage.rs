//! A stage: a cloud with one instance ready to boot, as the demo and the suites of whole instances use it.
//!
//! In: what `make dist` built, and a node.toml. Out: an instance whose user data fetches, checks and runs the static
//! bootstrap, in front of a metadata service, Secrets Manager, ECR with a real registry, and CloudWatch Logs.
//! What always holds: the calling thread's network is the cloud's, so nothing of it is seen on the host.

#![expect(clippy::disallowed_methods, reason = "reads what the build left and where the Makefile says it is")]

mod asked;
mod baked;
mod models;

use crate::images::{Image, Recipe, Registry};
use crate::instance::{
    Answer, Base, Description, Instance, METADATA_ADDRESS, OUTSIDE_ADDRESS, Volume, enter_own_network,
    is_gone, sweep,
};
use crate::local_cloud::{Bind, Config, Initial, LocalCloud, SecretText};
use crate::model_registry::{Door, MODEL_HOST, ModelRegistry};
use crate::registry::RegistryBackend;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;

/// The registry's name, as node.toml's `${account}.dkr.ecr.${region}.amazonaws.com` spells it.
pub const REGISTRY: &str = "123456789012.dkr.ecr.eu-north-1.amazonaws.com";
/// The secret of the stage and its keys; the values are marked, so that a search finds where they went.
pub const SECRET: &str = "stage-secrets";
/// The marked value of `SECRET_KEY`.
pub const MARKED_VALUE: &str = "marked-5e1f3c-secret-value";
/// Repository of the sample application.
pub const REPOSITORY: &str = "sample";
/// The user data that is shipped as an example; placeholders stand for what differs from account to account.
const USER_DATA: &str = include_str!("../../../packaging/cloud-init/user-data.sh");
const AWS_PORT: u16 = 4566;
const FILES_PORT: u16 = 8080;
const MODELS_PORT: u16 = 5001;
/// The authorities that a Debian trusts, below its root.
const TRUSTED: &str = "etc/ssl/certs/ca-certificates.crt";
const VOLUME_BYTES: u64 = 1 << 30;

/// A cloud with at most one instance.
pub struct Stage {
    /// The instance once it has booted. Declared first: it goes before what it stands on.
    pub instance: Option<Instance>,
    /// What the instance finds under `/dev/xvdf`.
    pub volume: Volume,
    /// What it finds under `/dev/xvdg` and so on, see [`Stage::attach`].
    pub more_volumes: Vec<Volume>,
    /// The cloud.
    pub cloud: LocalCloud,
    registry: RegistryBackend,
    models: ModelRegistry,
    /// Where they are to be had without TLS.
    models_door: Door,
    description: Description,
    /// What the file server serves: links to what `make dist` wrote, and what was published.
    files: tempfile::TempDir,
    base: Base,
    dist: PathBuf,
    sample: Vec<u8>,
    runtime: Runtime,
}

/// The workspace's root.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What `make dist` wrote.
#[must_use]
pub fn dist() -> PathBuf {
    std::env::var_os("NODE_AGENT_DIST").map_or_else(|| workspace().join("target/dist"), PathBuf::from)
}

impl Stage {
    /// Sets up everything but the instance; `progress` hears what takes long. Moves the calling thread into the
    /// cloud's network.
    ///
    /// # Errors
    /// What the host lacks or what did not start.
    pub fn set(progress: impl FnMut(&str)) -> Result<Stage, Box<dyn Error>> {
        let dist = dist();
        let sample = workspace().join("target/tools/sample-app");
        let sample =
            fs::read(&sample).map_err(|error| format!("{}: {error}; run make dist", sample.display()))?;
        let base = Base::prepare(&workspace().join("target/instance"), progress)?;
        sweep(&base.runs(), is_gone);
        enter_own_network()?;
        // After the move: threads belong to the network in which they were started.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let registry = RegistryBackend::start()?;
        let files = served(&dist, &base)?;
        let models = ModelRegistry::default();
        let models_door = runtime.block_on(models.listen(&format!("{OUTSIDE_ADDRESS}:{MODELS_PORT}")))?;
        let config = Config { models: Some(models.clone()), ..config(files.path(), registry.url()) };
        let cloud = runtime.block_on(LocalCloud::start(config))?;
        let volume = blank_volume(&base, VOLUME_BYTES)?;
        let description = describe(&cloud, &volume, &base)?;
        let (instance, more_volumes) = (None, Vec::new());
        Ok(Stage {
            instance,
            volume,
            more_volumes,
            cloud,
            registry,
            models,
            models_door,
            description,
            files,
            base,
            dist,
            sample,
            runtime,
        })
    }

    /// One more blank volume, under the next device name: the first is `/dev/xvdg`. Before [`Stage::boot`].
    ///
    /// # Errors
    /// Why there is none.
    pub fn attach(&mut self) -> Result<&Volume, Box<dyn Error>> {
        let volume = blank_volume(&self.base, VOLUME_BYTES)?;
        self.description.volumes.push(volume.device().to_owned());
        let mappings = self.more_volumes.len() + 2;
        let name = ('g'..='p').nth(self.more_volumes.len()).ok_or("no device name is left")?;
        self.cloud.state().block_devices.insert(format!("ebs{mappings}"), format!("sd{name}"));
        self.more_volumes.push(volume);
        Ok(&self.more_volumes[mappings - 2])
    }

    /// Takes the instance down and puts a blank volume in the place of the first one.
    ///
    /// # Errors
    /// Why there is none.
    pub fn renew_volume(&mut self) -> Result<(), Box<dyn Error>> {
        self.renew_volume_with(VOLUME_BYTES)
    }

    /// The same with a volume of so many bytes; XFS wants 300 MiB.
    ///
    /// # Errors
    /// Why there is none.
    pub fn renew_volume_with(&mut self, bytes: u64) -> Result<(), Box<dyn Error>> {
        self.instance = None;
        self.volume = blank_volume(&self.base, bytes)?;
        self.description.volumes = vec![self.volume.device().to_owned()];
        Ok(())
    }

    /// What the next boot is made of.
    pub fn description(&mut self) -> &mut Description {
        &mut self.description
    }

    /// Pushes an image of the sample application under `tag` and returns its digest.
    ///
    /// # Errors
    /// What the registry refused.
    pub fn push_sample(&self, tag: &str, version: &str, mode: &str) -> Result<String, Box<dyn Error>> {
        let recipe = Recipe::of_program("/sample-app", self.sample().to_vec());
        let mut recipe = recipe.env("VERSION", version).env("MODE", mode);
        recipe.exposed_ports = vec!["8000/tcp".to_owned()];
        self.push(&recipe.build()?, tag)
    }

    /// Pushes an image under `tag` of the stage's repository and returns its digest.
    ///
    /// # Errors
    /// What the registry refused.
    pub fn push(&self, image: &Image, tag: &str) -> Result<String, Box<dyn Error>> {
        self.push_to(REPOSITORY, image, tag)
    }

    /// Pushes an image under `tag` of any repository of the account and returns its digest.
    ///
    /// # Errors
    /// What the registry refused.
    pub fn push_to(&self, repository: &str, image: &Image, tag: &str) -> Result<String, Box<dyn Error>> {
        let registry: Registry = self.registry.images();
        Ok(self.runtime.block_on(registry.push(image, repository, tag))?)
    }

    /// The sample application: one static program.
    #[must_use]
    pub fn sample(&self) -> &[u8] {
        &self.sample
    }

    /// The manifest that the registry holds under a digest or tag of the stage's repository.
    ///
    /// # Errors
    /// What the registry refused.
    pub fn manifest(&self, reference: &str) -> Result<String, Box<dyn Error>> {
        let registry: Registry = self.registry.images();
        Ok(self.runtime.block_on(registry.manifest(REPOSITORY, reference))?)
    }

    /// Points the programs of the next boot to AWS services at another address than the stage's own.
    pub fn point_aws_at(&mut self, url: &str) {
        self.description.environment = vec![("AWS_ENDPOINT_URL".to_owned(), url.to_owned())];
    }

    /// The `[agent]` section that fetches the agent from the stage's file server.
    #[must_use]
    pub fn agent_section(&self) -> String {
        let name = tarball(&self.dist);
        let sum = sha256(&self.dist.join(&name));
        format!("[agent]\nurl = \"{}/{name}\"\nsha256 = \"{sum}\"\n", self.cloud.files_url())
    }

    /// Serves a release tarball under that name, and returns the `[agent]` section that fetches it.
    ///
    /// # Errors
    /// Why it could not be written.
    pub fn publish(&self, name: &str, tarball: &[u8]) -> Result<String, Box<dyn Error>> {
        let place = self.files.path().join(name);
        fs::write(&place, tarball)?;
        let (url, sum) = (self.cloud.files_url(), sha256(&place));
        Ok(format!("[agent]\nurl = \"{url}/{name}\"\nsha256 = \"{sum}\"\n"))
    }

    /// The user data of packaging/cloud-init with `node_toml` in place of its own, from the stage's file server.
    #[must_use]
    pub fn user_data(&self, node_toml: &str) -> String {
        const CONFIGURATION: &str = "<<'EOF'\n";
        let script = USER_DATA.split_inclusive(CONFIGURATION).next().unwrap_or_default();
        let sum = sha256(&self.dist.join("node-bootstrap"));
        let script = script.replace("https://EXAMPLE-BUCKET.s3.amazonaws.com", &self.cloud.files_url());
        format!("{}{node_toml}\nEOF\n", script.replace("SHA256_OF_NODE_BOOTSTRAP", &sum))
    }

    /// Boots an instance whose user data runs the bootstrap with `node_toml`.
    ///
    /// # Errors
    /// Why it did not boot, with its console.
    pub fn boot(&mut self, node_toml: &str) -> Result<(), Box<dyn Error>> {
        let user_data = self.user_data(node_toml);
        self.boot_with(&user_data)
    }

    /// Boots an instance with this user data; one that is there goes first.
    ///
    /// # Errors
    /// Why it did not boot, with its console.
    pub fn boot_with(&mut self, user_data: &str) -> Result<(), Box<dyn Error>> {
        self.instance = None;
        self.cloud.state().user_data = Some(user_data.to_owned());
        self.description.run_user_data = true;
        self.instance = Some(Instance::boot(&self.base, &self.description)?);
        Ok(())
    }

    /// Reboots the instance.
    ///
    /// # Errors
    /// Why it did not come up, with its console.
    pub fn reboot(&mut self) -> Result<(), Box<dyn Error>> {
        let description = &self.description;
        match &mut self.instance {
            Some(instance) => Ok(instance.reboot(description)?),
            None => Err("no instance has booted yet".into()),
        }
    }

    /// Runs `node-bootstrap VERB --config -` with `node_toml` inside.
    #[must_use]
    pub fn bootstrap(&self, verb: &str, node_toml: &str) -> Answer {
        self.instance().run_with_input(
            ["env", &self.endpoint(), "node-bootstrap", verb, "--config", "-"],
            node_toml.as_bytes(),
        )
    }

    /// Runs `node-bootstrap run` inside with what is installed, as its unit does.
    #[must_use]
    pub fn bootstrap_again(&self) -> Answer {
        self.instance().run(["env", &self.endpoint(), "node-bootstrap", "run"])
    }

    /// What systemd gives to every unit of the instance, for a command that is no unit.
    fn endpoint(&self) -> String {
        format!("AWS_ENDPOINT_URL={}", self.cloud.aws_url())
    }

    /// The booted instance.
    ///
    /// # Panics
    /// Before [`Stage::boot`].
    #[must_use]
    #[track_caller]
    pub fn instance(&self) -> &Instance {
        match &self.instance {
            Some(instance) => instance,
            None => panic!("no instance has booted yet"),
        }
    }
}

fn served(dist: &Path, base: &Base) -> std::io::Result<tempfile::TempDir> {
    fs::create_dir_all(base.runs())?;
    // By a name that a later run recognises as left behind.
    let prefix = format!("{}-", crate::instance::next_name("files"));
    let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(base.runs())?;
    for entry in fs::read_dir(dist)?.flatten() {
        std::os::unix::fs::symlink(
            dist.canonicalize()?.join(entry.file_name()),
            folder.path().join(entry.file_name()),
        )?;
    }
    Ok(folder)
}

fn config(files: &Path, backend: &str) -> Config {
    let outside = |port: u16| bind(OUTSIDE_ADDRESS, port);
    let keys = [("SECRET_KEY", MARKED_VALUE), ("GOOGLE_CLIENT_ID", "marked-5e1f3c-client-id")];
    let keys = keys.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let initial = Initial {
        secrets: BTreeMap::from([(SECRET.to_owned(), SecretText::Keys(BTreeMap::from(keys)))]),
        ..Initial::default()
    };
    Config {
        imds: Some(bind(METADATA_ADDRESS, 80)),
        aws: Some(outside(AWS_PORT)),
        registry: Some(outside(443)),
        // By address, for a root in which no name resolves.
        registry_names: vec![OUTSIDE_ADDRESS.to_owned()],
        registry_backend: Some(backend.to_owned()),
        files: Some((outside(FILES_PORT), files.to_owned())),
        control: None,
        initial,
        ..Config::default()
    }
}

fn blank_volume(base: &Base, bytes: u64) -> std::io::Result<Volume> {
    Volume::blank(&base.runs().join(crate::instance::next_name("volume")), bytes)
}

fn bind(address: &str, port: u16) -> Bind {
    address.parse().map_or_else(|_| Bind::loopback(), |ip| Bind::Address(SocketAddr::new(ip, port)))
}

fn describe(cloud: &LocalCloud, volume: &Volume, base: &Base) -> std::io::Result<Description> {
    let authority = cloud.authority_pem().as_bytes().to_vec();
    // The registry of models is asked by programs that trust what the system trusts.
    let mut trusted = fs::read(base.root().join(TRUSTED))?;
    trusted.extend_from_slice(&authority);
    Ok(Description {
        environment: vec![("AWS_ENDPOINT_URL".to_owned(), cloud.aws_url())],
        hosts: vec![REGISTRY.to_owned(), MODEL_HOST.to_owned()],
        files: vec![
            (format!("/etc/docker/certs.d/{REGISTRY}/ca.crt"), authority, 0o644),
            (format!("/{TRUSTED}"), trusted, 0o644),
        ],
        volumes: vec![volume.device().to_owned()],
        ..Description::default()
    })
}

fn tarball(dist: &Path) -> String {
    let names = fs::read_dir(dist).into_iter().flatten().flatten();
    let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.find(|name| name.ends_with(".tar.gz")).unwrap_or_default()
}

fn sha256(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
