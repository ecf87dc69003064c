//! A volume that is attached after boot.

use crate::disk::{Disk, MIB, configuration, outcome, run};
use crate::world::{World, is_root};
use harness::requirements::skipped;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket, sockopt,
};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Makes the kernel say that a disk has changed, as it does when one is attached.
fn announce(disk: &Disk) {
    std::fs::write(format!("/sys/block/{}/uevent", disk.name()), "change").unwrap();
}

/// Whether the kernel's events come here at all.
fn events_come(disk: &Disk) -> bool {
    let protocol = SockProtocol::NetlinkKObjectUEvent;
    let events =
        socket(AddressFamily::Netlink, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol).unwrap();
    bind(events.as_raw_fd(), &NetlinkAddr::new(0, 1)).unwrap();
    let patience = nix::sys::time::TimeVal::new(2, 0);
    setsockopt(&events, sockopt::ReceiveTimeout, &patience).unwrap();
    announce(disk);
    let mut message = [0; 8192];
    let came = recv(events.as_raw_fd(), &mut message, nix::sys::socket::MsgFlags::empty());
    came.is_ok()
}

#[test]
fn a_volume_that_is_attached_late_is_taken_when_the_kernel_says_that_it_comes() {
    if !is_root() {
        return;
    }
    let disk = Disk::blank(512 * MIB);
    let announced = events_come(&disk);
    if !announced {
        skipped("the kernel's events do not come here; the look without one is tested instead");
    }
    let world = World::with_everything();
    std::thread::scope(|scope| {
        let started = scope.spawn(|| {
            let finished = run(&world, &configuration("xfs", "wait = \"60s\""));
            (finished, Instant::now())
        });
        // Its log says when it waits.
        while !world.inside("grep", &["-q", "waits up to", "/var/log/node-bootstrap.log"]).status.success() {
            std::thread::yield_now();
        }
        disk.attach(&world, "sdf");
        let attached = Instant::now();
        if announced {
            announce(&disk);
        }
        let ((run, handoff), ended) = started.join().unwrap();
        run.expect(0);
        assert_eq!(outcome(&handoff).0, "done");
        let took = ended - attached;
        eprintln!("from the attachment to the end of the run: {} ms", took.as_millis());
        // Without the event it would look five seconds after it began to wait.
        assert!(!announced || took < Duration::from_secs(3), "{took:?}: {}", run.story());
    });
}
