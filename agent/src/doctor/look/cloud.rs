//! What is asked of AWS: endpoints that node.toml needs, and what the role may do there.

use super::{Known, Patient};
use crate::cloud::attempts;
use crate::cloud::ecr::Ecr;
use crate::doctor::judge;
use crate::examined::{Attempt, Endpoint, Outcome, Unknown};
use crate::finding::Finding;
use crate::host::docker::Docker;
use crate::host::examine;
use crate::registries::Registries;
use futures_util::future::join_all;
use jiff::Timestamp;
use node::cloud::secrets_manager::SecretsManager;
use node::config::settings::{ImageReference, Secret, Settings};
use node::environment::Environment;
use node::identity::Facts;
use node::secrets::Store;
use std::collections::BTreeSet;

/// Endpoints and permissions, and with the endpoints' time the clock.
pub(in crate::doctor) async fn aws(patient: &Patient, known: &Known) -> Vec<Finding> {
    let (Some(settings), Some(facts)) = (known.settings.as_ref(), known.facts.as_ref()) else {
        let mut findings = judge::aws(&[], &[]);
        findings.extend(judge::clock(&[], examine::kernel_clock()));
        return findings;
    };
    let wanted = endpoints(settings, &facts.region, &patient.environment);
    let looks = wanted.iter().map(|(service, url)| examine::endpoint(service, url));
    let (endpoints, attempts): (Vec<Endpoint>, Vec<Attempt>) =
        tokio::join!(join_all(looks), attempts(patient, settings, facts));
    let mut findings = judge::aws(&endpoints, &attempts);
    findings.extend(judge::clock(&endpoints, examine::kernel_clock()));
    findings
}

/// Names and URLs of the services that node.toml needs (AWS General Reference, "Service endpoints"), or those that the
/// environment names.
fn endpoints(settings: &Settings, region: &str, environment: &Environment) -> Vec<(&'static str, String)> {
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let ecr = settings.services.values().any(|service| service.image.registry.contains(".ecr"));
    let services = [
        ("ecr", "api.ecr", "ECR", ecr),
        ("secretsmanager", "secretsmanager", "SECRETS_MANAGER", !settings.secrets.is_empty()),
        ("logs", "logs", "CLOUDWATCH_LOGS", settings.logs.is_some()),
    ];
    let url = |host: &str, variable: &str| {
        let named = environment.get(&format!("AWS_ENDPOINT_URL_{variable}"));
        let named = named.or_else(|| environment.get("AWS_ENDPOINT_URL"));
        named.map_or_else(|| format!("https://{host}.{region}.{suffix}"), str::to_owned)
    };
    let needed = services.into_iter().filter(|(.., needed)| *needed);
    needed.map(|(service, host, variable, _)| (service, url(host, variable))).collect()
}

async fn attempts(patient: &Patient, settings: &Settings, facts: &Facts) -> Vec<Attempt> {
    let config = node::cloud::sdk_config(&patient.imds, &facts.region, &patient.environment).await;
    let secrets = SecretsManager::new(&config);
    let of_secrets = join_all(settings.secrets.iter().map(|(name, secret)| reads(&secrets, name, secret)));
    let of_logs = async {
        let logs = settings.logs.as_ref()?;
        let outcome = attempts::put_logs(&config, &logs.group, Timestamp::now()).await;
        Some(Attempt { check: "ship logs".to_owned(), outcome })
    };
    let (of_images, of_secrets, of_logs) =
        tokio::join!(pulls(patient, settings, facts, Ecr::new(&config)), of_secrets, of_logs);
    of_images.into_iter().chain(of_secrets).chain(of_logs).collect()
}

async fn reads(source: &SecretsManager, name: &str, secret: &Secret) -> Attempt {
    let outcome = match source.fetch(name, secret, Timestamp::now()).await {
        // The values are forgotten here.
        Ok(value) => {
            Outcome::Allowed(format!("{} may be read, and has {} keys", secret.id, value.values.len()))
        }
        Err(error) => Outcome::Refused(Unknown::of(&error)),
    };
    Attempt { check: format!("secret {name}"), outcome }
}

/// One for each image, however many services run it.
async fn pulls(patient: &Patient, settings: &Settings, facts: &Facts, ecr: Ecr) -> Vec<Attempt> {
    let Ok(docker) = Docker::connect(patient.environment.get("DOCKER_HOST")) else { return Vec::new() };
    let store = Store::new(&patient.paths);
    let registries = Registries::new(settings.registries.clone(), facts, ecr, docker, store);
    let images: BTreeSet<_> = settings.services.values().map(|service| &service.image).collect();
    let users = |image: &ImageReference| {
        let users = settings.services.iter().filter(|(_, service)| service.image == *image);
        users.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    };
    join_all(images.into_iter().map(|image| {
        let check = format!("image of {}", users(image));
        let outcome = registries.attempt(image);
        async move { Attempt { check, outcome: outcome.await } }
    }))
    .await
}
