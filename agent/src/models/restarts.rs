//! Restarts of the server's container, asked of the reconcile loop: one at a time, counted when they are asked for, for what
//! became of one without an answer is unknown. One that was refused is not counted.
//!
//! Each loss has its own: what came before the server has been well for a while says nothing of the next one.

use crate::command::{Command, Refused, Taken};
use jiff::Timestamp;
use node::fault::one_line;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// For the reconcile loop to take the command.
const DEADLINE: Duration = Duration::from_secs(15);
/// A loss is over when the server has been well for so long: longer than a restart that helps only for a moment.
const WELL_AGAIN: Duration = Duration::from_secs(3600);

/// All that were asked for since the agent started.
pub(super) struct Restarts {
    services: mpsc::Sender<Command>,
    count: u32,
    /// Of these, for the loss that is now, or was last.
    of_loss: u32,
    last: Option<Timestamp>,
    /// Since when the server has its GPUs, where it has.
    well_since: Option<Timestamp>,
    /// Whether it was refused.
    asking: JoinSet<bool>,
}

impl Restarts {
    pub(super) fn new(services: mpsc::Sender<Command>) -> Restarts {
        Restarts { services, count: 0, of_loss: 0, last: None, well_since: None, asking: JoinSet::new() }
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn of_loss(&self) -> u32 {
        self.of_loss
    }

    pub(super) fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// Takes over what became of those that were asked for.
    pub(super) fn settle(&mut self) {
        while let Some(asked) = self.asking.try_join_next() {
            if matches!(asked, Ok(true)) {
                self.count = self.count.saturating_sub(1);
                self.of_loss = self.of_loss.saturating_sub(1);
            }
        }
    }

    /// Takes over how the plan finds the GPUs: lost, or not, where it can tell.
    pub(super) fn judged(&mut self, is_lost: Option<bool>, now: Timestamp) {
        match is_lost {
            None => {}
            Some(true) => self.well_since = None,
            Some(false) => {
                // A clock that was set back leaves no moment in the future.
                let since = self.well_since.map_or(now, |since| since.min(now));
                self.well_since = Some(since);
                if now.duration_since(since).unsigned_abs() >= WELL_AGAIN {
                    (self.of_loss, self.last) = (0, None);
                }
            }
        }
    }

    /// Asks for one, unless one is being asked for.
    pub(super) fn begin(&mut self, service: &str, reason: &str, now: Timestamp) {
        self.settle();
        if !self.asking.is_empty() {
            return;
        }
        tracing::warn!("{service} is to be restarted: {reason}");
        self.count = self.count.saturating_add(1);
        self.of_loss = self.of_loss.saturating_add(1);
        self.last = Some(now);
        let (services, service) = (self.services.clone(), service.to_owned());
        self.asking.spawn(async move {
            match tokio::time::timeout(DEADLINE, ask(&services, &service)).await {
                Ok(Some(Ok(taken))) => tracing::info!("{}", taken.message),
                Ok(Some(Err(refused))) => {
                    tracing::warn!(code = refused.code, "no restart: {}", one_line(&refused));
                    return true;
                }
                // The loop ends with the agent.
                Ok(None) => {}
                Err(_) => tracing::warn!("the loop of the services has not answered for {service}"),
            }
            false
        });
    }
}

async fn ask(services: &mpsc::Sender<Command>, service: &str) -> Option<Result<Taken, Refused>> {
    let (reply, answer) = oneshot::channel();
    services.send(Command::Restart { service: service.to_owned(), reply }).await.ok()?;
    answer.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::tests::samples::at;

    /// Asks for a restart, which is answered so.
    async fn asked(restarts: &mut Restarts, commands: &mut mpsc::Receiver<Command>, refused: bool) {
        restarts.begin("ollama", "its GPU is gone", at(0));
        let Some(Command::Restart { reply, .. }) = commands.recv().await else { panic!("no restart") };
        let answer = match refused {
            true => Err(Refused::new("busy", "it is being updated".to_owned(), "later")),
            false => Ok(Taken::from("restarting".to_owned())),
        };
        reply.send(answer).unwrap();
        // Until the task has taken the answer over.
        while !restarts.asking.is_empty() {
            restarts.settle();
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_restart_that_was_refused_is_not_counted() {
        let (services, mut commands) = mpsc::channel(1);
        let mut restarts = Restarts::new(services);
        asked(&mut restarts, &mut commands, true).await;
        assert_eq!((restarts.count(), restarts.of_loss(), restarts.last()), (0, 0, Some(at(0))));
        asked(&mut restarts, &mut commands, false).await;
        assert_eq!((restarts.count(), restarts.of_loss()), (1, 1));
    }

    #[tokio::test]
    async fn a_loss_after_the_server_was_well_for_an_hour_has_restarts_of_its_own() {
        let (services, mut commands) = mpsc::channel(1);
        let mut restarts = Restarts::new(services);
        for _ in 0..3 {
            asked(&mut restarts, &mut commands, false).await;
        }
        // Well for a moment, unknown, lost again, well for good.
        for (second, is_lost, left) in [
            (100, Some(false), 3),
            (3000, Some(true), 3),
            (3001, Some(false), 3),
            (4000, None, 3),
            (6600, Some(false), 3),
            (6601, Some(false), 0),
        ] {
            restarts.judged(is_lost, at(second));
            assert_eq!((restarts.count(), restarts.of_loss()), (3, left), "second {second}");
        }
        assert_eq!(restarts.last(), None);
    }
}
