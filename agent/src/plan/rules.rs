//! The rules of the firewall that the node should have: where its ports lead, who may reach the instance metadata.
//!
//! In: what runs, and of each service the container that is to have its ports. Out: [`Rules`], or nothing while the
//! engine or the firewall is silent. Pure. A port leads to a container that runs or to nothing: an address that was given
//! back belongs to somebody else the next moment.
//! Not its job: choosing the container, which the plan of its service does.

use super::{Removal, ServicePlan};
use crate::desired::Desired;
use crate::observed::{Container, ContainerState, ProxyPort};
use crate::rules::{HostPort, Rules, Target};
use crate::snapshot::{EngineView, Observed, RulesView};
use node::config::settings::Port;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

pub(super) fn rules(
    desired: &Desired,
    observed: &Observed,
    (services, removals): (&[ServicePlan], &[Removal]),
) -> Option<Rules> {
    let EngineView::Up { containers, .. } = &observed.engine else { return None };
    let RulesView::InForce(_) = &observed.rules else { return None };
    let mut rules = Rules { bridges: observed.bridges.clone(), ..Rules::default() };
    let running = containers
        .iter()
        .filter(|container| matches!(container.state, ContainerState::Running { .. }))
        .filter_map(|container| Some((container, address(container)?)));
    for (container, address) in running.clone() {
        let allowed = desired.service(&container.service).is_some_and(|wanted| wanted.settings.imds);
        let addresses = if allowed { &mut rules.with_metadata } else { &mut rules.without_metadata };
        addresses.insert(address);
    }
    let wanted = services.iter().filter_map(|planned| planned.routed.as_deref());
    let unwanted = removals.iter().filter_map(|removal| removal.routed.as_deref());
    // Wanted ones first: the port of a service that left may be that of its successor.
    for id in wanted.chain(unwanted) {
        if let Some((container, address)) = running.clone().find(|(container, _)| container.id == id) {
            add_routes(&mut rules.routes, container, address);
        }
    }
    Some(rules)
}

fn add_routes(routes: &mut BTreeMap<HostPort, Target>, container: &Container, address: Ipv4Addr) {
    for port in &container.routed_ports {
        let target = Target { address, port: port.container, ipv6_proxy: proxy(container, port) };
        routes.entry(host_port(port)).or_insert(target);
    }
}

fn proxy(container: &Container, port: &Port) -> Option<u16> {
    let is_it = |proxy: &&ProxyPort| proxy.container == port.container && proxy.protocol == port.protocol;
    container.ipv6_ports.iter().find(is_it).map(|proxy| proxy.host)
}

fn host_port(port: &Port) -> HostPort {
    HostPort { protocol: port.protocol, number: port.host }
}

/// On its bridge.
fn address(container: &Container) -> Option<Ipv4Addr> {
    match container.address? {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// Some port leads to the container.
pub(super) fn leads_to(rules: &Rules, container: &Container) -> bool {
    let runs = matches!(container.state, ContainerState::Running { .. });
    let found = address(container).filter(|_| runs);
    found.is_some_and(|address| rules.routes.values().any(|target| target.address == address))
}

/// All ports of the container lead to it.
pub(super) fn all_lead_to(rules: &Rules, container: &Container) -> bool {
    let Some(address) = address(container) else { return container.routed_ports.is_empty() };
    container.routed_ports.iter().all(|port| {
        rules
            .routes
            .get(&host_port(port))
            .is_some_and(|target| target.address == address && target.port == port.container)
    })
}
