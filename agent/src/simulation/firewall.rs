//! Addresses, ports and rules of the model: what a client of the node would reach.

use super::{Behaviour, Gap, World};
use crate::observed::{Container, ContainerState, ProxyPort};
use crate::rules::{HostPort, Rules};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// The model's only bridge.
pub(crate) const BRIDGE: (Ipv4Addr, u8) = (Ipv4Addr::new(172, 30, 0, 0), 16);

/// Addresses are given out as the engine does it: one that was given back belongs to the next container.
const FIRST: u32 = Ipv4Addr::new(172, 30, 0, 2).to_bits();

pub(super) fn run(container: &mut Container, address: Ipv4Addr, now: Timestamp) {
    container.state = ContainerState::Running { started_at: now };
    container.address = Some(IpAddr::V4(address));
    container.pid = Some(address.to_bits() - FIRST + 1000);
    let ports = container.routed_ports.iter().zip(address.to_bits() as u16..);
    let proxies =
        ports.map(|(port, host)| ProxyPort { container: port.container, protocol: port.protocol, host });
    container.ipv6_ports = proxies.collect();
}

impl World {
    /// Containers that were there before: those that run have addresses.
    pub(crate) fn inherit(&mut self, containers: Vec<Container>) {
        self.containers = containers;
        for index in 0..self.containers.len() {
            if let ContainerState::Running { started_at } = self.containers[index].state {
                let address = self.free_address();
                run(&mut self.containers[index], address, started_at);
            }
        }
    }

    pub(super) fn free_address(&self) -> Ipv4Addr {
        let taken: BTreeSet<_> = self.containers.iter().filter_map(|container| container.address).collect();
        let mut all = (FIRST..).map(Ipv4Addr::from_bits);
        all.find(|address| !taken.contains(&IpAddr::V4(*address))).unwrap()
    }

    /// The engine publishes the ports of a container that is not routed; two of one service are in each other's way.
    pub(super) fn published_by_another(&self, id: &str) -> bool {
        let found = self.containers.iter().find(|container| container.id == id);
        let Some(container) = found.filter(|container| container.routed_ports.is_empty()) else {
            return false;
        };
        self.running(&container.service)
            .iter()
            .any(|other| other.id != id && other.routed_ports.is_empty() && other.address.is_some())
    }

    pub(crate) fn replace_rules(&mut self, rules: &Rules) -> bool {
        if self.firewall_works {
            let (before, story) = (self.answering(), format!("{} rules {:?}", self.now, rules.routes));
            self.rules = rules.clone();
            self.note_gaps(before, &story);
            self.story.push(story);
        }
        self.firewall_works
    }

    /// Who answers on that port of the host for the service: by our rules, else published by the engine.
    pub(crate) fn behind(&self, service: &str, port: HostPort) -> Option<&Container> {
        let Some(target) = self.rules.routes.get(&port) else {
            return self.running(service).into_iter().find(|container| container.routed_ports.is_empty());
        };
        let there = |container: &&Container| container.address == Some(IpAddr::V4(target.address));
        self.containers.iter().find(there)
    }

    /// Who answers on the watched ports, as far as they give an answer.
    pub(super) fn answering(&self) -> Vec<(String, HostPort, Container)> {
        let answering = self.watched.iter().filter(|(service, port)| self.answers(service, *port));
        answering
            .filter_map(|(service, port)| {
                Some((service.clone(), *port, self.behind(service, *port)?.clone()))
            })
            .collect()
    }

    /// A deed of the agent must not take an answer away.
    pub(super) fn note_gaps(&mut self, before: Vec<(String, HostPort, Container)>, deed: &str) {
        for (service, port, before) in before {
            if !self.answers(&service, port) {
                self.gaps.push(Gap { service, before, deed: deed.to_owned() });
            }
        }
    }

    /// A client gets an answer on that port, and a good one.
    pub(crate) fn answers(&self, service: &str, port: HostPort) -> bool {
        self.behind(service, port).is_some_and(|container| {
            let runs = matches!(container.state, ContainerState::Running { .. });
            let healthy =
                !matches!(self.behaviour(&container.digest), Behaviour::Failing | Behaviour::Silent);
            runs && healthy && container.service == service
        })
    }
}
