//! What should run on the node: values, made of the validated settings, the volumes that bootstrap mounted and the
//! secrets that are there.
//!
//! In: [`Settings`], the handoff's volumes, versions of secrets. Out: the services in the order of their dependencies,
//! each with the hash of what its container is made of and with what keeps it from running. Pure.
//! Not its job: which digest a service runs, which only the registry knows.

use node::config::settings::{self, EnvironmentValue, ModelServer, Settings};
use node::handoff;
use node::hexadecimal::hexadecimal;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// All that should run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// What a service depends on comes before it.
    pub services: Vec<Service>,
    /// What becomes of images that no service needs.
    pub images: settings::Images,
}

/// One service that should run.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// `[services.NAME]`
    pub name: String,
    /// The validated section; where it serves models, with what [`SERVING`] adds to its environment.
    pub settings: settings::Service,
    /// Hash of all that its container is made of but the image's version; see [`spec_hash`].
    pub spec_hash: String,
    /// What keeps it from being started.
    pub obstacles: Vec<Obstacle>,
}

/// Something without which a service cannot be started. One that runs is left running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// A mount lies on a required volume that is not there, or the models that it serves lie on any.
    Volume {
        /// `[volumes.NAME]`
        name: String,
        /// Bootstrap's words.
        reason: String,
    },
    /// It uses a secret of which no version could be fetched.
    Secret {
        /// `[secrets.NAME]`
        name: String,
    },
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Obstacle::Volume { name, reason } => {
                write!(formatter, "volume {name} is not mounted ({reason})")
            }
            Obstacle::Secret { name } => write!(formatter, "secret {name} is not there yet"),
        }
    }
}

impl Desired {
    /// What `settings` ask for, given the volumes of this boot and the current version id of each secret that is there.
    pub fn new(
        settings: &Settings,
        volumes: &[handoff::Volume],
        secrets: &BTreeMap<String, String>,
    ) -> Desired {
        let services = dependency_order(&settings.services)
            .into_iter()
            .filter_map(|name| Some((name, settings.services.get(name)?)))
            .map(|(name, service)| {
                let models = settings.models.as_ref().filter(|models| serves(name, models));
                let service = if models.is_some() { serving(service) } else { service.clone() };
                let folder = models.and_then(|models| models.directory.as_deref());
                Service {
                    name: name.to_owned(),
                    spec_hash: spec_hash(&service, &restarting_versions(&service, settings, secrets)),
                    obstacles: obstacles(&service, folder, settings, volumes, secrets),
                    settings: service,
                }
            })
            .collect();
        Desired { services, images: settings.images.clone() }
    }

    /// The service of that name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }
}

/// The names with dependencies first, otherwise in their own order. The configuration refuses cycles; should one get
/// here all the same, its members come in the order of their names rather than not at all.
fn dependency_order(services: &BTreeMap<String, settings::Service>) -> Vec<&str> {
    fn visit<'a>(
        name: &'a str,
        services: &'a BTreeMap<String, settings::Service>,
        seen: &mut BTreeSet<&'a str>,
        order: &mut Vec<&'a str>,
    ) {
        let Some(service) = services.get(name) else { return };
        if !seen.insert(name) {
            return;
        }
        for dependency in &service.depends_on {
            visit(dependency, services, seen, order);
        }
        order.push(name);
    }
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for name in services.keys() {
        visit(name, services, &mut seen, &mut order);
    }
    order
}

/// What a service that serves models gets into its environment, unless node.toml has the variable: at its start Ollama
/// would remove what is left of pulls that the agent goes on with (`PruneLayers` in ollama `server/routes.go`).
const SERVING: (&str, &str) = ("OLLAMA_NOPRUNE", "1");

/// Whether this service is the one that serves the models.
fn serves(name: &str, models: &settings::Models) -> bool {
    match &models.server {
        ModelServer::Service { name: serving, .. } => serving == name,
        ModelServer::Url(_) => false,
    }
}

fn serving(service: &settings::Service) -> settings::Service {
    let mut service = service.clone();
    let (name, value) = SERVING;
    service.environment.entry(name.to_owned()).or_insert_with(|| EnvironmentValue::Literal(value.to_owned()));
    service
}

/// The secrets whose values end up in the service's container.
pub fn secrets_of(service: &settings::Service) -> BTreeSet<&str> {
    let keys = service.environment.values().filter_map(|value| match value {
        EnvironmentValue::FromSecret { secret, .. } => Some(secret.as_str()),
        EnvironmentValue::Literal(_) => None,
    });
    let whole = service.environment_from.iter().chain(&service.secret_files).map(String::as_str);
    keys.chain(whole).collect()
}

/// Versions of those secrets of the service whose change restarts it.
fn restarting_versions<'a>(
    service: &'a settings::Service,
    settings: &Settings,
    versions: &'a BTreeMap<String, String>,
) -> BTreeMap<&'a str, Option<&'a str>> {
    secrets_of(service)
        .into_iter()
        .filter(|name| settings.secrets.get(*name).is_none_or(|secret| secret.restart_on_change))
        .map(|name| (name, versions.get(name).map(String::as_str)))
        .collect()
}

/// Everything that shapes a container but the image's version. How it is watched, updated, stopped and ordered is the
/// agent's own business: changing that must not replace a container.
#[derive(Serialize)]
struct Shape<'a> {
    image: String,
    command: &'a [String],
    ports: &'a [settings::Port],
    environment: &'a BTreeMap<String, EnvironmentValue>,
    environment_from: &'a [String],
    secret_files: &'a [String],
    mounts: &'a [settings::Mount],
    memory_bytes: Option<u64>,
    nano_cpus: Option<i64>,
    user: Option<&'a str>,
    read_only: bool,
    capabilities: &'a [String],
    network: settings::Network,
    // What an older agent did not know is left out where it is not used, so that its containers are still the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    gpus: Option<settings::Gpus>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    routed: bool,
    secret_versions: &'a BTreeMap<&'a str, Option<&'a str>>,
}

/// SHA-256, in hexadecimal, over the canonical JSON (fixed order of fields, maps sorted by key) of what the container
/// is made of, with the version ids of the secrets whose change restarts it.
pub fn spec_hash(service: &settings::Service, secret_versions: &BTreeMap<&str, Option<&str>>) -> String {
    // Taken apart by name, so that a new key of node.toml has to find its place here.
    let settings::Service {
        image,
        command,
        ports,
        environment,
        environment_from,
        secret_files,
        mounts,
        depends_on: _,
        memory_bytes,
        nano_cpus,
        gpus,
        user,
        read_only,
        capabilities,
        imds: _,
        stop_timeout: _,
        network,
        health: _,
        update,
        logs: _,
    } = service;
    let shape = Shape {
        image: image.name(),
        command,
        ports,
        environment,
        environment_from,
        secret_files,
        mounts,
        memory_bytes: *memory_bytes,
        nano_cpus: *nano_cpus,
        user: user.as_deref(),
        read_only: *read_only,
        capabilities,
        network: *network,
        gpus: *gpus,
        routed: update.strategy == settings::Strategy::BlueGreen,
        secret_versions,
    };
    // Strings, numbers and string-keyed maps only: serialising cannot fail.
    let canonical = serde_json::to_vec(&shape).unwrap_or_default();
    hexadecimal(&Sha256::digest(&canonical))
}

/// `models` is the folder of the host with those that the service serves. Where that is on a volume, the service waits for it even if the
/// node could do without: what it pulled meanwhile would fill the root volume, and be hidden when the volume comes.
fn obstacles(
    service: &settings::Service,
    models: Option<&str>,
    settings: &Settings,
    volumes: &[handoff::Volume],
    secrets: &BTreeMap<String, String>,
) -> Vec<Obstacle> {
    let missing_volumes = settings
        .volumes
        .iter()
        .filter(|(_, volume)| {
            let holds = |path: &str| Path::new(path).starts_with(&volume.mount);
            let is_required = !volume.optional && service.mounts.iter().any(|mount| holds(&mount.host));
            is_required || models.is_some_and(holds)
        })
        .filter_map(|(name, _)| missing_volume(name, volumes));
    let missing_secrets = secrets_of(service)
        .into_iter()
        .filter(|name| !secrets.contains_key(*name))
        .map(|name| Obstacle::Secret { name: name.to_owned() });
    missing_volumes.chain(missing_secrets).collect()
}

fn missing_volume(name: &str, volumes: &[handoff::Volume]) -> Option<Obstacle> {
    let reason = match volumes.iter().find(|volume| volume.name == name) {
        Some(volume) if volume.mounted => return None,
        Some(volume) => volume.reason.clone(),
        None => "bootstrap has not reported on it on this boot".to_owned(),
    };
    Some(Obstacle::Volume { name: name.to_owned(), reason })
}

#[cfg(test)]
#[path = "desired_tests.rs"]
mod tests;
