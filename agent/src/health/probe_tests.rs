//! Questions against servers in this process, over real sockets; no test waits for time to pass.

use super::*;
use crate::engine::ExecOutcome;
use crate::health::commands::Commands;
use crate::observed::ContainerState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Long enough to never pass in a test that expects an answer.
const PLENTY: Duration = Duration::from_secs(60);
const A_MOMENT: Duration = Duration::from_millis(50);

type Answering = fn() -> Result<ExecOutcome, EngineError>;

fn engine() -> Commands<Answering> {
    Commands(|| Ok(ExecOutcome { code: 0, output: String::new() }))
}

/// A server that gives one answer to one request, and the request.
async fn serve(answer: &'static str) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.expect("a request"));
        }
        stream.write_all(answer.as_bytes()).await.expect("answered");
        // The end of the connection ends the answer; an empty one is held open until the client leaves.
        if answer.is_empty() {
            let _ = stream.read_u8().await;
        }
        String::from_utf8_lossy(&request).into_owned()
    });
    (address, serving)
}

async fn http_reply(answer: &'static str, timeout: Duration) -> (SocketAddr, Reply) {
    let (address, _serving) = serve(answer).await;
    let question = Question::Http { address, path: "/health".to_owned() };
    (address, ask(&engine(), &question, timeout).await)
}

#[tokio::test]
async fn statuses() {
    for (answer, expected, said) in [
        ("HTTP/1.1 200 OK\r\n\r\nfine", Answer::Passed, "200"),
        ("HTTP/1.1 204 No Content\r\n\r\n", Answer::Passed, "204"),
        ("HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\n\r\n", Answer::Passed, "302"),
        ("HTTP/1.1 404 Not Found\r\n\r\n", Answer::Failed, "404"),
        ("HTTP/1.1 503 Busy\r\n\r\nstill\n  starting\u{7}\n", Answer::Failed, "503 \"still starting\""),
        ("HTTP/1.1 500 No\r\nContent-Length: 99\r\n\r\ncut", Answer::Failed, "500 \"cut\""),
    ] {
        let (address, reply) = http_reply(answer, PLENTY).await;
        let detail = format!("GET http://{address}/health: {said}");
        assert_eq!(reply, Reply { answer: expected, detail }, "{answer}");
    }
}

#[tokio::test]
async fn what_is_no_http_fails() {
    let (address, reply) = http_reply("SSH-2.0-OpenSSH_9.2\r\n", PLENTY).await;
    assert_eq!(reply.answer, Answer::Failed);
    assert!(reply.detail.starts_with(&format!("GET http://{address}/health: ")), "{}", reply.detail);
}

#[tokio::test]
async fn silence_fails_at_the_time_limit() {
    let (address, reply) = http_reply("", A_MOMENT).await;
    let detail = format!("GET http://{address}/health: no answer within 0.05 s");
    assert_eq!(reply, Reply { answer: Answer::Failed, detail });
}

#[tokio::test]
async fn an_endless_answer_passes_by_its_status() {
    let (_, reply) =
        http_reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n.\r\n", A_MOMENT).await;
    assert_eq!(reply.answer, Answer::Passed);
}

#[tokio::test]
async fn what_the_server_is_asked() {
    let (address, serving) = serve("HTTP/1.1 200 OK\r\n\r\n").await;
    let question = Question::Http { address, path: "/api/health/?deep=1".to_owned() };
    assert_eq!(ask(&engine(), &question, PLENTY).await.answer, Answer::Passed);
    let request = serving.await.expect("a request").to_lowercase();
    assert!(request.starts_with("get /api/health/?deep=1 http/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("host: {address}\r\n")), "{request}");
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    drop(listener);
    let refused = Reply { answer: Answer::Failed, detail: format!("connect {address}: connection refused") };
    let http = Question::Http { address, path: "/".to_owned() };
    assert_eq!(ask(&engine(), &http, PLENTY).await, refused);
    assert_eq!(ask(&engine(), &Question::Tcp { address }, PLENTY).await, refused);
}

#[tokio::test]
async fn somebody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    let reply = ask(&engine(), &Question::Tcp { address }, PLENTY).await;
    assert_eq!(reply, Reply { answer: Answer::Passed, detail: format!("connect {address}: accepted") });
}

#[tokio::test]
async fn commands() {
    let question =
        Question::Exec { container_id: "c".to_owned(), command: vec!["check".to_owned(), "-x".to_owned()] };
    for (engine, answer, detail) in [
        (engine(), Answer::Passed, "`check`: exit status 0"),
        (
            Commands(|| Ok(ExecOutcome { code: 2, output: "no\nway".to_owned() })),
            Answer::Failed,
            "`check`: exit status 2 \"no way\"",
        ),
        (
            Commands(|| {
                Err(EngineError::Unreachable {
                    endpoint: "/run/d.sock".to_owned(),
                    operation: "run `check`".to_owned(),
                    source: None,
                })
            }),
            Answer::Unanswered,
            "the Docker engine at /run/d.sock does not answer (run `check`)",
        ),
        (
            Commands(|| {
                Err(EngineError::Refused {
                    operation: "run `check` in container api-1".to_owned(),
                    code: "exec_timeout",
                    message: "it did not end within 5 s".to_owned(),
                    hint: None,
                })
            }),
            Answer::Failed,
            "cannot run `check` in container api-1: it did not end within 5 s",
        ),
    ] {
        let reply = ask(&engine, &question, PLENTY).await;
        assert_eq!(reply, Reply { answer, detail: detail.to_owned() });
    }
}

#[test]
fn where_a_container_is_asked() {
    let at = |text: &str| text.parse().expect("a time");
    let on_bridge = Container {
        id: "c".to_owned(),
        name: "api-1".to_owned(),
        service: "api".to_owned(),
        spec: String::new(),
        digest: String::new(),
        generation: 1,
        state: ContainerState::Running { started_at: at("2026-01-01T00:00:00Z") },
        created_at: at("2026-01-01T00:00:00Z"),
        address: Some(IpAddr::from([172, 18, 0, 2])),
        image_health: None,
        pid: None,
        routed_ports: Vec::new(),
        ipv6_ports: Vec::new(),
    };
    let without = Container { address: None, ..on_bridge.clone() };
    let tcp = Probe::Tcp { port: 8000 };
    let address = |text: &str| Question::Tcp { address: text.parse().expect("an address") };
    assert_eq!(Question::of(&on_bridge, &tcp, Network::Node), address("172.18.0.2:8000"));
    assert_eq!(Question::of(&without, &tcp, Network::Host), address("127.0.0.1:8000"));
    assert_eq!(Question::of(&without, &tcp, Network::Node), Question::NoAddress);
    assert_eq!(Question::of(&without, &Probe::ImageOrStayedUp, Network::Node), Question::StayedUp);
}
