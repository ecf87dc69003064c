//! The seam to the firewall: what the reconcile loop asks of it, in our own types. `host/firewall` is the real one.
//!
//! Every call has a deadline of its own.

use crate::rules::Rules;
use node::fault::Hint;
use std::future::Future;
use std::net::Ipv4Addr;

/// Why the firewall did not do it.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation}: {message}")]
pub struct FirewallError {
    /// What was asked.
    pub operation: String,
    /// In the words of who refused.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl FirewallError {
    /// Stable code for `problems[]`.
    pub const CODE: &'static str = "firewall_failed";
}

impl Hint for FirewallError {
    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

/// Our own table, and nothing else of the firewall.
pub trait Firewall: Send + Sync + 'static {
    /// What is in force now; nothing where our table is missing. What was changed by others in our table shows as a
    /// difference to what was asked for.
    fn rules(&self) -> impl Future<Output = Result<Rules, FirewallError>> + Send;

    /// Puts these in force, all at one moment, and makes nothing else true or false by it.
    fn replace(&self, rules: &Rules) -> impl Future<Output = Result<(), FirewallError>> + Send;

    /// Returns when rules may have been changed by others since the last call. Cancel safe.
    fn changed(&self) -> impl Future<Output = ()> + Send;

    /// Connections of clients that are open to one of these TCP ports of the container whose first process is `pid`;
    /// `None` where that cannot be seen.
    fn connections(&self, pid: u32, ports: &[u16]) -> impl Future<Output = Option<u64>> + Send;

    /// Makes the kernel forget connections to that container which are over. It must not be led to any more.
    fn let_closed_go(&self, container: Ipv4Addr) -> impl Future<Output = ()> + Send;
}
