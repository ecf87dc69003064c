//! The whole loop with its poller, in virtual time, on a simulated node.

mod beside;
mod drain;
mod rules;
mod signalled;
mod verbs;

use super::*;
use crate::command::{Refused, Reply};
use crate::desired::Desired;
use crate::simulation::engine::Simulated;
use crate::simulation::samples::service;
use crate::simulation::{Behaviour, World};
use crate::status::{Node, NodeState, ServiceState, Status, UpdateState};
use crate::updates;
use node::paths::Paths;
use std::collections::BTreeMap;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const ONE: &str = "sha256:one";
const TWO: &str = "sha256:two";
const THREE: &str = "sha256:three";
/// Longer than any scenario may take, in virtual time.
const PATIENCE: Duration = Duration::from_secs(3600);

/// An agent on a simulated node.
struct Agent {
    node: Simulated,
    root: tempfile::TempDir,
    board: Board,
    desired: watch::Sender<Desired>,
    commands: mpsc::Sender<Command>,
    shutdown: CancellationToken,
    drain: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

fn node_of_status(node: &Simulated) -> Node {
    Node {
        name: "test".to_owned(),
        instance_id: "i-1".to_owned(),
        instance_type: String::new(),
        region: String::new(),
        availability_zone: String::new(),
        state: NodeState::Starting,
        since: node.now(),
        version: String::new(),
        boot: String::new(),
    }
}

impl Agent {
    fn start(node: Simulated, desired: Desired) -> Agent {
        Agent::start_in(tempfile::tempdir().unwrap(), node, desired)
    }

    fn start_in(root: tempfile::TempDir, node: Simulated, desired: Desired) -> Agent {
        let paths = Paths::under(root.path());
        let board = Board::new(node_of_status(&node));
        let (desired, wanted) = watch::channel(desired);
        let (candidates, candidates_seen) = watch::channel(BTreeMap::new());
        let (commands, commands_taken) = mpsc::channel(16);
        let (asks, asks_taken) = mpsc::channel(16);
        let (shutdown, drain) = (CancellationToken::new(), CancellationToken::new());
        let engine = Arc::new(node.clone());
        let secrets = node::secrets::Store::new(&paths);
        let outside = Outside {
            tools: Tools { engine: Arc::clone(&engine), registry: Arc::clone(&engine), secrets },
            gates: Arc::clone(&engine),
            firewall: Arc::clone(&engine),
            history: Store::new(&paths),
        };
        let inputs = Inputs {
            desired: wanted.clone(),
            candidates: candidates_seen,
            commands: commands_taken,
            asks,
            board: board.clone(),
            heartbeat: Heartbeat::default(),
            clock: node.clock(),
            shutdown: shutdown.clone(),
            drain: drain.clone(),
        };
        let poller = updates::Inputs {
            desired: wanted,
            asks: asks_taken,
            candidates,
            seed: "i-1".to_owned(),
            shutdown: shutdown.clone(),
        };
        let tasks = vec![
            tokio::spawn(run(outside, inputs)),
            tokio::spawn(updates::run(engine, node.clock(), poller)),
        ];
        Agent { node, root, board, desired, commands, shutdown, drain, tasks }
    }

    /// Waits until the status is so, and returns how long that took.
    async fn until(&self, what: &str, condition: impl Fn(&Status) -> bool) -> Duration {
        let began = Instant::now();
        let mut changes = self.board.changes();
        let reached = async {
            while !condition(&self.board.status()) {
                changes.next().await;
            }
        };
        if tokio::time::timeout(PATIENCE, reached).await.is_err() {
            panic!("never {what}\n{}\n{:#?}", self.story(), self.board.status());
        }
        began.elapsed()
    }

    async fn until_runs(&self, name: &str, digest: &str) -> Duration {
        self.until(&format!("{name} on {digest}"), |status| {
            let service = status.services.iter().find(|service| service.name == name);
            service.is_some_and(|service| {
                service.state == ServiceState::Running
                    && service.digest.as_deref() == Some(digest)
                    && matches!(
                        service.update.state,
                        UpdateState::Current | UpdateState::RolledBack | UpdateState::Quarantined
                    )
            })
        })
        .await
    }

    fn story(&self) -> String {
        self.node.world().story.join("\n")
    }

    fn deeds(&self, word: &str) -> usize {
        self.node.world().story.iter().filter(|line| line.contains(word)).count()
    }

    fn problems(&self) -> Vec<String> {
        self.board.status().problems.into_iter().map(|problem| problem.code).collect()
    }

    fn remembered(&self) -> crate::history::Record {
        Store::new(&Paths::under(self.root.path())).load().0.record("api").clone()
    }

    async fn ask(&self, command: impl FnOnce(Reply) -> Command) -> Result<String, Refused> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.unwrap();
        answer.await.unwrap().map(|taken| taken.message)
    }

    /// SIGKILL: nothing is wound down.
    async fn kill(self) -> (Simulated, tempfile::TempDir) {
        for task in self.tasks {
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        }
        (self.node, self.root)
    }
}

fn wants(names: &[&str]) -> Desired {
    Desired { services: names.iter().map(|name| service(name, "spec")).collect(), ..Desired::default() }
}

/// With a pull under way that does not end.
async fn pulling() -> Agent {
    let mut node = Simulated::new();
    node.pull_takes = Duration::from_secs(100_000);
    node.push("api", Some(ONE));
    let agent = Agent::start(node, wants(&["api"]));
    agent
        .until("pulling", |status| {
            status.services.iter().any(|service| service.state == ServiceState::Pulling)
        })
        .await;
    agent
}

async fn deployed() -> Agent {
    deployed_as(wants(&["api"])).await
}

async fn deployed_as(desired: Desired) -> Agent {
    let node = Simulated::new();
    node.push("api", Some(ONE));
    let agent = Agent::start(node, desired);
    agent.until_runs("api", ONE).await;
    agent.until("ready", |status| status.node.state == NodeState::Ready).await;
    // Until the gate has passed, there is nothing to return to.
    let good = |agent: &Agent| agent.remembered().good.is_some_and(|good| good.digest == ONE);
    while !good(&agent) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    agent
}

#[tokio::test(start_paused = true)]
async fn a_first_deployment_gets_ready_and_is_remembered() {
    let agent = deployed().await;
    assert_eq!(agent.problems(), [""; 0], "{}", agent.story());
    assert_eq!(agent.remembered().generation, 1);
    assert_eq!(agent.board.containers().len(), 1);
    tokio::time::sleep(PATIENCE).await;
    assert_eq!(agent.deeds("create"), 1, "an idle hour changes nothing\n{}", agent.story());
    assert_eq!(agent.deeds("stop"), 0, "{}", agent.story());
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_answered_within_the_first_pass() {
    let agent = deployed().await;
    agent.node.change(|world| world.crash("api", 1));
    let took = agent.until("restarted", |status| status.services[0].restarts == 1).await;
    agent.until_runs("api", ONE).await;
    assert!(took < Duration::from_millis(100), "{took:?}\n{}", agent.story());
    assert_eq!(agent.deeds("create"), 1, "{}", agent.story());
}

#[tokio::test(start_paused = true)]
async fn an_engine_restarted_within_a_gate_is_not_the_fault_of_the_image() {
    let agent = deployed().await;
    agent.node.push("api", Some(TWO));
    while agent.deeds("start api-2") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The engine stops what runs, and the next engine answers the question that waited: it was never seen down.
    agent.node.world().crash("api", 0);
    tokio::time::sleep(Duration::from_millis(1)).await;
    agent.node.change(|world| world.breaks += 1);
    agent.until_runs("api", TWO).await;
    assert_eq!(agent.remembered().quarantine, [], "{}", agent.story());
    assert_eq!(agent.deeds("start api-2"), 2, "{}", agent.story());
}

#[tokio::test(start_paused = true)]
async fn a_bad_image_is_rolled_back_and_a_fixed_one_is_taken() {
    let agent = deployed().await;
    let ends = Behaviour::Ends { code: 3, after: 2 };
    agent.node.change(|world| {
        world.behaviours.insert(TWO.to_owned(), ends);
    });
    agent.node.push("api", Some(TWO));
    agent
        .until("rolled back", |status| {
            status.services[0].update.state == UpdateState::RolledBack
                && status.services[0].state == ServiceState::Running
        })
        .await;
    assert_eq!(agent.problems(), [crate::status::ROLLED_BACK]);
    assert_eq!(agent.board.status().node.state, NodeState::Ready, "the node does its job");
    let entry = agent.remembered().quarantine.pop().expect("an entry on disk");
    assert_eq!((entry.digest.as_str(), entry.spec), (TWO, None));
    assert_eq!(entry.cause, "it exited with code 3");
    assert_eq!(entry.last_log_lines.len(), 1);
    tokio::time::sleep(PATIENCE).await;
    assert_eq!(agent.deeds("start api-2"), 1, "the bad image is tried once\n{}", agent.story());
    agent.node.push("api", Some(THREE));
    agent.until_runs("api", THREE).await;
    agent.until("without problems", |status| status.problems.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_engine_is_left_alone_and_what_ran_runs_on() {
    let agent = deployed().await;
    agent.node.change(|world| world.up = false);
    agent.until("degraded", |status| status.node.state == NodeState::Degraded).await;
    assert_eq!(agent.problems(), ["docker_unresponsive"]);
    assert_eq!(agent.board.status().services[0].state, ServiceState::Running, "as last known");
    tokio::time::sleep(Duration::from_secs(1200)).await;
    agent.node.change(|world| world.up = true);
    agent.until("ready", |status| status.node.state == NodeState::Ready).await;
    assert_eq!((agent.deeds("create"), agent.deeds("start")), (1, 1), "{}", agent.story());
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_done_once_for_a_service_that_exists() {
    let agent = deployed().await;
    let answer = agent.ask(|reply| Command::Restart { service: "api".to_owned(), reply }).await;
    assert_eq!(answer, Ok("restarting api".to_owned()));
    agent.until("restarted", |status| status.services[0].restarts == 1).await;
    agent.until_runs("api", ONE).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!((agent.deeds("stop"), agent.deeds("start")), (1, 2), "{}", agent.story());
    let refused = agent.ask(|reply| Command::Restart { service: "apo".to_owned(), reply }).await.unwrap_err();
    assert_eq!(refused.message, "there is no service apo in node.toml");
    assert_eq!(refused.hint.as_deref(), Some("the services are api"));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_never_updated_is_updated_when_asked() {
    let node = Simulated::new();
    node.push("api", Some(ONE));
    let mut desired = wants(&["api"]);
    desired.services[0].settings.update.every = None;
    let agent = Agent::start(node, desired);
    agent.until_runs("api", ONE).await;
    agent.node.push("api", Some(TWO));
    tokio::time::sleep(PATIENCE).await;
    assert_eq!(agent.deeds(TWO), 0, "{}", agent.story());
    let answer = agent.ask(|reply| Command::Update { service: Some("api".to_owned()), reply }).await;
    assert_eq!(answer, Ok("asking the registry for api".to_owned()));
    agent.until_runs("api", TWO).await;
}

#[tokio::test(start_paused = true)]
async fn a_long_pull_keeps_nobody_waiting() {
    let agent = deployed().await;
    let mut slow = agent.node.clone();
    slow.pull_takes = Duration::from_secs(1800);
    let (_node, root) = agent.kill().await;
    slow.push("model", Some(TWO));
    let agent = Agent::start_in(root, slow, wants(&["api", "model"]));
    agent
        .until("pulling", |status| {
            status.services.iter().any(|service| service.state == ServiceState::Pulling)
        })
        .await;
    agent.node.change(|world| world.crash("api", 1));
    let took = agent.until("restarted", |status| status.services[0].restarts == 1).await;
    assert!(took < Duration::from_secs(1), "{took:?}\n{}", agent.story());
    agent.until_runs("model", TWO).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_spec_replaces_the_container_and_a_removed_service_goes() {
    let agent = deployed().await;
    agent.desired.send_modify(|desired| desired.services[0].spec_hash = "other".to_owned());
    agent
        .until("replaced", |_| {
            let world = agent.node.world();
            world.containers.len() == 1
                && world.running("api").iter().any(|container| container.spec == "other")
        })
        .await;
    agent.until_runs("api", ONE).await;
    agent.desired.send_replace(Desired::default());
    agent.until("gone", |_| agent.node.world().containers.is_empty()).await;
    assert_eq!(agent.node.world().foreign, World::new().foreign);
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_moment_of_an_update_the_next_agent_goes_on() {
    for moment in 0..40 {
        let agent = deployed().await;
        agent.node.push("api", Some(TWO));
        tokio::time::sleep(Duration::from_millis(50_000 + moment * 700)).await;
        let (node, root) = agent.kill().await;
        let agent = Agent::start_in(root, node, wants(&["api"]));
        agent.until_runs("api", TWO).await;
        agent.until("tidy", |_| agent.node.world().containers.len() == 1).await;
        assert_eq!(agent.node.world().running("api").len(), 1, "{}", agent.story());
        assert!(agent.remembered().quarantine.is_empty(), "{}", agent.story());
    }
}

#[tokio::test(start_paused = true)]
async fn a_history_that_cannot_be_written_is_a_problem_and_no_stop() {
    let root = tempfile::tempdir().unwrap();
    let state = Paths::under(root.path()).state();
    node::files::replace(&state, b"a file where the folder should be", 0o644).unwrap();
    let node = Simulated::new();
    node.push("api", Some(ONE));
    let agent = Agent::start_in(root, node, wants(&["api"]));
    agent.until_runs("api", ONE).await;
    agent
        .until("a problem", |status| {
            status.problems.iter().any(|problem| problem.code == "history_not_written")
        })
        .await;
    std::fs::remove_file(&state).unwrap();
    agent.until("ready", |status| status.node.state == NodeState::Ready).await;
    assert_eq!(agent.remembered().generation, 1);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_history_is_a_problem_until_there_is_something_to_return_to() {
    let root = tempfile::tempdir().unwrap();
    let path = Paths::under(root.path()).state().join("history.json");
    node::files::replace(&path, b"{\"schema\": 1, \"serv", 0o600).unwrap();
    let node = Simulated::new();
    node.push("api", Some(ONE));
    let agent = Agent::start_in(root, node, wants(&["api"]));
    agent
        .until("a problem", |status| status.problems.iter().any(|problem| problem.code == "history_damaged"))
        .await;
    agent.until("ready", |status| status.node.state == NodeState::Ready).await;
}

#[tokio::test(start_paused = true)]
async fn at_shutdown_containers_run_on_and_a_pull_is_given_up() {
    let mut agent = pulling().await;
    agent.shutdown.cancel();
    let began = Instant::now();
    for task in agent.tasks.drain(..) {
        task.await.unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());

    let agent = deployed().await;
    agent.shutdown.cancel();
    for task in agent.tasks {
        task.await.unwrap();
    }
    assert_eq!(agent.node.world().running("api").len(), 1);
}
