//! The machine's network: a tap device in the cloud's network, and DHCP as EC2's subnets have it.

use crate::instance::{INSTANCE_ADDRESS, OUTSIDE_ADDRESS, run_on_host};
use crate::processes::Process;
use std::io;
use std::path::Path;

/// The host's end; it goes with the network namespace, and a tap without a process is only a name.
pub(super) const TAP: &str = "machine";

/// The DHCP server. It ends when this is dropped.
pub(super) struct Network {
    _dhcp: Process,
}

impl Network {
    /// To be made by a thread that is in the cloud's network.
    pub(super) fn create(directory: &Path) -> io::Result<Network> {
        for line in [
            format!("tuntap add dev {TAP} mode tap"),
            format!("address add {OUTSIDE_ADDRESS}/30 dev {TAP}"),
            format!("link set {TAP} up"),
        ] {
            run_on_host("ip", &line.split(' ').collect::<Vec<_>>(), None)?;
        }
        let mut dhcp = super::mortal("dnsmasq");
        // As --no-daemon it keeps its user and group; a change of either would forget who must outlive it.
        dhcp.args(["--no-daemon", "--conf-file=/dev/null", "--port=0"])
            .args([&format!("--interface={TAP}"), "--bind-interfaces"])
            .arg(format!("--dhcp-range={INSTANCE_ADDRESS},{INSTANCE_ADDRESS},255.255.255.252"))
            .arg(format!("--dhcp-option=option:router,{OUTSIDE_ADDRESS}"))
            .arg(format!("--dhcp-leasefile={}", directory.join("leases").display()));
        Ok(Network { _dhcp: Process::start("dnsmasq", dhcp)? })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // There is nobody to tell, and the namespace goes soon.
        let _ = run_on_host("ip", &["link", "delete", TAP], None);
    }
}
