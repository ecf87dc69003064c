//! Clients of every kind at once on one unix socket that is served by HTTP: good ones, slow ones, and such as say half of
//! it, too much, or nonsense.
//!
//! In: whose socket, how many clients, how long each rests between two acts. Out: how often each kind came to an end of
//! what it does. What always holds: a client that is kept waiting gives up after [`PATIENCE`], and all end when they are
//! told to. Not its job: what is expected of the server.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// For an answer, and of the server that keeps one waiting.
const PATIENCE: Duration = Duration::from_secs(20);
/// Whom less is allowed than root.
const NOBODY: u32 = 65534;
const LONG_HEADER: usize = 1 << 20;

/// Whom they come to, and what they ask for there.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its socket; the way to it may lead through the root of a process.
    pub socket: PathBuf,
    /// A path whose answer is short; good clients ask for it.
    pub short: &'static str,
    /// One whose answer is long.
    pub long: &'static str,
    /// One whose answer does not end.
    pub endless: &'static str,
    /// The clients are `nobody`, where this process is root; else whoever this process is.
    pub by_nobody: bool,
}

impl Host {
    /// The agent's control API.
    pub fn control_api(socket: PathBuf) -> Host {
        let (short, long, endless) = ("/v1/status", "/v1/openapi.json", "/v1/status?follow=true");
        Host { socket, short, long, endless, by_nobody: true }
    }

    /// The engine's API, to which `nobody` cannot come.
    pub fn engine(socket: PathBuf) -> Host {
        let (short, long, endless) = ("/containers/json", "/info", "/events");
        Host { socket, short, long, endless, by_nobody: false }
    }
}

/// What every client sees.
struct Place {
    host: Host,
    rest: Duration,
    now: Mutex<Now>,
    told: Condvar,
}

#[derive(Default)]
struct Now {
    /// How many clients have begun what they do.
    came: usize,
    over: bool,
}

/// A kind of client, and what one does; what comes back says whether it got what it came for.
type Kind = (&'static str, fn(&Place) -> bool);

/// The kind that asks and is answered.
pub const GOOD: &str = "good";
const KINDS: [Kind; 8] = [
    (GOOD, good),
    (GOOD, good),
    ("reads a byte at a time", reads_a_byte_at_a_time),
    ("reads nothing", reads_nothing),
    ("says half of it", says_half_of_it),
    ("sends a header of 1 MiB", sends_a_long_header),
    ("sends garbage", sends_garbage),
    ("hangs up", hangs_up),
];

impl Place {
    fn now(&self) -> MutexGuard<'_, Now> {
        // A flag and a number are whole whoever panicked.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits a little; whether it is over.
    fn is_over_after(&self, time: Duration) -> bool {
        let waited = self.told.wait_timeout_while(self.now(), time, |now| !now.over);
        waited.unwrap_or_else(PoisonError::into_inner).0.over
    }

    /// Waits for all to have come; whether they have.
    fn all_came(&self, clients: usize) -> bool {
        let time = self.rest + PATIENCE;
        let waited = self.told.wait_timeout_while(self.now(), time, |now| now.came < clients);
        waited.unwrap_or_else(PoisonError::into_inner).0.came == clients
    }

    /// Comes `late`, does what its kind does, and rests, until it is over; returns how often it got what it came for.
    fn visit(&self, act: fn(&Place) -> bool, late: Duration) -> io::Result<usize> {
        enter(&self.host.socket)?;
        if self.host.by_nobody {
            become_nobody()?;
        }
        let mut over = self.is_over_after(late);
        let path = self.host.socket.display();
        self.reach().map_err(|error| io::Error::other(format!("cannot connect to {path}: {error}")))?;
        self.now().came += 1;
        self.told.notify_all();
        let mut done = 0;
        while !over {
            done += usize::from(act(self));
            over = self.is_over_after(self.rest);
        }
        Ok(done)
    }

    /// Each client is in the folder of the socket, see [`enter`].
    fn reach(&self) -> io::Result<UnixStream> {
        UnixStream::connect(self.host.socket.file_name().unwrap_or_default())
    }

    fn connect(&self) -> Option<UnixStream> {
        let stream = self.reach().ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        Some(stream)
    }

    /// What is sent may be more than the server takes, and what comes no answer.
    fn send(&self, bytes: &[u8]) -> Option<UnixStream> {
        let mut stream = self.connect()?;
        let _ = stream.write_all(bytes);
        Some(stream)
    }

    fn ask(&self, path: &str) -> Option<UnixStream> {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
    }
}

/// The same, and reads whatever comes.
fn send_and_read(place: &Place, bytes: &[u8]) -> bool {
    let Some(mut stream) = place.send(bytes) else { return false };
    let _ = stream.read_to_end(&mut Vec::new());
    true
}

fn good(place: &Place) -> bool {
    let Some(mut stream) = place.ask(place.host.short) else { return false };
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).is_ok() && is_whole(&String::from_utf8_lossy(&answer))
}

/// It says 200, and has as much as it says that it has.
fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = lengths.next().map(|(_, value)| value.trim().parse::<usize>());
    head.starts_with("HTTP/1.1 200") && length.is_none_or(|length| length == Ok(body.len()))
}

fn reads_a_byte_at_a_time(place: &Place) -> bool {
    let Some(mut stream) = place.ask(place.host.long) else { return false };
    while stream.read(&mut [0]).is_ok_and(|count| count > 0) && !place.is_over_after(place.rest / 10) {}
    true
}

fn reads_nothing(place: &Place) -> bool {
    let stream = place.ask(place.host.endless);
    place.is_over_after(PATIENCE);
    stream.is_some()
}

fn says_half_of_it(place: &Place) -> bool {
    send_and_read(place, b"POST /v1/upd")
}

fn sends_a_long_header(place: &Place) -> bool {
    let mut request = format!("GET {} HTTP/1.1\r\nhost: x\r\nx-long: ", place.host.short).into_bytes();
    request.resize(LONG_HEADER, b'a');
    send_and_read(place, &request)
}

fn sends_garbage(place: &Place) -> bool {
    let garbage: Vec<u8> = (0..4096_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
    send_and_read(place, &garbage)
}

fn hangs_up(place: &Place) -> bool {
    drop(place.connect());
    place.ask(place.host.long).is_some()
}

/// The calling thread gets a working directory of its own, the socket's: `nobody` may not pass through `/proc/PID/root`.
fn enter(socket: &Path) -> io::Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS)?;
    nix::unistd::chdir(socket.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
    Ok(())
}

/// To Linux, credentials are those of a thread: only the one that calls becomes somebody else, and stays so.
fn become_nobody() -> io::Result<()> {
    use nix::libc::{SYS_setresuid, syscall};
    if !nix::unistd::Uid::effective().is_root() {
        return Ok(());
    }
    // SAFETY: only numbers are passed.
    match unsafe { syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Clients that come again and again, until they are sent away or it is dropped.
pub struct Crowd {
    place: Arc<Place>,
    clients: Vec<(&'static str, JoinHandle<io::Result<usize>>)>,
}

impl Crowd {
    /// So many, of each kind as many, each on a thread of its own, resting so long after each thing it does. Returns when
    /// all have come, one after the other within the first rest.
    ///
    /// # Errors
    /// They did not all come; one that could not is named by [`Crowd::disperse`].
    pub fn gather(host: Host, clients: usize, rest: Duration) -> io::Result<Crowd> {
        let place = Arc::new(Place { host, rest, now: Mutex::default(), told: Condvar::new() });
        let mut crowd = Crowd { place, clients: Vec::new() };
        let kinds = KINDS.into_iter().cycle().take(clients);
        for ((kind, act), late) in kinds.zip(0_u32..) {
            let late = rest * late / u32::try_from(clients).unwrap_or(u32::MAX);
            let place = Arc::clone(&crowd.place);
            crowd.clients.push((kind, std::thread::spawn(move || place.visit(act, late))));
        }
        if crowd.place.all_came(clients) {
            return Ok(crowd);
        }
        crowd.disperse()?;
        Err(io::ErrorKind::TimedOut.into())
    }

    fn tell(&self) {
        self.place.now().over = true;
        self.place.told.notify_all();
    }

    /// All go; says of each of them its kind, and how often it got what it came for.
    ///
    /// # Errors
    /// A client could not become who it should be, or panicked.
    pub fn disperse(mut self) -> io::Result<Vec<(&'static str, usize)>> {
        self.tell();
        let gone = |(kind, client): (_, JoinHandle<io::Result<usize>>)| {
            let done =
                client.join().map_err(|_| io::Error::other(format!("a client that {kind} panicked")))?;
            Ok((kind, done?))
        };
        self.clients.drain(..).map(gone).collect()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.tell();
        for (_, client) in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_cut_short_is_none() {
        let answer = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}");
        assert!(is_whole(&answer("{}")));
        assert!(!is_whole(&answer("{")) && !is_whole("HTTP/1.1 200 OK\r\n"));
        assert!(!is_whole("HTTP/1.1 503 Service Unavailable\r\n\r\n"));
    }
}
