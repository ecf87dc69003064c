//! The firewall of the kernel: [`Firewall`] on nftables. Only the table `inet node-agent` is ever named.
//!
//! In: wanted [`Rules`], whole. Out: the rules in force, and a ring when others changed them.
//!
//! - **Who is led where**: in nat chains at priority -110, before the engine's at -100; the first one that translates a
//!   connection wins. So a port that the engine still publishes, for a container made before, already leads to ours.
//! - **One transaction** changes the elements that differ, or, where the table is not as we made it, deletes it and makes
//!   it anew. What stays is not touched, because a packet that is being looked at while a whole table goes may find it
//!   empty. Who is connected stays connected: connection tracking remembers where each connection leads, and asks no rule
//!   again. Only flows of UDP are let go ([`flows`]), and what is over when a container goes ([`closed`]).
//! - **By the program `nft`**, not by messages of our own: it takes 4 ms to replace and 10 ms to list, its text is what a
//!   person sees with `nft list table inet node-agent`, and expressions differ between kernels, which is its business.
//!   What it does not offer without a process that runs for ever is hearing of changes: those come from the kernel
//!   ([`watch`]).
//! - **Reading back** is exact: what is not as we made it shows as a bridge of an impossible prefix ([`listing`]).
//! - `route_localnet` is set on the bridges alone ([`bridges`]), their ports are put into hairpin mode ([`hairpin`]).
//!
//! Not its job: deciding who is led where; filtering for anybody but the instance metadata and the engine's own proxies.

mod bridges;
mod closed;
mod connections;
mod conversation;
mod flows;
mod hairpin;
mod listing;
mod netlink;
mod program;
mod table;
mod watch;

use crate::firewall::{Firewall, FirewallError};
use crate::rules::Rules;
use listing::Shape;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use table::TABLE;
use watch::Watch;

/// Our table in the kernel.
#[derive(Debug)]
pub struct Nftables {
    /// `None` where the kernel does not tell.
    watch: Option<Watch>,
    seen: Mutex<Seen>,
    /// Two transactions at once would each be whole; which flows are let go depends on their order.
    replacing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Seen {
    /// In force when they were last read or replaced.
    rules: Rules,
    /// Of the table right after we made it.
    shape: Option<Shape>,
    /// Of the bridges, when we made it.
    interfaces: BTreeSet<String>,
    /// Bridges that cannot be opened to loopback: said once, and not tried again.
    closed: BTreeSet<String>,
}

impl Nftables {
    /// Listens to the kernel from now on; changes nothing. Must be called inside a runtime.
    pub fn open() -> Nftables {
        let watch = Watch::open().map_err(|error| {
            tracing::warn!("what others do to our rules of the firewall is not noticed: {error}");
        });
        Nftables { watch: watch.ok(), seen: Mutex::default(), replacing: tokio::sync::Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table as it is; `None` where it is missing.
    async fn list(&self) -> Result<Option<(Rules, Shape)>, FirewallError> {
        let operation = "read the rules of the firewall";
        let arguments = ["--json", "list", "table", "inet", TABLE];
        let Some(listing) = program::nft(operation, &arguments, "").await? else { return Ok(None) };
        listing::read(&listing, bridges::interfaces).map(Some).map_err(|why| FirewallError {
            operation: operation.to_owned(),
            message: format!("what `nft` lists cannot be understood: {why}"),
            hint: Some("install nftables 1.0 or newer".to_owned()),
        })
    }

    /// Changes what differs, where that is enough: the table is as we made it, before and after. Its shape then.
    async fn change_elements(&self, rules: &Rules, interfaces: &BTreeSet<String>) -> Option<Shape> {
        let (text, made) = {
            let seen = self.seen();
            let made = seen.shape.clone().filter(|_| seen.interfaces == *interfaces)?;
            (table::change(&seen.rules, rules, interfaces)?, made)
        };
        let changed = program::nft("change the rules of the firewall", &["--file", "-"], &text).await;
        // It was not as it was last seen: made anew, it is as it has to be.
        changed.inspect_err(|error| tracing::debug!("{error}")).ok()?;
        let (found, shape) = self.list().await.ok().flatten()?;
        (shape == made && found == *rules).then_some(shape)
    }

    /// A container is reached by 127.0.0.1 only then; everything else works without.
    fn let_loopback_in(&self, rules: &Rules) {
        for interface in bridges::to_open(rules) {
            if let Err(error) = bridges::set(&interface, true)
                && self.seen().closed.insert(interface.clone())
            {
                tracing::warn!(
                    "containers cannot be reached by 127.0.0.1 from this host: route_localnet of {interface} cannot \
                     be set: {error}"
                );
            }
        }
    }

    /// What our table kept out must not come in when it is gone.
    fn keep_loopback_out(&self, now: &Rules) {
        let before = self.seen().rules.clone();
        for interface in bridges::to_close(&before, now) {
            if let Err(error) = bridges::set(&interface, false) {
                tracing::warn!("route_localnet of {interface} stays set: {error}");
            }
        }
    }

    /// The rules are in force without it, so that it is no failure of theirs.
    async fn let_flows_go(&self, before: Rules, now: Rules) {
        if !flows::concern(&before, &now) {
            return;
        }
        match tokio::task::spawn_blocking(move || flows::let_go(&before, &now)).await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(count)) => tracing::debug!("{count} flows of UDP go to their new containers"),
            Ok(Err(error)) => {
                tracing::warn!("flows of UDP may go to containers of before until they rest: {error}");
            }
        }
    }
}

/// A container reaches itself by the host's address only then; everything else works without.
async fn let_back(rules: &Rules) {
    let interfaces = bridges::interfaces(&rules.bridges);
    if rules.routes.is_empty() || interfaces.is_empty() {
        return;
    }
    if let Ok(Err(error)) = tokio::task::spawn_blocking(move || hairpin::let_back(&interfaces)).await {
        tracing::warn!("containers may not reach themselves by this host's address: {error}");
    }
}

impl Firewall for Nftables {
    async fn rules(&self) -> Result<Rules, FirewallError> {
        let Some((mut rules, shape)) = self.list().await? else {
            // Bridges that were opened for them are open still.
            let mut seen = self.seen();
            let bridges = std::mem::take(&mut seen.rules.bridges);
            seen.rules = Rules { bridges, ..Rules::default() };
            return Ok(Rules::default());
        };
        let closed = bridges::to_open(&rules);
        let mut seen = self.seen();
        let is_changed = seen.shape.as_ref().is_some_and(|made| *made != shape);
        if is_changed || closed.iter().any(|interface| !seen.closed.contains(interface)) {
            rules.bridges.insert(listing::STRANGE);
        }
        seen.rules = rules.clone();
        Ok(rules)
    }

    async fn replace(&self, rules: &Rules) -> Result<(), FirewallError> {
        let _one_at_a_time = self.replacing.lock().await;
        let operation = "replace the rules of the firewall";
        let interfaces = bridges::interfaces(&rules.bridges);
        self.keep_loopback_out(rules);
        let mut shape = self.change_elements(rules, &interfaces).await;
        if shape.is_none() {
            let text = table::transaction(rules, &interfaces);
            program::nft(operation, &["--file", "-"], &text).await?;
            shape = self.list().await?.map(|(_, shape)| shape);
        }
        self.let_loopback_in(rules);
        let_back(rules).await;
        let before = {
            let mut seen = self.seen();
            (seen.shape, seen.interfaces) = (shape, interfaces);
            std::mem::replace(&mut seen.rules, rules.clone())
        };
        self.let_flows_go(before, rules.clone()).await;
        Ok(())
    }

    async fn changed(&self) {
        if let Some(watch) = &self.watch {
            match watch.changed().await {
                Ok(()) => return,
                Err(error) => tracing::warn!("the kernel tells no more of its firewall: {error}"),
            }
        }
        std::future::pending().await
    }

    async fn connections(&self, pid: u32, ports: &[u16]) -> Option<u64> {
        let ports = ports.iter().copied().collect();
        tokio::task::spawn_blocking(move || connections::count(pid, &ports)).await.ok().flatten()
    }

    async fn let_closed_go(&self, container: Ipv4Addr) {
        match tokio::task::spawn_blocking(move || closed::let_go(container)).await {
            Ok(Ok(count)) => {
                tracing::debug!("{count} connections to {container} that are over are forgotten")
            }
            Ok(Err(error)) => tracing::warn!(
                "a client that takes a port again at once may meet remains of {container}: {error}"
            ),
            Err(_) => {}
        }
    }
}
