//! What the local cloud knows: the instance, its tags, secrets, credentials,
//! registry tokens and logs.
//!
//! [`Initial`] is what a test or a state file gives; [`State`] is the live
//! value behind it, changed by requests and by tests. Every rule that needs the
//! time is given it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::credentials::Credentials;
use super::log_store::LogStore;
use super::registry_tokens::RegistryTokens;
use super::secret_store::SecretStore;

/// What IMDS says of the instance.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Instance {
    /// Instance id, `i-…`.
    pub id: String,
    /// Instance type.
    pub instance_type: String,
    /// Region; the credential scope of every AWS call must name it.
    pub region: String,
    /// Availability zone.
    pub availability_zone: String,
    /// Account of the instance, its registry and its secrets.
    pub account: String,
    /// Image id, `ami-…`.
    pub ami_id: String,
    /// Primary private address.
    pub local_ipv4: String,
    /// Private host name.
    pub hostname: String,
    /// Hardware address of the first interface.
    pub mac: String,
    /// `x86_64` or `arm64`.
    pub architecture: String,
}

impl Default for Instance {
    fn default() -> Self {
        Self {
            id: "i-0123456789abcdef0".into(),
            instance_type: "t3.small".into(),
            region: "eu-north-1".into(),
            availability_zone: "eu-north-1a".into(),
            account: "123456789012".into(),
            ami_id: "ami-0123456789abcdef0".into(),
            local_ipv4: "198.18.0.2".into(),
            hostname: "ip-198-18-0-2.eu-north-1.compute.internal".into(),
            mac: "02:00:00:00:00:01".into(),
            architecture: "x86_64".into(),
        }
    }
}

/// The value of a secret as a state file writes it.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub enum SecretText {
    /// The text as it is.
    Text(String),
    /// An object, kept as JSON text.
    Keys(BTreeMap<String, String>),
}

/// The state a cloud starts with; every part has a default. No `Debug`: it
/// holds secrets.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Initial {
    /// The instance.
    pub instance: Instance,
    /// Instance tags in IMDS; absent means that tags in metadata are disabled.
    pub tags: Option<BTreeMap<String, String>>,
    /// Name of the instance role; absent means no instance profile.
    pub role: Option<String>,
    /// Lifetime of the role's credentials, seconds.
    pub credentials_lifetime_seconds: i64,
    /// Lifetime of an ECR token, seconds.
    pub registry_token_lifetime_seconds: i64,
    /// `block-device-mapping/` entries, such as `ebs1` = `sdf`.
    pub block_devices: BTreeMap<String, String>,
    /// User data; absent answers 404.
    pub user_data: Option<String>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, SecretText>,
    /// Further leaves below `meta-data/`, such as `spot/instance-action`.
    pub metadata: BTreeMap<String, String>,
    /// Actions answered with AccessDeniedException: `service:Operation`, or
    /// `service:Operation RESOURCE` with the name of one secret, repository or
    /// log group.
    pub denied: BTreeSet<String>,
    /// IP hop limit (1..=255) of IMDS answers; absent leaves the host's.
    pub hop_limit: Option<u32>,
}

impl Default for Initial {
    fn default() -> Self {
        Self {
            instance: Instance::default(),
            tags: Some(BTreeMap::from([("Name".into(), "local-node".into())])),
            role: Some("local-node-role".into()),
            credentials_lifetime_seconds: 6 * 3600,
            registry_token_lifetime_seconds: 12 * 3600,
            block_devices: BTreeMap::from([
                ("ami".into(), "/dev/xvda".into()),
                ("root".into(), "/dev/xvda".into()),
                ("ebs1".into(), "sdf".into()),
            ]),
            user_data: None,
            secrets: BTreeMap::new(),
            metadata: BTreeMap::new(),
            denied: BTreeSet::new(),
            hop_limit: None,
        }
    }
}

/// The live state. Public parts may be changed by a test at any time.
pub struct State {
    /// The instance.
    pub instance: Instance,
    /// Instance tags in IMDS; `None` when tags in metadata are disabled.
    pub tags: Option<BTreeMap<String, String>>,
    /// Name of the instance role, if it has a profile.
    pub role: Option<String>,
    /// `block-device-mapping/` entries.
    pub block_devices: BTreeMap<String, String>,
    /// User data.
    pub user_data: Option<String>,
    /// Further leaves below `meta-data/`.
    pub metadata: BTreeMap<String, String>,
    /// Denied actions, see [`Initial::denied`].
    pub denied: BTreeSet<String>,
    /// IP hop limit of IMDS answers.
    pub hop_limit: Option<u32>,
    /// Keys that may sign AWS calls.
    pub credentials: Credentials,
    /// Secrets and their versions.
    pub secrets: SecretStore,
    /// ECR authorization tokens.
    pub registry_tokens: RegistryTokens,
    /// Log groups, streams and events.
    pub logs: LogStore,
    /// When each `repository@digest` was first seen, which stands for its push.
    pub pushed_at: BTreeMap<String, Timestamp>,
    /// IMDS session tokens and when they end.
    pub(super) imds_tokens: HashMap<String, tokio::time::Instant>,
}

impl State {
    pub(super) fn new(initial: Initial, now: Timestamp) -> Self {
        let mut secrets = SecretStore::new(&initial.instance.region, &initial.instance.account);
        for (name, value) in initial.secrets {
            let text = match value {
                SecretText::Text(text) => text,
                SecretText::Keys(keys) => serde_json::json!(keys).to_string(),
            };
            secrets.put(&name, text, now);
        }
        let lifetime = SignedDuration::from_secs(initial.credentials_lifetime_seconds);
        Self {
            instance: initial.instance,
            tags: initial.tags,
            role: initial.role,
            block_devices: initial.block_devices,
            user_data: initial.user_data,
            metadata: initial.metadata,
            denied: initial.denied,
            hop_limit: initial.hop_limit,
            credentials: Credentials::new(lifetime, now),
            secrets,
            registry_tokens: RegistryTokens::new(SignedDuration::from_secs(
                initial.registry_token_lifetime_seconds,
            )),
            logs: LogStore::default(),
            pushed_at: BTreeMap::new(),
            imds_tokens: HashMap::new(),
        }
    }

    /// Forgets every IMDS session token: the next use of one is a 401.
    pub fn expire_imds_tokens(&mut self) {
        self.imds_tokens.clear();
    }

    pub(super) fn denies(&self, action: &str, resource: &str) -> bool {
        self.denied.contains(action) || self.denied.contains(&format!("{action} {resource}"))
    }
}
