//! `[services.NAME]`, each for itself.

use super::{Document, each, health, list, optional, shaping, update};
use crate::config::findings::{Findings, Wrong};
use crate::config::settings::{EnvironmentValue, Gpus, Mount, Network, Port, Service};
use crate::config::text::{image, name, path, port, quantity};
use crate::config::tree::Place;
use crate::config::written;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A worker may have to finish a long task; longer than a day it should save its state instead.
const STOP_AT_MOST: Duration = Duration::from_secs(24 * 60 * 60);

/// Four times what the largest instance has.
const GPUS_AT_MOST: u32 = 64;

/// One service with all that belongs to it.
pub(super) fn service(
    document: Document<'_>,
    name: &str,
    written: &written::Service,
    findings: &mut Findings,
) -> Option<Service> {
    let place = document.root.key("services").key(name);
    let named = findings.take(place.key_at(), name::service(name));
    let image = written.image.as_deref();
    let image = image.and_then(|image| findings.take(place.key("image").at(), image::reference(image)));
    let command = list(&written.command, place.key("command"), findings, name::argument);
    let ports = ports(written, place, findings);
    let environment = environment(document, written, place.key("environment"), findings);
    let secrets = |texts, key, findings: &mut Findings| {
        list(texts, place.key(key), findings, |name| document.reference("secrets", name))
    };
    let environment_from = secrets(&written.environment_from, "environment_from", findings);
    let secret_files = secrets(&written.secret_files, "secret_files", findings);
    let mounts = mounts(written, place.key("mounts"), findings);
    let depends_on = list(&written.depends_on, place.key("depends_on"), findings, |name| {
        document.reference("services", name)
    });
    let limits = limits(written, place, findings);
    let gpus = optional(written.gpus.as_ref(), |count| findings.take(place.key("gpus").at(), gpus(count)));
    let imds = imds(written, place.key("imds"), findings);
    let user =
        optional(written.user.as_deref(), |user| findings.take(place.key("user").at(), name::user(user)));
    let capabilities = list(&written.capabilities, place.key("capabilities"), findings, name::capability);
    let stop_timeout = quantity::duration_in(&written.stop_timeout, Duration::ZERO..=STOP_AT_MOST);
    let stop_timeout = findings.take(place.key("stop_timeout").at(), stop_timeout);
    let health = health::health(&written.health, place, ports.as_deref(), findings);
    let update = update::update(written, place, ports.as_deref(), findings);
    let logs = shaping::of_service(&written.logs, document.ships_logs(), place.key("logs"), findings);
    named?;
    let (memory_bytes, nano_cpus) = limits?;
    Some(Service {
        image: image?,
        command: command?,
        ports: ports?,
        environment: environment?,
        environment_from: environment_from?,
        secret_files: secret_files?,
        mounts: mounts?,
        depends_on: depends_on?,
        memory_bytes,
        nano_cpus,
        gpus: gpus?,
        user: user?,
        read_only: written.read_only,
        capabilities: capabilities?.into_iter().collect::<BTreeSet<_>>().into_iter().collect(),
        imds: imds?,
        stop_timeout: stop_timeout?,
        network: network(written.network),
        health: health?,
        update: update?,
        logs: logs?,
    })
}

fn network(written: written::Network) -> Network {
    match written {
        written::Network::Node => Network::Node,
        written::Network::Host => Network::Host,
    }
}

fn ports(written: &written::Service, service: Place<'_>, findings: &mut Findings) -> Option<Vec<Port>> {
    let place = service.key("ports");
    let ports = list(&written.ports, place, findings, port::published);
    if written.network == written::Network::Host && !written.ports.is_empty() {
        let wrong = Wrong::new(
            "`ports` cannot be published on the host's network: each port of the container is open there",
        )
        .hint("leave out `ports`, or `network = \"host\"`");
        findings.add(place.key_at(), wrong);
        return None;
    }
    // With one left out, the first is not the first any more, and a health check would ask another port.
    let complete = !place.is_unusable() && (place.is_written() || !service.has_or_means("ports"));
    ports.filter(|_| complete)
}

fn environment(
    document: Document<'_>,
    written: &written::Service,
    place: Place<'_>,
    findings: &mut Findings,
) -> Option<BTreeMap<String, EnvironmentValue>> {
    each(&written.environment, |name, value| {
        let place = place.key(name);
        let named = findings.take(place.key_at(), name::environment_variable(name));
        let value = match value {
            written::EnvironmentValue::Literal(text) => {
                EnvironmentValue::Literal(findings.take(place.at(), name::argument(text))?)
            }
            written::EnvironmentValue::FromSecret(written::SecretKey { secret, key }) => {
                let secret = secret.as_deref().and_then(|secret| {
                    findings.take(place.key("secret").at(), document.reference("secrets", secret))
                });
                let key = key.as_deref().and_then(|key| match key {
                    "" => findings.take(place.key("key").at(), Err(Wrong::new("a key cannot be empty"))),
                    key => Some(key.to_owned()),
                });
                EnvironmentValue::FromSecret { secret: secret?, key: key? }
            }
        };
        named.map(|()| value)
    })
}

fn mounts(written: &written::Service, place: Place<'_>, findings: &mut Findings) -> Option<Vec<Mount>> {
    const SECRETS: &str = "/run/secrets";
    let mounts = list(&written.mounts, place, findings, path::bind_mount)?;
    let mut taken = BTreeSet::new();
    for (index, mount) in mounts.iter().enumerate() {
        let container = mount.container.as_str();
        let at = place.item(index).at();
        if !taken.insert(container) {
            findings.add(
                at,
                Wrong::new(format!("`{container}` in the container is already taken by another mount")),
            );
        }
        if container == SECRETS || container.starts_with(&format!("{SECRETS}/")) {
            findings.add(at, Wrong::new(format!("`{SECRETS}` in the container is where secret_files are")));
        }
    }
    Some(mounts)
}

type Limits = (Option<u64>, Option<i64>);

fn limits(written: &written::Service, place: Place<'_>, findings: &mut Findings) -> Option<Limits> {
    let memory = optional(written.memory.as_deref(), |text| {
        findings.take(place.key("memory").at(), quantity::memory(text))
    });
    let cpus =
        optional(written.cpus, |cores| findings.take(place.key("cpus").at(), quantity::nano_cpus(cores)));
    memory.zip(cpus)
}

fn gpus(written: &written::Gpus) -> Result<Gpus, Wrong> {
    let count = match written {
        written::Gpus::Text(text) if text == "all" => return Ok(Gpus::All),
        written::Gpus::Text(text) => text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit())),
        written::Gpus::Count(count) => u32::try_from(*count).ok(),
    };
    count.filter(|count| (1..=GPUS_AT_MOST).contains(count)).map(Gpus::Count).ok_or_else(|| {
        let text = match written {
            written::Gpus::Count(count) => count.to_string(),
            written::Gpus::Text(text) => format!("\"{text}\""),
        };
        Wrong::new(format!("{text} is not a number of GPUs"))
            .hint(format!("write \"all\", a number from 1 to {GPUS_AT_MOST}, or leave it out for none"))
    })
}

/// Whether the container may reach the instance metadata: on the host's network nobody can keep it from that.
fn imds(written: &written::Service, place: Place<'_>, findings: &mut Findings) -> Option<bool> {
    if written.network != written::Network::Host {
        return Some(written.imds);
    }
    if !written.imds && place.is_written() && !place.is_unusable() {
        let wrong = Wrong::new(
            "the instance metadata cannot be kept from a container on the host's network: it reaches what the node reaches",
        );
        findings.add(place.at(), wrong.hint("leave out `imds = false`, or `network = \"host\"`"));
        return None;
    }
    Some(true)
}
