//! Hears from the kernel when somebody changes our table.
//!
//! In: the notifications of nf_tables, which a socket that is in their group gets without asking. Out: that something
//! was said of our table, or may have been: messages that did not fit into the socket count as one.
//! What always holds: other tables, such as the engine's, wake nobody; nothing is asked while nothing happens.
//! Not its job: what it was that changed.

use super::netlink::{self, Message};
use super::table::TABLE;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use std::io;
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// `NFNLGRP_NFTABLES` of <linux/netfilter/nfnetlink.h>, as a bit.
const GROUP: u32 = 1 << (7 - 1);
/// `NFNL_SUBSYS_NFTABLES`
const NFTABLES: u16 = 10;
/// `NFPROTO_INET` of <linux/netfilter.h>: the family of our table.
const INET: u8 = 1;
/// `NFTA_TABLE_NAME`, and the attribute of the same number in whatever lies in a table
/// (<linux/netfilter/nf_tables.h>).
const TABLE_NAME: u16 = 1;
/// More than the kernel puts into one datagram of notifications.
const LONGEST: usize = 64 * 1024;

/// A socket in the group.
#[derive(Debug)]
pub(super) struct Watch {
    /// Of another family than its type says, which only waiting and closing are left to.
    socket: UnixDatagram,
}

impl Watch {
    /// Listens from now on.
    pub(super) fn open() -> io::Result<Watch> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let netfilter = SockProtocol::NetlinkNetFilter;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, netfilter)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUP))?;
        Ok(Watch { socket: UnixDatagram::from_std(socket.into())? })
    }

    /// Returns when our table was, or may have been, changed since the last return. Cancel safe: nothing is taken from
    /// the socket without deciding on it at once.
    pub(super) async fn changed(&self) -> io::Result<()> {
        loop {
            self.socket.readable().await?;
            let mut rings = false;
            // All that waits counts as one.
            loop {
                match self.socket.try_io(Interest::READABLE, || self.read().map_err(io::Error::from)) {
                    Ok(ours) => rings |= ours,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => rings = true,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            if rings {
                return Ok(());
            }
        }
    }

    /// One datagram: whether it tells of our table.
    fn read(&self) -> Result<bool, Errno> {
        let mut buffer = vec![0; LONGEST];
        // With this flag the length is that of the message, not of what fitted.
        let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC)?;
        Ok(length > buffer.len() || netlink::messages(&buffer[..length]).any(|message| tells_of_us(&message)))
    }
}

fn tells_of_us(message: &Message) -> bool {
    let name = message.attribute(TABLE_NAME).and_then(|name| name.strip_suffix(&[0]));
    message.kind >> 8 == NFTABLES && message.family() == Some(INET) && name == Some(TABLE.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_table_rings() {
        for (kind, family, name, rings) in [
            (0x0a06, INET, &b"node-agent\0"[..], true),
            (0x0a06, INET, b"node-agent-2\0", false),
            (0x0a06, 2, b"node-agent\0", false),
            // A number of a generation, under the same number of attribute.
            (0x0a0f, 0, &[0, 0, 0, 9], false),
            (0x0106, INET, b"node-agent\0", false),
        ] {
            let bytes = netlink::request(kind, 0, 0, family, &[(TABLE_NAME, name)]);
            let heard = netlink::messages(&bytes).any(|message| tells_of_us(&message));
            assert_eq!(heard, rings, "{kind:#x} {family} {name:?}");
        }
    }
}
