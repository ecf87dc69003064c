//! ECR authorization tokens: handed out by GetAuthorizationToken, asked for by
//! the registry.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};

use super::chance;

/// What the registry makes of a request's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A token that is valid now.
    Valid,
    /// A token that was valid.
    Expired,
    /// Absent, malformed or never handed out.
    Unknown,
}

/// The tokens handed out so far.
pub struct RegistryTokens {
    lifetime: SignedDuration,
    expires: BTreeMap<String, Timestamp>,
}

impl RegistryTokens {
    pub(super) fn new(lifetime: SignedDuration) -> Self {
        Self { lifetime, expires: BTreeMap::new() }
    }

    /// Lifetime of the next tokens.
    pub fn set_lifetime(&mut self, lifetime: SignedDuration) {
        self.lifetime = lifetime;
    }

    /// Ends every token that is out.
    pub fn expire(&mut self, now: Timestamp) {
        self.expires.values_mut().for_each(|end| *end = now);
    }

    /// A new password for the user `AWS`, and when it ends. The password holds
    /// a colon: clients must split at the first one only.
    pub fn issue(&mut self, now: Timestamp) -> (String, Timestamp) {
        let password = format!("{}:{}", chance::hexadecimal(64), chance::hexadecimal(32));
        let end = now + self.lifetime;
        self.expires.insert(password.clone(), end);
        (password, end)
    }

    /// Takes a password that another service handed out in this cloud's place.
    pub fn accept(&mut self, password: &str, end: Timestamp) {
        self.expires.insert(password.to_owned(), end);
    }

    /// Judges an `Authorization` header.
    #[must_use]
    pub fn judge(&self, authorization: &str, now: Timestamp) -> Verdict {
        let password = authorization
            .strip_prefix("Basic ")
            .and_then(|encoded| STANDARD.decode(encoded).ok())
            .and_then(|plain| String::from_utf8(plain).ok())
            .and_then(|plain| plain.strip_prefix("AWS:").map(str::to_owned));
        match password.and_then(|password| self.expires.get(&password)) {
            Some(end) if now < *end => Verdict::Valid,
            Some(_) => Verdict::Expired,
            None => Verdict::Unknown,
        }
    }
}
