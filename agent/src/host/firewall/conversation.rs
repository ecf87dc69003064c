//! Asks the kernel over netlink and waits for its answers.
//!
//! Blocks: the kernel answers at once, unless another of its callers holds what is asked about; then until the deadline.

use super::netlink::{self, Message};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

const DEADLINE_SECONDS: i64 = 2;
/// What one read gives at most.
const LONGEST: usize = 64 * 1024;

/// A socket on which one question is open at a time.
pub(super) struct Conversation(OwnedFd);

impl Conversation {
    /// With a subsystem.
    pub(super) fn open(with: SockProtocol) -> io::Result<Conversation> {
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, with)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(DEADLINE_SECONDS, 0))?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Conversation(socket))
    }

    /// All entries of a kind.
    pub(super) fn dump(&self, kind: u16, header: &[u8], mut entry: impl FnMut(Message)) -> io::Result<()> {
        self.send(&netlink::request(kind, netlink::DUMP, 1, header, &[]))?;
        let mut buffer = vec![0; LONGEST];
        loop {
            let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for message in netlink::messages(&buffer[..length]) {
                match message.kind {
                    netlink::DONE => return Ok(()),
                    netlink::ERROR => return outcome(&message),
                    _ => entry(message),
                }
            }
        }
    }

    /// Asks for something to be done.
    pub(super) fn ask(&self, kind: u16, header: &[u8], attributes: &[(u16, &[u8])]) -> io::Result<()> {
        self.send(&netlink::request(kind, netlink::ACKNOWLEDGE, 2, header, attributes))?;
        let mut buffer = vec![0; LONGEST];
        let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let answer = netlink::messages(&buffer[..length]).find(|message| message.kind == netlink::ERROR);
        answer.map_or(Err(io::ErrorKind::UnexpectedEof.into()), |message| outcome(&message))
    }

    fn send(&self, request: &[u8]) -> io::Result<()> {
        send(self.0.as_raw_fd(), request, MsgFlags::empty())?;
        Ok(())
    }
}

/// `struct nlmsgerr`: a negative errno, 0 where it was done.
fn outcome(message: &Message) -> io::Result<()> {
    let code =
        message.body.get(..4).and_then(netlink::number).map_or(Errno::EPROTO as i32, |it| -it.cast_signed());
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}
