//! The interfaces of the bridges: which they are, and that answers to 127.0.0.1 may come in on them.
//!
//! A connection of the host itself to 127.0.0.1 leaves on a bridge, so its answers come in there. The kernel takes
//! packets to 127.0.0.0/8 for nonsense on every other interface than `lo`, unless `route_localnet` is set on it: it is
//! set on the bridges of our containers, while a port leads to one, and on nothing else. What a container itself sends
//! to such an address would reach what listens for this host only: our table drops it before anybody sees it. So a
//! bridge is closed before the table goes, and opened after it came.

use crate::rules::Rules;
use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// The routes of this thread's network; another thread may have another one.
const ROUTES: &str = "/proc/thread-self/net/route";

/// The interfaces to which these prefixes belong, as far as they are there.
pub(super) fn interfaces(bridges: &BTreeSet<(Ipv4Addr, u8)>) -> BTreeSet<String> {
    if bridges.is_empty() {
        return BTreeSet::new();
    }
    let routes = std::fs::read_to_string(ROUTES).unwrap_or_default();
    bridges.iter().filter_map(|bridge| interface(&routes, *bridge)).map(str::to_owned).collect()
}

/// Who has the prefix without a gateway. Lines of /proc/net/route: interface, destination, gateway, flags, references,
/// uses, metric, mask; addresses are hexadecimal, as the machine reads their bytes.
fn interface(routes: &str, (address, length): (Ipv4Addr, u8)) -> Option<&str> {
    let mask = Ipv4Addr::from(u32::MAX.checked_shl(32_u32.checked_sub(length.into())?).unwrap_or(0));
    let wanted = address & mask;
    let read = |field: &str| u32::from_str_radix(field, 16).ok().map(|it| Ipv4Addr::from(it.to_ne_bytes()));
    let is_it = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, destination, gateway, _, _, _, _, its_mask, ..] = fields.as_slice() else { return false };
        let (destination, its_mask) = (read(destination), read(its_mask));
        destination == Some(wanted) && its_mask == Some(mask) && read(gateway) == Some(Ipv4Addr::UNSPECIFIED)
    };
    routes.lines().find(|line| is_it(line))?.split_whitespace().next()
}

/// Interfaces that must be open to loopback, but are closed.
pub(super) fn to_open(rules: &Rules) -> BTreeSet<String> {
    let mut interfaces = that_are_led_to(rules);
    interfaces.retain(|name| is(name, "0"));
    interfaces
}

/// Interfaces that were open for the rules of before, and are no more for those of now.
pub(super) fn to_close(before: &Rules, now: &Rules) -> BTreeSet<String> {
    let (mut interfaces, wanted) = (interfaces(&before.bridges), that_are_led_to(now));
    interfaces.retain(|name| !wanted.contains(name) && is(name, "1"));
    interfaces
}

fn that_are_led_to(rules: &Rules) -> BTreeSet<String> {
    if rules.routes.is_empty() { BTreeSet::new() } else { interfaces(&rules.bridges) }
}

fn is(interface: &str, value: &str) -> bool {
    std::fs::read_to_string(setting(interface)).is_ok_and(|it| it.trim() == value)
}

/// Lets answers to 127.0.0.1 in, or no more.
pub(super) fn set(interface: &str, open: bool) -> io::Result<()> {
    let value = if open { b"1" } else { b"0" };
    // A file of the kernel: there is nothing to replace it with.
    let mut file = std::fs::OpenOptions::new().write(true).open(setting(interface))?;
    std::io::Write::write_all(&mut file, value)
}

fn setting(interface: &str) -> PathBuf {
    ["/proc/sys/net/ipv4/conf", interface, "route_localnet"].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010012C6\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000012AC\t010012C6\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
br-0f6e2e8cf0b1\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_interface_of_a_prefix_is_the_one_that_has_it_itself() {
        for (prefix, expected) in [
            (([172, 18, 0, 0], 16), Some("br-0f6e2e8cf0b1")),
            (([172, 18, 0, 5], 16), Some("br-0f6e2e8cf0b1")),
            (([172, 17, 0, 0], 16), Some("docker0")),
            (([172, 18, 0, 0], 24), None),
            (([0, 0, 0, 0], 0), None),
            (([172, 18, 0, 0], 33), None),
        ] {
            let (address, length) = prefix;
            assert_eq!(interface(TABLE, (Ipv4Addr::from(address), length)), expected, "{prefix:?}");
        }
    }
}
