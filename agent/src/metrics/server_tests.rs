//! The endpoint on a real port: what it answers, and those who ask slowly, half, too much, or never.

use super::super::samples::{Scripted, at, board};
use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// For what takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Served {
    address: SocketAddr,
    board: Board,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// A port that is free, and is held until the endpoint takes it.
fn reserve() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket
}

fn serve_at(address: SocketAddr) -> Served {
    let board = board();
    let collector = Collector::new(Arc::new(Scripted::default()), board.clone(), Arc::new(|| at(0)));
    let endpoint = Endpoint {
        listen: address,
        collector: Arc::new(collector),
        board: board.clone(),
        clock: Arc::new(|| at(0)),
    };
    let stop = CancellationToken::new();
    let task = tokio::spawn(endpoint.serve(stop.clone()));
    Served { address, board, stop, task }
}

/// One that answers.
async fn serve() -> Served {
    // Both may have the port while neither listens.
    let reserved = reserve();
    let served = serve_at(reserved.local_addr().unwrap());
    drop(served.connect().await);
    served
}

impl Served {
    async fn connect(&self) -> TcpStream {
        let connected = async {
            loop {
                match TcpStream::connect(self.address).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        timeout(PATIENCE, connected).await.expect("nobody listens")
    }

    /// Everything that is answered to `request`, until the end.
    async fn ask(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_all(&mut stream).await
    }

    async fn scrape(&self) -> String {
        self.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await
    }

    async fn end(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.expect("it ends").unwrap();
    }
}

/// An end that is no clean one is an end as well.
async fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("no end");
    String::from_utf8(answer).unwrap()
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[tokio::test]
async fn metrics_are_at_their_path_and_nothing_else_is() {
    let served = serve().await;
    let answer = served.scrape().await;
    assert_eq!(status(&answer), "200");
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
    assert!(answer.contains("\nnode_agent_build_info{version=\"0.1.0\"} 1\n"), "{answer}");
    for (request, wanted) in [
        ("GET /metrics?x=y HTTP/1.1\r\nHost: x\r\n\r\n", "200"),
        ("GET /metrics HTTP/1.0\r\n\r\n", "200"),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        ("GET /metrics/ HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        ("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", "405"),
        ("DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "405"),
        ("nonsense\r\n\r\n", "400"),
    ] {
        let answer = served.ask(request).await;
        assert_eq!(status(&answer), wanted, "{request:?}: {answer:?}");
    }
    served.end().await;
}

#[tokio::test]
async fn those_who_ask_for_too_much_are_refused_and_others_are_answered() {
    let served = serve().await;
    let long = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(HEAD_BYTES));
    let answer = served.ask(&long).await;
    assert!(["431", "none"].contains(&status(&answer)), "{answer}");
    let path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(2 * HEAD_BYTES));
    let answer = served.ask(&path).await;
    assert!(["414", "431", "none"].contains(&status(&answer)), "{answer}");
    // A body that never ends is not read.
    let answer = served.ask("GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc").await;
    assert_eq!(status(&answer), "200");
    // Nor is a second request of the same connection.
    let two = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2);
    assert_eq!(served.ask(&two).await.matches("HTTP/1.1 200").count(), 1);
    served.end().await;
}

#[tokio::test]
async fn those_who_send_half_a_request_lock_nobody_out_and_are_closed() {
    let served = serve().await;
    let begun = Instant::now();
    let mut slow = Vec::new();
    for number in 0..3 * CONNECTIONS {
        let mut stream = served.connect().await;
        // Nothing at all, or a part: some may be closed already.
        let _ = stream.write_all(&b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: y"[..number % 36]).await;
        slow.push(stream);
    }
    assert_eq!(status(&served.scrape().await), "200", "however many hold a connection");
    for stream in &mut slow {
        let answer = read_all(stream).await;
        assert!(["none", "408", "400"].contains(&status(&answer)), "{answer}");
    }
    assert!(begun.elapsed() < READ_HEAD + EXCHANGE, "{:?}", begun.elapsed());
    assert_eq!(status(&served.scrape().await), "200");
    served.end().await;
}

#[tokio::test]
async fn when_it_ends_those_who_wait_are_closed_and_the_port_is_free() {
    let served = serve().await;
    let mut waiting = served.connect().await;
    waiting.write_all(b"GET /met").await.unwrap();
    let address = served.address;
    let begun = Instant::now();
    served.end().await;
    assert!(begun.elapsed() < READ_HEAD, "{:?}", begun.elapsed());
    assert_eq!(read_all(&mut waiting).await, "");
    let again = serve_at(address);
    assert_eq!(status(&again.scrape().await), "200");
    again.end().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_a_problem_with_a_hint_until_it_is_free() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let served = serve_at(other.local_addr().unwrap());
    let mut changes = served.board.changes();
    let problem = timeout(PATIENCE, async {
        loop {
            if let Some(problem) = served.board.status().problems.first().cloned() {
                return problem;
            }
            assert!(changes.next().await, "the board is there");
        }
    });
    let problem = problem.await.expect("no problem");
    let port = served.address.port();
    assert_eq!(problem.code, "metrics_listen");
    assert!(
        problem.message.starts_with(&format!("cannot listen on 127.0.0.1:{port} for metrics: ")),
        "{problem:?}"
    );
    let hint = problem.hint.as_deref().unwrap();
    assert!(hint.contains(&format!("sport = :{port}")) && hint.contains("[metrics]"), "{hint}");
    assert_eq!(
        served.board.status().node.state,
        crate::status::NodeState::Starting,
        "nothing is degraded by it"
    );
    assert!(!served.task.is_finished());
    drop(other);
    // The next try is a while away.
    tokio::time::pause();
    tokio::time::advance(RETRY).await;
    tokio::time::resume();
    assert_eq!(status(&served.scrape().await), "200");
    assert!(served.board.status().problems.is_empty(), "it is gone");
    served.end().await;
}
