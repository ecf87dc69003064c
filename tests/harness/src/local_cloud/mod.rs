//! A cloud on this host: IMDSv2, Secrets Manager, ECR with its registry,
//! CloudWatch Logs and a file server, whose every answer a test can delay,
//! break or throttle.
//!
//! In: a [`Config`] that says where to listen and the [`Initial`] state. Out:
//! a running [`LocalCloud`], gone when dropped. What always holds: a request is
//! answered as the real service would, leniency off; a test sees every request
//! in [`LocalCloud::requests`]. It is not a model of AWS: what the programs do
//! not call is not here.

mod answer;
mod aws;
pub(crate) mod certificates;
mod chance;
mod clock;
mod control;
mod credentials;
mod ecr;
mod faults;
mod files;
mod gate;
mod imds;
mod log_store;
mod logs;
mod registry_tokens;
mod secret_store;
mod secrets_manager;
mod server;
mod signature;
mod state;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use credentials::{Credentials, Key};
pub use faults::{Fault, FaultKind, Subject};
pub use log_store::{BATCH_BYTES, BATCH_EVENTS, EVENT_OVERHEAD, Event, Group, LogStore, Rejected, Stream};
pub use registry_tokens::{RegistryTokens, Verdict};
pub use secret_store::{Secret, SecretStore, SecretValue, Version};
pub use state::{Initial, Instance, SecretText, State};

use crate::http::HttpClient;
use crate::model_registry::{MODEL_HOST, ModelRegistry};
use certificates::Certificates;
use faults::Traffic;
use server::Door;

/// Where a door of the cloud listens.
#[derive(Debug)]
pub enum Bind {
    /// Bind this address here; port 0 picks one.
    Address(SocketAddr),
    /// A listener made elsewhere, such as in a network namespace.
    Listener(std::net::TcpListener),
}

impl Bind {
    /// A free port on the loopback address.
    #[must_use]
    pub fn loopback() -> Self {
        Self::Address(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }
}

/// What a cloud consists of. The default is IMDS, AWS and control on loopback.
pub struct Config {
    /// The metadata service.
    pub imds: Option<Bind>,
    /// The AWS services, all at one address.
    pub aws: Option<Bind>,
    /// The registry over TLS.
    pub registry: Option<Bind>,
    /// The registry over plain HTTP.
    pub registry_plain: Option<Bind>,
    /// Names and addresses in the registry's certificate, besides `localhost`
    /// and `127.0.0.1`; the account's ECR name is always there.
    pub registry_names: Vec<String>,
    /// Base URL of the registry behind the gate, without a trailing slash.
    pub registry_backend: Option<String>,
    /// A registry of models, behind the TLS door under its own name.
    pub models: Option<ModelRegistry>,
    /// A directory served over HTTP.
    pub files: Option<(Bind, PathBuf)>,
    /// The control endpoint.
    pub control: Option<Bind>,
    /// The state to start with.
    pub initial: Initial,
    /// Write one JSON line per request to standard output.
    pub log_requests: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            imds: Some(Bind::loopback()),
            aws: Some(Bind::loopback()),
            registry: None,
            registry_plain: None,
            registry_names: Vec::new(),
            registry_backend: None,
            models: None,
            files: None,
            control: Some(Bind::loopback()),
            initial: Initial::default(),
            log_requests: false,
        }
    }
}

/// Why a cloud did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A door could not listen.
    #[error("cannot listen for {door} at {bind:?}")]
    Listen {
        /// Which door.
        door: &'static str,
        /// Where.
        bind: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The certificates could not be made.
    #[error("cannot make the registry's certificate")]
    Certificate(#[from] rcgen::Error),
    /// The TLS server could not be made.
    #[error("cannot make the registry's TLS server")]
    Tls(#[from] rustls::Error),
}

/// What all doors share.
struct Shared {
    state: Mutex<State>,
    traffic: Mutex<Traffic>,
    client: HttpClient,
    backend: Option<String>,
    models: Option<ModelRegistry>,
    authority_pem: String,
    log_requests: bool,
}

impl Shared {
    // A test that panicked while it held the lock has failed anyway; the cloud
    // goes on for the others.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, line: &serde_json::Value) {
        if self.log_requests {
            // Nobody reading any more is no reason to stop serving.
            writeln!(std::io::stdout(), "{line}").ok();
        }
    }
}

/// A running cloud; dropping it closes its doors and the connections behind them.
pub struct LocalCloud {
    shared: Arc<Shared>,
    addresses: BTreeMap<&'static str, SocketAddr>,
    doors: JoinSet<()>,
}

impl LocalCloud {
    /// Binds every door, then serves them in tasks of the current runtime.
    ///
    /// # Errors
    /// [`StartError`] when a door cannot listen or the certificate not be made.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let instance = &config.initial.instance;
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        names.push(format!("{}.dkr.ecr.{}.amazonaws.com", instance.account, instance.region));
        names.extend(config.models.iter().map(|_| MODEL_HOST.to_owned()));
        names.extend(config.registry_names);
        let certificates = Certificates::make(names)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(config.initial, clock::now())),
            traffic: Mutex::default(),
            client: HttpClient::default(),
            backend: config.registry_backend,
            models: config.models,
            authority_pem: certificates.authority_pem,
            log_requests: config.log_requests,
        });
        let mut cloud = Self { shared, addresses: BTreeMap::new(), doors: JoinSet::new() };
        let (files, root) = config.files.map_or((None, PathBuf::new()), |(bind, root)| (Some(bind), root));
        let doors = [
            ("imds", config.imds, Door::Imds),
            ("aws", config.aws, Door::Aws),
            ("registry", config.registry, Door::Registry(Some(certificates.acceptor))),
            ("registry_plain", config.registry_plain, Door::Registry(None)),
            ("files", files, Door::Files(root)),
        ];
        for (name, bind, door) in doors {
            if let Some(listener) = cloud.listen(name, bind).await? {
                cloud.doors.spawn(server::serve(listener, door, Arc::clone(&cloud.shared)));
            }
        }
        if let Some(listener) = cloud.listen("control", config.control).await? {
            let router = control::router(Arc::clone(&cloud.shared));
            cloud.doors.spawn(async move {
                axum::serve(listener, router).await.ok();
            });
        }
        Ok(cloud)
    }

    async fn listen(
        &mut self,
        door: &'static str,
        bind: Option<Bind>,
    ) -> Result<Option<TcpListener>, StartError> {
        let Some(bind) = bind else { return Ok(None) };
        let description = format!("{bind:?}");
        let bound = match bind {
            Bind::Address(address) => TcpListener::bind(address).await,
            Bind::Listener(listener) => {
                listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener))
            }
        };
        let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) =
            bound.map_err(|source| StartError::Listen { door, bind: description, source })?;
        self.addresses.insert(door, address);
        Ok(Some(listener))
    }

    /// Every door that is open and where: `imds`, `aws`, `registry`,
    /// `registry_plain`, `files`, `control`.
    #[must_use]
    pub fn addresses(&self) -> &BTreeMap<&'static str, SocketAddr> {
        &self.addresses
    }

    fn url(&self, door: &str, scheme: &str) -> String {
        self.addresses.get(door).map_or_else(String::new, |address| format!("{scheme}://{address}"))
    }

    /// Base URL of the metadata service, for `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    #[must_use]
    pub fn imds_url(&self) -> String {
        self.url("imds", "http")
    }

    /// Base URL of the AWS services, for `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn aws_url(&self) -> String {
        self.url("aws", "http")
    }

    /// Base URL of the registry over TLS.
    #[must_use]
    pub fn registry_url(&self) -> String {
        self.url("registry", "https")
    }

    /// `host:port` of the registry over plain HTTP, as image references name it.
    #[must_use]
    pub fn registry_plain(&self) -> String {
        self.addresses.get("registry_plain").map_or_else(String::new, SocketAddr::to_string)
    }

    /// Base URL of the file server.
    #[must_use]
    pub fn files_url(&self) -> String {
        self.url("files", "http")
    }

    /// Base URL of the control endpoint.
    #[must_use]
    pub fn control_url(&self) -> String {
        self.url("control", "http")
    }

    /// The authority that signed the registry's certificate, PEM: goes into
    /// `/etc/docker/certs.d/HOST/ca.crt`.
    #[must_use]
    pub fn authority_pem(&self) -> &str {
        &self.shared.authority_pem
    }

    /// The live state; do not hold it across an await.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Puts a fault in the way of the requests that it matches.
    pub fn fault(&self, fault: Fault) {
        self.shared.traffic().faults.push(fault);
    }

    /// Takes every fault away; connections that hang stay as they are.
    pub fn clear_faults(&self) {
        self.shared.traffic().faults.clear();
    }

    /// How many requests came for `service.Operation`, faults included.
    #[must_use]
    pub fn requests(&self, service: &str, operation: &str) -> u64 {
        let name = format!("{service}.{operation}");
        self.shared.traffic().requests.get(&name).copied().unwrap_or_default()
    }

    /// Makes a text the current version of a secret.
    pub fn put_secret(&self, name: &str, text: &str) -> String {
        self.state().secrets.put(name, text.to_owned(), clock::now())
    }
}
