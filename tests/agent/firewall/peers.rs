//! Who listens and who asks, each in a network namespace of its choice, on threads of this process.

use harness::netns::enter_path;
use nix::sys::socket::{Shutdown, shutdown};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// For an answer that must come.
const PATIENCE: Duration = Duration::from_secs(5);
/// For one that must not.
pub(crate) const BRIEF: Duration = Duration::from_millis(300);

/// Says its name to whoever connects, and before every line and datagram that it sends back.
pub(crate) struct Server {
    listener: Arc<TcpListener>,
    datagrams: Arc<UdpSocket>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whoever waits on them wakes with an end. The error of a socket of datagrams, that it is not connected, comes
        // after it was shut down.
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
        let _ = shutdown(self.datagrams.as_raw_fd(), Shutdown::Both);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Listens on `port` in a network, for TCP and UDP.
pub(crate) fn serve(network: PathBuf, name: &str, port: u16) -> io::Result<Server> {
    serve_at(network, name, (Ipv4Addr::UNSPECIFIED, port).into())
}

/// The same on one address.
pub(crate) fn serve_at(network: PathBuf, name: &str, address: SocketAddr) -> io::Result<Server> {
    let bind = move || -> io::Result<_> { Ok((TcpListener::bind(address)?, UdpSocket::bind(address)?)) };
    let (listener, datagrams) = enter_path(network, bind)??;
    let (listener, datagrams) = (Arc::new(listener), Arc::new(datagrams));
    let (accepting, receiving) = (Arc::clone(&listener), Arc::clone(&datagrams));
    let (for_tcp, for_udp) = (name.to_owned(), name.to_owned());
    let tcp = std::thread::spawn(move || {
        while let Ok((stream, _)) = accepting.accept() {
            let name = for_tcp.clone();
            std::thread::spawn(move || answer(stream, &name));
        }
    });
    let udp = std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length @ 1.., from)) = receiving.recv_from(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let _ = receiving.send_to(format!("{for_udp} {text}").as_bytes(), from);
        }
    });
    Ok(Server { listener, datagrams, threads: vec![tcp, udp] })
}

fn answer(mut stream: TcpStream, name: &str) {
    let Ok(reader) = stream.try_clone() else { return };
    if stream.write_all(format!("{name}\n").as_bytes()).is_err() {
        return;
    }
    for line in BufReader::new(reader).lines() {
        let Ok(line) = line else { return };
        if stream.write_all(format!("{name} {line}\n").as_bytes()).is_err() {
            return;
        }
    }
}

/// A connection that stays open.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    /// From a network, or from the calling thread's; the first line is the name of who answers.
    pub(crate) fn open(
        network: Option<PathBuf>,
        to: SocketAddr,
        patience: Duration,
    ) -> io::Result<(Connection, String)> {
        let connect = move || TcpStream::connect_timeout(&to, patience);
        let stream = match network {
            Some(network) => enter_path(network, connect)??,
            None => connect()?,
        };
        stream.set_read_timeout(Some(patience))?;
        let mut connection = Connection(BufReader::new(stream));
        let name = connection.line()?;
        Ok((connection, name))
    }

    /// The port that it comes from.
    pub(crate) fn port(&self) -> io::Result<u16> {
        self.0.get_ref().local_addr().map(|address| address.port())
    }

    /// Says a line, and returns what is said back.
    pub(crate) fn say(&mut self, line: &str) -> io::Result<String> {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes())?;
        self.line()
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            _ => Ok(line.trim().to_owned()),
        }
    }
}

/// Who answers there.
pub(crate) fn who(network: Option<PathBuf>, to: impl Into<SocketAddr>) -> io::Result<String> {
    Connection::open(network, to.into(), PATIENCE).map(|(_, name)| name)
}

/// Why nobody answers there.
pub(crate) fn nobody(network: Option<PathBuf>, to: impl Into<SocketAddr>) -> io::ErrorKind {
    let to = to.into();
    match Connection::open(network, to, BRIEF) {
        Ok((_, name)) => panic!("{name} answers at {to}"),
        Err(error) => error.kind(),
    }
}

/// A socket of datagrams that keeps its port, in a network.
pub(crate) fn flow(network: PathBuf, to: SocketAddr) -> io::Result<UdpSocket> {
    let from: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = enter_path(network, move || UdpSocket::bind(from))??;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Sends a datagram of the flow, and returns what comes back.
pub(crate) fn exchange(socket: &UdpSocket, text: &str) -> io::Result<String> {
    socket.send(text.as_bytes())?;
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}
