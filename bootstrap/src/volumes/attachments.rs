//! Says when block devices come and change: the kernel's events (uevents), received over netlink by one socket for all
//! volumes.
//!
//! In: datagrams of the kernel. Out: a wake-up for whoever waits. An event only says "look again": it may be lost, and
//! some containers get none, so that whoever waits looks without one, too. Not its job: looking (`observe`).

use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, socket,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// After this time one looks without an event.
const LOOK_WITHOUT_EVENT: Duration = Duration::from_secs(5);
/// Events come in flocks.
const FLOCK: Duration = Duration::from_millis(50);

/// A bell that rings when a block device has come or changed. Clones hear the same events.
#[derive(Debug, Clone)]
pub(crate) struct Attachments {
    /// Closed where the kernel sends no events.
    rings: watch::Receiver<u64>,
}

impl Attachments {
    /// Begins to listen, in a task that ends with the last clone. Events from now on are not missed.
    pub(crate) fn listen() -> Attachments {
        let (ring, rings) = watch::channel(0);
        match open() {
            Ok(events) => {
                tokio::spawn(receive(events, ring));
            }
            Err(error) => tracing::debug!("hears no events of the kernel: {error}"),
        }
        Attachments { rings }
    }

    /// What happens from now on ends the next [`Attachments::next`].
    pub(crate) fn forget(&mut self) {
        self.rings.mark_unchanged();
    }

    /// Returns when it is time to look again: after an event, or without one after five seconds, or after `at_most`.
    pub(crate) async fn next(&mut self, at_most: Duration) {
        let patience = LOOK_WITHOUT_EVENT.min(at_most);
        let event = async {
            if self.rings.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(FLOCK).await;
        };
        let _ = tokio::time::timeout(patience, event).await;
    }
}

fn open() -> io::Result<AsyncFd<OwnedFd>> {
    /// What the kernel says itself; group 2 is what udev says after it.
    const KERNEL: u32 = 1;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let protocol = SockProtocol::NetlinkKObjectUEvent;
    let events = socket(AddressFamily::Netlink, SockType::Datagram, flags, protocol)?;
    bind(events.as_raw_fd(), &NetlinkAddr::new(0, KERNEL))?;
    // SAFETY: `OwnedFd` owns a valid descriptor, and nobody closes or replaces it while `AsyncFd` has it.
    Ok(unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) }?)
}

async fn receive(events: AsyncFd<OwnedFd>, ring: watch::Sender<u64>) {
    let mut message = vec![0; 16 << 10];
    loop {
        let received = events.async_io(Interest::READABLE, |events| {
            Ok(recvfrom::<NetlinkAddr>(events.as_raw_fd(), &mut message)?)
        });
        let received = tokio::select! {
            received = received => received,
            () = ring.closed() => return,
        };
        let rings = match received {
            Ok((length, sender)) => {
                // Others than the kernel (0) may send to the group.
                let from_kernel = sender.is_some_and(|sender| sender.pid() == 0);
                from_kernel && message.get(..length).is_some_and(is_about_a_block_device)
            }
            // More events than the socket holds: one of them may have been the one.
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => true,
            Err(error) => {
                tracing::debug!("hears no more events of the kernel: {error}");
                return;
            }
        };
        if rings {
            ring.send_modify(|count| *count = count.wrapping_add(1));
        }
    }
}

/// A uevent is `ACTION@DEVPATH` and then `KEY=VALUE`, each ended by a zero. Coming and changing matter: a disk may get
/// its size after it has come.
fn is_about_a_block_device(message: &[u8]) -> bool {
    let mut parts = message.split(|byte| *byte == 0);
    let heading = parts.next().unwrap_or_default();
    let comes = heading.starts_with(b"add@") || heading.starts_with(b"change@");
    comes && parts.any(|part| part == b"SUBSYSTEM=block")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COMES: &[u8] = b"add@/devices/pci0000:00/0000:00:1f.0/nvme/nvme1/nvme1n1\0ACTION=add\0\
        DEVPATH=/devices/pci0000:00/0000:00:1f.0/nvme/nvme1/nvme1n1\0SUBSYSTEM=block\0MAJOR=259\0MINOR=1\0\
        DEVNAME=nvme1n1\0DEVTYPE=disk\0SEQNUM=2211\0";

    #[test]
    fn a_disk_that_comes_or_changes_is_told_from_everything_else() {
        assert!(is_about_a_block_device(COMES));
        let text = |from: &str, to: &str| String::from_utf8(COMES.to_vec()).unwrap().replace(from, to);
        assert!(is_about_a_block_device(text("add", "change").as_bytes()));
        assert!(!is_about_a_block_device(text("add@", "remove@").as_bytes()));
        assert!(!is_about_a_block_device(text("SUBSYSTEM=block", "SUBSYSTEM=net").as_bytes()));
        assert!(!is_about_a_block_device(text("SUBSYSTEM=block", "SUBSYSTEM=blocks").as_bytes()));
        assert!(!is_about_a_block_device(b"libudev\0\xfe\xed\xca\xfe\0SUBSYSTEM=block\0"));
        assert!(!is_about_a_block_device(b""));
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(message in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = is_about_a_block_device(&message);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_events_one_looks_after_five_seconds_and_never_later_than_asked() {
        let (ring, rings) = watch::channel(0);
        drop(ring);
        let mut attachments = Attachments { rings };
        let started = tokio::time::Instant::now();
        attachments.next(Duration::from_secs(60)).await;
        assert_eq!(started.elapsed(), LOOK_WITHOUT_EVENT);
        attachments.next(Duration::from_millis(300)).await;
        assert_eq!(started.elapsed(), LOOK_WITHOUT_EVENT + Duration::from_millis(300));
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_during_the_look_is_not_lost() {
        let (ring, rings) = watch::channel(0);
        let mut attachments = Attachments { rings };
        attachments.forget();
        ring.send_modify(|count| *count += 1);
        let started = tokio::time::Instant::now();
        attachments.next(Duration::from_secs(60)).await;
        assert_eq!(started.elapsed(), FLOCK);
    }
}
