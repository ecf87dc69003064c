//! The server as it is seen: where it is, whether it answers, what it has and what it holds in memory.
//!
//! One answer that does not come changes nothing, unless a step of ours has changed what the server has; after the second
//! in a row the server is silent, and all that it has is unknown.

use super::Wanted;
use super::observed::ServerView;
use super::server::{Endpoint, Installed, Loaded, ModelServer as Server, ServerError};
use crate::board::Board;
use crate::clock::Clock;
use crate::observed::{Container, ContainerState};
use crate::status::{Explanation, Service as ServiceStatus, ServiceState};
use jiff::Timestamp;
use node::config::settings::{ModelReference, ModelServer, Network};
use node::fault::one_line;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// From a first question without an answer to the second.
const SECOND_TRY: Duration = Duration::from_secs(1);
/// From one look to the next while something is under way, or the server is silent.
const BUSY_AGE: Duration = Duration::from_secs(5);
/// The same while nothing happens: whether the server let go of a model is told by nothing else.
const IDLE_AGE: Duration = Duration::from_secs(15);

/// Where the server should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// There.
    At {
        endpoint: Endpoint,
        /// As in [`ServerView::Up`].
        run: String,
        /// The id of its container; absent for a server at a URL.
        container: Option<String>,
    },
    /// Its service does not run.
    NotRunning { reason: String },
}

impl Place {
    pub(super) fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Place::At { endpoint, .. } => Some(endpoint),
            Place::NotRunning { .. } => None,
        }
    }
}

/// Where the server should be, as far as the board tells.
pub(super) fn place(wanted: &Wanted, board: &Board) -> Place {
    let (name, port) = match &wanted.models.server {
        ModelServer::Url(url) => {
            let endpoint = Endpoint(url.clone());
            return Place::At { endpoint, run: String::new(), container: None };
        }
        ModelServer::Service { name, port } => (name, *port),
    };
    let not_running = |reason: String| Place::NotRunning { reason };
    let containers = board.containers();
    let Some((container, started_at)) = newest(&containers, name) else {
        let services = board.status().services;
        let service = services.iter().find(|service| service.name == *name);
        return not_running(reason(name, service, &board.explanations()));
    };
    let on_host = wanted.service.as_ref().is_some_and(|service| service.network == Network::Host);
    let address = if on_host { Some(IpAddr::V4(Ipv4Addr::LOCALHOST)) } else { container.address };
    let Some(address) = address else {
        return not_running(format!("the container of service {name} has no address"));
    };
    Place::At {
        endpoint: Endpoint(format!("http://{}", SocketAddr::new(address, port))),
        run: format!("{}@{started_at}", container.id),
        container: Some(container.id.clone()),
    }
}

fn newest<'a>(containers: &'a [Container], service: &str) -> Option<(&'a Container, Timestamp)> {
    let of_service = containers.iter().filter(|container| container.service == service);
    let running = of_service.filter_map(|container| match container.state {
        ContainerState::Running { started_at } => Some((container, started_at)),
        _ => None,
    });
    running.max_by_key(|(_, started_at)| *started_at)
}

/// Why a service does not run, as its own plan has it.
fn reason(name: &str, service: Option<&ServiceStatus>, explanations: &[Explanation]) -> String {
    let Some(service) = service else { return format!("service {name} has not been looked at yet") };
    let state = match service.state {
        ServiceState::Waiting => "waits",
        ServiceState::Pulling => "is pulling its image",
        ServiceState::Starting | ServiceState::Running | ServiceState::Unhealthy => "is starting",
        ServiceState::Restarting => "is being restarted",
        ServiceState::Updating => "is being updated",
        ServiceState::Stopped => "is stopped",
        ServiceState::Failed => "has failed",
    };
    let explanation = explanations.iter().find(|explanation| explanation.service == name);
    match explanation.and_then(|explanation| explanation.reasons.first()) {
        Some(reason) => format!("service {name} {state}: {}", reason.text),
        None => format!("service {name} {state}"),
    }
}

/// What it said last.
struct Heard {
    run: String,
    endpoint: Endpoint,
    version: String,
    since: Timestamp,
    installed: Vec<Installed>,
    loaded: Vec<Loaded>,
}

/// What it did not say.
struct Silence {
    reason: String,
    since: Timestamp,
    failures: u32,
}

/// Keeps what is true between two looks.
pub(super) struct Observer<S> {
    server: Arc<S>,
    place: Place,
    heard: Option<Heard>,
    silence: Option<Silence>,
    asked: Option<Instant>,
    /// What was heard was overtaken by a step of ours: no plan may rely on it.
    outdated: bool,
}

impl<S: Server> Observer<S> {
    pub(super) fn new(server: Arc<S>) -> Observer<S> {
        let place = Place::NotRunning { reason: String::new() };
        Observer { server, place, heard: None, silence: None, asked: None, outdated: false }
    }

    /// What it has may have changed.
    pub(super) fn forget(&mut self) {
        self.asked = None;
        self.outdated = true;
    }

    /// Asks, where what is known is too old. Cancel safe.
    pub(super) async fn look(&mut self, place: Place, busy: bool, clock: &Clock) {
        if self.place != place {
            // What another one said tells nothing of this one.
            (self.heard, self.silence, self.asked) = (None, None, None);
            self.place = place;
        }
        let Place::At { endpoint, run, .. } = self.place.clone() else { return };
        if !self.due_in(busy).is_zero() {
            return;
        }
        let answer = self.ask(&endpoint).await;
        self.asked = Some(Instant::now());
        let now = clock();
        match answer {
            Ok((version, installed, loaded)) => {
                // A clock that was set back leaves no moment in the future.
                let since = self.heard.as_ref().map_or(now, |heard| heard.since.min(now));
                (self.silence, self.outdated) = (None, false);
                self.heard = Some(Heard { run, endpoint, version, since, installed, loaded });
            }
            Err(error) => self.note_silence(&error, now),
        }
    }

    async fn ask(&self, at: &Endpoint) -> Result<(String, Vec<Installed>, Vec<Loaded>), ServerError> {
        let version = self.server.version(at).await?;
        Ok((version, self.server.installed(at).await?, self.server.loaded(at).await?))
    }

    fn note_silence(&mut self, error: &ServerError, now: Timestamp) {
        let reason = one_line(error);
        let before = self.silence.take();
        if before.is_none() {
            tracing::info!("{reason}");
        }
        let failures = before.as_ref().map_or(1, |before| before.failures.saturating_add(1));
        let since = before.map_or(now, |before| before.since.min(now));
        if failures > 1 || self.outdated {
            self.heard = None;
        }
        self.silence = Some(Silence { reason, since, failures });
    }

    /// When to look again; zero when that is due.
    pub(super) fn due_in(&self, busy: bool) -> Duration {
        if matches!(self.place, Place::NotRunning { .. }) {
            return IDLE_AGE;
        }
        let age = match &self.silence {
            Some(silence) if silence.failures == 1 => SECOND_TRY,
            Some(_) => BUSY_AGE,
            None if busy => BUSY_AGE,
            None => IDLE_AGE,
        };
        self.asked.map_or(Duration::ZERO, |asked| age.saturating_sub(asked.elapsed()))
    }

    /// As the plan sees it.
    pub(super) fn view(&self) -> ServerView {
        match (&self.place, &self.heard, &self.silence) {
            (Place::NotRunning { reason }, _, _) => ServerView::NotRunning { reason: reason.clone() },
            (_, Some(heard), _) => ServerView::Up {
                endpoint: heard.endpoint.clone(),
                version: heard.version.clone(),
                run: heard.run.clone(),
                since: heard.since,
                installed: heard.installed.clone(),
                loaded: heard.loaded.clone(),
            },
            (Place::At { endpoint, .. }, None, Some(silence)) => ServerView::Silent {
                endpoint: endpoint.clone(),
                reason: silence.reason.clone(),
                since: silence.since,
            },
            (Place::At { .. }, None, None) => {
                ServerView::NotRunning { reason: "the model server has not been asked yet".to_owned() }
            }
        }
    }

    /// Whether some name means that version.
    pub(super) fn has(&self, digest: &str) -> bool {
        self.heard.as_ref().is_some_and(|heard| heard.installed.iter().any(|it| it.digest == digest))
    }

    /// The version that the name means now.
    pub(super) fn digest(&self, model: &ModelReference) -> Option<String> {
        let installed = self.heard.as_ref().map(|heard| heard.installed.as_slice()).unwrap_or_default();
        let full = model.full();
        let same = |installed: &&Installed| {
            installed.name.parse::<ModelReference>().is_ok_and(|name| name.full() == full)
        };
        installed.iter().find(same).map(|installed| installed.digest.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::tests::samples::{board, container, service, wanted};

    fn endpoint(place: &Place) -> &str {
        &place.endpoint().expect("a place").0
    }

    #[test]
    fn the_server_is_the_newest_running_container_of_its_service() {
        let wanted = wanted(&["a:1"]);
        let board = board();
        assert_eq!(
            place(&wanted, &board),
            Place::NotRunning { reason: "service ollama has not been looked at yet".to_owned() }
        );
        let at = |second| Timestamp::from_second(second).unwrap();
        let (old, new) = (container("old", at(10), "10.0.0.2"), container("new", at(20), "10.0.0.3"));
        let mut ended = container("ended", at(30), "10.0.0.4");
        ended.state = ContainerState::Exited { code: 1, at: at(31), out_of_memory: false, error: None };
        let mut other = container("other", at(40), "10.0.0.5");
        other.service = "web".to_owned();
        board.publish_services(Vec::new(), Vec::new(), vec![new, old, ended, other], at(50));
        let place = place(&wanted, &board);
        assert_eq!(endpoint(&place), "http://10.0.0.3:11434");
        assert!(matches!(&place, Place::At { run, container: Some(id), .. }
            if run == "new@1970-01-01T00:00:20Z" && id == "new"));
    }

    #[test]
    fn a_service_on_the_hosts_network_is_asked_at_the_loopback_address() {
        let mut wanted = wanted(&["a:1"]);
        if let Some(service) = &mut wanted.service {
            service.network = Network::Host;
        }
        let board = board();
        let mut container = container("one", Timestamp::UNIX_EPOCH, "10.0.0.2");
        container.address = None;
        board.publish_services(Vec::new(), Vec::new(), vec![container], Timestamp::UNIX_EPOCH);
        assert_eq!(endpoint(&place(&wanted, &board)), "http://127.0.0.1:11434");
    }

    #[test]
    fn a_server_that_does_not_run_has_the_reason_of_its_service() {
        let board = board();
        let explanation = Explanation {
            service: "ollama".to_owned(),
            reasons: vec![crate::status::Reason { text: "volume models is missing".to_owned(), until: None }],
            ..Explanation::default()
        };
        let status = service("ollama", ServiceState::Waiting);
        board.publish_services(vec![status], vec![explanation], Vec::new(), Timestamp::UNIX_EPOCH);
        assert_eq!(
            place(&wanted(&["a:1"]), &board),
            Place::NotRunning { reason: "service ollama waits: volume models is missing".to_owned() }
        );
    }
}
