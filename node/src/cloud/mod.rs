//! AWS for both programs: one HTTP client, one credential source, and Secrets Manager. Only this module and the
//! agent's `cloud/` name the AWS SDK.

pub mod secrets_manager;

use crate::environment::Environment;
use crate::imds;

/// What every AWS client is made from: our TLS stack, deadlines, the region, endpoints from the environment, and
/// credentials from the environment or, through our own metadata client, from the instance's role. Makes no call.
pub async fn sdk_config(_imds: &imds::Client, _region: &str, _environment: &Environment) -> aws_config::SdkConfig {
    todo!()
}
