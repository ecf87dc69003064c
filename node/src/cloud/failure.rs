//! Why a call to AWS failed, sorted into the few kinds that callers act upon.
//!
//! What always holds: nothing of an answer's body is kept. The SDK's own error carries the raw answer, which for a
//! secret is the secret; it ends here.

use super::RoleError;
use crate::fault::{Hint, one_line};
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use std::error::Error;

/// Why a call to AWS failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AwsFailure {
    /// There is nothing to sign with.
    #[error("no AWS credentials: {reason}")]
    NoCredentials {
        /// Why.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
    /// AWS knows the caller and does not allow it, or does not accept the signature.
    #[error("{code}: {message}")]
    Denied {
        /// AWS's code, e.g. `AccessDeniedException`.
        code: String,
        /// AWS's words.
        message: String,
    },
    /// Too many calls; it passes.
    #[error("AWS throttles the call ({code})")]
    Throttled {
        /// AWS's code.
        code: String,
    },
    /// No answer, or one that says nothing: what AWS did is unknown. It may pass.
    #[error("no answer from AWS: {reason}")]
    Unreachable {
        /// Why.
        reason: String,
    },
    /// Any other answer, which the caller knows how to read.
    #[error("{code}: {message}")]
    Service {
        /// AWS's code.
        code: String,
        /// AWS's words.
        message: String,
    },
}

impl Hint for AwsFailure {
    fn hint(&self) -> Option<String> {
        match self {
            AwsFailure::NoCredentials { hint, .. } => hint.clone(),
            AwsFailure::Denied { code, .. } if is_about_the_signature(code) => Some(
                "the signature or the credentials are not accepted: check the node's clock (`timedatectl`) and its role"
                    .to_owned(),
            ),
            AwsFailure::Unreachable { .. } => Some(
                "check the route to AWS (NAT gateway or VPC endpoint), DNS and the security groups".to_owned(),
            ),
            _ => None,
        }
    }
}

impl AwsFailure {
    /// Sorts an error of any service client.
    pub fn of<E>(error: &SdkError<E, HttpResponse>) -> AwsFailure
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error {
            SdkError::ServiceError(answer) => {
                let status = answer.raw().status().as_u16();
                of_answer(status, answer.err().code(), answer.err().message())
            }
            SdkError::TimeoutError(_) => unreachable_because("the deadline passed"),
            // What could not be read is not repeated: it may be half a secret.
            SdkError::ResponseError(answer) => unreachable_because(&format!(
                "unreadable answer with status {}",
                answer.raw().status().as_u16()
            )),
            SdkError::DispatchFailure(failure) => of_credentials(error).unwrap_or_else(|| {
                let cause = failure.as_connector_error().map(|error| one_line(error));
                unreachable_because(cause.as_deref().unwrap_or("the request could not be sent"))
            }),
            _ => of_credentials(error).unwrap_or_else(|| unreachable_because(&one_line(error))),
        }
    }
}

fn of_answer(status: u16, code: Option<&str>, message: Option<&str>) -> AwsFailure {
    let code = code.map_or_else(|| format!("status {status}"), str::to_owned);
    let message = message.unwrap_or("no message").to_owned();
    if is_throttling(&code) || status == 429 {
        return AwsFailure::Throttled { code };
    }
    if status >= 500 {
        return unreachable_because(&format!("{code}: {message} (status {status})"));
    }
    if code.starts_with("AccessDenied") || is_about_the_signature(&code) {
        return AwsFailure::Denied { code, message };
    }
    AwsFailure::Service { code, message }
}

fn unreachable_because(reason: &str) -> AwsFailure {
    AwsFailure::Unreachable { reason: reason.to_owned() }
}

fn is_throttling(code: &str) -> bool {
    code.starts_with("Throttling")
        || matches!(
            code,
            "TooManyRequestsException" | "RequestLimitExceeded" | "SlowDown" | "RequestThrottledException"
        )
}

fn is_about_the_signature(code: &str) -> bool {
    const CODES: [&str; 8] = [
        "UnrecognizedClient",
        "InvalidSignature",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "InvalidClientTokenId",
        "MissingAuthenticationToken",
        "IncompleteSignature",
        "RequestExpired",
    ];
    CODES.iter().any(|known| code.starts_with(known))
}

/// The failure of a credential provider, which the SDK buries in a chain of its own.
fn of_credentials(error: &(dyn Error + 'static)) -> Option<AwsFailure> {
    let chain = || std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    if let Some(role) = chain().find_map(|error| error.downcast_ref::<RoleError>()) {
        return Some(AwsFailure::NoCredentials { reason: one_line(role), hint: role.hint() });
    }
    let credentials = chain().find_map(|error| error.downcast_ref::<CredentialsError>())?;
    let hint =
        "attach an instance profile with a role, or correct the credentials in the environment".to_owned();
    Some(AwsFailure::NoCredentials { reason: one_line(credentials), hint: Some(hint) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted_by_what_a_caller_can_do() {
        let kind = |status, code| match of_answer(status, Some(code), Some("words")) {
            AwsFailure::Denied { .. } => "denied",
            AwsFailure::Throttled { .. } => "throttled",
            AwsFailure::Unreachable { .. } => "unreachable",
            AwsFailure::Service { .. } => "service",
            AwsFailure::NoCredentials { .. } => "no credentials",
        };
        for (status, code, wanted) in [
            (400, "AccessDeniedException", "denied"),
            (403, "AccessDenied", "denied"),
            (400, "ExpiredTokenException", "denied"),
            (400, "UnrecognizedClientException", "denied"),
            (400, "ThrottlingException", "throttled"),
            (429, "Whatever", "throttled"),
            (500, "InternalServiceError", "unreachable"),
            (503, "ServiceUnavailable", "unreachable"),
            (400, "ResourceNotFoundException", "service"),
        ] {
            assert_eq!(kind(status, code), wanted, "{status} {code}");
        }
    }
}
