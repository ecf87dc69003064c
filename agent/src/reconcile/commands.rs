//! What an operator asks of the loop: taken into its memory or its history, where the next plan finds it, and answered at
//! once; an answer that promises something has it on disk.

use super::lookups::{Asked, Found};
use super::wishes::{self, Next};
use super::{Gates, Reconciler, Unsaved, run_of};
use crate::command::{Command, Refused, Taken, Wish};
use crate::desired::{self, Desired};
use crate::engine::Engine;
use crate::firewall::Firewall;
use crate::history::memory::{RestartRequest, StepKind};
use crate::observed::{Container, ContainerState};
use crate::registry::Registry;
use crate::updates::Ask;
use node::config::settings::ImageVersion;
use node::fault::one_line;

impl<E: Engine, R: Registry, G: Gates, F: Firewall> Reconciler<E, R, G, F> {
    pub(super) async fn command(&mut self, command: Command, desired: &Desired) {
        // Whoever asked may have gone; the command stands all the same.
        match command {
            Command::Restart { service, reply } => {
                let _ = reply.send(self.restart(&service, desired));
            }
            Command::Update { service: None, reply } => {
                let _ = reply.send(self.update_all(desired));
            }
            Command::Update { service: Some(service), reply } => {
                let answer = self.follow(&service, desired);
                let _ = reply.send(self.durably(answer).await);
            }
            Command::Wish { service, wish, reply } => match self.begin_wish(&service, &wish, desired) {
                Ok(Next::LookUp(image)) => {
                    let asked = Asked { service, wish, image, reply };
                    self.lookups.begin(self.work.tools(), asked);
                }
                Ok(Next::Answer(taken)) => {
                    let _ = reply.send(self.durably(Ok(taken)).await);
                }
                Err(refused) => {
                    let _ = reply.send(Err(refused));
                }
            },
        }
    }

    /// Goes on with a wish whose image was looked up. What was true when it was asked for may not be any more.
    pub(super) async fn found(&mut self, found: Found, desired: &Desired) {
        let Found { asked: Asked { service, wish, image, reply }, result } = found;
        let answer = result.and_then(|digest| {
            let wanted = known(&service, desired)?;
            if wanted.settings.image.name() != image.name() {
                let message = format!("service {service} runs images of another repository by now");
                return Err(Refused::new("other_repository", message, "try again"));
            }
            if wish == Wish::Retry { self.retry(wanted, &digest) } else { self.take(wanted, (&wish, digest)) }
        });
        let _ = reply.send(self.durably(answer).await);
    }

    fn restart(&mut self, service: &str, desired: &Desired) -> Result<Taken, Refused> {
        known(service, desired)?;
        wishes::refuse_stopped(service, self.history.durable.record(service))?;
        let running = self.containers.iter().filter(|container| container.service == service);
        // Beside the one that serves there may be one in its gate.
        let good = self.history.durable.record(service).good.as_ref();
        let is_good = |container: &Container| {
            good.is_some_and(|good| container.digest == good.digest && container.spec == good.spec)
        };
        let runs = running.filter_map(|container| Some((is_good(container), run_of(container)?)));
        let instead_of = runs.max_by_key(|(is_good, run)| (*is_good, run.started_at)).map(|(_, run)| run);
        let what = if instead_of.is_some() { "restarting" } else { "starting" };
        self.history.memory.service_mut(service).restart = Some(RestartRequest { instead_of });
        self.forget_failures(service, &[StepKind::Pull]);
        tracing::info!("{service}: a restart was asked for");
        Ok(Taken::from(format!("{what} {service}")))
    }

    fn update_all(&mut self, desired: &Desired) -> Result<Taken, Refused> {
        for wanted in &desired.services {
            let memory = self.history.memory.service_mut(&wanted.name);
            memory.failures.retain(|key, _| key.kind != StepKind::Pull);
        }
        self.ask(None)?;
        Ok(Taken::from("asking the registry for every service".to_owned()))
    }

    /// One service follows node.toml, whatever a person asked for before.
    fn follow(&mut self, name: &str, desired: &Desired) -> Result<Taken, Refused> {
        let wanted = known(name, desired)?;
        let record = self.history.durable.record(name);
        wishes::refuse_held(name, record)?;
        let ends = record.target.as_ref().map(|target| target.digest.clone());
        let mut message = match (&wanted.settings.image.version, &ends) {
            (ImageVersion::Digest(digest), None) => {
                let message = format!("service {name} is pinned to {digest}, so there is nothing to ask for");
                let hint = format!("name a tag in [services.{name}] image to follow it");
                return Err(Refused::new("image_pinned", message, hint));
            }
            (ImageVersion::Digest(digest), Some(_)) => {
                format!("service {name} goes to {digest} of node.toml")
            }
            (ImageVersion::Tag(_), _) => {
                self.ask(Some(name))?;
                format!("asking the registry for {name}")
            }
        };
        if let Some(digest) = ends {
            self.history.durable.record_mut(name).target = None;
            self.unsaved.get_or_insert(Unsaved::NotTried);
            message.push_str(&format!("; it no longer stays on {digest}"));
        }
        self.forget_failures(name, &[StepKind::Create, StepKind::Start, StepKind::Stop, StepKind::Remove]);
        Ok(Taken::from(message))
    }

    fn begin_wish(&mut self, name: &str, wish: &Wish, desired: &Desired) -> Result<Next, Refused> {
        let wanted = known(name, desired)?;
        let next = wishes::begin(wanted, self.history.durable.record_mut(name), wish, (self.clock)())?;
        if let Next::Answer(taken) = &next {
            self.unsaved.get_or_insert(Unsaved::NotTried);
            tracing::info!("{name}: {}", taken.message);
        }
        if *wish == Wish::Start {
            self.history.memory.service_mut(name).attempts = 0;
            self.forget_failures(name, &[StepKind::Pull]);
        }
        Ok(next)
    }

    fn take(&mut self, wanted: &desired::Service, (wish, digest): (&Wish, String)) -> Result<Taken, Refused> {
        let name = &wanted.name;
        let record = self.history.durable.record_mut(name);
        let taken = wishes::take(wanted, record, (wish, digest.clone()), (self.clock)())?;
        self.unsaved.get_or_insert(Unsaved::NotTried);
        self.begin_anew(name, &digest);
        tracing::info!("{name}: {}", taken.message);
        Ok(taken)
    }

    /// The service follows node.toml, and what that names may be tried again.
    fn retry(&mut self, wanted: &desired::Service, digest: &str) -> Result<Taken, Refused> {
        let name = &wanted.name;
        wishes::refuse_held(name, self.history.durable.record(name))?;
        if let ImageVersion::Tag(_) = wanted.settings.image.version {
            self.ask(Some(name))?;
        }
        let record = self.history.durable.record_mut(name);
        record.target = None;
        let lifted = record.lift(digest);
        self.unsaved.get_or_insert(Unsaved::NotTried);
        self.begin_anew(name, digest);
        let barred = if lifted { "is tried again" } else { "was not barred" };
        let message = format!("{digest}, which {} names, {barred} on service {name}", wanted.settings.image);
        tracing::info!("{message}");
        Ok(Taken::from(message))
    }

    /// What failed with that image before counts no longer: neither the waits nor the containers that ended.
    fn begin_anew(&mut self, name: &str, digest: &str) {
        self.forget_failures(name, &[StepKind::Stop, StepKind::Remove]);
        let ended = self.containers.iter().filter(|container| {
            container.service == name
                && container.digest == digest
                && matches!(container.state, ContainerState::Exited { .. })
        });
        let memory = self.history.memory.service_mut(name);
        memory.attempts = 0;
        memory.refused.extend(ended.map(|container| container.id.clone()));
    }

    /// A person who asks need not wait for what failed before, but for steps of the kinds in `kept`.
    fn forget_failures(&mut self, name: &str, kept: &[StepKind]) {
        self.history.memory.service_mut(name).failures.retain(|key, _| kept.contains(&key.kind));
    }

    fn ask(&self, service: Option<&str>) -> Result<(), Refused> {
        let what = service.unwrap_or("every service");
        self.asks.try_send(Ask { service: service.map(str::to_owned) }).map_err(|_| {
            let message = "the registries are being asked already".to_owned();
            Refused::new("busy", message, "try again in a moment")
        })?;
        tracing::info!("{what}: an update was asked for");
        Ok(())
    }

    /// Writes what was promised before it is. A disk that is full makes it a promise until the agent ends.
    async fn durably(&mut self, answer: Result<Taken, Refused>) -> Result<Taken, Refused> {
        let mut taken = answer?;
        self.save().await;
        if let Some(Unsaved::Failed(error)) = &self.unsaved {
            let forgotten = "it will be forgotten when the agent starts next";
            taken.message.push_str(&format!("; but {forgotten}: {}", one_line(error)));
        }
        Ok(taken)
    }
}

fn known<'a>(service: &str, desired: &'a Desired) -> Result<&'a desired::Service, Refused> {
    desired.service(service).ok_or_else(|| {
        let names: Vec<_> = desired.services.iter().map(|service| service.name.as_str()).collect();
        Refused {
            code: "service_unknown",
            message: format!("there is no service {service} in node.toml"),
            hint: (!names.is_empty()).then(|| format!("the services are {}", names.join(", "))),
        }
    })
}
