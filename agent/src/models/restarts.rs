//! Restarts of the server's container, asked of the reconcile loop: one at a time, counted when they are asked for, for what
//! became of one without an answer is unknown.

use crate::command::{Command, Refused, Taken};
use jiff::Timestamp;
use node::fault::one_line;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// For the reconcile loop to take the command.
const DEADLINE: Duration = Duration::from_secs(15);

/// All that were asked for since the agent started.
pub(super) struct Restarts {
    services: mpsc::Sender<Command>,
    count: u32,
    last: Option<Timestamp>,
    asking: JoinSet<()>,
}

impl Restarts {
    pub(super) fn new(services: mpsc::Sender<Command>) -> Restarts {
        Restarts { services, count: 0, last: None, asking: JoinSet::new() }
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// Asks for one, unless one is being asked for.
    pub(super) fn begin(&mut self, service: &str, reason: &str, now: Timestamp) {
        while self.asking.try_join_next().is_some() {}
        if !self.asking.is_empty() {
            return;
        }
        tracing::warn!("{service} is to be restarted: {reason}");
        self.count = self.count.saturating_add(1);
        self.last = Some(now);
        let (services, service) = (self.services.clone(), service.to_owned());
        self.asking.spawn(async move {
            match tokio::time::timeout(DEADLINE, ask(&services, &service)).await {
                Ok(Some(Ok(taken))) => tracing::info!("{}", taken.message),
                Ok(Some(Err(refused))) => {
                    tracing::warn!(code = refused.code, "no restart: {}", one_line(&refused));
                }
                // The loop ends with the agent.
                Ok(None) => {}
                Err(_) => tracing::warn!("the loop of the services has not answered for {service}"),
            }
        });
    }
}

async fn ask(services: &mpsc::Sender<Command>, service: &str) -> Option<Result<Taken, Refused>> {
    let (reply, answer) = oneshot::channel();
    services.send(Command::Restart { service: service.to_owned(), reply }).await.ok()?;
    answer.await.ok()
}
