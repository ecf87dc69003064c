//! The service that a path names.
//!
//! In: a request. Out: the name as it was meant, or a [`Fault`] where it is no text. Not its job: whether node.toml has it.

use super::api::Fault;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

/// `{name}` of the path.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Named, Fault> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Named(name)),
            Err(rejection) => Err(Fault::new("path_unknown", rejection.body_text())
                .hinting("give the name as `agentctl status` shows it")),
        }
    }
}
