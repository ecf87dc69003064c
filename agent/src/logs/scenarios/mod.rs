//! The whole shipper in virtual time, between an engine and a service that follow a script.

mod containers;
mod engine;
mod files;
mod kills;
mod outages;
mod service;
mod silence;

use super::source::Left;
use super::{Shipper, run};
use crate::board::Board;
use crate::clock::Clock;
use crate::observed::{Container, ContainerState};
use crate::status::{Node, NodeState};
use engine::ScriptedEngine;
use jiff::{SignedDuration, Timestamp};
use node::config::settings;
use service::ScriptedService;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// When every story begins.
const BEGIN: Timestamp = Timestamp::constant(1_795_000_000, 0);
/// Name of the stream of service `api`.
const STREAM: &str = "i-0123/api";
/// A container of service `api`.
const API: &str = "c0ffee";

/// A node with a shipper on it.
struct Stage {
    engine: ScriptedEngine,
    service: ScriptedService,
    board: Board,
    clock: Clock,
    shutdown: CancellationToken,
    shipper: JoinHandle<()>,
    /// Kept for as long as the stage stands.
    _state: Option<TempDir>,
}

impl Stage {
    /// A shipper that knows no container yet, in a state directory of its own.
    fn new() -> Stage {
        let state = tempfile::tempdir().unwrap();
        let mut stage = Stage::resume(ScriptedEngine::default(), ScriptedService::default(), state.path());
        stage._state = Some(state);
        stage
    }

    /// A shipper that starts, or starts again.
    fn resume(engine: ScriptedEngine, service: ScriptedService, state: &Path) -> Stage {
        Stage::with(engine, service, state, Vec::new())
    }

    /// The same, with sources beside the containers.
    fn with(engine: ScriptedEngine, service: ScriptedService, state: &Path, beside: Vec<Left>) -> Stage {
        let started = Instant::now();
        let clock: Clock = Arc::new(move || {
            BEGIN + SignedDuration::try_from(started.elapsed()).expect("stories are shorter than that")
        });
        let board = Board::new(node());
        let shipper = Shipper {
            board: board.clone(),
            settings: settings::Logs::to_group("/aws/ec2/api"),
            instance_id: "i-0123".to_owned(),
            node_name: "api".to_owned(),
            source: engine.clone(),
            sink: service.clone(),
            state: state.to_owned(),
            beside,
            clock: Arc::clone(&clock),
        };
        let shutdown = CancellationToken::new();
        let shipper = tokio::spawn(run(shipper, shutdown.clone()));
        Stage { engine, service, board, clock, shutdown, shipper, _state: None }
    }

    /// Writes the containers on the board, all of service `api`.
    fn show(&self, containers: &[(&str, ContainerState)]) {
        let now = (self.clock)();
        let containers = containers.iter().map(|(id, state)| container(id, state));
        self.board.publish_services(Vec::new(), Vec::new(), containers.collect(), now);
    }

    /// Waits in virtual time until `condition` holds; with the story of what is there when it does not for a day.
    async fn until(&self, what: &str, condition: impl Fn(&Stage) -> bool) {
        let day = Instant::now() + Duration::from_secs(24 * 3600);
        while !condition(self) {
            assert!(
                Instant::now() < day,
                "never came to pass: {what}\nstatus: {:?}\nproblems: {:?}\ndelivered {} of {} lines",
                self.board.status().logs,
                self.problems(),
                self.service.count(STREAM),
                self.engine.count(API),
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until every line of the container was delivered and counted.
    async fn until_delivered(&self, container: &str) {
        self.until("all lines delivered", |stage| {
            stage.service.count(STREAM) >= stage.engine.count(container)
                && stage.board.status().logs.backlog_bytes == 0
                && stage.board.status().logs.events_shipped > 0
        })
        .await;
    }

    /// Stops the shipper as systemd would, and waits for its end.
    async fn stop(self) -> (ScriptedEngine, ScriptedService, Board) {
        self.shutdown.cancel();
        self.shipper.await.expect("the shipper does not panic");
        (self.engine, self.service, self.board)
    }

    fn problems(&self) -> Vec<String> {
        self.board.status().problems.into_iter().map(|problem| problem.code).collect()
    }
}

fn node() -> Node {
    Node {
        name: "api".to_owned(),
        instance_id: "i-0123".to_owned(),
        instance_type: String::new(),
        region: String::new(),
        availability_zone: String::new(),
        state: NodeState::Starting,
        since: BEGIN,
        version: String::new(),
        boot: String::new(),
    }
}

/// A container of service `api`.
fn container(id: &str, state: &ContainerState) -> Container {
    Container {
        id: id.to_owned(),
        name: format!("api-{id}"),
        service: "api".to_owned(),
        spec: String::new(),
        digest: String::new(),
        generation: 1,
        state: state.clone(),
        created_at: BEGIN,
        address: None,
        image_health: None,
        pid: None,
        routed_ports: Vec::new(),
        ipv6_ports: Vec::new(),
    }
}

fn running() -> ContainerState {
    ContainerState::Running { started_at: BEGIN }
}

fn exited(second: i64) -> ContainerState {
    ContainerState::Exited {
        code: 0,
        at: BEGIN + SignedDuration::from_secs(second),
        out_of_memory: false,
        error: None,
    }
}

/// `count` lines, a millisecond apart, that begin with their numbers.
fn numbered(first: usize, count: usize) -> Vec<(Timestamp, String)> {
    (first..first + count)
        .map(|number| {
            let time = BEGIN + SignedDuration::from_millis(i64::try_from(number).unwrap());
            (time, format!("{number} {}", "x".repeat(number % 50)))
        })
        .collect()
}
