//! [`Registry`] for every kind of registry that node.toml can name.
//!
//! In: an image reference. Out: its digest and the login to pull with. ECR is asked itself; it also says when an image
//! was pushed. Every other registry is asked through the engine. What always holds: no more than one request for a
//! token is under way for a registry, and no password is in an error.

mod place;
mod tokens;

use crate::cloud::attempts;
use crate::cloud::ecr::{Ecr, EcrRegistry};
use crate::engine::EngineError;
use crate::examined::{Outcome, Unknown};
use crate::host::docker::Docker;
use crate::registry::{Login, Registry, RegistryError, Resolved};
use node::config::settings::{ImageReference, RegistryAuth};
use node::fault::{Hint, one_line};
use node::identity::Facts;
use node::secrets::Store;
use place::ecr_registry;
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use tokens::Tokens;

/// All registries of the node.
#[derive(Debug)]
pub struct Registries {
    authentication: BTreeMap<String, RegistryAuth>,
    own: EcrRegistry,
    ecr: Ecr,
    docker: Docker,
    store: Store,
    tokens: Tokens,
}

/// How one registry is asked.
#[derive(Debug, PartialEq, Eq)]
enum Way<'a> {
    /// ECR itself.
    Ecr(EcrRegistry),
    /// Something that takes ECR's tokens: a private endpoint or a mirror.
    TakesTokensOf(EcrRegistry),
    /// User name and password from the secret of that name.
    Secret(&'a str),
    /// Nobody has to log in.
    Anonymous,
}

impl Registries {
    /// `authentication` is `[registries]`; `facts` say whose tokens a mirror takes.
    pub fn new(
        authentication: BTreeMap<String, RegistryAuth>,
        facts: &Facts,
        ecr: Ecr,
        docker: Docker,
        store: Store,
    ) -> Registries {
        let own = EcrRegistry { account: facts.account.clone(), region: facts.region.clone(), fips: false };
        let tokens = Tokens::new(&facts.instance_id);
        Registries { authentication, own, ecr, docker, store, tokens }
    }

    /// What node.toml says of the host comes first; without a word, a host name of ECR speaks for itself.
    fn way(&self, host: &str) -> Way<'_> {
        match (self.authentication.get(host), ecr_registry(host)) {
            (None | Some(RegistryAuth::Ecr), Some(registry)) => Way::Ecr(registry),
            (Some(RegistryAuth::Ecr), None) => Way::TakesTokensOf(self.own.clone()),
            (Some(RegistryAuth::Secret(name)), _) => Way::Secret(name),
            (Some(RegistryAuth::None), _) | (None, None) => Way::Anonymous,
        }
    }

    /// Whether `image` may be looked up and pulled, tried without pulling it.
    pub async fn attempt(&self, image: &ImageReference) -> Outcome {
        if let Way::Ecr(registry) = self.way(&image.registry) {
            return attempts::pull(&self.ecr, &registry, image).await;
        }
        match self.ask_engine(image).await {
            Ok(_) => Outcome::Allowed(format!("{image} is found by the engine")),
            Err(error) => Outcome::Refused(Unknown::of(&error)),
        }
    }

    async fn token(&self, registry: &EcrRegistry) -> Result<Login, RegistryError> {
        self.tokens.login(registry, || self.ecr.token(registry)).await
    }

    /// User name and password from the secrets store, as bootstrap or the secrets task left them there.
    fn login_from_secret(&self, host: &str, name: &str) -> Result<Login, RegistryError> {
        let failed = |code: &'static str, reason: String, hint: Option<String>| RegistryError {
            code,
            message: format!("cannot log in to {host}: {reason}"),
            hint,
        };
        let current = self
            .store
            .current(name)
            .map_err(|error| failed("secret_unreadable", one_line(&error), error.hint()))?;
        let secret = current
            .ok_or_else(|| failed("secret_missing", format!("secret {name} was not fetched"), None))?;
        let text = |key: &str| {
            let value =
                secret.values.get(key).and_then(|value| std::str::from_utf8(value.expose_secret()).ok());
            value.ok_or_else(|| {
                let hint = "the secret of a registry needs the keys `username` and `password`".to_owned();
                failed(
                    "secret_key_missing",
                    format!("secret {name} has no key {key} that is text"),
                    Some(hint),
                )
            })
        };
        Ok(Login { username: text("username")?.to_owned(), password: SecretString::from(text("password")?) })
    }

    /// Asks through the engine. A token that the registry refuses is replaced once: it may have been revoked before its
    /// time.
    async fn ask_engine(&self, image: &ImageReference) -> Result<Resolved, RegistryError> {
        let login = self.login(image).await?;
        let mut answer = self.docker.registry_digest(image, login.as_ref()).await;
        let renewable = matches!(self.way(&image.registry), Way::Ecr(_) | Way::TakesTokensOf(_));
        if renewable && matches!(&answer, Err(error) if error.code() == "pull_refused") {
            self.forget(image);
            let login = self.login(image).await?;
            answer = self.docker.registry_digest(image, login.as_ref()).await;
        }
        let digest = answer.map_err(|error| of_engine(&error))?;
        Ok(Resolved { digest, pushed_at: None, size_bytes: None })
    }
}

impl Registry for Registries {
    async fn resolve(&self, image: &ImageReference) -> Result<Resolved, RegistryError> {
        match self.way(&image.registry) {
            Way::Ecr(registry) => self.ecr.describe(&registry, image).await,
            _ => self.ask_engine(image).await,
        }
    }

    async fn login(&self, image: &ImageReference) -> Result<Option<Login>, RegistryError> {
        match self.way(&image.registry) {
            Way::Ecr(registry) | Way::TakesTokensOf(registry) => self.token(&registry).await.map(Some),
            Way::Secret(name) => self.login_from_secret(&image.registry, name).map(Some),
            Way::Anonymous => Ok(None),
        }
    }

    fn forget(&self, image: &ImageReference) {
        if let Way::Ecr(registry) | Way::TakesTokensOf(registry) = self.way(&image.registry) {
            self.tokens.forget(&registry);
        }
    }
}

fn of_engine(error: &EngineError) -> RegistryError {
    let code = match error.code() {
        "pull_refused" => "registry_denied",
        "pull_throttled" => "registry_throttled",
        "engine_refused" => "registry_refused",
        other => other,
    };
    RegistryError { code, message: one_line(error), hint: error.hint() }
}

#[cfg(test)]
#[path = "registries/tests.rs"]
mod tests;
