//! Secrets, their versions and staging labels, as Secrets Manager keeps them.
//! Pure: what the service answers is in `secrets_manager`.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::chance;

/// What a version holds.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretValue {
    /// SecretString.
    Text(String),
    /// SecretBinary, as bytes.
    Binary(Vec<u8>),
}

/// One version of a secret.
pub struct Version {
    /// Version id, a UUID.
    pub id: String,
    /// Its value.
    pub value: SecretValue,
    /// Staging labels; a version without any is deprecated.
    pub stages: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
}

/// A secret with all its versions, the newest last.
pub struct Secret {
    /// Its name.
    pub name: String,
    /// Its ARN, with the six characters that AWS appends.
    pub arn: String,
    /// The versions.
    pub versions: Vec<Version>,
}

impl Secret {
    /// The version asked for by id, by label, by both, or the current one.
    #[must_use]
    pub fn version(&self, id: Option<&str>, stage: Option<&str>) -> Option<&Version> {
        let stage = if id.is_none() { Some(stage.unwrap_or("AWSCURRENT")) } else { stage };
        self.versions.iter().find(|version| {
            id.is_none_or(|id| version.id == id)
                && stage.is_none_or(|stage| version.stages.iter().any(|label| label == stage))
        })
    }
}

/// All secrets of the account and region.
pub struct SecretStore {
    arn_prefix: String,
    secrets: BTreeMap<String, Secret>,
}

impl SecretStore {
    pub(super) fn new(region: &str, account: &str) -> Self {
        Self {
            arn_prefix: format!("arn:aws:secretsmanager:{region}:{account}:secret:"),
            secrets: BTreeMap::new(),
        }
    }

    /// Makes a text the current version of a secret, which is created when it
    /// is new; the version before gets AWSPREVIOUS. Returns the version id.
    pub fn put(&mut self, name: &str, text: String, now: Timestamp) -> String {
        self.put_value(name, SecretValue::Text(text), now)
    }

    /// As [`SecretStore::put`] for either kind of value.
    pub fn put_value(&mut self, name: &str, value: SecretValue, now: Timestamp) -> String {
        let secret = self.secrets.entry(name.to_owned()).or_insert_with(|| Secret {
            name: name.to_owned(),
            arn: format!("{}{name}-{}", self.arn_prefix, chance::hexadecimal(6)),
            versions: Vec::new(),
        });
        for version in &mut secret.versions {
            version.stages.retain(|stage| stage != "AWSPREVIOUS");
            for stage in version.stages.iter_mut().filter(|stage| *stage == "AWSCURRENT") {
                *stage = "AWSPREVIOUS".to_owned();
            }
        }
        let id = chance::uuid();
        secret.versions.push(Version {
            id: id.clone(),
            value,
            stages: vec!["AWSCURRENT".to_owned()],
            created: now,
        });
        id
    }

    /// Removes a secret at once, without a recovery window.
    pub fn remove(&mut self, name: &str) -> bool {
        self.secrets.remove(name).is_some()
    }

    /// A secret by name, by ARN, or by ARN without its last six characters.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&Secret> {
        self.secrets.get(id).or_else(|| {
            self.secrets.values().find(|secret| {
                secret.arn == id || secret.arn.rsplit_once('-').is_some_and(|(partial, _)| partial == id)
            })
        })
    }
}
