//! Inspecting and making containers: the engine's documents to and from our own values.
//!
//! Mapping is pure. A container whose labels cannot be read is reported once and left out: what we cannot place, we do
//! not touch.

use super::refusal::OTHER_PLATFORM;
use super::{ASK_DEADLINE, Docker, MAKE_DEADLINE, NODE_NETWORK, Refusal, create_body};
use crate::engine::{ContainerSpec, Engine as _, EngineError};
use crate::observed::{Container, ContainerState, ImageHealth, ProxyPort, labels};
use bollard::models::{
    ContainerInspectResponse, ContainerState as EngineState, ContainerStateStatusEnum as Status,
    HealthStatusEnum, Ipam, IpamConfig, NetworkCreateRequest, NetworkSettings, PortBinding,
};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use jiff::Timestamp;
use node::config::settings::{Network, Port, Protocol};
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};

/// Marks the bridge as made by us, for people who look at `docker network ls`.
const NETWORK_LABEL: &str = "node-agent.network";

impl Docker {
    /// `None` when it vanished.
    pub(super) async fn inspect(
        &self,
        id_or_name: &str,
    ) -> Result<Option<ContainerInspectResponse>, EngineError> {
        match self.ask(ASK_DEADLINE, self.client().inspect_container(id_or_name, None)).await {
            Ok(container) => Ok(Some(container)),
            Err(refusal) if refusal.status() == Some(404) => Ok(None),
            Err(refusal) => {
                Err(self.refused(&format!("inspect container {}", self.called(id_or_name)), refusal))
            }
        }
    }

    pub(super) async fn create_container(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        let name = spec.container_name();
        let operation = format!("create container {name}");
        if spec.settings.network == Network::Node {
            self.ensure_network().await?;
        }
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let body = create_body::create_body(spec, host_has_ipv6());
        let created = self.ask(MAKE_DEADLINE, self.client().create_container(Some(options), body)).await;
        let id = match created {
            Ok(created) => {
                if let Some(warning) = created.warnings.iter().find(|text| text.contains(OTHER_PLATFORM)) {
                    self.remove(&created.id).await?;
                    let refusal = Refusal::Answered { status: 0, message: warning.clone() };
                    return Err(self.refused(&operation, refusal));
                }
                for warning in &created.warnings {
                    tracing::info!(container = name, warning, "the engine made a container with a warning");
                }
                created.id
            }
            Err(refusal) if refusal.status() == Some(409) => {
                self.already_made(spec, &operation, refusal).await?
            }
            Err(refusal) => return Err(self.refused(&operation, refusal)),
        };
        self.seen().names.insert(id.clone(), name);
        Ok(id)
    }

    /// The id of the container that has the name, when it is the one that was asked for.
    async fn already_made(
        &self,
        spec: &ContainerSpec,
        operation: &str,
        conflict: Refusal,
    ) -> Result<String, EngineError> {
        let name = spec.container_name();
        let found = self.inspect(&name).await?;
        let Some(ContainerInspectResponse { id: Some(id), config, .. }) = found else {
            return Err(self.refused(operation, conflict));
        };
        let theirs = config.and_then(|config| config.labels).unwrap_or_default();
        let same = |(key, value): (&String, &String)| theirs.get(key) == Some(value);
        if create_body::labels_of(spec).iter().all(same) {
            return Ok(id);
        }
        Err(EngineError::Refused {
            operation: operation.to_owned(),
            code: "name_in_use",
            message: format!("another container has that name ({})", id.chars().take(12).collect::<String>()),
            hint: Some(format!("look at it with `docker inspect {name}`, then rename or remove it")),
        })
    }

    /// Prefixes of the node's bridge; none where it is missing.
    pub(super) async fn network_prefixes(&self) -> Result<BTreeSet<(Ipv4Addr, u8)>, EngineError> {
        match self.ask(ASK_DEADLINE, self.client().inspect_network(NODE_NETWORK, None)).await {
            Ok(network) => Ok(prefixes(&network.ipam.unwrap_or_default())),
            Err(refusal) if refusal.status() == Some(404) => Ok(BTreeSet::new()),
            Err(refusal) => Err(self.refused(&format!("inspect network {NODE_NETWORK}"), refusal)),
        }
    }

    /// Makes the node's bridge where it is missing. One that exists is used, whoever made it.
    async fn ensure_network(&self) -> Result<(), EngineError> {
        // Engines before 25 make two networks of one name when asked twice at the same time.
        let _one_at_a_time = self.shared.network.lock().await;
        match self.ask(ASK_DEADLINE, self.client().inspect_network(NODE_NETWORK, None)).await {
            Ok(_) => return Ok(()),
            Err(refusal) if refusal.status() == Some(404) => {}
            Err(refusal) => return Err(self.refused(&format!("inspect network {NODE_NETWORK}"), refusal)),
        }
        let request = NetworkCreateRequest {
            name: NODE_NETWORK.to_owned(),
            driver: Some("bridge".to_owned()),
            labels: Some(HashMap::from([(NETWORK_LABEL.to_owned(), "node".to_owned())])),
            ..NetworkCreateRequest::default()
        };
        match self.ask(MAKE_DEADLINE, self.client().create_network(request)).await {
            Err(refusal) if refusal.status() != Some(409) => {
                Err(self.refused(&format!("create network {NODE_NETWORK}"), refusal))
            }
            _ => Ok(()),
        }
    }
}

/// Interfaces with an address of IPv6, one a line; the file is missing or empty where the kernel has it switched off.
fn host_has_ipv6() -> bool {
    std::fs::read("/proc/thread-self/net/if_inet6").is_ok_and(|addresses| !addresses.is_empty())
}

/// A container that carries our label but cannot be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) id: String,
    pub(super) reason: String,
}

pub(super) fn observed(found: ContainerInspectResponse) -> Result<Container, Unreadable> {
    let id = found.id.unwrap_or_default();
    let unreadable = |reason: String| Unreadable { id: id.clone(), reason };
    let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
    let label =
        |name: &str| labels.get(name).cloned().ok_or_else(|| unreadable(format!("it has no label {name}")));
    let generation = label(labels::GENERATION)?;
    let generation = generation
        .parse()
        .map_err(|_| unreadable(format!("label {} is `{generation}`, not a number", labels::GENERATION)))?;
    let routed_ports = match labels.get(labels::PORTS) {
        None => Vec::new(),
        Some(ports) => ports_of_label(ports).ok_or_else(|| {
            unreadable(format!("label {} is `{ports}`, not a list of ports", labels::PORTS))
        })?,
    };
    let created_at = time(found.created.as_deref())
        .ok_or_else(|| unreadable("the engine does not say when it was made".to_owned()))?;
    let state = found.state.unwrap_or_default();
    let network = found.network_settings.unwrap_or_default();
    let container = Container {
        name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        service: label(labels::SERVICE)?,
        spec: label(labels::SPEC)?,
        digest: label(labels::DIGEST)?,
        generation,
        created_at,
        ipv6_ports: ipv6_ports(&network),
        address: address(&network),
        image_health: image_health(&state),
        // 0 while it does not run.
        pid: state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0),
        routed_ports,
        state: state_of(state, created_at),
        id: id.clone(),
    };
    if container.id.is_empty() { Err(unreadable("it has no id".to_owned())) } else { Ok(container) }
}

/// The engine writes the year 1 for "never".
fn time(text: Option<&str>) -> Option<Timestamp> {
    text?.parse().ok().filter(|time: &Timestamp| *time > Timestamp::UNIX_EPOCH)
}

fn state_of(state: EngineState, created_at: Timestamp) -> ContainerState {
    let status = state.status.unwrap_or(Status::EMPTY);
    let error = state.error.filter(|error| !error.is_empty());
    let exited = |error| ContainerState::Exited {
        code: state.exit_code.unwrap_or_default(),
        at: time(state.finished_at.as_deref()).unwrap_or(created_at),
        out_of_memory: state.oom_killed.unwrap_or_default(),
        error,
    };
    match status {
        Status::RUNNING => {
            ContainerState::Running { started_at: time(state.started_at.as_deref()).unwrap_or(created_at) }
        }
        // A container whose very first start failed is "created" to the engine, with an error.
        Status::CREATED if error.is_none() => ContainerState::Created,
        Status::CREATED | Status::EXITED => exited(error),
        other => ContainerState::Other(other.to_string()),
    }
}

fn image_health(state: &EngineState) -> Option<ImageHealth> {
    match state.health.as_ref()?.status? {
        HealthStatusEnum::STARTING => Some(ImageHealth::Starting),
        HealthStatusEnum::HEALTHY => Some(ImageHealth::Healthy),
        HealthStatusEnum::UNHEALTHY => Some(ImageHealth::Unhealthy),
        HealthStatusEnum::EMPTY | HealthStatusEnum::NONE => None,
    }
}

fn address(settings: &NetworkSettings) -> Option<IpAddr> {
    // Empty while the container does not run.
    settings.networks.as_ref()?.get(NODE_NETWORK)?.ip_address.as_deref()?.parse().ok()
}

fn network_of(address: Ipv4Addr, length: u8) -> (Ipv4Addr, u8) {
    let mask = u32::MAX.checked_shl(32_u32.saturating_sub(length.into())).unwrap_or(0);
    (address & Ipv4Addr::from(mask), length)
}

/// Those of IPv4: a network may have one of each.
fn prefixes(ipam: &Ipam) -> BTreeSet<(Ipv4Addr, u8)> {
    let prefix = |config: &IpamConfig| {
        let (address, length) = config.subnet.as_deref()?.split_once('/')?;
        Some(network_of(address.parse().ok()?, length.parse().ok().filter(|length| *length <= 32)?))
    };
    ipam.config.iter().flatten().filter_map(prefix).collect()
}

/// `8000/tcp` of the engine.
fn protocol_and_port(text: &str) -> Option<(Protocol, u16)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    Some((protocol, port.parse().ok()?))
}

/// As [`labels::PORTS`] says.
fn ports_of_label(label: &str) -> Option<Vec<Port>> {
    let port = |text: &str| {
        let (host, inside) = text.split_once(':')?;
        let (protocol, container) = protocol_and_port(inside)?;
        Some(Port { host: host.parse().ok()?, container, protocol })
    };
    label.split(',').map(port).collect()
}

/// Ports that the engine published on all IPv6 addresses.
fn ipv6_ports(settings: &NetworkSettings) -> Vec<ProxyPort> {
    let published = settings.ports.iter().flatten().filter_map(|(port, bindings)| {
        let (protocol, container) = protocol_and_port(port)?;
        let is_ipv6 = |binding: &&PortBinding| binding.host_ip.as_deref() == Some("::");
        let binding = bindings.iter().flatten().find(is_ipv6)?;
        Some(ProxyPort { container, protocol, host: binding.host_port.as_deref()?.parse().ok()? })
    });
    let mut ports: Vec<ProxyPort> = published.collect();
    // The engine's map has no order.
    ports.sort_unstable();
    ports
}

#[cfg(test)]
#[path = "containers_tests.rs"]
mod tests;
