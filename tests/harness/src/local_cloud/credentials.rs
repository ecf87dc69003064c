//! The keys that may sign AWS calls: the role's temporary ones, as IMDS hands
//! them out, and fixed ones for calls from outside the instance.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::chance;

/// IMDS has new credentials at least five minutes before the old ones end.
const RENEWED_BEFORE_END: SignedDuration = SignedDuration::from_mins(5);

/// One key pair with its session token.
#[derive(Clone)]
pub struct Key {
    /// Access key id, `ASIA…` for temporary keys, `AKIA…` for fixed ones.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: String,
    /// Session token; `None` for fixed keys.
    pub session_token: Option<String>,
    /// When it was made.
    pub issued: Timestamp,
    /// When it ends; `None` for fixed keys.
    pub expires: Option<Timestamp>,
}

/// All keys that the cloud knows.
pub struct Credentials {
    lifetime: SignedDuration,
    current: String,
    keys: BTreeMap<String, Key>,
}

impl Credentials {
    pub(super) fn new(lifetime: SignedDuration, now: Timestamp) -> Self {
        let mut credentials = Self { lifetime, current: String::new(), keys: BTreeMap::new() };
        credentials.rotate(now);
        credentials
    }

    /// New keys for the role; the old ones work until they end.
    pub fn rotate(&mut self, now: Timestamp) -> Key {
        let key = Key {
            access_key_id: format!("ASIA{}", chance::hexadecimal(16).to_uppercase()),
            secret_access_key: chance::hexadecimal(40),
            session_token: Some(chance::hexadecimal(96)),
            issued: now,
            expires: Some(now + self.lifetime),
        };
        self.current.clone_from(&key.access_key_id);
        self.keys.insert(key.access_key_id.clone(), key.clone());
        key
    }

    /// A fixed key, as an operator outside the instance has one.
    pub fn add_fixed(&mut self, now: Timestamp) -> Key {
        let key = Key {
            access_key_id: format!("AKIA{}", chance::hexadecimal(16).to_uppercase()),
            secret_access_key: chance::hexadecimal(40),
            session_token: None,
            issued: now,
            expires: None,
        };
        self.keys.insert(key.access_key_id.clone(), key.clone());
        key
    }

    /// Lifetime of the role's next keys.
    pub fn set_lifetime(&mut self, lifetime: SignedDuration) {
        self.lifetime = lifetime;
    }

    /// Ends every temporary key at once, as a revoked role session does.
    pub fn expire(&mut self, now: Timestamp) {
        for key in self.keys.values_mut().filter(|key| key.expires.is_some()) {
            key.expires = Some(now);
        }
    }

    /// What IMDS answers: the current keys, or new ones when they are about to
    /// end.
    pub(super) fn for_instance(&mut self, now: Timestamp) -> Key {
        match self.keys.get(&self.current) {
            Some(key) if key.expires.is_some_and(|end| now + RENEWED_BEFORE_END < end) => key.clone(),
            _ => self.rotate(now),
        }
    }

    pub(super) fn get(&self, access_key_id: &str) -> Option<&Key> {
        self.keys.get(access_key_id)
    }
}
