//! AWS for both programs: one HTTP client, one credential source, and Secrets Manager. Only this module and the
//! agent's `cloud/` name the AWS SDK.
//!
//! In: region, endpoints of the environment, our metadata client. Out: the SDK's configuration, from which every
//! service client is made. What always holds: the SDK's own chains (profiles, SSO, its metadata client) are not on
//! the path, and no call is without a deadline.

mod credentials;
pub mod failure;
pub mod secrets_manager;
#[cfg(test)]
mod tests;

pub use credentials::{NodeCredentials, RoleError, role_of_instance};

use crate::environment::Environment;
use crate::imds;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::tls;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use std::time::Duration;

const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
const READ_DEADLINE: Duration = Duration::from_secs(10);
const ATTEMPT_DEADLINE: Duration = Duration::from_secs(15);
const OPERATION_DEADLINE: Duration = Duration::from_secs(60);
const ATTEMPTS: u32 = 3;
/// Longer than the patience of the metadata client, so that its error is seen and not the cache's.
const CREDENTIALS_DEADLINE: Duration = Duration::from_secs(20);
/// The metadata service has new credentials five minutes before the old ones end.
const CREDENTIALS_RENEWED_BEFORE_END: Duration = Duration::from_secs(240);

/// Makes ring the cryptography of every TLS connection of this process. Idempotent; whoever makes a client calls it.
pub fn install_crypto_provider() {
    // The error says that a provider is installed already, which is what was asked for.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// What every AWS client is made from: our TLS stack, deadlines, the region, endpoints from the environment, and
/// credentials from the process's environment (`AWS_ACCESS_KEY_ID` and company) or, through our own metadata client,
/// from the instance's role. Makes no call.
pub async fn sdk_config(imds: &imds::Client, region: &str, environment: &Environment) -> SdkConfig {
    let variables = SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new());
    sdk_config_with(NodeCredentials::new(variables, imds), region, environment)
}

/// [`sdk_config`] with credentials of the caller's choice.
pub fn sdk_config_with(credentials: NodeCredentials, region: &str, environment: &Environment) -> SdkConfig {
    install_crypto_provider();
    let http_client = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https();
    let deadlines = TimeoutConfig::builder()
        .connect_timeout(CONNECT_DEADLINE)
        .read_timeout(READ_DEADLINE)
        .operation_attempt_timeout(ATTEMPT_DEADLINE)
        .operation_timeout(OPERATION_DEADLINE)
        .build();
    let cache = IdentityCache::lazy()
        .load_timeout(CREDENTIALS_DEADLINE)
        .buffer_time(CREDENTIALS_RENEWED_BEFORE_END)
        .build();
    let mut builder = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(region.to_owned()))
        .http_client(http_client)
        .sleep_impl(aws_smithy_async::rt::sleep::TokioSleep::new())
        .time_source(aws_smithy_async::time::SystemTimeSource::new())
        .timeout_config(deadlines)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .identity_cache(cache)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .service_config(Endpoints(environment.clone()));
    builder.set_endpoint_url(environment.get("AWS_ENDPOINT_URL").map(str::to_owned));
    builder.set_app_name(AppName::new(concat!("node-agent-", env!("CARGO_PKG_VERSION"))).ok());
    builder.build()
}

/// `AWS_ENDPOINT_URL_<SERVICE>`, which the service clients prefer over `AWS_ENDPOINT_URL`.
#[derive(Debug)]
struct Endpoints(Environment);

impl LoadServiceConfig for Endpoints {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().replace(' ', "_").to_ascii_uppercase();
        self.0.get(&format!("{}_{service}", key.env())).map(str::to_owned)
    }
}
