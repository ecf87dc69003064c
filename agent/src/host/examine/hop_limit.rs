//! Over how many hops an answer of the metadata service travels (`HttpPutResponseHopLimit`).
//!
//! Nothing inside an instance tells it, but the answer itself: its packets start with that limit as their time to live, and
//! the host is the first hop. So a token is asked for, and the packets of the answer are looked at as they arrive, which
//! takes root (packet(7)). The token is thrown away unread.

use super::apart;
use nix::libc;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// The service is on the same machine.
const DEADLINE: Duration = Duration::from_secs(2);
/// The beginning of a packet has all that is looked at.
const HEADERS: usize = 128;
/// IPv4 in linux/if_ether.h.
const ETH_P_IP: u16 = 0x0800;
/// Steps of linux/filter.h: load a word from a place, compare it with a constant, return a constant.
const LOAD: u16 = 0x20;
const COMPARE: u16 = 0x15;
const RETURN: u16 = 0x06;
/// What arrives from the service while it is asked once.
const MOST_PACKETS: usize = 1000;

/// The limit, for a service at an IPv4 address; `None` where it cannot be seen.
pub async fn hop_limit(endpoint: SocketAddrV4) -> Option<u8> {
    apart(move || look(endpoint).ok().flatten()).await.ok().flatten()
}

fn look(endpoint: SocketAddrV4) -> io::Result<Option<u8>> {
    let packets = packets_from(*endpoint.ip())?;
    let port = ask_for_a_token(endpoint)?;
    let mut buffer = [0; HEADERS];
    for _ in 0..MOST_PACKETS {
        // SAFETY: the buffer is ours and as long as is said.
        let length = unsafe {
            libc::recv(
                packets.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                HEADERS,
                libc::MSG_DONTWAIT | libc::MSG_TRUNC,
            )
        };
        let Ok(length) = usize::try_from(length) else { return Ok(None) };
        if let Some(limit) = limit_of(&buffer[..length.min(HEADERS)], endpoint, port) {
            return Ok(Some(limit));
        }
    }
    Ok(None)
}

/// Time to live of a packet of IPv4 that carries a part of the answer: TCP, from the service to `port`, not empty.
fn limit_of(packet: &[u8], from: SocketAddrV4, port: u16) -> Option<u8> {
    const TCP: u8 = 6;
    let words = |byte: &u8| usize::from(byte & 0x0f) * 4;
    let header = packet.first().filter(|first| *first >> 4 == 4).map(words)?;
    let number = |at: usize| Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?));
    let source = Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(12..16)?).ok()?);
    let payload = header + usize::from(packet.get(header + 12)? >> 4) * 4;
    let of_answer = packet.get(9) == Some(&TCP)
        && source == *from.ip()
        && number(header) == Some(from.port())
        && number(header + 2) == Some(port)
        && usize::from(number(2)?) > payload;
    of_answer.then(|| packet.get(8).copied())?
}

/// A socket to which every packet that arrives from `source` is copied, and no other.
fn packets_from(source: Ipv4Addr) -> io::Result<OwnedFd> {
    // Linux's own byte order for protocols of link layers is that of the net.
    let protocol = libc::c_int::from(ETH_P_IP.to_be());
    // SAFETY: a call without pointers.
    let descriptor =
        unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, protocol) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just opened, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    attach(&socket, &mut only_from(source))?;
    Ok(socket)
}

/// In the language of bpf(4): load the source's address, take the packet if it is the wanted one.
fn only_from(source: Ipv4Addr) -> [libc::sock_filter; 4] {
    const SOURCE_AT: u32 = 12;
    const WHOLE: u32 = u32::MAX;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    [
        step(LOAD, 0, 0, SOURCE_AT),
        step(COMPARE, 0, 1, u32::from(source)),
        step(RETURN, 0, 0, WHOLE),
        step(RETURN, 0, 0, 0),
    ]
}

fn attach(socket: &OwnedFd, steps: &mut [libc::sock_filter; 4]) -> io::Result<()> {
    let program = libc::sock_fprog { len: 4, filter: steps.as_mut_ptr() };
    let length = libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).unwrap_or_default();
    // SAFETY: the kernel copies the program, whose length and steps are those of the array.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            length,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Asks, and waits for the beginning of the answer; the port that it came to.
fn ask_for_a_token(endpoint: SocketAddrV4) -> io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(endpoint), DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    let port = stream.local_addr()?.port();
    let request = format!(
        "PUT /latest/api/token HTTP/1.1\r\nHost: {endpoint}\r\nX-aws-ec2-metadata-token-ttl-seconds: 1\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut first = [0; 1];
    stream.read_exact(&mut first)?;
    Ok(port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Answers one request with this time to live.
    fn service(limit: u32) -> SocketAddrV4 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!("not IPv4") };
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).unwrap();
            stream.set_ttl(limit).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntoken").unwrap();
        });
        address
    }

    #[tokio::test]
    async fn the_limit_is_that_of_the_answer_and_not_of_the_connection() {
        if !nix::unistd::geteuid().is_root() {
            println!("SKIPPED the hop limit: it takes root to see packets");
            return;
        }
        for limit in [1_u8, 2, 64] {
            assert_eq!(hop_limit(service(u32::from(limit))).await, Some(limit));
        }
    }

    #[test]
    fn other_packets_say_nothing() {
        let from = SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 254), 80);
        let mut packet = vec![0x45, 0, 0, 45, 0, 0, 0, 0, 1, 6, 0, 0, 169, 254, 169, 254, 10, 0, 0, 1];
        packet.extend([
            0, 80, 0x9c, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x18, 0, 0, 0, 0, 0, 0, b'H', b'T', b'T', b'P',
            b'/',
        ]);
        assert_eq!(limit_of(&packet, from, 40_000), Some(1));
        assert_eq!(limit_of(&packet, from, 40_001), None, "of another connection");
        let mut empty = packet.clone();
        empty[3] = 40;
        assert_eq!(limit_of(&empty, from, 40_000), None, "of the handshake");
        let mut six = packet.clone();
        six[0] = 0x60;
        assert_eq!(limit_of(&six, from, 40_000), None);
        for length in 0..packet.len() {
            let _ = limit_of(&packet[..length], from, 40_000);
        }
    }
}
