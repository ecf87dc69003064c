//! Between the agent and its engine: every call goes through, and those that change something can be watched and cut.
//!
//! In: the engine's socket, where to listen, and who is told. Out: for each changing call a word before it is passed on
//! and a word after its answer has come but before it is passed back; whoever is told may cut the call at either moment.
//! Beside the engine's calls it takes `GET /step/NAME`, by which other programs of the instance tell a moment of theirs:
//! 200 means go on, 409 that it was cut. Calls that only look are passed through untouched, streams and all.
//! A connection carries one request: whoever would keep it is told that the engine does not.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

/// A request's head is far below this.
const HEAD_LIMIT: usize = 64 * 1024;
const STEP: &str = "/step/";
/// Containers' ids, and digests.
const ID_LENGTH: usize = 64;

/// What becomes of a call at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    GoOn,
    /// The connection is closed at once.
    Cut,
}

/// Is told each moment, e.g. `before POST /containers/ID/start`.
pub type Watch = Arc<dyn Fn(&str) -> Verdict + Send + Sync>;

/// A proxy that listens; gone, with its socket, when it is dropped.
pub struct EngineProxy {
    listens_at: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl EngineProxy {
    /// Listens at one path for the engine at another.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub fn start(listens_at: &Path, engine: &Path, watch: Watch) -> io::Result<EngineProxy> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(listens_at)?
        };
        let (stop, stopped) = oneshot::channel();
        let engine = engine.to_owned();
        let thread = std::thread::Builder::new().name("engine-proxy".to_owned()).spawn(move || {
            runtime.spawn(serve(listener, engine, watch));
            runtime.block_on(stopped).ok();
            // Streams that the agent follows have no end of their own.
            runtime.shutdown_background();
        })?;
        Ok(EngineProxy { listens_at: listens_at.to_owned(), stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for EngineProxy {
    fn drop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
        self.thread.take().map(JoinHandle::join);
        std::fs::remove_file(&self.listens_at).ok();
    }
}

async fn serve(listener: UnixListener, engine: PathBuf, watch: Watch) {
    while let Ok((client, _)) = listener.accept().await {
        let (engine, watch) = (engine.clone(), Arc::clone(&watch));
        tokio::spawn(async move {
            // Either side may go away at any time; the other one sees it by the end of its connection.
            pass(client, &engine, &watch).await.ok();
        });
    }
}

async fn pass(mut client: UnixStream, engine: &Path, watch: &Watch) -> io::Result<()> {
    let mut head = Vec::new();
    let end = loop {
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if head.len() > HEAD_LIMIT || client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    };
    let text = String::from_utf8_lossy(&head[..end]).into_owned();
    let mut words = text.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if let Some(step) = target.strip_prefix(STEP) {
        let status = match tell(watch, step.to_owned()).await {
            Verdict::GoOn => "200 OK",
            Verdict::Cut => "409 Conflict",
        };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return client.write_all(answer.as_bytes()).await;
    }
    let Some(call) = changing(method, target) else {
        let mut engine = UnixStream::connect(engine).await?;
        engine.write_all(&alone(&head, end)).await?;
        return tokio::io::copy_bidirectional(&mut client, &mut engine).await.map(drop);
    };
    if tell(watch, format!("before {call}")).await == Verdict::Cut {
        return Ok(());
    }
    let answer = ask(&mut client, engine, &head, end).await?;
    if tell(watch, format!("after {call}")).await == Verdict::Cut {
        return Ok(());
    }
    client.write_all(&answer).await
}

/// The request as the only one of its connection, so that the answer ends with it and the next request is seen. One that
/// turns the connection into a stream has it for itself anyway.
fn alone(head: &[u8], end: usize) -> Vec<u8> {
    let is_stream = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase().contains("\r\nupgrade:");
    let closing: &[u8] = if is_stream { b"" } else { b"\r\nConnection: close" };
    [&head[..end], closing, &head[end..]].concat()
}

/// The whole answer to a request of which `head` was read, with the beginning of its body behind `end`.
async fn ask(client: &mut UnixStream, engine: &Path, head: &[u8], end: usize) -> io::Result<Vec<u8>> {
    let mut engine = UnixStream::connect(engine).await?;
    engine.write_all(&alone(head, end)).await?;
    let (mut from_engine, mut to_engine) = engine.split();
    let mut answer = Vec::new();
    tokio::select! {
        read = from_engine.read_to_end(&mut answer) => read.map(drop)?,
        // Ends when the client goes away; the engine is not asked any further then.
        copied = async { tokio::io::copy(client, &mut to_engine).await } => copied.map(drop)?,
    }
    Ok(answer)
}

/// Whoever is told may take its time: other calls go on.
async fn tell(watch: &Watch, moment: String) -> Verdict {
    let watch = Arc::clone(watch);
    tokio::task::spawn_blocking(move || watch(&moment)).await.unwrap_or(Verdict::Cut)
}

/// A name for a call that changes something, without the API's version, ids and parameters; `None` for one that looks.
fn changing(method: &str, target: &str) -> Option<String> {
    if !matches!(method, "POST" | "PUT" | "DELETE") {
        return None;
    }
    let path = target.split('?').next().unwrap_or_default();
    let is_version = |part: &&str| part.starts_with('v') && part.contains('.');
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && !is_version(part)).collect();
    // Running a command inside a container is looking: health checks do it. Waiting for the end of a container is a part
    // of stopping it.
    let looks = parts.first() == Some(&"exec") || parts.last() == Some(&"exec");
    if looks {
        return None;
    }
    let is_id = |part: &str| part.len() == ID_LENGTH && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts = parts.into_iter().map(|part| if is_id(part) { "ID" } else { part });
    Some(format!("{method} /{}", parts.collect::<Vec<_>>().join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net;
    use std::sync::Mutex;

    #[test]
    fn calls_that_change_something_have_names_and_those_that_look_have_none() {
        let id = "0123456789abcdef".repeat(4);
        let named = |method, target: &str| changing(method, target);
        let start = named("POST", &format!("/v1.41/containers/{id}/start?x=1"));
        assert_eq!(start.as_deref(), Some("POST /containers/ID/start"));
        let create = named("POST", "/containers/create?name=web-1");
        assert_eq!(create.as_deref(), Some("POST /containers/create"));
        let wait = named("POST", &format!("/v1.41/containers/{id}/wait?condition=not-running"));
        assert_eq!(wait.as_deref(), Some("POST /containers/ID/wait"));
        assert_eq!(named("GET", "/v1.41/containers/json"), None);
        assert_eq!(named("POST", &format!("/v1.41/containers/{id}/exec")), None);
        assert_eq!(named("POST", &format!("/v1.41/exec/{id}/start")), None);
    }

    /// An engine that says what it was asked and closes, and a proxy before it that cuts at one moment.
    fn scene(cut_at: &'static str) -> (tempfile::TempDir, EngineProxy, Arc<Mutex<Vec<String>>>) {
        let folder = tempfile::tempdir().unwrap();
        let engine = folder.path().join("engine");
        let listener = net::UnixListener::bind(&engine).unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::clone(&log);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = Vec::new();
                while !request.ends_with(b"body") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.extend(byte);
                }
                asked.lock().unwrap().push("the engine is asked".to_owned());
                stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
            }
        });
        let told = Arc::clone(&log);
        let watch: Watch = Arc::new(move |moment| {
            told.lock().unwrap().push(moment.to_owned());
            if moment == cut_at { Verdict::Cut } else { Verdict::GoOn }
        });
        let proxy = EngineProxy::start(&folder.path().join("proxy"), &engine, watch).unwrap();
        (folder, proxy, log)
    }

    fn ask_proxy(proxy: &EngineProxy, target: &str) -> String {
        let mut stream = net::UnixStream::connect(&proxy.listens_at).unwrap();
        write!(stream, "POST {target} HTTP/1.1\r\nHost: docker\r\nContent-Length: 4\r\n\r\nbody").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok();
        answer
    }

    #[test]
    fn a_call_is_told_before_and_after_and_its_answer_is_passed_back() {
        let (_folder, proxy, log) = scene("never");
        assert!(ask_proxy(&proxy, "/containers/x/start").starts_with("HTTP/1.1 204"));
        let wanted =
            ["before POST /containers/x/start", "the engine is asked", "after POST /containers/x/start"];
        assert_eq!(*log.lock().unwrap(), wanted);
        assert!(ask_proxy(&proxy, "/step/before-nft").starts_with("HTTP/1.1 200"));
        assert_eq!(log.lock().unwrap().last().map(String::as_str), Some("before-nft"));
    }

    #[test]
    fn a_call_is_cut_before_the_engine_hears_of_it_or_before_its_answer_is_heard() {
        for (moment, asked) in [("before POST /a", 0), ("after POST /a", 1)] {
            let (_folder, proxy, log) = scene(moment);
            assert_eq!(ask_proxy(&proxy, "/a"), "");
            let log = log.lock().unwrap().clone();
            assert_eq!(log.iter().filter(|line| *line == "the engine is asked").count(), asked, "{log:?}");
        }
    }
}
