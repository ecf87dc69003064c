//! Small settings, boards and servers to build situations from.

use super::Wanted;
use super::observed::ServerView;
use super::server::{Endpoint, Installed, Loaded};
use crate::board::Board;
use crate::observed::{Container, ContainerState};
use crate::simulation::samples;
use crate::status::{
    HealthState, Node, NodeState, Service as ServiceStatus, ServiceState, UpdateState, UpdateStatus,
};
use jiff::Timestamp;
use node::config::settings::{Model, ModelServer, Models, Prewarm, Reclaim};
use std::time::Duration;

pub(crate) const ONE: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
pub(crate) const TWO: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";

/// So many seconds after the beginning.
pub(crate) fn at(seconds: i64) -> Timestamp {
    samples::at(seconds)
}

/// Served by `[services.ollama]`; nothing is kept loaded.
pub(crate) fn settings(names: &[&str]) -> Models {
    let model = |name: &&str| Model {
        reference: name.parse().unwrap(),
        digest: None,
        keep_loaded: false,
        required: false,
        smoke: None,
    };
    Models {
        server: ModelServer::Service { name: "ollama".to_owned(), port: 11434 },
        directory: Some("/models".to_owned()),
        pull: names.iter().map(|name| ((*name).to_owned(), model(name))).collect(),
        every: Some(Duration::from_secs(3600)),
        reserve_bytes: 1000,
        reclaim: Reclaim::Ours,
        unused_for: Duration::from_secs(7 * 24 * 3600),
        prewarm: Prewarm::Unlimited,
        load_deadline: Duration::from_secs(1800),
    }
}

pub(crate) fn wanted(names: &[&str]) -> Wanted {
    Wanted {
        models: settings(names),
        directory: Some("/models".into()),
        service: Some(samples::settings("ollama")),
        memory_bytes: Some(1_000_000),
    }
}

pub(crate) fn board() -> Board {
    Board::new(Node {
        name: "test".to_owned(),
        instance_id: "i-1".to_owned(),
        instance_type: String::new(),
        region: String::new(),
        availability_zone: String::new(),
        state: NodeState::Starting,
        since: at(0),
        version: String::new(),
        boot: String::new(),
    })
}

/// A running container of `ollama`.
pub(crate) fn container(id: &str, started_at: Timestamp, address: &str) -> Container {
    Container {
        id: id.to_owned(),
        name: format!("ollama-{id}"),
        service: "ollama".to_owned(),
        spec: String::new(),
        digest: String::new(),
        generation: 1,
        state: ContainerState::Running { started_at },
        created_at: started_at,
        address: Some(address.parse().unwrap()),
        image_health: None,
        pid: None,
        routed_ports: Vec::new(),
        ipv6_ports: Vec::new(),
    }
}

pub(crate) fn service(name: &str, state: ServiceState) -> ServiceStatus {
    ServiceStatus {
        name: name.to_owned(),
        state,
        health: HealthState::Passing,
        image: String::new(),
        digest: None,
        container_id: None,
        since: at(0),
        restarts: 0,
        update: UpdateStatus { state: UpdateState::Current, candidate: None, reason: None, checked_at: None },
    }
}

/// A server that answers.
pub(crate) fn up(run: &str, installed: Vec<Installed>, loaded: Vec<Loaded>) -> ServerView {
    let endpoint = Endpoint("http://10.0.0.2:11434".to_owned());
    let (version, run) = ("0.12.0".to_owned(), run.to_owned());
    ServerView::Up { endpoint, version, run, since: at(0), installed, loaded }
}
