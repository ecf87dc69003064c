//! The rules of the firewall: what the kernel has, read only when it may have changed, and replaced when the plan says
//! so.
//!
//! In: the rules that the plan wants. Out: what is in force. What was put is read back; what cannot be read or written, or
//! does not stay, is *unknown* and tried again later and later. Not its job: deciding what the rules should be.

use crate::clock::Clock;
use crate::desired::Desired;
use crate::firewall::{Firewall, FirewallError};
use crate::history::memory::{Memory, pending};
use crate::observed::{Container, ContainerState};
use crate::rules::Rules;
use crate::snapshot::RulesView;
use jiff::Timestamp;
use node::config::settings::{Port, Protocol};
use node::fault::{Hint, one_line, with_hint};
use node::problem::Problem;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// For one call; it has a deadline of its own, and this one holds if that does not.
const LIMIT: Duration = Duration::from_secs(5);
/// Counting connections is for one container after the other.
const COUNT_LIMIT: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Keeps what is true between two looks.
pub(super) struct Routing<F> {
    firewall: Arc<F>,
    clock: Clock,
    /// As last read; `None` when it may have changed since.
    in_force: Option<Rules>,
    trouble: Option<Trouble>,
}

struct Trouble {
    message: String,
    hint: Option<String>,
    since: Timestamp,
    at: Timestamp,
    count: u32,
}

impl<F: Firewall> Routing<F> {
    pub(super) fn new(firewall: Arc<F>, clock: Clock) -> Routing<F> {
        Routing { firewall, clock, in_force: None, trouble: None }
    }

    /// Returns when rules may have been changed by others. Cancel safe.
    pub(super) async fn changed(&self) {
        self.firewall.changed().await;
    }

    /// The rules are read anew at the next look.
    pub(super) fn forget(&mut self) {
        self.in_force = None;
    }

    /// What is in force.
    pub(super) async fn look(&mut self) -> RulesView {
        if self.in_force.is_none() && self.retry_at().is_none() {
            match limited("read the rules of the firewall", self.firewall.rules()).await {
                Ok(rules) => self.in_force = Some(rules),
                Err(error) => self.note(&error),
            }
        }
        match &self.in_force {
            Some(rules) => RulesView::InForce(rules.clone()),
            None => RulesView::Unknown,
        }
    }

    /// What is wrong, for as long as it is.
    pub(super) fn problem(&self) -> Option<Problem> {
        let trouble = self.trouble.as_ref()?;
        Some(Problem {
            code: FirewallError::CODE.to_owned(),
            message: trouble.message.clone(),
            hint: trouble.hint.clone(),
            since: trouble.since,
        })
    }

    /// Makes the kernel's rules these, unless they are. Returns whether anything changed.
    pub(super) async fn put(&mut self, wanted: &Rules) -> bool {
        if self.in_force.as_ref() == Some(wanted) {
            self.trouble = None;
            return false;
        }
        self.in_force = None;
        let replaced = limited("replace the rules of the firewall", self.firewall.replace(wanted)).await;
        let read = match replaced {
            Ok(()) => limited("read the rules of the firewall", self.firewall.rules()).await,
            Err(error) => Err(error),
        };
        match read {
            Ok(rules) if rules == *wanted => {
                self.in_force = Some(rules);
                if self.trouble.take().is_some() {
                    tracing::info!("the rules of the firewall are in force again");
                }
            }
            Ok(_) => self.note(&FirewallError {
                operation: "keep the rules of the firewall".to_owned(),
                message: "what is in force is not what was put there".to_owned(),
                hint: Some("look for another program that changes our table with `nft monitor`".to_owned()),
            }),
            Err(error) => self.note(&error),
        }
        true
    }

    fn note(&mut self, error: &FirewallError) {
        let at = (self.clock)();
        self.in_force = None;
        let before = self.trouble.take();
        if before.is_none() {
            tracing::warn!("{}", with_hint(error));
        }
        let (since, count) = before.map_or((at, 0), |before| (before.since, before.count));
        let count = count.saturating_add(1);
        self.trouble = Some(Trouble { message: one_line(error), hint: error.hint(), since, at, count });
    }

    /// When it is tried again; `None` when that is now.
    pub(super) fn retry_at(&self) -> Option<Timestamp> {
        let trouble = self.trouble.as_ref()?;
        let doubled = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(trouble.count.saturating_sub(1)));
        pending(trouble.at, doubled.min(LONGEST_RETRY), (self.clock)())
    }

    /// Open connections of the containers that drain, where they can be seen.
    pub(super) async fn connections(
        &self,
        memory: &Memory,
        desired: &Desired,
        containers: &[Container],
    ) -> BTreeMap<String, u64> {
        let mut counted = BTreeMap::new();
        for container in containers.iter().filter(|container| drains(memory, container)) {
            let Some(pid) = container.pid else { continue };
            let ports = ports(desired, container);
            let counting = self.firewall.connections(pid, &ports);
            if let Ok(Some(count)) = tokio::time::timeout(COUNT_LIMIT, counting).await {
                counted.insert(container.id.clone(), count);
            }
        }
        counted
    }

    /// What the kernel remembers of a container that has drained, before the engine lets go of it in its own way.
    pub(super) async fn forget_drained(&self, memory: &Memory, containers: &[Container], id: &str) {
        let drained = containers.iter().find(|it| it.id == id && drains(memory, it));
        let Some(IpAddr::V4(address)) = drained.and_then(|container| container.address) else { return };
        if tokio::time::timeout(COUNT_LIMIT, self.firewall.let_closed_go(address)).await.is_err() {
            tracing::debug!("what is remembered of {id} is not forgotten yet");
        }
    }
}

fn drains(memory: &Memory, container: &Container) -> bool {
    let runs = matches!(container.state, ContainerState::Running { .. });
    runs && memory.service(&container.service).draining.contains_key(&container.id)
}

/// On which it takes connections.
fn ports(desired: &Desired, container: &Container) -> Vec<u16> {
    let published = desired.service(&container.service).map(|wanted| wanted.settings.ports.as_slice());
    let ports: &[Port] = match container.routed_ports.is_empty() {
        // The engine published them; what is wanted now is the nearest that is known.
        true => published.unwrap_or_default(),
        false => &container.routed_ports,
    };
    let tcp = ports.iter().filter(|port| port.protocol == Protocol::Tcp);
    tcp.map(|port| port.container).collect()
}

async fn limited<T>(
    operation: &str,
    call: impl Future<Output = Result<T, FirewallError>>,
) -> Result<T, FirewallError> {
    tokio::time::timeout(LIMIT, call).await.unwrap_or_else(|_| {
        Err(FirewallError {
            operation: operation.to_owned(),
            message: format!("no answer within {} s", LIMIT.as_secs()),
            hint: Some("look at `nft list ruleset` and the load of the node".to_owned()),
        })
    })
}
