//! The tasks that need to know the instance, and what connects them.
//!
//! ```text
//! settings + volumes (handoff) + secret versions -> desired -> reconcile -> board -> logs, control API, publish
//!                                                      \-> updates -> candidates /
//! ```

use crate::host::docker::Docker;
use crate::run::Agent;
use crate::secrets::{Refresh, Versions};
use aws_config::SdkConfig;
use node::cloud::secrets_manager::SecretsManager;
use node::config::Settings;
use node::identity::Facts;
use node::secrets::Store;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use tokio::sync::watch;

/// Starts them all.
pub(crate) async fn start(agent: &mut Agent, settings: &Arc<Settings>, facts: &Facts) {
    let cloud = node::cloud::sdk_config(&agent.imds, &facts.region, &agent.start.environment).await;
    let versions = secrets(agent, settings, facts, &cloud);
}
