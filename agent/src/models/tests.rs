//! The whole loop with the real plan, in virtual time, on a simulated server.

mod kills;
pub(super) mod samples;
mod verbs;
mod world;

use super::*;
use crate::command::{ModelWish, Refused, Taken};
use crate::status::{Model, ModelState, NodeState, Status};
use node::config::settings::Smoke;
use node::paths::Paths;
use samples::{ONE, TWO, at, board, container, wanted};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use world::{SIZE, Simulated, layer};

/// Longer than any scenario may take, in virtual time.
const PATIENCE: Duration = Duration::from_secs(3 * 3600);
const A: &str = "registry.ollama.ai/library/a:1";

/// An agent on a simulated server.
struct Agent {
    node: Simulated,
    root: tempfile::TempDir,
    board: Board,
    commands: mpsc::Sender<ModelCommand>,
    restarts: mpsc::Receiver<Command>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

/// `a:1` stays in memory, and has to pass a smoke prompt.
fn one_model() -> Wanted {
    let mut wanted = wanted(&["a:1"]);
    wanted.memory_bytes = None;
    for model in wanted.models.pull.values_mut() {
        (model.keep_loaded, model.required) = (true, true);
        let (prompt, expect) = ("2+2?".to_owned(), Some("four".to_owned()));
        model.smoke = Some(Smoke { prompt, expect, within: Duration::from_secs(60) });
    }
    wanted
}

fn simulated() -> Simulated {
    let node = Simulated::new();
    node.world().registry.insert(A.to_owned(), ONE.to_owned());
    node
}

impl Agent {
    fn start(node: Simulated, wanted: Wanted) -> Agent {
        Agent::start_in(tempfile::tempdir().unwrap(), node, wanted)
    }

    fn start_in(root: tempfile::TempDir, node: Simulated, wanted: Wanted) -> Agent {
        let board = board();
        let (commands, taken) = mpsc::channel(16);
        let (services, restarts) = mpsc::channel(16);
        let shutdown = CancellationToken::new();
        let shared = Arc::new(node.clone());
        let outside = Outside {
            server: Arc::clone(&shared),
            registry: Arc::clone(&shared),
            files: Arc::clone(&shared),
            engine: shared,
            store: Store::new(&Paths::under(root.path())),
        };
        announce(&wanted.models, &board, node.now());
        let running = vec![container("one", at(0), "10.0.0.2")];
        board.publish_services(Vec::new(), Vec::new(), running, node.now());
        let inputs = Inputs {
            wanted,
            commands: taken,
            services,
            board: board.clone(),
            clock: node.clock(),
            shutdown: shutdown.clone(),
        };
        let task = tokio::spawn(run(outside, inputs));
        Agent { node, root, board, commands, restarts, shutdown, task }
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
            panic!("never {what}\n{}", self.told());
        }
        began.elapsed()
    }

    async fn until_state(&self, state: ModelState) -> Duration {
        self.until(&format!("{state:?}"), |status| status.models[0].state == state).await
    }

    /// Waits until the record says that a version passed.
    async fn until_good(&self, digest: &str) {
        let began = Instant::now();
        while self.remembered().good.as_deref() != Some(digest) {
            assert!(began.elapsed() < PATIENCE, "{digest} never passed\n{}", self.told());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn told(&self) -> String {
        format!("{}\n{:#?}\n{:#?}", self.story(), self.board.status(), self.board.models().explanations)
    }

    fn story(&self) -> String {
        self.node.world().story.join("\n")
    }

    fn deeds(&self, word: &str) -> usize {
        self.node.world().story.iter().filter(|line| line.contains(word)).count()
    }

    fn model(&self) -> Model {
        self.board.status().models[0].clone()
    }

    fn problems(&self) -> Vec<String> {
        self.board.status().problems.into_iter().map(|problem| problem.code).collect()
    }

    fn remembered(&self) -> record::Record {
        Store::new(&Paths::under(self.root.path())).load().0.record(A).cloned().unwrap_or_default()
    }

    async fn ask(&self, model: Option<&str>, wish: ModelWish) -> Result<Taken, Refused> {
        let (reply, answer) = oneshot::channel();
        let model = model.map(str::to_owned);
        self.commands.send(ModelCommand { model, wish, reply }).await.unwrap();
        answer.await.unwrap()
    }

    /// SIGKILL: nothing is wound down.
    async fn kill(self) -> (Simulated, tempfile::TempDir) {
        self.task.abort();
        let _ = self.task.await;
        // A write that was under way ends with the process; here it is waited for, as virtual time stands still for it.
        tokio::time::sleep(Duration::from_millis(1)).await;
        (self.node, self.root)
    }

    async fn stop(self) -> (Simulated, tempfile::TempDir) {
        self.shutdown.cancel();
        self.task.await.unwrap();
        (self.node, self.root)
    }
}

async fn deployed() -> Agent {
    deployed_as(one_model()).await
}

async fn deployed_as(wanted: Wanted) -> Agent {
    let agent = Agent::start(simulated(), wanted);
    agent.until_state(ModelState::Loaded).await;
    agent.until_good(ONE).await;
    agent
}

#[tokio::test(start_paused = true)]
async fn a_first_model_is_pulled_loaded_asked_and_remembered() {
    let agent = Agent::start(simulated(), one_model());
    assert_eq!(agent.board.status().node.state, NodeState::Starting, "{}", agent.told());
    agent.until_state(ModelState::Pulling).await;
    agent
        .until("half there", |status| status.models[0].progress.is_some_and(|it| it > 0.4 && it < 0.6))
        .await;
    agent.until_state(ModelState::Loaded).await;
    agent.until("ready", |status| status.node.state == NodeState::Ready).await;
    agent.until_good(ONE).await;
    assert_eq!(agent.model().digest.as_deref(), Some(ONE));
    let state = Paths::under(agent.root.path()).state();
    let lock = std::fs::read_to_string(state.join("models.lock")).unwrap();
    assert!(lock.contains(ONE), "{lock}");
    assert_eq!(agent.problems(), Vec::<String>::new(), "{}", agent.told());
    assert_eq!((agent.deeds(" pull a:1"), agent.deeds("load a:1"), agent.deeds("ask a:1")), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn progress_is_published_about_once_a_second_and_an_idle_node_is_left_alone() {
    let agent = Agent::start(simulated(), one_model());
    agent.until_state(ModelState::Pulling).await;
    let (mut changes, began) = (agent.board.changes(), Instant::now());
    let mut published = 0_u64;
    while agent.model().state == ModelState::Pulling {
        changes.next().await;
        published += 1;
    }
    let seconds = began.elapsed().as_secs();
    assert!(published >= 5 && published <= seconds + 3, "{published} in {seconds} s\n{}", agent.told());
    agent.until_good(ONE).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let before = agent.node.world().requests;
    let mut changes = agent.board.changes();
    let quiet = tokio::time::timeout(Duration::from_secs(600), changes.next()).await;
    assert!(quiet.is_err(), "{}", agent.told());
    let requests = agent.node.world().requests - before;
    assert!((110..=123).contains(&requests), "{requests} requests in ten minutes, three each 15 s");
}

#[tokio::test(start_paused = true)]
async fn a_model_that_left_memory_with_its_server_is_loaded_again() {
    let agent = deployed().await;
    agent.node.world().memory.clear();
    let again = vec![container("one", agent.node.now(), "10.0.0.2")];
    agent.board.publish_services(Vec::new(), Vec::new(), again, agent.node.now());
    agent.until("not in memory", |status| status.models[0].state != ModelState::Loaded).await;
    let took = agent.until_state(ModelState::Loaded).await;
    assert!(took < Duration::from_secs(15), "{took:?}\n{}", agent.told());
    assert_eq!(agent.deeds(" pull a:1"), 1);
    assert_eq!(agent.deeds(" load a:1"), 2, "{}", agent.told());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_keeps_silent_is_unknown_and_nothing_is_done_on_its_account() {
    let agent = deployed().await;
    agent.node.world().silent = true;
    let silent = |status: &Status| {
        status
            .model_server
            .as_ref()
            .is_some_and(|server| server.state == crate::status::ModelServerState::Silent)
    };
    let took = agent.until("silent", silent).await;
    assert!(took < Duration::from_secs(40), "{took:?}");
    agent
        .until("a problem", |status| {
            status.problems.iter().any(|problem| problem.code == "model_server_unreachable")
        })
        .await;
    let before = agent.story();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(agent.story(), before, "nothing was begun");
    assert!(agent.restarts.is_empty());
    agent.node.world().silent = false;
    agent.until_state(ModelState::Loaded).await;
    agent.until("ready", |status| status.node.state == NodeState::Ready).await;
    assert_eq!(agent.deeds(" pull a:1"), 1, "{}", agent.told());
}

#[tokio::test(start_paused = true)]
async fn one_answer_that_does_not_come_changes_nothing() {
    let agent = deployed().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    agent.node.world().unanswered = 1;
    let mut changes = agent.board.changes();
    let quiet = tokio::time::timeout(Duration::from_secs(60), changes.next()).await;
    assert!(quiet.is_err(), "{}", agent.told());
    assert_eq!(agent.node.world().unanswered, 0);
    agent.node.world().unanswered = 2;
    let silent =
        |status: &Status| status.model_server.as_ref().is_some_and(|server| server.version.is_none());
    agent.until("silent after the second", silent).await;
    agent.until_state(ModelState::Loaded).await;
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_hangs_is_a_problem_and_models_are_served_on() {
    let node = simulated();
    node.world().files_hang = true;
    node.world().names.insert(A.to_owned(), ONE.to_owned());
    node.world().kept.insert(layer(ONE), SIZE);
    let agent = Agent::start(node, one_model());
    agent.until_state(ModelState::Loaded).await;
    assert!(agent.problems().contains(&"model_files_unreadable".to_owned()), "{}", agent.told());
}

#[tokio::test(start_paused = true)]
async fn a_stalled_pull_is_asked_again_and_goes_on_where_it_was() {
    let node = simulated();
    node.world().stalls_at = Some(900);
    let agent = Agent::start(node, one_model());
    agent
        .until("a stall", |status| status.problems.iter().any(|problem| problem.code == "model_pull_stalled"))
        .await;
    agent.node.world().stalls_at = None;
    agent.until_state(ModelState::Loaded).await;
    agent.until_good(ONE).await;
    assert_eq!(agent.node.world().fetched[&layer(ONE)], SIZE, "no byte twice\n{}", agent.told());
    assert_eq!(agent.problems(), Vec::<String>::new(), "{}", agent.told());
}

#[tokio::test(start_paused = true)]
async fn a_pull_whose_tag_moves_is_dropped_for_the_new_one() {
    let mut wanted = one_model();
    wanted.models.every = Some(Duration::from_secs(60));
    let node = simulated();
    node.world().stalls_at = Some(500);
    let agent = Agent::start(node, wanted);
    agent.until_state(ModelState::Pulling).await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    {
        let mut world = agent.node.world();
        world.registry.insert(A.to_owned(), TWO.to_owned());
        world.stalls_at = None;
        // The pull under way hangs at what it was.
        world.kept.insert(layer(ONE), 400);
    }
    agent.until_good(TWO).await;
    assert_eq!(agent.model().digest.as_deref(), Some(TWO), "{}", agent.told());
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_pulling_is_quick_and_the_next_start_goes_on() {
    let agent = Agent::start(simulated(), one_model());
    agent.until_state(ModelState::Pulling).await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    let began = Instant::now();
    let (node, root) = agent.stop().await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let kept = node.world().kept[&layer(ONE)];
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(node.world().kept[&layer(ONE)], kept, "the request was dropped");
    let agent = Agent::start_in(root, node, one_model());
    agent.until_state(ModelState::Loaded).await;
    assert_eq!(agent.node.world().fetched[&layer(ONE)], SIZE, "no byte twice");
}

#[tokio::test(start_paused = true)]
async fn a_new_version_is_taken_and_the_old_one_stays_one_step_away() {
    let mut wanted = one_model();
    wanted.models.every = Some(Duration::from_secs(60));
    let agent = deployed_as(wanted).await;
    agent.node.world().registry.insert(A.to_owned(), TWO.to_owned());
    agent.until_good(TWO).await;
    assert_eq!(agent.remembered().previous.as_deref(), Some(ONE));
    let kept = plan::kept_name(&"a:1".parse().unwrap(), ONE).full();
    assert_eq!(agent.node.world().names.get(&kept).map(String::as_str), Some(ONE), "{}", agent.told());
}

#[tokio::test(start_paused = true)]
async fn a_version_that_cannot_be_loaded_or_answers_wrongly_is_barred_and_the_old_one_is_back() {
    for bad in ["load", "smoke"] {
        let mut wanted = one_model();
        wanted.models.every = Some(Duration::from_secs(60));
        let agent = deployed_as(wanted).await;
        {
            let mut world = agent.node.world();
            world.registry.insert(A.to_owned(), TWO.to_owned());
            if bad == "load" {
                world.unloadable.insert(TWO.to_owned());
            } else {
                world.answers.insert(TWO.to_owned(), "It is five.".to_owned());
            }
        }
        let began = Instant::now();
        while agent.remembered().barred(TWO).is_none() {
            assert!(began.elapsed() < PATIENCE, "{}", agent.told());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        agent
            .until("back", |status| {
                status.models[0].digest.as_deref() == Some(ONE)
                    && status.models[0].state == ModelState::Loaded
            })
            .await;
        assert_eq!(agent.node.world().memory.get(A).map(String::as_str), Some(ONE), "{}", agent.told());
        let cause = agent.remembered().barred(TWO).unwrap().cause.clone();
        let words = if bad == "load" { "unknown model architecture" } else { "It is five." };
        assert!(cause.contains(words), "{cause}");
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(agent.deeds(" pull a:1"), 2, "it is not tried again\n{}", agent.told());
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_file_is_removed_and_fetched_again() {
    let node = simulated();
    node.world().names.insert(A.to_owned(), ONE.to_owned());
    node.world().kept.insert(layer(ONE), SIZE);
    node.world().spoiled.insert(layer(ONE));
    let agent = Agent::start(node, one_model());
    agent.until_good(ONE).await;
    assert!(agent.node.world().spoiled.is_empty());
    assert_eq!(agent.deeds(" pull a:1"), 1, "{}", agent.told());
}

#[tokio::test(start_paused = true)]
async fn a_lost_gpu_has_the_server_restarted_three_times_each_after_a_longer_wait() {
    let mut wanted = one_model();
    if let Some(service) = &mut wanted.service {
        service.gpus = Some(settings::Gpus::All);
    }
    let node = simulated();
    node.world().gpus = Some((0, "GPU 0: NVIDIA L4 (UUID: GPU-1)\n".to_owned()));
    let mut agent = Agent::start(node, wanted);
    agent.until_good(ONE).await;
    let gpus = |status: &Status| status.model_server.as_ref().and_then(|server| server.gpus) == Some(1);
    agent.until("one GPU", gpus).await;
    agent.node.world().gpus = Some((255, "Failed to initialize NVML: Unknown Error\n".to_owned()));
    let mut asked: Vec<Duration> = Vec::new();
    let began = Instant::now();
    while let Ok(Some(command)) = tokio::time::timeout(Duration::from_secs(7200), agent.restarts.recv()).await
    {
        let Command::Restart { service, reply } = command else { panic!("{command:?}") };
        assert_eq!(service, "ollama");
        asked.push(began.elapsed());
        reply.send(Ok(Taken::from("restarting ollama".to_owned()))).unwrap();
        // It comes back without its GPU, as another run of the container.
        agent.node.world().memory.clear();
        let again = vec![container("one", agent.node.now(), "10.0.0.2")];
        agent.board.publish_services(Vec::new(), Vec::new(), again, agent.node.now());
    }
    assert_eq!(asked.len(), 3, "{asked:?}\n{}", agent.told());
    let waits: Vec<u64> = asked.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert!(asked[0].as_secs() >= 60 && waits[0] >= 300 && waits[1] >= 900, "{asked:?}");
    assert!(asked[0].as_secs() < 150 && waits[0] < 400 && waits[1] < 1000, "{asked:?}");
    let server = agent.board.status().model_server.unwrap();
    assert_eq!((server.gpu_restarts, server.gpus), (3, Some(0)));
    assert!(agent.problems().contains(&"model_gpu_lost".to_owned()), "{}", agent.told());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_run_has_its_reason_on_the_models() {
    let agent = deployed().await;
    let stopped = samples::service("ollama", crate::status::ServiceState::Stopped);
    agent.board.publish_services(vec![stopped], Vec::new(), Vec::new(), agent.node.now());
    agent
        .until("down", |status| {
            let server = status.model_server.as_ref().unwrap();
            server.state == crate::status::ModelServerState::Down
                && server.reason.as_deref() == Some("service ollama is stopped")
        })
        .await;
}
