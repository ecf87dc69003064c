//! Why the metadata service gave no answer, in words for a person.

use crate::fault::Hint;
use std::error::Error;
use std::sync::Arc;

/// Why the metadata service gave no answer. Clones share their cause, so that everyone who waited for the same token
/// can be told the same.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ImdsError {
    /// `AWS_EC2_METADATA_SERVICE_ENDPOINT` is no usable URL.
    #[error("the instance metadata endpoint {endpoint} is no plain http:// URL")]
    InvalidEndpoint {
        /// As it was given.
        endpoint: String,
    },
    /// No connection, or no answer in time. The instance may be fine: the state is unknown.
    #[error("cannot {operation} at {endpoint}")]
    Unreachable {
        /// Base URL.
        endpoint: String,
        /// What was asked.
        operation: String,
        /// The connection stood and the answer did not come.
        timed_out: bool,
        /// Why.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// 403: it is there and says no.
    #[error("cannot {operation} at {endpoint}: it is disabled or not allowed (403)")]
    Denied {
        /// Base URL.
        endpoint: String,
        /// What was asked.
        operation: String,
    },
    /// Any other status that is no answer, after the retries where they made sense.
    #[error("cannot {operation} at {endpoint}: status {status}")]
    Status {
        /// Base URL.
        endpoint: String,
        /// What was asked.
        operation: String,
        /// HTTP status.
        status: u16,
    },
    /// An answer that does not say what it should.
    #[error("cannot {operation} at {endpoint}: the answer is malformed: {reason}")]
    Malformed {
        /// Base URL.
        endpoint: String,
        /// What was asked.
        operation: String,
        /// What is wrong with it; never its text, which may be a credential.
        reason: String,
    },
}

impl ImdsError {
    /// Stable code for `problems[]`.
    pub fn code(&self) -> &'static str {
        match self {
            ImdsError::InvalidEndpoint { .. } => "imds_endpoint_invalid",
            ImdsError::Unreachable { .. } => "imds_unreachable",
            ImdsError::Denied { .. } => "imds_denied",
            ImdsError::Status { .. } => "imds_refused",
            ImdsError::Malformed { .. } => "imds_malformed",
        }
    }
}

impl Hint for ImdsError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            ImdsError::InvalidEndpoint { .. } => {
                "unset AWS_EC2_METADATA_SERVICE_ENDPOINT, or set it to http://169.254.169.254 or http://[fd00:ec2::254]"
            }
            ImdsError::Unreachable { operation, timed_out: true, .. } if operation == TOKEN => {
                "inside a container or another network namespace a hop limit of 1 drops the answer: run on the host \
                 itself, or raise http_put_response_hop_limit"
            }
            ImdsError::Unreachable { .. } => {
                "check that this is an EC2 instance with http_endpoint = enabled, and that no firewall or route hides \
                 the address"
            }
            ImdsError::Denied { .. } => {
                "set http_endpoint = enabled in the instance's metadata options (http_tokens = required is fine), and \
                 check http_put_response_hop_limit"
            }
            ImdsError::Status { operation, status: 404 | 405, .. } if operation == TOKEN => {
                "this endpoint does not speak IMDSv2, and version 1 is never used"
            }
            ImdsError::Status { .. } | ImdsError::Malformed { .. } => {
                "try again in a minute; if it stays, see who answers at that address: `curl -i` it from the instance"
            }
        };
        Some(hint.to_owned())
    }
}

/// The operation of fetching a session token, as messages name it.
pub(super) const TOKEN: &str = "get a session token of the instance metadata service";
