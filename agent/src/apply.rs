//! Carries out one step of a plan on the engine, with logins from the registry and values from the secrets on tmpfs.
//!
//! In: an [`Action`] and the service that it is for. Out: what came of it. Makes no decision: what was tried and failed
//! is decided anew by the next plan. A step that is dropped half-way is found half-way by that plan.

use crate::desired::Service;
use crate::engine::{ContainerSpec, Engine, EngineError, PullProgress};
use crate::history::Version;
use crate::history::memory::Failure;
use crate::outcome::Outcome;
use crate::plan::Action;
use crate::registry::{Registry, RegistryError};
use jiff::Timestamp;
use node::config::settings::{self, EnvironmentValue};
use node::fault::{Hint, one_line};
use node::secrets::{SecretValue, Store, StoreError};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Lines of a failed container that are kept.
const LAST_LOG_LINES: usize = 50;

/// For an answer of a service's own `before` or `after` command.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// Answers of the engine for which the image or its specification is to blame, so that an update to it is given up.
/// Everything else (full disk, missing mount, throttled registry) would befall any version.
const VERSION_TO_BLAME: [&str; 4] =
    ["engine_refused", "entrypoint_missing", "port_in_use", "wrong_architecture"];

/// What steps are carried out on. Clones share it.
#[derive(Debug)]
pub struct Tools<E, R> {
    /// The engine.
    pub engine: Arc<E>,
    /// Where logins come from.
    pub registry: Arc<R>,
    /// Where values of secrets lie.
    pub secrets: Store,
}

impl<E, R> Clone for Tools<E, R> {
    fn clone(&self) -> Self {
        Tools {
            engine: Arc::clone(&self.engine),
            registry: Arc::clone(&self.registry),
            secrets: self.secrets.clone(),
        }
    }
}

/// Why a step was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The engine did not do it.
    #[error("service {service}")]
    Engine {
        /// For which service.
        service: String,
        /// Why.
        #[source]
        source: EngineError,
    },
    /// The engine did not remove an image.
    #[error("images that no service needs")]
    Images {
        /// Why.
        #[source]
        source: EngineError,
    },
    /// There was no login to pull with.
    #[error("service {service}: no login for the pull")]
    Login {
        /// For which service.
        service: String,
        /// Why.
        #[source]
        source: RegistryError,
    },
    /// A secret cannot be read.
    #[error("service {service}")]
    Secret {
        /// For which service.
        service: String,
        /// Why; holds no value.
        #[source]
        source: StoreError,
    },
    /// A secret is not on the node.
    #[error("service {service}: secret {secret} is not there")]
    SecretMissing {
        /// For which service.
        service: String,
        /// `[secrets.NAME]`
        secret: String,
    },
    /// A secret lacks a key that the service names.
    #[error("service {service}: secret {secret} has no key {key}")]
    KeyMissing {
        /// For which service.
        service: String,
        /// `[secrets.NAME]`
        secret: String,
        /// The key.
        key: String,
    },
    /// A value cannot be an environment variable.
    #[error(
        "service {service}: key {key} of secret {secret} is no text, and cannot be an environment variable"
    )]
    NoText {
        /// For which service.
        service: String,
        /// `[secrets.NAME]`
        secret: String,
        /// The key.
        key: String,
    },
    /// The plan names a service that is no longer wanted.
    #[error("service {service} is no longer in node.toml")]
    Unwanted {
        /// Which.
        service: String,
    },
}

impl ApplyError {
    /// Stable code for `problems[]`.
    pub fn code(&self) -> &'static str {
        match self {
            ApplyError::Engine { source, .. } | ApplyError::Images { source } => source.code(),
            ApplyError::Login { source, .. } => source.code,
            ApplyError::Secret { .. } => "secret_unreadable",
            ApplyError::SecretMissing { .. } => "secret_missing",
            ApplyError::KeyMissing { .. } => "secret_key_missing",
            ApplyError::NoText { .. } => "secret_not_text",
            ApplyError::Unwanted { .. } => "service_unknown",
        }
    }

    /// As it is remembered.
    pub fn failure(&self, at: Timestamp) -> Failure {
        let refused = matches!(self, ApplyError::Engine { source: EngineError::Refused { .. }, .. });
        Failure {
            code: self.code().to_owned(),
            message: one_line(self),
            hint: self.hint(),
            version_to_blame: refused && VERSION_TO_BLAME.contains(&self.code()),
            container_spent: refused && self.code() != "disk_full",
            at,
            count: 1,
        }
    }
}

impl Hint for ApplyError {
    fn hint(&self) -> Option<String> {
        match self {
            ApplyError::Engine { source, .. } | ApplyError::Images { source } => source.hint(),
            ApplyError::Login { source, .. } => source.hint(),
            ApplyError::Secret { source, .. } => source.hint(),
            ApplyError::Unwanted { .. } => {
                Some("nothing, if it was taken out on purpose; else write it into node.toml again".to_owned())
            }
            ApplyError::SecretMissing { .. } => {
                Some("look at the secret's problem in `agentctl status`".to_owned())
            }
            ApplyError::KeyMissing { secret, key, .. } => Some(format!(
                "add {key} to the secret, or to `require` of [secrets.{secret}] to be told at boot"
            )),
            ApplyError::NoText { .. } => Some("use `secret_files` for it".to_owned()),
        }
    }
}

/// Carries out `action` for the service of that name; `wanted` is its section, absent when it left node.toml.
pub async fn apply<E: Engine, R: Registry>(
    tools: &Tools<E, R>,
    name: &str,
    wanted: Option<&Service>,
    action: &Action,
    progress: &(dyn Fn(PullProgress) + Send + Sync),
) -> Result<Outcome, ApplyError> {
    let engine = &tools.engine;
    let failed = |source| ApplyError::Engine { service: name.to_owned(), source };
    let service = || wanted.ok_or_else(|| ApplyError::Unwanted { service: name.to_owned() });
    match action {
        Action::Pull { digest } => pull(tools, service()?, digest, progress).await?,
        Action::Create { version, generation } => {
            let spec = container_spec(&tools.secrets, service()?, version, *generation)?;
            engine.create(&spec).await.map_err(failed)?;
        }
        Action::Start { container_id, .. } => engine.start(container_id).await.map_err(failed)?,
        Action::Stop { container_id, timeout, .. } => {
            engine.stop(container_id, *timeout).await.map_err(failed)?;
        }
        Action::Remove { container_id } => engine.remove(container_id).await.map_err(failed)?,
        Action::RemoveImage { name } => {
            engine.remove_image(name).await.map_err(|source| ApplyError::Images { source })?;
        }
        Action::RecordGood { .. } => {}
        Action::AskBefore { container_id, .. } => {
            return ask(tools, service()?, container_id, |update| &update.before).await;
        }
        Action::AskAfter { run } => {
            return ask(tools, service()?, &run.container_id, |update| &update.after).await;
        }
        Action::Quarantine { container_id, .. } => {
            let Some(container_id) = container_id else { return Ok(Outcome::Done) };
            // Without its last lines a failure is still a failure.
            let lines = engine.last_log_lines(container_id, LAST_LOG_LINES).await.unwrap_or_default();
            return Ok(Outcome::LastLogLines(lines));
        }
    }
    Ok(Outcome::Done)
}

/// Runs one of the service's own commands in its container.
async fn ask<E: Engine, R: Registry>(
    tools: &Tools<E, R>,
    service: &Service,
    container_id: &str,
    command: impl Fn(&settings::Update) -> &Vec<String>,
) -> Result<Outcome, ApplyError> {
    let command = command(&service.settings.update);
    let answered = tools.engine.exec(container_id, command, ANSWER_DEADLINE).await;
    let answered = answered.map_err(|source| ApplyError::Engine { service: service.name.clone(), source })?;
    Ok(Outcome::Answered { code: answered.code, output: answered.output })
}

async fn pull<E: Engine, R: Registry>(
    tools: &Tools<E, R>,
    service: &Service,
    digest: &str,
    progress: &(dyn Fn(PullProgress) + Send + Sync),
) -> Result<(), ApplyError> {
    let image = &service.settings.image;
    let name = || service.name.clone();
    let login = tools.registry.login(image).await;
    let login = login.map_err(|source| ApplyError::Login { service: name(), source })?;
    let pulled = tools.engine.pull(image, digest, login, progress).await;
    pulled.map_err(|source| ApplyError::Engine { service: name(), source })
}

/// Everything that the engine needs to make the container.
fn container_spec(
    store: &Store,
    service: &Service,
    version: &Version,
    generation: u64,
) -> Result<ContainerSpec, ApplyError> {
    let secrets = read_secrets(store, service)?;
    let secret_folders = service.settings.secret_files.iter().filter_map(|name| {
        let version_id = &secrets.get(name.as_str())?.version_id;
        Some((name.clone(), store.folder(name, version_id)))
    });
    let secret_folders: Vec<(String, PathBuf)> = secret_folders.collect();
    Ok(ContainerSpec {
        service: service.name.clone(),
        settings: service.settings.clone(),
        digest: version.digest.clone(),
        spec_hash: version.spec.clone(),
        generation,
        environment: environment(&service.name, &service.settings, &secrets)?,
        secret_folders,
    })
}

fn read_secrets(store: &Store, service: &Service) -> Result<BTreeMap<String, SecretValue>, ApplyError> {
    let mut secrets = BTreeMap::new();
    for name in crate::desired::secrets_of(&service.settings) {
        let current = store.current(name);
        let current =
            current.map_err(|source| ApplyError::Secret { service: service.name.clone(), source })?;
        let missing = || ApplyError::SecretMissing { service: service.name.clone(), secret: name.to_owned() };
        secrets.insert(name.to_owned(), current.ok_or_else(missing)?);
    }
    Ok(secrets)
}

/// The environment with its secrets filled in. What is written in `environment` wins over `environment_from`, and a
/// later secret there over an earlier one.
fn environment(
    service: &str,
    settings: &settings::Service,
    secrets: &BTreeMap<String, SecretValue>,
) -> Result<Vec<(String, SecretString)>, ApplyError> {
    let mut environment = BTreeMap::new();
    for name in &settings.environment_from {
        for key in secrets.get(name).into_iter().flat_map(|secret| secret.values.keys()) {
            environment.insert(key.clone(), secret_text(service, secrets, name, key)?);
        }
    }
    for (name, value) in &settings.environment {
        let value = match value {
            EnvironmentValue::Literal(text) => SecretString::from(text.clone()),
            EnvironmentValue::FromSecret { secret, key } => secret_text(service, secrets, secret, key)?,
        };
        environment.insert(name.clone(), value);
    }
    Ok(environment.into_iter().collect())
}

fn secret_text(
    service: &str,
    secrets: &BTreeMap<String, SecretValue>,
    secret: &str,
    key: &str,
) -> Result<SecretString, ApplyError> {
    let (service, key, secret_name) = (service.to_owned(), key.to_owned(), secret.to_owned());
    let Some(value) = secrets.get(secret).and_then(|secret| secret.values.get(&key)) else {
        return Err(ApplyError::KeyMissing { service, secret: secret_name, key });
    };
    match std::str::from_utf8(value.expose_secret()) {
        // The engine's API ends a value at a NUL.
        Ok(text) if !text.contains('\0') => Ok(SecretString::from(text.to_owned())),
        _ => Err(ApplyError::NoText { service, secret: secret_name, key }),
    }
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
