//! The networks of our containers, as addresses.

use super::{ASK_DEADLINE, Docker, NODE_NETWORK};
use crate::engine::EngineError;
use bollard::models::NetworkInspect;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

impl Docker {
    /// None before the network was made.
    pub(super) async fn networks(&self) -> Result<BTreeSet<(Ipv4Addr, u8)>, EngineError> {
        match self.ask(ASK_DEADLINE, self.client().inspect_network(NODE_NETWORK, None)).await {
            Ok(network) => Ok(prefixes(network)),
            Err(refusal) if refusal.status() == Some(404) => Ok(BTreeSet::new()),
            Err(refusal) => Err(self.refused(&format!("inspect network {NODE_NETWORK}"), refusal)),
        }
    }
}

fn prefixes(network: NetworkInspect) -> BTreeSet<(Ipv4Addr, u8)> {
    let pools = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    pools.iter().filter_map(|pool| prefix(pool.subnet.as_deref()?)).collect()
}

/// `172.18.0.0/16`; IPv6 is not among our rules.
fn prefix(subnet: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, length) = subnet.split_once('/')?;
    Some((address.parse().ok()?, length.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_read_and_one_of_ipv6_left_out() {
        assert_eq!(prefix("172.18.0.0/16"), Some((Ipv4Addr::new(172, 18, 0, 0), 16)));
        assert_eq!(prefix("fd00::/64"), None);
    }
}
