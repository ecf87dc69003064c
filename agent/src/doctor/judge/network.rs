//! Ports of the host and where they lead.

use super::some;
use crate::examined::{Listener, Network, Wanted};
use crate::finding::{Area, Finding};
use node::config::settings::{Network as ServiceNetwork, Protocol, Service, Strategy};

/// All of it.
pub fn network(facts: &Network, wanted: Wanted) -> Vec<Finding> {
    let Some(settings) = wanted else {
        return vec![Finding::skip(Area::Network, "ports", "which ports are wanted is not known")];
    };
    let published: Vec<(&str, &Service, Protocol, u16)> = settings
        .services
        .iter()
        .filter(|(_, service)| service.network == ServiceNetwork::Node)
        .flat_map(|(name, service)| {
            service.ports.iter().map(move |port| (name.as_str(), service, port.protocol, port.host))
        })
        .collect();
    let mut findings: Vec<Finding> = published
        .iter()
        .filter_map(|(name, _, protocol, port)| taken(name, *protocol, *port, &facts.listeners))
        .collect();
    if findings.is_empty() {
        let ports = some(published.len(), "port");
        let message = format!("{ports} of the host wanted, none taken by another program");
        findings.push(Finding::pass(Area::Network, "ports", message));
    }
    let led: Vec<(Protocol, u16)> = published
        .iter()
        .filter(|(_, service, ..)| service.update.strategy == Strategy::BlueGreen)
        .map(|(_, _, protocol, port)| (*protocol, *port))
        .collect();
    findings.push(firewall(facts, &led));
    findings
}

fn taken(service: &str, protocol: Protocol, port: u16, listeners: &[Listener]) -> Option<Finding> {
    let other = listeners
        .iter()
        .find(|found| (found.protocol, found.port) == (protocol, port) && !found.of_containers)?;
    let who = match &other.process {
        Some((name, pid)) => format!("{name} (process {pid})"),
        None => "another program".to_owned(),
    };
    Some(Finding::fail(
        Area::Network,
        format!("port {port} of {service}"),
        format!("{who} listens on it"),
        format!("stop that program, or give {service} another host port in node.toml"),
    ))
}

fn firewall(facts: &Network, wanted: &[(Protocol, u16)]) -> Finding {
    const CHECK: &str = "nftables";
    let led = match &facts.led {
        Ok(led) => led,
        Err(why) if why.message.contains("not permitted") => {
            return Finding::skip(Area::Network, CHECK, "run as root to read the rules of the firewall");
        }
        // Without blue-green services the firewall only keeps containers from the metadata service.
        Err(why) => {
            let remedy = why.remedy.clone().unwrap_or_else(|| "install nftables 1.0 or newer".to_owned());
            return Finding::fail(Area::Network, CHECK, why.message.clone(), remedy);
        }
    };
    let missing: Vec<String> =
        wanted.iter().filter(|port| !led.contains(port)).map(|(_, port)| port.to_string()).collect();
    if missing.is_empty() {
        let message = format!("{} of the host led to containers", some(led.len(), "port"));
        return Finding::pass(Area::Network, CHECK, message);
    }
    Finding::warn(
        Area::Network,
        CHECK,
        format!("no rule leads from port {} to a container", missing.join(", ")),
        "`agentctl status` says whether its service runs; `nft list table inet node-agent` shows the rules",
    )
}
