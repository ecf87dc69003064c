//! Small services, containers and answers to build situations from.

use crate::desired::Service;
use crate::observed::{Container, ContainerState};
use crate::rules::HostPort;
use crate::snapshot::{Answer, Candidate};
use jiff::Timestamp;
use node::config::settings::{
    self, Health, ImageReference, ImageVersion, Network, Port, Probe, Protocol, Strategy, Update,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// So many seconds after the beginning of every story.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

pub(crate) fn image(name: &str) -> ImageReference {
    ImageReference {
        registry: "registry.example".to_owned(),
        repository: name.to_owned(),
        version: ImageVersion::Tag("latest".to_owned()),
    }
}

/// Probed by HTTP every 10 s, healthy after 10 s, 5 min to get there.
pub(crate) fn settings(name: &str) -> settings::Service {
    settings::Service {
        image: image(name),
        command: Vec::new(),
        ports: Vec::new(),
        environment: BTreeMap::new(),
        environment_from: Vec::new(),
        secret_files: Vec::new(),
        mounts: Vec::new(),
        depends_on: Vec::new(),
        memory_bytes: None,
        nano_cpus: None,
        gpus: None,
        user: None,
        read_only: false,
        capabilities: Vec::new(),
        imds: false,
        stop_timeout: Duration::from_secs(30),
        network: Network::Node,
        health: Health {
            probe: Probe::Http { port: 8000, path: "/health".to_owned() },
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            retries: 3,
            start_period: Duration::from_secs(30),
        },
        update: Update {
            every: Some(Duration::from_secs(60)),
            deadline: Duration::from_secs(300),
            min_healthy: Duration::from_secs(10),
            strategy: Strategy::Recreate,
            min_age: Duration::ZERO,
            windows: Vec::new(),
            drain: Duration::from_secs(30),
            before: Vec::new(),
            after: Vec::new(),
        },
        logs: settings::Shaping::default(),
    }
}

pub(crate) fn service(name: &str, spec: &str) -> Service {
    Service {
        name: name.to_owned(),
        settings: settings(name),
        spec_hash: spec.to_owned(),
        obstacles: Vec::new(),
    }
}

/// Takes over beside the old one; port 80 of the host leads to its 8000.
pub(crate) fn routed(mut service: Service) -> Service {
    service.settings.ports = vec![Port { host: 80, container: 8000, protocol: Protocol::Tcp }];
    service.settings.update.strategy = Strategy::BlueGreen;
    service
}

/// The port of the host of [`routed`].
pub(crate) const WEB: HostPort = HostPort { protocol: Protocol::Tcp, number: 80 };

pub(crate) fn answered(name: &str, digest: &str) -> Candidate {
    let answer = Answer {
        digest: digest.to_owned(),
        checked_at: at(0),
        requested: false,
        pushed_at: None,
        size_bytes: None,
    };
    Candidate { reference: image(name), answer: Some(answer), failure: None }
}

/// Made at the beginning, with an id made of its name.
pub(crate) fn container(
    service: &str,
    generation: u64,
    (digest, spec): (&str, &str),
    state: ContainerState,
) -> Container {
    Container {
        id: format!("id-{service}-{generation}"),
        name: format!("{service}-{generation}"),
        service: service.to_owned(),
        spec: spec.to_owned(),
        digest: digest.to_owned(),
        generation,
        state,
        created_at: at(0),
        address: None,
        image_health: None,
        pid: None,
        routed_ports: Vec::new(),
        ipv6_ports: Vec::new(),
    }
}

pub(crate) fn running(since: i64) -> ContainerState {
    ContainerState::Running { started_at: at(since) }
}

pub(crate) fn exited(code: i64, when: i64) -> ContainerState {
    ContainerState::Exited { code, at: at(when), out_of_memory: false, error: None }
}
