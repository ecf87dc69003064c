//! Which instance this is: what the instance metadata service says and what `${…}` in node.toml can name.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The identity of the instance. Read once per boot by bootstrap, carried to the agent in the handoff.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `i-0123456789abcdef0`
    pub instance_id: String,
    /// `t3.small`
    pub instance_type: String,
    /// `ap-northeast-2`
    pub region: String,
    /// `ap-northeast-2a`
    pub availability_zone: String,
    /// Twelve digits.
    pub account: String,
    /// The AMI it was started from.
    pub image_id: String,
    /// Instance tags that were asked for and exist (they are off by default in IMDS). `Name` is always asked for.
    pub tags: BTreeMap<String, String>,
}
