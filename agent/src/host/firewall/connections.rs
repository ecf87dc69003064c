//! Connections that are open to ports of a container, as the kernel lists them for its network namespace.
//!
//! In: `/proc/PID/net/tcp` and `tcp6` (proc_pid_net(5), states of <net/tcp_states.h>). Out: how many there are.
//! The agent's own probes are not told from others: one asks, closes, and is gone within its time-out.

use std::collections::BTreeSet;
use std::path::Path;

/// States in which a client has not had all of its answer, or may still ask:
/// `TCP_ESTABLISHED`, `TCP_SYN_RECV`, `TCP_CLOSE_WAIT` (it has said all, and waits), and those in which the last bytes
/// are on their way: `TCP_FIN_WAIT1`, `TCP_LAST_ACK`, `TCP_CLOSING`.
const OPEN: [&str; 6] = ["01", "03", "08", "04", "09", "0B"];
/// `TCP_FIN_WAIT2`: all was received. It counts while a process holds it, to hear the client's last words.
const HALF_CLOSED: &str = "05";

/// How many are open to one of these ports; `None` where that cannot be seen. Blocks shortly.
pub(super) fn count(pid: u32, ports: &BTreeSet<u16>) -> Option<u64> {
    let folder = Path::new("/proc").join(pid.to_string()).join("net");
    let tcp = std::fs::read_to_string(folder.join("tcp")).ok()?;
    // Missing where the kernel has no IPv6.
    let tcp6 = std::fs::read_to_string(folder.join("tcp6")).unwrap_or_default();
    u64::try_from(tcp.lines().chain(tcp6.lines()).filter(|line| is_open(line, ports)).count()).ok()
}

/// Fields: number, `ADDRESS:PORT` of this side, that of the other, state, queues, timer, retransmits, user, timeout,
/// inode (0 where no process holds it any more); numbers are hexadecimal but for the last three.
fn is_open(line: &str, ports: &BTreeSet<u16>) -> bool {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, local, _, state, _, _, _, _, _, inode, ..] = fields.as_slice() else { return false };
    let port = local.rsplit(':').next().and_then(|port| u16::from_str_radix(port, 16).ok());
    let is_held = *state == HALF_CLOSED && *inode != "0";
    port.is_some_and(|port| ports.contains(&port)) && (OPEN.contains(state) || is_held)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";

    fn line(local: &str, state: &str, inode: &str) -> String {
        format!(
            "   1: {local} 0100007F:8502 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0 20 4"
        )
    }

    #[test]
    fn open_ones_count_and_the_rest_does_not() {
        let ports = BTreeSet::from([8000]);
        assert!(!is_open(HEADER, &ports));
        let v6 = "0000000000000000FFFF0000020012AC:1F40";
        for (local, state, inode, open) in [
            ("020012AC:1F40", "01", "4711", true),
            (v6, "01", "4711", true),
            ("020012AC:1F41", "01", "4711", false),
            ("00000000:1F40", "0A", "4711", false),
            ("020012AC:1F40", "03", "0", true),
            ("020012AC:1F40", "04", "0", true),
            ("020012AC:1F40", "05", "0", false),
            ("020012AC:1F40", "05", "4711", true),
            ("020012AC:1F40", "06", "0", false),
            ("020012AC:1F40", "08", "0", true),
            ("020012AC:1F40", "09", "0", true),
            ("020012AC:1F40", "0B", "0", true),
            ("020012AC:1F40", "07", "0", false),
        ] {
            assert_eq!(is_open(&line(local, state, inode), &ports), open, "{local} {state} {inode}");
        }
    }

    #[test]
    fn of_a_real_listener_the_accepted_ones_count() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ports = BTreeSet::from([address.port()]);
        let count = || count(std::process::id(), &ports);
        assert_eq!(count(), Some(0), "it only listens");
        let client = std::net::TcpStream::connect(address).unwrap();
        assert_eq!(count(), Some(1), "accepted by the kernel");
        let (accepted, _) = listener.accept().unwrap();
        drop(client);
        assert_eq!(count(), Some(1), "the client has said all");
        drop(accepted);
        assert_eq!(count(), Some(0));
        assert_eq!(super::count(u32::MAX, &ports), None, "no such process");
    }
}
