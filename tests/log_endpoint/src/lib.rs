//! An endpoint for PutLogEvents that is faster than any shipper, and keeps count of every numbered line.
//!
//! In: calls over HTTPS (with the authority of whoever starts it) and HTTP, and faults on demand. Out: per stream which lines
//! arrived, how often and in which order, and what in the calls the service would have refused. It has threads of its own,
//! one for each connection, on the processor that it is given. What always holds: what is counted was answered with 200,
//! or was to be, see [`Fault::AnswerLost`].
//! Not its job: signatures, and what the harness' local cloud does; it is for what that is too slow for.

mod body;
mod connection;
mod fault;
pub mod numbered;
mod scan;
mod seen;
mod store;

pub use fault::Fault;
pub use seen::Seen;

use fault::Faults;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use store::Store;

/// For threads to notice that their connections were ended.
const FAREWELL: Duration = Duration::from_secs(10);

/// What the threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    faults: Faults,
    store: Store,
    closing: AtomicBool,
    processor: Option<usize>,
    /// To be ended with the endpoint, by number.
    connections: Mutex<BTreeMap<u64, TcpStream>>,
    /// One has ended.
    left: Condvar,
    next: AtomicU64,
}

/// A running endpoint; it and its connections end when it is dropped.
#[derive(Debug)]
pub struct LogEndpoint {
    shared: Arc<Shared>,
    secure: SocketAddr,
    plain: SocketAddr,
    files: tempfile::TempDir,
}

impl LogEndpoint {
    /// Listens on two ports of this host, as `tls` says and with `authority` for who is to trust it; with a number, all its
    /// threads run on that processor.
    ///
    /// # Errors
    /// No port, or the authority cannot be written down.
    pub fn start(
        tls: Arc<ServerConfig>,
        authority: &str,
        processor: Option<usize>,
    ) -> io::Result<LogEndpoint> {
        let files = tempfile::tempdir()?;
        #[expect(clippy::disallowed_methods, reason = "a file of this value's own")]
        std::fs::write(files.path().join("authority.pem"), authority)?;
        let shared = Arc::new(Shared {
            faults: Faults::default(),
            store: Store::default(),
            closing: AtomicBool::new(false),
            processor,
            connections: Mutex::default(),
            left: Condvar::new(),
            next: AtomicU64::new(0),
        });
        let listen = |tls: Option<Arc<ServerConfig>>| -> io::Result<SocketAddr> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let address = listener.local_addr()?;
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || accept(&listener, tls.as_ref(), &shared));
            Ok(address)
        };
        let secure = listen(Some(tls))?;
        let plain = listen(None)?;
        Ok(LogEndpoint { shared, secure, plain, files })
    }

    /// With TLS.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.secure)
    }

    /// Without.
    #[must_use]
    pub fn plain_url(&self) -> String {
        format!("http://{}", self.plain)
    }

    /// What a client trusts, as `SSL_CERT_FILE`.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.files.path().join("authority.pem")
    }

    /// From now on, that long.
    pub fn begin(&self, fault: Fault, lasting: Duration) {
        self.shared.faults.begin(fault, lasting);
    }

    /// Whether the last fault lasts.
    #[must_use]
    pub fn is_at_fault(&self) -> bool {
        self.shared.faults.is_on()
    }

    /// Calls that the last fault hit.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.shared.faults.hits()
    }

    /// Deletes a group and its streams; what arrived in them stays counted.
    pub fn delete_group(&self, group: &str) -> bool {
        self.shared.store.delete_group(group)
    }

    /// What arrived in a stream so far; a stream that nobody wrote to is empty.
    #[must_use]
    pub fn seen(&self, group: &str, stream: &str) -> Seen {
        self.look(group, stream, Seen::clone)
    }

    /// The same without a copy.
    pub fn look<T>(&self, group: &str, stream: &str, look: impl FnOnce(&Seen) -> T) -> T {
        match self.shared.store.seen(group, stream) {
            Some(seen) => look(&seen.lock().unwrap_or_else(PoisonError::into_inner)),
            None => look(&Seen::default()),
        }
    }

    /// Group, stream and different numbered lines of each.
    #[must_use]
    pub fn streams(&self) -> Vec<(String, String, u64)> {
        let of = |seen: &Mutex<Seen>| seen.lock().unwrap_or_else(PoisonError::into_inner).distinct;
        let streams = self.shared.store.streams();
        streams.iter().map(|((group, stream), seen)| (group.clone(), stream.clone(), of(seen))).collect()
    }

    /// Different numbered lines of all streams.
    #[must_use]
    pub fn distinct(&self) -> u64 {
        self.streams().iter().map(|(_, _, distinct)| distinct).sum()
    }

    /// What the service would have refused, and was refused.
    #[must_use]
    pub fn offences(&self) -> Vec<String> {
        self.shared.store.offences()
    }

    /// From the first call with events to the last, as far as they were accepted.
    #[must_use]
    pub fn span(&self) -> Duration {
        self.shared.store.span()
    }

    /// Lets it begin anew with the next call.
    pub fn forget_span(&self) {
        self.shared.store.forget_span();
    }

    /// Ends all connections, and forgets what arrived and what exists.
    ///
    /// # Errors
    /// A connection did not end.
    pub fn forget(&self) -> io::Result<()> {
        self.shared.hang_up();
        let there = self.shared.connections();
        let waited = self.shared.left.wait_timeout_while(there, FAREWELL, |there| !there.is_empty());
        let (there, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            return Err(io::Error::other(format!("{} connections did not end", there.len())));
        }
        self.shared.store.forget();
        Ok(())
    }

    /// Calls that met no fault, by operation.
    #[must_use]
    pub fn operations(&self) -> BTreeMap<String, u64> {
        self.shared.store.operations()
    }
}

impl Shared {
    fn connections(&self) -> MutexGuard<'_, BTreeMap<u64, TcpStream>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hang_up(&self) {
        self.faults.end();
        for connection in self.connections().values() {
            // Who has gone already needs no telling.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for LogEndpoint {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        self.shared.hang_up();
        // Whoever accepts looks up.
        for address in [self.secure, self.plain] {
            let _ = TcpStream::connect(address);
        }
    }
}

fn accept(listener: &TcpListener, tls: Option<&Arc<ServerConfig>>, shared: &Arc<Shared>) {
    stay_on(shared.processor);
    for connection in listener.incoming() {
        if shared.closing.load(Ordering::SeqCst) {
            return;
        }
        let Ok(socket) = connection else { continue };
        let (shared, tls) = (Arc::clone(shared), tls.cloned());
        std::thread::spawn(move || {
            let number = shared.next.fetch_add(1, Ordering::Relaxed);
            // Who breaks off a connection is to try again; that is what is tested.
            let _ = converse(&socket, tls, &shared, number);
            shared.connections().remove(&number);
            shared.left.notify_all();
        });
    }
}

/// A socket that is read in big pieces.
#[derive(Debug)]
struct Wide(BufReader<TcpStream>);

impl Read for Wide {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Wide {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.get_mut().flush()
    }
}

fn converse(
    socket: &TcpStream,
    tls: Option<Arc<ServerConfig>>,
    shared: &Shared,
    number: u64,
) -> Result<(), Box<dyn Error>> {
    socket.set_nodelay(true)?;
    shared.connections().insert(number, socket.try_clone()?);
    let wide = Wide(BufReader::with_capacity(connection::SOCKET_BUFFER, socket.try_clone()?));
    match tls {
        Some(tls) => {
            let stream = StreamOwned::new(ServerConnection::new(tls)?, wide);
            Ok(connection::serve(stream, socket, shared)?)
        }
        None => Ok(connection::serve(wide, socket, shared)?),
    }
}

/// Threads that it starts from now on inherit it.
fn stay_on(processor: Option<usize>) {
    let Some(processor) = processor else { return };
    let mut set = nix::sched::CpuSet::new();
    if set.set(processor).is_ok() {
        // On a host with one processor there is nothing to choose.
        let _ = nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set);
    }
}

/// How fast bodies are read on one processor, in bytes of them a second: what is measured against it must be slower.
///
/// # Errors
/// The bodies of this measurement are refused.
pub fn own_limit(lines: u64) -> Result<f64, Box<dyn Error>> {
    let events: Vec<_> = (0..4_600)
        .map(|number| serde_json::json!({"timestamp": 1, "message": crate::numbered::line_text(number)}))
        .collect();
    let body =
        serde_json::json!({"logGroupName": "g", "logStreamName": "s", "logEvents": events}).to_string();
    let store = Store::default();
    store.operate("CreateLogGroup", br#"{"logGroupName":"g"}"#);
    store.operate("CreateLogStream", br#"{"logGroupName":"g","logStreamName":"s"}"#);
    #[expect(clippy::disallowed_methods, reason = "it measures")]
    let began = Instant::now();
    let rounds = lines.div_ceil(4_600);
    for _ in 0..rounds {
        let (status, answer) = store.put(body.as_bytes());
        if status != 200 {
            return Err(format!("{status}: {answer}").into());
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "shown to people")]
    Ok((rounds * body.len() as u64) as f64 / began.elapsed().as_secs_f64())
}
