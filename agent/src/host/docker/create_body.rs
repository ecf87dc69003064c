//! What is asked of the engine for one container. Pure.
//!
//! Decisions beyond node.toml, each the same for every container:
//! - No Docker restart policy: restarting is the agent's, which backs off and counts crash loops.
//! - All capabilities are dropped but those listed, and `no-new-privileges` is set. An image that starts as root and
//!   changes its user needs `SETUID` and `SETGID` listed; that is the contract.
//! - Bind mounts name sources that exist: the older `Binds` form makes a missing one as an empty folder, so a model volume
//!   that is not mounted would fill the root disk.
//! - `read_only` comes with a tmpfs at /tmp, without which most programs do not even start. It counts as the
//!   container's memory.
//! - Swap is no way around the memory limit: `MemorySwap` equals `Memory`.
//! - 4096 processes and threads: no service comes near, and a fork bomb cannot take the node.
//! - json-file logs of 3 x 10 MiB: the shipper reads them, the disk does not fill.
//! - No `Init`: images that bring their own (s6) demand to be process 1, and not every host has `docker-init`.
//! - The image's HEALTHCHECK stays as it is.
//! - A routed container's ports are published on 127.0.0.1 at a port of the engine's choice: nobody connects there, but
//!   with it comes the engine's own rule that lets packets through to the container, in whichever way that engine writes
//!   its rules. On [::] likewise, where the host has IPv6: bridges have none, so the engine's proxy passes it on.

use super::NODE_NETWORK;
use crate::engine::ContainerSpec;
use crate::observed::labels;
use bollard::models::{
    ContainerCreateBody, DeviceRequest, EndpointSettings, HostConfig, HostConfigLogConfig, Mount, MountType,
    NetworkingConfig, PortBinding, PortMap, RestartPolicy, RestartPolicyNameEnum,
};
use node::config::settings::{Gpus, Network, Port, Protocol, Service, Strategy};
use secrecy::ExposeSecret;
use std::collections::HashMap;

const PROCESSES: i64 = 4096;
const LOG_FILE_SIZE: &str = "10m";
const LOG_FILES: &str = "3";
/// Where secrets appear as files in a container.
const SECRETS: &str = "/run/secrets";
const TEMPORARY: &str = "/tmp";

/// Addresses at which a routed container's ports are published; the engine chooses the ports.
const ROUTED: &str = "127.0.0.1";
const ROUTED_IPV6: &str = "::";
const ANY_PORT: &str = "0";

/// The body of `POST /containers/create`; `ipv6`: the host has it. Holds the values of secrets: never print it.
pub(super) fn create_body(spec: &ContainerSpec, ipv6: bool) -> ContainerCreateBody {
    let settings = &spec.settings;
    let variable =
        |(name, value): &(String, secrecy::SecretString)| format!("{name}={}", value.expose_secret());
    let published = is_published(settings);
    ContainerCreateBody {
        image: Some(settings.image.pinned(&spec.digest)),
        cmd: Some(settings.command.clone()).filter(|command| !command.is_empty()),
        env: Some(spec.environment.iter().map(variable).collect()),
        labels: Some(labels_of(spec)),
        user: settings.user.clone(),
        stop_timeout: i64::try_from(settings.stop_timeout.as_millis().div_ceil(1000)).ok(),
        exposed_ports: published.then(|| settings.ports.iter().map(container_port).collect()),
        host_config: Some(host_config(spec, ipv6)),
        networking_config: networking(spec),
        ..ContainerCreateBody::default()
    }
}

fn is_published(settings: &Service) -> bool {
    settings.network == Network::Node && !settings.ports.is_empty()
}

/// Rules of our own lead to it.
fn is_routed(settings: &Service) -> bool {
    is_published(settings) && settings.update.strategy == Strategy::BlueGreen
}

/// The labels by which it is found again.
pub(super) fn labels_of(spec: &ContainerSpec) -> HashMap<String, String> {
    let mut labels = HashMap::from([
        (labels::SERVICE.to_owned(), spec.service.clone()),
        (labels::SPEC.to_owned(), spec.spec_hash.clone()),
        (labels::DIGEST.to_owned(), spec.digest.clone()),
        (labels::GENERATION.to_owned(), spec.generation.to_string()),
    ]);
    if is_routed(&spec.settings) {
        labels.insert(labels::PORTS.to_owned(), ports_label(&spec.settings.ports));
    }
    labels
}

/// What [`super::containers`] reads back.
fn ports_label(ports: &[Port]) -> String {
    let port = |port: &Port| match port.protocol {
        Protocol::Tcp => format!("{}:{}", port.host, port.container),
        Protocol::Udp => format!("{}:{}/udp", port.host, port.container),
    };
    ports.iter().map(port).collect::<Vec<_>>().join(",")
}

fn host_config(spec: &ContainerSpec, ipv6: bool) -> HostConfig {
    let settings = &spec.settings;
    let memory = settings.memory_bytes.and_then(|bytes| i64::try_from(bytes).ok());
    HostConfig {
        network_mode: Some(match settings.network {
            Network::Node => NODE_NETWORK.to_owned(),
            Network::Host => "host".to_owned(),
        }),
        port_bindings: match (is_published(settings), is_routed(settings)) {
            (_, true) => Some(routed_bindings(&settings.ports, ipv6)),
            (true, _) => Some(port_bindings(&settings.ports)),
            _ => None,
        },
        device_requests: settings.gpus.map(|gpus| vec![gpu_request(gpus)]),
        mounts: Some(mounts(spec)),
        tmpfs: temporary(spec),
        memory,
        memory_swap: memory,
        nano_cpus: settings.nano_cpus,
        pids_limit: Some(PROCESSES),
        readonly_rootfs: Some(settings.read_only),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(settings.capabilities.clone()),
        security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), LOG_FILE_SIZE.to_owned()),
                ("max-file".to_owned(), LOG_FILES.to_owned()),
            ])),
        }),
        ..HostConfig::default()
    }
}

fn container_port(port: &Port) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    format!("{}/{protocol}", port.container)
}

/// One container port may be published on several host ports.
fn port_bindings(ports: &[Port]) -> PortMap {
    let mut bindings = PortMap::new();
    for port in ports {
        // No address means all of them, IPv6 included.
        let binding = PortBinding { host_ip: None, host_port: Some(port.host.to_string()) };
        bindings.entry(container_port(port)).or_default().get_or_insert_default().push(binding);
    }
    bindings
}

/// One binding for each address, however many ports of the host lead there.
fn routed_bindings(ports: &[Port], ipv6: bool) -> PortMap {
    let at = |address: &str| PortBinding {
        host_ip: Some(address.to_owned()),
        host_port: Some(ANY_PORT.to_owned()),
    };
    let addresses = [Some(ROUTED), ipv6.then_some(ROUTED_IPV6)];
    let bindings = || Some(addresses.into_iter().flatten().map(at).collect());
    ports.iter().map(|port| (container_port(port), bindings())).collect()
}

/// What `docker run --gpus` asks for.
fn gpu_request(gpus: Gpus) -> DeviceRequest {
    let count = match gpus {
        Gpus::All => -1,
        Gpus::Count(count) => count.into(),
    };
    DeviceRequest {
        count: Some(count),
        capabilities: Some(vec![vec!["gpu".to_owned()]]),
        ..DeviceRequest::default()
    }
}

fn mounts(spec: &ContainerSpec) -> Vec<Mount> {
    let bind = |source: String, target: String, read_only: bool| Mount {
        typ: Some(MountType::BIND),
        source: Some(source),
        target: Some(target),
        read_only: Some(read_only),
        ..Mount::default()
    };
    let wanted = spec.settings.mounts.iter();
    let wanted = wanted.map(|mount| bind(mount.host.clone(), mount.container.clone(), mount.read_only));
    let secrets = spec.secret_folders.iter();
    let secrets =
        secrets.map(|(name, folder)| bind(folder.display().to_string(), format!("{SECRETS}/{name}"), true));
    wanted.chain(secrets).collect()
}

/// A tmpfs at /tmp for a read-only root, unless node.toml mounts something there.
fn temporary(spec: &ContainerSpec) -> Option<HashMap<String, String>> {
    let taken = spec.settings.mounts.iter().any(|mount| mount.container.trim_end_matches('/') == TEMPORARY);
    let wanted = spec.settings.read_only && !taken;
    wanted.then(|| HashMap::from([(TEMPORARY.to_owned(), "mode=1777".to_owned())]))
}

/// On the node's bridge it is reached by its service's name, whichever generation it is.
fn networking(spec: &ContainerSpec) -> Option<NetworkingConfig> {
    let endpoint =
        EndpointSettings { aliases: Some(vec![spec.service.clone()]), ..EndpointSettings::default() };
    let endpoints = HashMap::from([(NODE_NETWORK.to_owned(), endpoint)]);
    (spec.settings.network == Network::Node).then_some(NetworkingConfig { endpoints_config: Some(endpoints) })
}

#[cfg(test)]
#[path = "create_body_tests.rs"]
mod tests;
