//! Reading the files again and applying what they say, while the agent runs.
//!
//! In: requests, the kernel's word that a file changed, SIGHUP, time. Out: answers, another configuration in force, the
//! tasks that it concerns begun anew. What always holds: one change at a time, the newest files win; what is wrong changes
//! nothing and is told; the control API, the board and the watchdog never stop.

#![expect(clippy::disallowed_methods, reason = "the outermost loop: it tells when it read")]

use super::configuration::{Configuration, Next};
use super::{Agent, STOP_LIMIT, wiring};
use crate::board::Owner;
use crate::change::{self, Change, Present};
use crate::reload::{Refusal, Request, Taken};
use jiff::Timestamp;
use node::config::{Draft, Source};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// From one try to the next, where what is missing is not on disk: tags, or a run of bootstrap.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// Why the files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Somebody asked: it is told also that nothing has changed.
    Asked,
    /// The kernel, or time: texts that are known by now are not looked at again.
    Noticed,
    /// What was missing before may be there now.
    Again,
}

impl Agent {
    /// Answers one request, and does what it asks.
    pub(super) async fn answer(
        &mut self,
        request: Request,
        configuration: &mut Configuration,
        shutdown: &CancellationToken,
    ) {
        // Whoever asked may have gone; a wish stands all the same.
        match request {
            Request::Reload { reply } => {
                let judged = self.read_again(configuration, Cause::Asked).await;
                let (answer, next) = match judged {
                    Ok(Some((next, change))) => (Ok(change.summary()), Some((next, change))),
                    Ok(None) => (Ok("nothing has changed".to_owned()), None),
                    Err(refusal) => (Err(refusal), None),
                };
                // Before it is applied, which may take as long as the log service does.
                let _ = reply.send(answer.map(|message| Taken { message }));
                if let Some((next, change)) = next {
                    self.apply(configuration, (next, &change), shutdown).await;
                }
            }
            Request::Compare { sources, reply } => {
                let _ = reply.send(self.compare(configuration, sources).await);
            }
            Request::Show { reply } => {
                let _ = reply.send(Ok(configuration.in_force.to_toml()));
            }
        }
    }

    /// Reads the files and applies what they say.
    pub(super) async fn follow(
        &mut self,
        configuration: &mut Configuration,
        cause: Cause,
        shutdown: &CancellationToken,
    ) {
        if let Ok(Some((next, change))) = self.read_again(configuration, cause).await {
            self.apply(configuration, (next, &change), shutdown).await;
        }
    }

    /// What else time brings: tags that can be asked for, a run of bootstrap.
    pub(super) async fn look_again(
        &mut self,
        configuration: &mut Configuration,
        shutdown: &CancellationToken,
    ) {
        configuration.look_for_bootstrap();
        self.tell(configuration);
        if configuration.is_undecided() {
            self.follow(configuration, Cause::Again, shutdown).await;
        }
    }

    /// The next configuration, if the files are another one. What is wrong is on the board and in the journal.
    async fn read_again(
        &mut self,
        configuration: &mut Configuration,
        cause: Cause,
    ) -> Result<Option<(Next, Change)>, Refusal> {
        self.heartbeat.beat();
        let judged = match configuration.files.read().await {
            Ok(sources) => {
                if configuration.are_known(&sources) && cause == Cause::Noticed {
                    return Ok(None);
                }
                configuration.judge(sources).await
            }
            Err(refusal) => {
                configuration.are_known(&[]);
                Err(refusal)
            }
        };
        self.heartbeat.beat();
        match judged {
            Ok(next) => {
                let change = self.change(configuration, &next);
                if change.is_nothing() {
                    tracing::info!("the configuration was read again: nothing has changed");
                    configuration.is_confirmed();
                    self.tell(configuration);
                    return Ok(None);
                }
                Ok(Some((next, change)))
            }
            Err(refusal) => {
                for line in refusal.lines() {
                    tracing::error!(code = refusal.code, "{line}");
                }
                tracing::warn!("the configuration was not taken; what was in force before stays so");
                configuration.refuse(&refusal, Timestamp::now());
                self.tell(configuration);
                Err(refusal)
            }
        }
    }

    async fn compare(
        &self,
        configuration: &Configuration,
        sources: Option<Vec<Source>>,
    ) -> Result<Change, Refusal> {
        let sources = match sources {
            Some(sources) => sources,
            None => configuration.files.read().await?,
        };
        let next = configuration.judge(sources).await?;
        Ok(self.change(configuration, &next))
    }

    fn change(&self, configuration: &Configuration, next: &Next) -> Change {
        let (volumes, secrets) = (self.volumes.borrow(), self.versions.borrow());
        configuration.change(&next.resolved, Present { volumes: &volumes, secrets: &secrets })
    }

    /// Brings `next` into force. Only tasks whose sections changed begin anew; services are followed by those that run.
    /// Told to shut down meanwhile, it hurries, but it always ends with everything running: there may be services to stop.
    async fn apply(
        &mut self,
        configuration: &mut Configuration,
        (next, change): (Next, &Change),
        shutdown: &CancellationToken,
    ) {
        tracing::info!("the configuration changes: {}", change.summary());
        let anew = change::begin_anew(&configuration.in_force.settings, &next.resolved.settings);
        self.parts.end(&anew, STOP_LIMIT, shutdown).await;
        self.heartbeat.beat();
        configuration.take(next);
        let settings = Arc::new(configuration.in_force.settings.clone());
        self.board.identify(&settings.node_name, &configuration.facts, Timestamp::now());
        self.settings.send_replace(Some(Arc::clone(&settings)));
        wiring::start(self, &settings, (&configuration.facts, &anew)).await;
        self.tell(configuration);
    }

    /// What is wrong with the configuration, to the board.
    fn tell(&self, configuration: &Configuration) {
        let now = Timestamp::now();
        self.board.publish_problems(Owner::Configuration, configuration.problems(now), now);
    }

    /// Answers while it is not known which instance this is: files that are right take the place of those that were read
    /// at the start, for nothing of them is in force yet.
    pub(super) async fn answer_early(&mut self, request: Request) {
        match request {
            Request::Reload { reply } => {
                let answer = self.notice_early().await;
                let message = "it applies as soon as it is known which instance this is".to_owned();
                let _ = reply.send(answer.map(|()| Taken { message }));
            }
            Request::Compare { reply, .. } => drop(reply.send(Err(nobody_yet()))),
            Request::Show { reply } => drop(reply.send(Err(nobody_yet()))),
        }
    }

    /// The same for files that changed.
    pub(super) async fn notice_early(&mut self) -> Result<(), Refusal> {
        let answer = self.read_early().await;
        if let Err(refusal) = &answer {
            refusal.lines().iter().for_each(|line| tracing::error!(code = refusal.code, "{line}"));
        }
        answer
    }

    async fn read_early(&mut self) -> Result<(), Refusal> {
        let sources = self.files.read().await?;
        let draft = Draft::parse(sources)?;
        draft.check()?;
        self.start.draft = draft;
        Ok(())
    }
}

fn nobody_yet() -> Refusal {
    let message = "the configuration depends on the instance, which is unknown so far";
    Refusal::new(
        "identity_unknown",
        message,
        "`agentctl status` says why the metadata service gave no answer",
    )
}

/// Those whose tasks all begin.
pub(super) fn everything() -> BTreeSet<change::Tasks> {
    BTreeSet::from(change::Tasks::ALL)
}
