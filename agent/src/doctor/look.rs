//! Gathers the facts of each area and has them judged. Thin: questions here, meaning in [`super::judge`].

#![expect(clippy::disallowed_methods, reason = "an outer module: it compares with the present, and measures")]

mod cloud;

use super::judge;
use crate::control::client::Client;
use crate::examined::{
    AgentFacts, Disks, EngineFacts, FileSystem, Metadata, Network, Unknown, VolumeFacts, Wanted,
};
use crate::finding::Finding;
use crate::firewall::Firewall;
use crate::host::docker::Docker;
use crate::host::examine;
use crate::host::firewall::Nftables;
use crate::start::{self, HandoffError, read_handoff};
pub(super) use cloud::aws;
use jiff::Timestamp;
use node::config::settings::{Network as ServiceNetwork, Settings};
use node::config::{Draft, LoadError};
use node::environment::Environment;
use node::handoff::Handoff;
use node::identity::Facts;
use node::imds::{self, Patience};
use node::paths::Paths;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The service answers in milliseconds or not for a long time.
const METADATA_PATIENCE: Patience = Patience::of(Duration::from_secs(2));
const STANDARD_ENDPOINT: &str = "http://169.254.169.254";
const UNITS: [&str; 3] = ["node-bootstrap.service", "node-agent.service", "docker.service"];

/// Whom the doctor looks at.
#[derive(Debug)]
pub struct Patient {
    paths: Paths,
    environment: Environment,
    named: Option<PathBuf>,
    imds: imds::Client,
}

impl Patient {
    /// The node whose files are below `paths`, with the endpoints of `environment` and the node.toml that is `named`, if
    /// one is. Asks nothing.
    pub fn new(paths: Paths, environment: Environment, named: Option<PathBuf>) -> Patient {
        let imds = imds::Client::new(&environment).with_patience(METADATA_PATIENCE);
        Patient { paths, environment, named, imds }
    }
}

/// What several areas need to know.
pub(super) struct Known {
    pub(super) path: PathBuf,
    /// Whether node.toml is valid.
    pub(super) checked: Result<(), LoadError>,
    pub(super) handoff: Result<Handoff, HandoffError>,
    facts: Option<Facts>,
    settings: Option<Settings>,
}

impl Known {
    pub(super) async fn learn(patient: &Patient) -> Known {
        let path = patient.named.clone().unwrap_or_else(|| patient.paths.configuration());
        // Of the running kernel, also with another root for the files.
        let boot_id = node::handoff::boot_id(&Paths::default()).unwrap_or_default();
        let handoff = read_handoff(&patient.paths, &boot_id);
        let handed_over = handoff.as_ref().ok().and_then(|handoff| handoff.identity.as_ref());
        let mut known = Known { path, checked: Ok(()), facts: handed_over.cloned(), settings: None, handoff };
        match start::read_configuration(&patient.paths, patient.named.as_deref()) {
            Ok(draft) => known.bind(&draft, patient).await,
            Err(error) => known.checked = Err(error),
        }
        known
    }

    async fn bind(&mut self, draft: &Draft, patient: &Patient) {
        let identified = start::identify(draft, self.facts.as_ref(), &patient.imds, Timestamp::now()).await;
        self.facts = identified.ok().or(self.facts.take());
        let bound = match &self.facts {
            Some(facts) => draft.settings(facts).map(Some),
            None => draft.check().map(|()| None),
        };
        match bound {
            Ok(settings) => self.settings = settings,
            Err(mistakes) => self.checked = Err(mistakes.into()),
        }
    }

    pub(super) fn wanted(&self) -> Wanted<'_> {
        self.settings.as_ref()
    }
}

pub(super) async fn metadata(patient: &Patient, known: &Known) -> Vec<Finding> {
    let imds = &patient.imds;
    let began = Instant::now();
    let answer = imds.get("meta-data/instance-id").await;
    let answer = answer.map(|_| began.elapsed()).map_err(|error| Unknown::of(&error));
    let reached = answer.is_ok();
    let endpoint = imds.endpoint().to_owned();
    let on_bridge = known.wanted().into_iter().flat_map(|settings| &settings.services);
    let on_bridge = on_bridge.filter(|(_, service)| service.imds && service.network == ServiceNetwork::Node);
    let facts = Metadata {
        answer,
        version_1: if reached { imds.answers_version_1().await } else { None },
        hop_limit: match address_of(&endpoint).filter(|_| reached) {
            Some(address) => examine::hop_limit(address).await,
            None => None,
        },
        role: node::cloud::role_of_instance(imds).await.map_err(|error| Unknown::of(&error)),
        needed_by: on_bridge.map(|(name, _)| name.clone()).collect(),
        elsewhere: (endpoint != STANDARD_ENDPOINT).then_some(endpoint),
    };
    judge::metadata(&facts, Timestamp::now())
}

/// `http://169.254.169.254[:80]`; a name and an address of IPv6 have none.
fn address_of(endpoint: &str) -> Option<SocketAddrV4> {
    let place = endpoint.strip_prefix("http://")?.split('/').next()?;
    place.parse().ok().or_else(|| Some(SocketAddrV4::new(place.parse().ok()?, 80)))
}

/// What the engine says of itself.
pub(super) async fn engine(patient: &Patient) -> Result<EngineFacts, Unknown> {
    let docker =
        Docker::connect(patient.environment.get("DOCKER_HOST")).map_err(|error| Unknown::of(&error))?;
    docker.facts().await.map_err(|error| Unknown::of(&error))
}

pub(super) async fn disks(
    patient: &Patient,
    known: &Known,
    engine: impl Future<Output = Result<EngineFacts, Unknown>>,
) -> Vec<Finding> {
    let (mut found, mut file_systems) = (Vec::new(), Vec::new());
    for (name, mount, optional, reason) in volumes(known) {
        let path = patient.paths.at(&mount);
        let mounted = examine::is_mounted(&path).await;
        if mounted {
            file_systems.push(examine::file_system(&name, &mount, &path).await);
        }
        found.push(VolumeFacts { name, mount, optional, mounted, reason });
    }
    file_systems.push(examine::file_system("/", "/", &patient.paths.at("/")).await);
    file_systems.extend(engine_folders(engine.await).await);
    judge::disks(&Disks {
        volumes: found,
        file_systems,
        errors: examine::disk_errors(&patient.paths.at("/dev/kmsg")).await,
        nvme_timeouts: examine::nvme_timeouts(&patient.paths),
    })
}

/// Name, mount point, whether it is optional, and bootstrap's words; of node.toml, else as they were handed over.
fn volumes(known: &Known) -> Vec<(String, String, bool, Option<String>)> {
    let handed_over = known.handoff.as_ref().map(|handoff| handoff.volumes.as_slice()).unwrap_or_default();
    let Some(settings) = known.wanted() else {
        let of_handoff = |volume: &node::handoff::Volume| {
            (volume.name.clone(), volume.mount.clone(), volume.optional, Some(volume.reason.clone()))
        };
        return handed_over.iter().map(of_handoff).collect();
    };
    let of_settings = |(name, volume): (&String, &node::config::settings::Volume)| {
        let reason = handed_over.iter().find(|found| found.name == *name).map(|found| found.reason.clone());
        (name.clone(), volume.mount.clone(), volume.optional, reason)
    };
    settings.volumes.iter().map(of_settings).collect()
}

/// Where the engine stores; nothing where it does not answer.
async fn engine_folders(engine: Result<EngineFacts, Unknown>) -> Vec<FileSystem> {
    let Ok(facts) = engine else { return Vec::new() };
    let mut found = Vec::new();
    for folder in facts.folders {
        found.push(examine::file_system("the engine's disk", &folder, &PathBuf::from(&folder)).await);
    }
    found
}

pub(super) async fn network(patient: &Patient, known: &Known) -> Vec<Finding> {
    let system = patient.paths.clone();
    let listeners = tokio::task::spawn_blocking(move || examine::listeners(&system)).await;
    let led = Nftables::open().rules().await.map_err(|error| Unknown::of(&error));
    let led = led.map(|rules| rules.routes.keys().map(|port| (port.protocol, port.number)).collect());
    let facts = Network { listeners: listeners.unwrap_or_default(), led };
    judge::network(&facts, known.wanted())
}

pub(super) async fn units() -> Vec<Finding> {
    judge::units(&examine::units(&UNITS).await.map_err(Unknown::because))
}

pub(super) async fn agent(patient: &Patient, known: &Known) -> Vec<Finding> {
    let status = Client::new(patient.paths.control_socket()).status().await;
    let services = known.wanted().into_iter().flat_map(|settings| &settings.services);
    let polled: BTreeMap<String, Duration> =
        services.filter_map(|(name, service)| Some((name.clone(), service.update.every?))).collect();
    let facts = AgentFacts { status: status.map_err(|error| Unknown::of(&error)), polled };
    judge::agent(&facts, Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_an_address_or_not_looked_at() {
        assert_eq!(address_of("http://169.254.169.254").unwrap().to_string(), "169.254.169.254:80");
        assert_eq!(address_of("http://127.0.0.1:8181/x").unwrap().to_string(), "127.0.0.1:8181");
        assert_eq!(address_of("http://[fd00:ec2::254]"), None);
        assert_eq!(address_of("http://metadata.internal"), None);
    }
}
