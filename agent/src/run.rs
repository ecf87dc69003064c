//! The agent as a whole: what is started in which order, and how it ends.
//!
//! In: a configuration that is valid as far as one can tell without the instance. Out: why it ended. The control API
//! listens first, so that there is always someone to ask; then the instance becomes known, however long that takes;
//! then everything else starts. It ends the other way round, the control API last. Between, another configuration may
//! come into force: [`reload`].
//!
//! Containers run on whatever happens here, but for one thing: when the machine goes down, they are stopped in good
//! order, and their last lines are delivered, before the agent ends. systemd is told meanwhile that it takes longer.

#![expect(clippy::disallowed_methods, reason = "the outermost loop: it tells when it asked")]

mod configuration;
mod part;
mod reload;
mod wiring;

use crate::board::{Board, Owner};
use crate::command::{Command, ModelCommand};
use crate::control::server::Control;
use crate::control::socket::{ListenError, Listener};
use crate::engine::EngineError;
use crate::heartbeat::Heartbeat;
use crate::host::configuration_watch::ConfigurationWatch;
use crate::host::docker::Docker;
use crate::host::systemd::{self, Message, shutdown as machine};
use crate::publish;
use crate::reload::Request;
use crate::secrets::Versions;
use crate::start::{self, read_handoff};
use crate::status::{Node, NodeState};
use crate::volumes::Volumes;
use configuration::{Configuration, Files};
use jiff::Timestamp;
use node::config::{Draft, Mistakes, Settings};
use node::environment::Environment;
use node::exit;
use node::fault::Hint;
use node::handoff;
use node::identity::Facts;
use node::imds;
use node::paths::Paths;
use part::{Parts, Queue, all_end, spawn};
use reload::{Cause, LOOK_AGAIN, everything};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
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
    /// The one file that the configuration was read from, in the place of node.toml and its drop-ins.
    pub named: Option<PathBuf>,
    /// The configuration, checked.
    pub draft: Draft,
    /// Rings when it is to be read again.
    pub reread: Arc<Notify>,
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
        Some(facts) => agent.work(facts, &shutdown).await,
        None => Ok(()),
    };
    systemd::notify(&Message::Stopping);
    agent.take_no_requests();
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
    /// What operators ask of the loop of the services; whoever asks before gets it answered then.
    commands: Queue<Command>,
    /// The same for the loop of the models.
    model_commands: Queue<ModelCommand>,
    /// In force; `None` while the instance is unknown.
    settings: watch::Sender<Option<Arc<Settings>>>,
    /// Of the secrets that are there.
    versions: watch::Receiver<Versions>,
    /// What is asked of the configuration itself.
    requests: mpsc::Receiver<Request>,
    files: Files,
    watch: ConfigurationWatch,
    boot_id: String,
    /// Those that work.
    parts: Parts,
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
        let (configuration, requests) = mpsc::channel(COMMANDS_WAITING);
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
            configuration,
        };
        let looking = Volumes {
            paths: start.paths.clone(),
            boot_id: boot_id.clone(),
            board: board.clone(),
            handed_over,
        };
        let last_status = start.paths.last_status();
        let (files, watch) = followed(&start);
        let drain = stop.child_token();
        let parts = Parts::new(&stop, &drain);
        let mut agent = Agent {
            start,
            imds,
            board: board.clone(),
            docker,
            heartbeat: heartbeat.clone(),
            drain,
            stop,
            volumes,
            services,
            commands: Queue::new(received),
            model_commands: Queue::new(model_commands),
            settings,
            versions: watch::channel(Versions::new()).1,
            requests,
            files,
            watch,
            boot_id,
            parts,
            front: JoinSet::new(),
            end: end.clone(),
        };
        spawn(&mut agent.front, "control", listener.serve(control, end.clone()));
        spawn(&mut agent.front, "volumes", looking.run(end.clone()));
        spawn(&mut agent.front, "publish", publish::follow(board, last_status, end.clone()));
        spawn(&mut agent.front, "watchdog", publish::watchdog(heartbeat, PATIENCE, end));
        Ok(agent)
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
            shutdown.run_until_cancelled(self.wait_unknown()).await?;
        }
    }

    /// Waits for the next question who the instance is. What is asked of the configuration meanwhile is answered.
    async fn wait_unknown(&mut self) {
        let until = Instant::now() + IDENTITY_RETRY;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                // These three are taken only by returning them.
                Some(request) = self.requests.recv() => self.answer_early(request).await,
                () = self.watch.changed() => drop(self.notice_early().await),
                () = self.start.reread.notified() => drop(self.notice_early().await),
            }
        }
    }

    /// Starts everything that needs to know the instance, and waits for the end.
    async fn work(&mut self, facts: Facts, shutdown: &CancellationToken) -> Result<(), Fatal> {
        let resolved = self.start.draft.resolve(&facts)?;
        let settings = Arc::new(resolved.settings.clone());
        self.board.identify(&settings.node_name, &facts, Timestamp::now());
        let (services, instance) = (settings.services.len(), &facts.instance_id);
        tracing::info!(instance, services, "this is {instance}, with {services} services");
        self.settings.send_replace(Some(Arc::clone(&settings)));
        wiring::start(self, &settings, (&facts, &everything())).await;
        let place = (self.files.clone(), self.boot_id.clone());
        let sources = self.start.draft.sources();
        let configuration = Configuration::new(place, self.imds.clone(), (facts, resolved), sources);
        self.until_end(configuration, shutdown).await
    }

    /// Follows the configuration until the end.
    async fn until_end(
        &mut self,
        mut configuration: Configuration,
        shutdown: &CancellationToken,
    ) -> Result<(), Fatal> {
        loop {
            let waits = configuration.is_undecided() || configuration.awaits_bootstrap();
            tokio::select! {
                biased;
                // Nothing is consumed by a wait that is given up.
                () = shutdown.cancelled() => return Ok(()),
                // These two take an end only by returning it.
                ended = self.parts.next() => return Err(ended_unexpectedly(ended)),
                Some(ended) = self.front.join_next() => return Err(ended_unexpectedly(ended)),
                // These three are taken only by returning them.
                Some(request) = self.requests.recv() => {
                    self.answer(request, &mut configuration, shutdown).await;
                }
                () = self.start.reread.notified() => {
                    self.follow(&mut configuration, Cause::Asked, shutdown).await;
                }
                () = self.watch.changed() => {
                    self.follow(&mut configuration, Cause::Noticed, shutdown).await;
                }
                // The moment is computed anew.
                () = tokio::time::sleep(LOOK_AGAIN), if waits => {
                    self.look_again(&mut configuration, shutdown).await;
                }
            }
        }
    }

    /// From now on whoever asks something of the configuration is told that nobody answers.
    fn take_no_requests(&mut self) {
        self.requests.close();
        while self.requests.try_recv().is_ok() {}
    }

    /// The machine goes down: waits until every service is stopped, each within its own time, however long that is.
    async fn drain(&mut self) {
        self.board.drain(Timestamp::now());
        self.drain.cancel();
        let mut ticks = tokio::time::interval(ASK_FOR_TIME);
        loop {
            tokio::select! {
                // Takes the end of a task only by returning it. Without the loop there is nothing to stop.
                ended = self.parts.services.next() => match ended {
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
        self.parts.all_end(STOP_LIMIT).await;
        self.end.cancel();
        all_end(&mut self.front, END_LIMIT).await;
    }
}

/// The files of the configuration, and who tells when they change.
fn followed(start: &Start) -> (Files, ConfigurationWatch) {
    let files = Files { paths: start.paths.clone(), named: start.named.clone() };
    let drop_ins = start.named.is_none().then(|| start.paths.drop_ins());
    let watch = ConfigurationWatch::new(files.first(), drop_ins);
    (files, watch)
}

fn ended_unexpectedly(ended: Result<&'static str, JoinError>) -> Fatal {
    Fatal::TaskEnded(match ended {
        Ok(name) => name.to_owned(),
        Err(error) => error.to_string(),
    })
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
