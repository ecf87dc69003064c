//! The server of the control API as a target: bytes of a connection into the agent's own router and limits, in virtual time.

use agent::board::Board;
use agent::command::{Command, ModelCommand, Taken};
use agent::control::api::Fault;
use agent::control::logs::{ContainerOutput, Lines, Output};
use agent::control::peer::Peer;
use agent::control::routes::{CODES, ENDPOINTS, Kind, status_of};
use agent::control::server::Control;
use agent::control::socket::answer_on;
use agent::reload::Request;
use agent::status::{Node, NodeState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

/// A target and its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 1] = [("control_request", control_request)];

/// Longer than every deadline together.
const END: Duration = Duration::from_secs(180);
/// For how long a client reads: long enough for a heartbeat of what is followed.
const READING: Duration = Duration::from_secs(40);

/// The first byte says who it is (its lowest bit: root or nobody), whether the client stays after what it wrote, and in
/// pieces of which size it writes; the rest is what it writes.
pub fn control_request(data: &[u8]) {
    let (how, bytes) = data.split_first().unwrap_or((&0, &[]));
    let client = Client { is_root: how & 1 == 0, stays: how & 2 != 0, piece: 1 + usize::from(how >> 2) * 16 };
    let given = AtomicUsize::new(0);
    let answer = RUNTIME.with(|runtime| runtime.block_on(talk(bytes, &client, &given)));
    let given = given.into_inner();
    assert!(client.is_root || given == 0, "a command of nobody reached a loop");
    assert!(given <= 1, "{given} commands by one connection");
    let story = String::from_utf8_lossy(&answer).into_owned();
    let Some(answer) = Answer::read(&answer) else {
        // Whoever closes its end before the answer is there gets none; a command may have been taken by then.
        assert!(given == 0 || !client.stays, "no answer to a command");
        return;
    };
    answer.is_well_formed(is_head(bytes), &story);
    assert!(given == 0 || answer.status == 200, "a command was taken, and the answer is {story}");
}

thread_local! {
    /// Its clock goes on by itself whenever nobody has anything to do.
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
}

struct Client {
    is_root: bool,
    stays: bool,
    piece: usize,
}

/// Nobody writes anything.
struct Silent;

impl ContainerOutput for Silent {
    fn output(&self, _: &str, _: Lines) -> Output {
        Box::pin(futures_util::stream::empty())
    }
}

async fn talk(bytes: &[u8], client: &Client, given: &AtomicUsize) -> Vec<u8> {
    let (ours, theirs) = tokio::io::duplex(4096);
    let (sender, mut commands) = mpsc::channel(1);
    let (models, mut model_commands) = mpsc::channel(1);
    let settings = SETTINGS.with(Arc::clone);
    let (_settings, settings) = watch::channel(Some(settings));
    let (configuration, mut requests) = mpsc::channel(1);
    let output = Arc::new(Silent);
    let control = Control { board: board(), commands: sender, models, output, settings, configuration };
    let id = if client.is_root { 0 } else { 65534 };
    let served = answer_on(theirs, Peer { uid: id, gid: id, pid: Some(1) }, control);
    let loops = async {
        loop {
            let reply = tokio::select! {
                Some(command) = commands.recv() => match command {
                    Command::Restart { reply, .. } | Command::Update { reply, .. } | Command::Wish { reply, .. } => reply,
                },
                Some(ModelCommand { reply, .. }) = model_commands.recv() => reply,
                Some(request) = requests.recv() => {
                    asked_of_node_toml(request, given);
                    continue;
                }
                else => std::future::pending().await,
            };
            given.fetch_add(1, Ordering::Relaxed);
            reply.send(Ok(Taken::from("taken".to_owned()))).ok();
        }
    };
    let exchange = async { tokio::join!(tokio::time::timeout(END, served), read(ours, bytes, client)) };
    tokio::select! {
        (ended, answer) = exchange => {
            assert!(ended.is_ok(), "the connection did not end");
            answer
        }
        () = loops => unreachable!("the loops go on"),
    }
}

/// Whoever may only look sees what is in force; the rest counts as a command.
fn asked_of_node_toml(request: Request, given: &AtomicUsize) {
    match request {
        Request::Show { reply } => drop(reply.send(Ok("[node]\n".to_owned()))),
        Request::Reload { reply } => {
            given.fetch_add(1, Ordering::Relaxed);
            reply.send(Ok(agent::reload::Taken { message: "taken".to_owned() })).ok();
        }
        Request::Compare { reply, .. } => {
            given.fetch_add(1, Ordering::Relaxed);
            reply.send(Ok(agent::change::Change::default())).ok();
        }
    }
}

/// What comes while all is written, and for a while after that.
async fn read(stream: DuplexStream, bytes: &[u8], client: &Client) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut answer = Vec::new();
    let writing = async {
        for piece in bytes.chunks(client.piece) {
            // The server may end the connection before all is written.
            if writer.write_all(piece).await.is_err() {
                return;
            }
        }
        if !client.stays {
            writer.shutdown().await.ok();
        }
    };
    let reading = async { while reader.read_buf(&mut answer).await.is_ok_and(|count| count > 0) {} };
    tokio::time::timeout(READING, async { tokio::join!(writing, reading) }).await.ok();
    answer
}

/// An answer, taken apart.
struct Answer<'a> {
    status: u16,
    /// In lower case.
    headers: Vec<(String, String)>,
    body: &'a [u8],
}

impl<'a> Answer<'a> {
    /// `None` where there is none.
    fn read(answer: &'a [u8]) -> Option<Answer<'a>> {
        if answer.is_empty() {
            return None;
        }
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head");
        let head = std::str::from_utf8(&answer[..end]).expect("a head is text");
        let mut lines = head.split("\r\n");
        let first = lines.next().expect("a first line");
        let version = first.split(' ').next();
        assert!(matches!(version, Some("HTTP/1.1" | "HTTP/1.0")), "{first}");
        let status: u16 = first.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("no header: {line:?}"));
            assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{line:?}");
            (name.to_ascii_lowercase(), value.to_owned())
        });
        let headers = headers.collect();
        let answer = Answer { status, headers, body: &answer[end + 4..] };
        // "Go on" comes before the answer itself.
        if status == 100 { Answer::read(answer.body) } else { Some(answer) }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(other, _)| other == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} comes twice");
        value
    }

    fn is_well_formed(&self, of_head: bool, story: &str) {
        let length = self.header("content-length").map(|length| length.parse::<usize>().expect("a length"));
        let chunked = self.header("transfer-encoding").is_some();
        assert!(!(length.is_some() && chunked), "two lengths: {story}");
        if of_head {
            assert!(self.body.is_empty(), "the answer to HEAD has a body: {story}");
            return;
        }
        if let Some(length) = length {
            assert_eq!(self.body.len(), length, "{story}");
        }
        if self.status == 200 {
            return;
        }
        // What is no HTTP is refused by the library, without a word.
        if self.body.is_empty() && matches!(self.status, 400 | 414 | 431) {
            return;
        }
        let fault: Fault =
            serde_json::from_slice(self.body).unwrap_or_else(|error| panic!("{error}: {story}"));
        assert!(CODES.iter().any(|code| code.name == fault.code), "{story}");
        assert_eq!(status_of(&fault.code), self.status, "{story}");
        let hint = fault.hint.iter().any(|hint| hint.contains(char::is_control));
        assert!(!fault.message.contains(char::is_control) && !hint, "more than a line: {story}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{story}");
    }
}

/// Empty lines before a request are skipped.
fn is_head(bytes: &[u8]) -> bool {
    let start = bytes.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(0);
    bytes[start..].starts_with(b"HEAD ")
}

fn board() -> Board {
    let text = str::to_owned;
    Board::new(Node {
        name: text("test-node"),
        instance_id: text("i-0123456789abcdef0"),
        instance_type: text("t3.small"),
        region: text("eu-north-1"),
        availability_zone: text("eu-north-1a"),
        state: NodeState::Starting,
        since: jiff::Timestamp::UNIX_EPOCH,
        version: text("0"),
        boot: text("boot"),
    })
}

const NODE_TOML: &str = r#"
[node]
name = "test-node"
[services.api]
image = "localhost:5000/api:latest"
[models]
server = "http://localhost:11434"
[models.pull."llama3.2:3b"]
"#;

thread_local! {
    static SETTINGS: Arc<node::config::Settings> = Arc::new(settings());
}

fn settings() -> node::config::Settings {
    let facts = node::identity::Facts {
        instance_id: "i-0123456789abcdef0".to_owned(),
        instance_type: "t3.small".to_owned(),
        region: "eu-north-1".to_owned(),
        availability_zone: "eu-north-1a".to_owned(),
        account: "123456789012".to_owned(),
        image_id: "ami-0".to_owned(),
        tags: Default::default(),
    };
    let source = node::config::Source { name: "node.toml".to_owned(), text: NODE_TOML.to_owned() };
    let settings = node::config::Draft::parse(vec![source]).and_then(|draft| draft.settings(&facts));
    settings.unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// Target and input: every call by root and by nobody, and what HTTP has beside them.
#[must_use]
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let calls = ENDPOINTS.iter().map(|endpoint| {
        let in_query = endpoint.parameters.iter().filter(|parameter| !endpoint.is_in_path(parameter));
        let query: Vec<String> = in_query
            .map(|parameter| match (parameter.kind, parameter.name) {
                (Kind::Flag, name) => format!("{name}=true"),
                (Kind::Lines, name) => format!("{name}=5"),
                (Kind::Text, "model") => "model=llama3.2%3A3b".to_owned(),
                (Kind::Text, "service") => "service=api".to_owned(),
                (Kind::Time, name) => format!("{name}=2026-01-02T03%3A04%3A05Z"),
                (Kind::Text, name) => format!("{name}=sha256%3Aabcdef012345"),
            })
            .collect();
        let path = endpoint.path.replace("{name}", "api");
        format!("{} {path}?{} HTTP/1.1\r\nhost: x\r\n\r\n", endpoint.method.name(), query.join("&"))
    });
    let others = [
        "HEAD /v1/status HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET http://localhost/v1/status HTTP/1.0\r\n\r\n",
        "GET /v1/services/%2e%2e%ff/logs HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /v1/explain?service=%1b%5B2J%0a HTTP/1.1\r\nhost: x\r\n\r\n",
        "POST /v1/models/pull?model=llama3.2%1A3b HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\nPOST /v1/update HTTP/1.1\r\nhost: x\r\n\r\n",
        "POST /v1/update HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\nhello",
        "POST /v1/update HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "GET /v1/status HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
        "CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "POST /v1/upd",
    ];
    let texts: Vec<String> = calls.chain(others.map(str::to_owned)).collect();
    let as_said =
        |how: u8| texts.iter().map(move |text| ("control_request", [&[how], text.as_bytes()].concat()));
    [0xf2, 0xf3, 0xf0, 0x02].into_iter().flat_map(as_said).collect()
}
