//! A server that expects certain requests, in order, and answers each as its script says. On a real socket, in virtual
//! time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

/// One thing that it does; after the last one it ends the connection.
#[derive(Debug, Clone)]
pub(super) enum Do {
    /// Writes these bytes.
    Say(String),
    /// Writes them so many times, with this pause before each.
    Repeat(String, Duration, u32),
    /// Says nothing for so long.
    Wait(Duration),
    /// Nothing, until the client leaves.
    UntilLeft,
}

type Script = VecDeque<(&'static str, Vec<Do>)>;

/// It, and what it was asked.
pub(super) struct Scripted {
    /// `127.0.0.1:PORT`
    pub(super) address: String,
    script: Arc<Mutex<Script>>,
    bodies: Arc<Mutex<Vec<String>>>,
    heads: Arc<Mutex<Vec<String>>>,
    /// Told when a client leaves an answer that is not complete.
    pub(super) left: Arc<Notify>,
    _serving: AbortOnDropHandle<()>,
}

pub(super) async fn scripted(script: impl IntoIterator<Item = (&'static str, Vec<Do>)>) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("bound").to_string();
    let script = Arc::new(Mutex::new(script.into_iter().collect::<Script>()));
    let (bodies, heads) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<Vec<String>>>::default());
    let left = Arc::new(Notify::new());
    let (steps, asked, asked_heads) = (Arc::clone(&script), Arc::clone(&bodies), Arc::clone(&heads));
    let told = Arc::clone(&left);
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (head, body) = request(&mut stream).await;
            let step = steps.lock().expect("no panic").pop_front();
            let Some((expected, actions)) = step else { panic!("unexpected: {head}") };
            assert!(head.starts_with(expected), "expected {expected}, was asked {head}");
            asked.lock().expect("no panic").push(body);
            asked_heads.lock().expect("no panic").push(head);
            tokio::spawn(answer(stream, actions, Arc::clone(&told)));
        }
    });
    Scripted { address, script, bodies, heads, left, _serving: AbortOnDropHandle::new(serving) }
}

impl Scripted {
    /// The bodies of all requests that came; fails when some never did.
    pub(super) fn bodies(&self) -> Vec<String> {
        let missing: Vec<&str> = self.script.lock().expect("no panic").iter().map(|step| step.0).collect();
        assert_eq!(missing, [""; 0], "these requests never came");
        self.bodies.lock().expect("no panic").clone()
    }

    pub(super) fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }
}

async fn answer(mut stream: TcpStream, actions: Vec<Do>, left: Arc<Notify>) {
    for action in actions {
        match action {
            Do::Wait(pause) => tokio::time::sleep(pause).await,
            Do::Say(text) => {
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return left.notify_one();
                }
            }
            Do::Repeat(text, pause, times) => {
                for _ in 0..times {
                    tokio::time::sleep(pause).await;
                    if stream.write_all(text.as_bytes()).await.is_err() {
                        return left.notify_one();
                    }
                }
            }
            Do::UntilLeft => {
                let _ = stream.read_u8().await;
                left.notify_one();
            }
        }
    }
}

async fn request(stream: &mut TcpStream) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a request"));
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().expect("a length"))
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.expect("the body");
    (head, String::from_utf8_lossy(&body).into_owned())
}

/// A whole answer.
pub(super) fn with_status(status: &str, body: &str) -> Do {
    Do::Say(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

pub(super) fn ok(body: &str) -> Do {
    with_status("200 OK", body)
}

/// The head of an answer that ends with the connection.
pub(super) fn until_closed(body: &str) -> Do {
    Do::Say(format!("HTTP/1.1 200 OK\r\n\r\n{body}"))
}

/// The head of an answer in chunks.
pub(super) fn in_chunks() -> Do {
    Do::Say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned())
}

pub(super) fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// The last chunk.
pub(super) fn end() -> Do {
    Do::Say("0\r\n\r\n".to_owned())
}
