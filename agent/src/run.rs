//! The agent as a whole: what is started in which order, and how it ends.
//!
//! In: a configuration that is valid as far as one can tell without the instance. Out: why it ended. The control API
//! listens first, so that there is always someone to ask; then the instance becomes known, however long that takes;
//! then everything else starts. It ends the other way round, the control API last.
//!
//! Containers run on whatever happens here, but for one thing: when the machine goes down, they are stopped in good
//! order, and their last lines are delivered, before the agent ends. systemd is told meanwhile that it takes longer.

#![expect(clippy::disallowed_methods, reason = "the outermost loop: it tells when it asked")]

mod wiring;

use crate::board::{Board, Owner};
use crate::command::{Command, ModelCommand};
use crate::control::server::Control;
use crate::control::socket::{ListenError, Listener};
use crate::engine::EngineError;
use crate::heartbeat::Heartbeat;
use crate::host::docker::Docker;
use crate::host::systemd::{self, Message, shutdown as machine};
use crate::publish;
use crate::start::{self, read_handoff};
use crate::status::{Node, NodeState};
use crate::volumes::Volumes;
use jiff::Timestamp;
use node::config::{Draft, Mistakes, Settings};
use node::environment::Environment;
use node::exit;
use node::fault::Hint;
use node::handoff;
use node::identity::Facts;
use node::imds;
use node::paths::Paths;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// Between two questions who the instance is.
const IDENTITY_RETRY: Duration = Duration::from_secs(10);
/// How long the loop may be silent before the watchdog is no longer fed. It turns every ten seconds, and waits for the
/// engine a few times per turn at most.
const PATIENCE: Duration = Duration::from_secs(60);
/// For all tasks to end: the log shipper takes up to 10 s to deliver what it has read. The unit allows a little more.
const STOP_LIMIT: Duration = Duration::from_secs(12);
/// Beyond that, for the control API and the last status.
const END_LIMIT: Duration = Duration::from_secs(2);
/// On the way down with the machine, systemd is asked this often for more time, and for so much: less than the unit's
/// TimeoutStopSec between two requests, and no more at once than a hung agent may hold up the machine.
const ASK_FOR_TIME: Duration = Duration::from_secs(5);
const MORE_TIME: Duration = Duration::from_secs(20);
/// How long the loop may be silent on the way down: its longest wait is the engine's, 5 s a turn.
const PATIENCE_DOWN: Duration = Duration::from_secs(20);
/// Commands wait here while the loop takes one; an operator gives one at a time.
const COMMANDS_WAITING: usize = 16;

/// What the agent is started with.
#[derive(Debug)]
pub struct Start {
    /// Where everything is.
    pub paths: Paths,
    /// The configuration, checked.
    pub draft: Draft,
    /// Endpoints and the like.
    pub environment: Environment,
}

/// Why the agent ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// There is no /proc, or none that we can read.
    #[error("cannot read the kernel's boot id")]
    BootId(#[source] io::Error),
    /// The control API cannot be served.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// `DOCKER_HOST` makes no sense.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// On this instance the configuration is wrong.
    #[error(transparent)]
    Invalid(#[from] Mistakes),
    /// A task that never ends has ended.
    #[error("the task {0} has ended unexpectedly")]
    TaskEnded(String),
}

impl Fatal {
    /// The exit code of the program.
    pub fn exit_code(&self) -> u8 {
        match self {
            Fatal::Engine(_) | Fatal::Invalid(_) => exit::INVALID_CONFIGURATION,
            Fatal::BootId(_) | Fatal::Listen(_) | Fatal::TaskEnded(_) => exit::FAILED,
        }
    }
}

impl Hint for Fatal {
    fn hint(&self) -> Option<String> {
        match self {
            Fatal::Listen(error) => error.hint(),
            Fatal::Engine(error) => error.hint(),
            Fatal::Invalid(mistakes) => mistakes.hint(),
            Fatal::BootId(_) => Some("look at `findmnt /proc`, then `systemctl start node-agent`".to_owned()),
            Fatal::TaskEnded(_) => Some(
                "systemd starts it again; `journalctl -u node-agent -n 50` says what came before".to_owned(),
            ),
        }
    }
}

/// Runs until `shutdown`, or until it cannot go on.
pub async fn run(start: Start, shutdown: CancellationToken) -> Result<(), Fatal> {
    let mut agent = Agent::listen(start)?;
    let outcome = match agent.identify(&shutdown).await {
        Some(facts) => agent.work(&facts, &shutdown).await,
        None => Ok(()),
    };
    systemd::notify(&Message::Stopping);
    // Who ends by itself is started again: containers run on.
    if outcome.is_ok() && machine::is_under_way().await {
        agent.drain().await;
    }
    agent.stop().await;
    outcome
}

/// What runs from the beginning.
pub(crate) struct Agent {
    pub(crate) start: Start,
    pub(crate) imds: imds::Client,
    pub(crate) board: Board,
    pub(crate) docker: Docker,
    pub(crate) heartbeat: Heartbeat,
    /// Ends the tasks that work.
    pub(crate) stop: CancellationToken,
    /// The machine goes down: ends those that start or fetch anything. It is also cancelled with `stop`.
    pub(crate) drain: CancellationToken,
    /// Volumes as bootstrap hands them over.
    pub(crate) volumes: watch::Receiver<Vec<handoff::Volume>>,
    /// To the loop of the services.
    pub(crate) services: mpsc::Sender<Command>,
    commands: mpsc::Receiver<Command>,
    model_commands: mpsc::Receiver<ModelCommand>,
    settings: watch::Sender<Option<Arc<Settings>>>,
    boot_id: String,
    /// Those that work; each gives its name when it ends.
    tasks: JoinSet<&'static str>,
    /// Those that show what is known, from the beginning to the very end.
    front: JoinSet<&'static str>,
    /// Ends the front.
    end: CancellationToken,
}

impl Agent {
    /// Listens, and begins to publish.
    fn listen(start: Start) -> Result<Agent, Fatal> {
        // Of the running kernel, also with another root for the files.
        let boot_id = node::handoff::boot_id(&Paths::default()).map_err(Fatal::BootId)?;
        let docker = Docker::connect(start.environment.get("DOCKER_HOST"))?;
        let listener = Listener::bind(&start.paths.control_socket())?;
        let board = Board::new(nobody_yet(&boot_id));
        let (commands, received) = mpsc::channel(COMMANDS_WAITING);
        let (models, model_commands) = mpsc::channel(COMMANDS_WAITING);
        let (settings, known_settings) = watch::channel(None);
        let handed_over =
            read_handoff(&start.paths, &boot_id).map(|handoff| handoff.volumes).unwrap_or_default();
        let (handed_over, volumes) = watch::channel(handed_over);
        let imds = imds::Client::new(&start.environment);
        let (heartbeat, stop, end) =
            (Heartbeat::default(), CancellationToken::new(), CancellationToken::new());
        let services = commands.clone();
        let control = Control {
            board: board.clone(),
            commands,
            models,
            output: Arc::new(docker.clone()),
            settings: known_settings,
        };
        let looking = Volumes {
            paths: start.paths.clone(),
            boot_id: boot_id.clone(),
            board: board.clone(),
            handed_over,
        };
        let last_status = start.paths.last_status();
        let mut agent = Agent {
            start,
            imds,
            board: board.clone(),
            docker,
            heartbeat: heartbeat.clone(),
            drain: stop.child_token(),
            stop,
            volumes,
            services,
            commands: received,
            model_commands,
            settings,
            boot_id,
            tasks: JoinSet::new(),
            front: JoinSet::new(),
            end: end.clone(),
        };
        spawn(&mut agent.front, "control", listener.serve(control, end.clone()));
        spawn(&mut agent.front, "volumes", looking.run(end.clone()));
        spawn(&mut agent.front, "publish", publish::follow(board, last_status, end.clone()));
        spawn(&mut agent.front, "watchdog", publish::watchdog(heartbeat, PATIENCE, end));
        Ok(agent)
    }

    /// Starts a task that ends only when it is told to stop.
    pub(crate) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        spawn(&mut self.tasks, name, task);
    }

    /// What operators ask, for the loop; whoever asks before gets it answered then.
    pub(crate) fn take_commands(&mut self) -> mpsc::Receiver<Command> {
        let (_, nobody) = mpsc::channel(1);
        std::mem::replace(&mut self.commands, nobody)
    }

    /// The same for the loop of the models.
    pub(crate) fn take_model_commands(&mut self) -> mpsc::Receiver<ModelCommand> {
        let (_, nobody) = mpsc::channel(1);
        std::mem::replace(&mut self.model_commands, nobody)
    }

    /// Finds out who the instance is, for as long as it takes; `None` when it is told to stop before.
    async fn identify(&mut self, shutdown: &CancellationToken) -> Option<Facts> {
        loop {
            // Bootstrap may have been run again since the last look.
            let handoff = read_handoff(&self.start.paths, &self.boot_id).ok();
            let handed_over = handoff.as_ref().and_then(|handoff| handoff.identity.as_ref());
            let asked = start::identify(&self.start.draft, handed_over, &self.imds, Timestamp::now());
            // Cancelling a question loses the question.
            let problem = match shutdown.run_until_cancelled(asked).await? {
                Ok(facts) => {
                    self.board.publish_problems(Owner::Configuration, Vec::new(), Timestamp::now());
                    return Some(facts);
                }
                Err(problem) => problem,
            };
            tracing::warn!(code = problem.code, "{}", problem.message);
            self.board.publish_problems(Owner::Configuration, vec![problem], Timestamp::now());
            self.heartbeat.beat();
            shutdown.run_until_cancelled(tokio::time::sleep(IDENTITY_RETRY)).await?;
        }
    }

    /// Starts everything that needs to know the instance, and waits for the end.
    async fn work(&mut self, facts: &Facts, shutdown: &CancellationToken) -> Result<(), Fatal> {
        let settings = Arc::new(self.start.draft.settings(facts)?);
        self.board.identify(&settings.node_name, facts, Timestamp::now());
        let (services, instance) = (settings.services.len(), &facts.instance_id);
        tracing::info!(instance, services, "this is {instance}, with {services} services");
        self.settings.send_replace(Some(Arc::clone(&settings)));
        wiring::start(self, &settings, facts).await;
        tokio::select! {
            // Neither arm consumes anything that the other would need.
            () = shutdown.cancelled() => Ok(()),
            Some(ended) = self.tasks.join_next() => Err(ended_unexpectedly(ended)),
            Some(ended) = self.front.join_next() => Err(ended_unexpectedly(ended)),
        }
    }

    /// The machine goes down: waits until every service is stopped, each within its own time, however long that is.
    async fn drain(&mut self) {
        self.board.drain(Timestamp::now());
        self.drain.cancel();
        let mut ticks = tokio::time::interval(ASK_FOR_TIME);
        loop {
            tokio::select! {
                // Takes the end of a task only by returning it. Without the loop there is nothing to stop.
                ended = self.tasks.join_next() => match ended {
                    Some(Ok(wiring::RECONCILE)) | None => return,
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return tracing::error!("a task broke off: {error}"),
                },
                _ = ticks.tick() => {
                    // A loop that hangs gets no more time, and systemd ends what is left of us.
                    if self.heartbeat.age() < PATIENCE_DOWN {
                        systemd::notify(&Message::Extend(MORE_TIME));
                    }
                }
            }
        }
    }

    /// Ends all tasks: first those that work, the log shipper among them, then those that show what is known.
    async fn stop(mut self) {
        // Finding out about the machine took of the unit's time, and stopping services took more than that.
        systemd::notify(&Message::Extend(STOP_LIMIT + END_LIMIT + Duration::from_secs(1)));
        self.stop.cancel();
        all_end(&mut self.tasks, STOP_LIMIT).await;
        self.end.cancel();
        all_end(&mut self.front, END_LIMIT).await;
    }
}

fn spawn(
    tasks: &mut JoinSet<&'static str>,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    tasks.spawn(async move {
        task.await;
        name
    });
}

fn ended_unexpectedly(ended: Result<&'static str, JoinError>) -> Fatal {
    Fatal::TaskEnded(match ended {
        Ok(name) => name.to_owned(),
        Err(error) => error.to_string(),
    })
}

async fn all_end(tasks: &mut JoinSet<&'static str>, limit: Duration) {
    let mut left = tasks.len();
    let all = async {
        while tasks.join_next().await.is_some() {
            left -= 1;
        }
    };
    if tokio::time::timeout(limit, all).await.is_err() {
        tracing::warn!("{left} tasks did not end within {} s", limit.as_secs());
    }
}

/// The node before anything is known of it.
fn nobody_yet(boot_id: &str) -> Node {
    Node {
        name: String::new(),
        instance_id: String::new(),
        instance_type: String::new(),
        region: String::new(),
        availability_zone: String::new(),
        state: NodeState::Starting,
        since: Timestamp::now(),
        version: node::VERSION.to_owned(),
        boot: boot_id.to_owned(),
    }
}
