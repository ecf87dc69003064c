//! The wall clock of the local cloud; everything below the request loop is
//! given the time.

/// Now.
#[expect(clippy::disallowed_methods, reason = "the request loop is where the cloud reads the clock")]
pub(super) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
