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

use super::NODE_NETWORK;
use crate::engine::ContainerSpec;
use crate::observed::labels;
use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, HostConfigLogConfig, Mount, MountType,
    NetworkingConfig, PortBinding, PortMap, RestartPolicy, RestartPolicyNameEnum,
};
use node::config::settings::{Network, Port, Protocol};
use secrecy::ExposeSecret;
use std::collections::HashMap;

const PROCESSES: i64 = 4096;
const LOG_FILE_SIZE: &str = "10m";
const LOG_FILES: &str = "3";
/// Where secrets appear as files in a container.
const SECRETS: &str = "/run/secrets";
const TEMPORARY: &str = "/tmp";

/// The body of `POST /containers/create`. Holds the values of secrets: never print it.
pub(super) fn create_body(spec: &ContainerSpec) -> ContainerCreateBody {
    let settings = &spec.settings;
    let variable =
        |(name, value): &(String, secrecy::SecretString)| format!("{name}={}", value.expose_secret());
    let published = settings.network == Network::Node && !settings.ports.is_empty();
    ContainerCreateBody {
        image: Some(settings.image.pinned(&spec.digest)),
        cmd: Some(settings.command.clone()).filter(|command| !command.is_empty()),
        env: Some(spec.environment.iter().map(variable).collect()),
        labels: Some(labels_of(spec)),
        user: settings.user.clone(),
        stop_timeout: i64::try_from(settings.stop_timeout.as_millis().div_ceil(1000)).ok(),
        exposed_ports: published.then(|| settings.ports.iter().map(container_port).collect()),
        host_config: Some(host_config(spec, published)),
        networking_config: networking(spec),
        ..ContainerCreateBody::default()
    }
}

/// The labels by which it is found again.
pub(super) fn labels_of(spec: &ContainerSpec) -> HashMap<String, String> {
    HashMap::from([
        (labels::SERVICE.to_owned(), spec.service.clone()),
        (labels::SPEC.to_owned(), spec.spec_hash.clone()),
        (labels::DIGEST.to_owned(), spec.digest.clone()),
        (labels::GENERATION.to_owned(), spec.generation.to_string()),
    ])
}

fn host_config(spec: &ContainerSpec, published: bool) -> HostConfig {
    let settings = &spec.settings;
    let memory = settings.memory_bytes.and_then(|bytes| i64::try_from(bytes).ok());
    HostConfig {
        network_mode: Some(match settings.network {
            Network::Node => NODE_NETWORK.to_owned(),
            Network::Host => "host".to_owned(),
        }),
        port_bindings: published.then(|| port_bindings(&settings.ports)),
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
