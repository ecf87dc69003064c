//! Between the agent and its model server: every call can be watched, cut, and left without an answer, at three moments.
//!
//! In: where the server is, and who is told. Out: for each call a word `before` it is passed on, for each piece of a pull's
//! answer a word `line`, and a word `after` the answer has come and before the end of it is passed back. What always holds:
//! a client that goes away takes its connection to the server with it, as it would without anybody between.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

const PIECE: usize = 64 << 10;

/// What becomes of a call at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    GoOn,
    /// The connection is closed at once.
    Cut,
    /// Nothing comes back, and the connection stays open until the client closes it.
    Hang,
}

/// When in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Before,
    Line,
    After,
}

/// Is told each moment with the name of the call.
pub(crate) type Watch = Arc<dyn Fn(Side, &str) -> Verdict + Send + Sync>;

struct Shared {
    server: String,
    watch: Mutex<Watch>,
    /// Whoever hangs is cut when another watch comes.
    turn: tokio::sync::watch::Sender<u64>,
    refused: AtomicU32,
    completed: AtomicU64,
    /// How long clients bore with those that were left without an answer.
    borne: Mutex<Vec<Duration>>,
}

/// A proxy that listens; gone when it is dropped.
pub(crate) struct Proxy {
    url: String,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// Listens for the server at `ADDRESS:PORT`.
    pub(crate) async fn start(server: String) -> io::Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            server,
            watch: Mutex::new(nobody()),
            turn: tokio::sync::watch::Sender::new(0),
            borne: Mutex::default(),
            refused: AtomicU32::new(0),
            completed: AtomicU64::new(0),
        });
        let passing = Arc::clone(&shared);
        let serving = Handle::current().spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&passing);
                tokio::spawn(async move {
                    // Either side may go away at any time; the other one sees it by the end of its connection.
                    pass(client, &shared).await.ok();
                });
            }
        });
        Ok(Proxy { url, shared, serving })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// From now on that one is told.
    pub(crate) fn watch(&self, watch: Watch) {
        self.shared.refused.store(0, Ordering::Release);
        self.shared.completed.store(0, Ordering::Release);
        *self.shared.watch.lock().unwrap_or_else(PoisonError::into_inner) = watch;
        self.shared.borne.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.shared.turn.send_modify(|turn| *turn += 1);
    }

    /// How long clients bore with each call that was left without an answer, since the watch was set.
    pub(crate) fn borne(&self) -> Vec<Duration> {
        self.shared.borne.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connections that the server did not take since the watch was set.
    pub(crate) fn refused(&self) -> u32 {
        self.shared.refused.load(Ordering::Acquire)
    }

    /// The most bytes of one layer that a pull has told of since the watch was set.
    pub(crate) fn completed(&self) -> u64 {
        self.shared.completed.load(Ordering::Acquire)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Nobody is told.
pub(crate) fn nobody() -> Watch {
    Arc::new(|_, _| Verdict::GoOn)
}

async fn pass(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let Some((head, body)) = request(&mut client).await? else { return Ok(()) };
    let call = name(&head, &body);
    if !goes_on(shared, Side::Before, &call, &mut client).await? {
        return Ok(());
    }
    let connected = TcpStream::connect(&shared.server).await;
    let mut server = connected.inspect_err(|_| {
        shared.refused.fetch_add(1, Ordering::AcqRel);
    })?;
    server.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    server.write_all(&body).await?;
    let (mut piece, mut unheard, mut answer) = (vec![0; PIECE], [0; 1], Vec::new());
    loop {
        let length = tokio::select! {
            length = server.read(&mut piece) => length?,
            // It has said all that it had to say: this is its end.
            _ = client.read(&mut unheard) => return Ok(()),
        };
        if length == 0 {
            break;
        }
        answer.extend_from_slice(&piece[..length]);
        if call != "POST /api/pull" || said(&answer, r#""status":"success""#) {
            continue;
        }
        note_progress(shared, &answer);
        if !goes_on(shared, Side::Line, &call, &mut client).await? {
            return Ok(());
        }
        client.write_all(&answer).await?;
        answer.clear();
    }
    if goes_on(shared, Side::After, &call, &mut client).await? {
        client.write_all(&answer).await?;
    }
    Ok(())
}

/// Head without its end, and body; `None` where the client went away.
async fn request(client: &mut TcpStream) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head.lines().filter_map(|line| line.split_once(": "));
            let length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            let length: usize = length.filter_map(|(_, value)| value.parse().ok()).next().unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                return Ok(Some((head, bytes[end + 4..].to_vec())));
            }
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}

/// Whoever is told may take its time: other calls go on.
async fn goes_on(shared: &Shared, side: Side, call: &str, client: &mut TcpStream) -> io::Result<bool> {
    let watch = Arc::clone(&shared.watch.lock().unwrap_or_else(PoisonError::into_inner));
    let told = call.to_owned();
    let verdict = tokio::task::spawn_blocking(move || watch(side, &told)).await.unwrap_or(Verdict::Cut);
    if verdict == Verdict::Hang {
        let (begun, mut turn) = (Instant::now(), shared.turn.subscribe());
        let mut unheard = [0; 1];
        tokio::select! {
            _ = client.read(&mut unheard) => {
                shared.borne.lock().unwrap_or_else(PoisonError::into_inner).push(begun.elapsed());
            }
            _ = turn.changed() => {}
        }
    }
    Ok(verdict == Verdict::GoOn)
}

/// Method, path, and what a prompt is for.
fn name(head: &str, body: &[u8]) -> String {
    let words: Vec<&str> = head.split(' ').take(2).collect();
    let call = words.join(" ");
    if call != "POST /api/generate" {
        return call;
    }
    let what = match () {
        () if said(body, r#""prompt":"#) => "prompt",
        () if said(body, r#""keep_alive":0"#) => "unload",
        () => "load",
    };
    format!("{call} ({what})")
}

fn said(bytes: &[u8], what: &str) -> bool {
    bytes.windows(what.len()).any(|window| window == what.as_bytes())
}

fn note_progress(shared: &Shared, lines: &[u8]) {
    for line in String::from_utf8_lossy(lines).lines().filter(|line| line.starts_with('{')) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        shared.completed.fetch_max(line["completed"].as_u64().unwrap_or(0), Ordering::AcqRel);
    }
}

#[test]
fn calls_are_named_by_what_they_do() {
    let named = |head, body: &str| name(head, body.as_bytes());
    assert_eq!(named("GET /api/tags HTTP/1.1\r\nhost: a", ""), "GET /api/tags");
    let generate = "POST /api/generate HTTP/1.1";
    assert_eq!(named(generate, r#"{"keep_alive":-1}"#), "POST /api/generate (load)");
    assert_eq!(named(generate, r#"{"keep_alive":0}"#), "POST /api/generate (unload)");
    assert_eq!(named(generate, r#"{"prompt":"four"}"#), "POST /api/generate (prompt)");
}
