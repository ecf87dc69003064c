//! What an operator asks of the loop: taken into its memory, where the next plan finds it, and answered at once.

use super::{Reconciler, run_of};
use crate::command::{Command, Refused};
use crate::desired::{self, Desired};
use crate::history::memory::{RestartRequest, StepKind};
use crate::updates::Ask;
use node::config::settings::ImageVersion;

impl<E, R, G, F> Reconciler<E, R, G, F> {
    pub(super) fn command(&mut self, command: Command, desired: &Desired) {
        // Whoever asked may have gone; the command stands all the same.
        match command {
            Command::Restart { service, reply } => {
                let answer = known(&service, desired).map(|_| self.restart(&service));
                let _ = reply.send(answer);
            }
            Command::Update { service, reply } => {
                let _ = reply.send(self.update(service, desired));
            }
        }
    }

    fn restart(&mut self, service: &str) -> String {
        let running = self.containers.iter().filter(|container| container.service == service);
        let instead_of = running.filter_map(run_of).max_by_key(|run| run.started_at);
        let what = if instead_of.is_some() { "restarting" } else { "starting" };
        let memory = self.history.memory.service_mut(service);
        memory.restart = Some(RestartRequest { instead_of });
        // A person who asks need not wait for what failed before.
        memory.failures.retain(|key, _| key.kind == StepKind::Pull);
        tracing::info!("{service}: a restart was asked for");
        format!("{what} {service}")
    }

    fn update(&mut self, service: Option<String>, desired: &Desired) -> Result<String, Refused> {
        if let Some(name) = &service {
            let wanted = known(name, desired)?;
            if let ImageVersion::Digest(digest) = &wanted.settings.image.version {
                return Err(Refused {
                    code: "image_pinned",
                    message: format!("service {name} is pinned to {digest}, so there is nothing to ask for"),
                    hint: Some(format!("name a tag in [services.{name}] image to follow it")),
                });
            }
        }
        let names = desired.services.iter().map(|wanted| &wanted.name);
        for name in names.filter(|name| service.as_ref().is_none_or(|service| service == *name)) {
            let memory = self.history.memory.service_mut(name);
            memory.failures.retain(|key, _| key.kind != StepKind::Pull);
        }
        let what = service.clone().unwrap_or_else(|| "every service".to_owned());
        self.asks.try_send(Ask { service }).map_err(|_| Refused {
            code: "busy",
            message: "the registries are being asked already".to_owned(),
            hint: Some("try again in a moment".to_owned()),
        })?;
        tracing::info!("{what}: an update was asked for");
        Ok(format!("asking the registry for {what}"))
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
