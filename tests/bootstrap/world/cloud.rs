//! As much of AWS as node-bootstrap talks to: the metadata service and Secrets Manager, on one port.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

pub(crate) const INSTANCE: &str = "i-0123456789abcdef0";

/// What is answered; can be changed between runs.
#[derive(Default)]
pub(crate) struct Answers {
    /// The metadata service answers 403.
    pub(crate) metadata_disabled: bool,
    /// Secret id to version and string.
    pub(crate) secrets: BTreeMap<String, (String, String)>,
    /// Bodies of GET, by path.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

pub(crate) struct Cloud {
    pub(crate) endpoint: String,
    pub(crate) answers: Arc<Mutex<Answers>>,
    /// Where requests for secrets wait for each other.
    pub(crate) gathering: Arc<Gathering>,
}

/// Answers no request for a secret before so many are there at once, or nobody else has come for long.
#[derive(Default)]
pub(crate) struct Gathering {
    present: Mutex<Present>,
    arrival: Condvar,
}

#[derive(Default)]
struct Present {
    wanted: usize,
    now: usize,
    most: usize,
}

impl Gathering {
    /// From how many on requests are answered.
    pub(crate) fn of(&self, wanted: usize) {
        self.present.lock().unwrap().wanted = wanted;
    }

    /// The most that were there at once.
    pub(crate) fn most(&self) -> usize {
        self.present.lock().unwrap().most
    }

    fn join(&self) {
        const NOBODY_ELSE_COMES: Duration = Duration::from_secs(5);
        let mut present = self.present.lock().unwrap();
        present.now += 1;
        present.most = present.most.max(present.now);
        self.arrival.notify_all();
        let alone = |present: &mut Present| present.most < present.wanted;
        let (mut present, _) = self.arrival.wait_timeout_while(present, NOBODY_ELSE_COMES, alone).unwrap();
        present.now -= 1;
    }
}

impl Cloud {
    pub(crate) fn start() -> Cloud {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let answers = Arc::new(Mutex::new(Answers::default()));
        let gathering = Arc::new(Gathering::default());
        let shared = (Arc::clone(&answers), Arc::clone(&gathering));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answers, gathering) = shared.clone();
                std::thread::spawn(move || while answer(&stream, &answers, &gathering).is_some() {});
            }
        });
        Cloud { endpoint, answers, gathering }
    }
}

fn answer(stream: &TcpStream, answers: &Mutex<Answers>, gathering: &Gathering) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        let (name, value) = header.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    if method == "POST" {
        gathering.join();
    }
    let (status, content) = respond(&method, &path, &body, &answers.lock().unwrap());
    let mut stream = stream;
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nx-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n",
        content.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&content).ok()
}

fn respond(method: &str, path: &str, body: &[u8], answers: &Answers) -> (u16, Vec<u8>) {
    if path.starts_with("/latest/") && answers.metadata_disabled {
        return (403, Vec::new());
    }
    match (method, path) {
        ("PUT", "/latest/api/token") => (200, b"token".to_vec()),
        ("GET", "/latest/dynamic/instance-identity/document") => (200, document()),
        ("POST", "/") => secret(body, answers),
        ("GET", path) => answers.files.get(path).map_or((404, Vec::new()), |file| (200, file.clone())),
        _ => (405, Vec::new()),
    }
}

fn document() -> Vec<u8> {
    let document = serde_json::json!({
        "instanceId": INSTANCE,
        "instanceType": "t3.small",
        "region": "eu-north-1",
        "availabilityZone": "eu-north-1a",
        "accountId": "123456789012",
        "imageId": "ami-0123456789abcdef0",
    });
    document.to_string().into_bytes()
}

fn secret(body: &[u8], answers: &Answers) -> (u16, Vec<u8>) {
    let request: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let id = request["SecretId"].as_str().unwrap_or_default();
    let answer = match answers.secrets.get(id) {
        Some((version, value)) => (
            200,
            serde_json::json!({
                "ARN": format!("arn:aws:secretsmanager:eu-north-1:123456789012:secret:{id}-AbCdEf"),
                "Name": id,
                "VersionId": version,
                "SecretString": value,
                "VersionStages": ["AWSCURRENT"],
            }),
        ),
        None => (
            400,
            serde_json::json!({
                "__type": "ResourceNotFoundException",
                "message": "Secrets Manager can't find the specified secret.",
            }),
        ),
    };
    (answer.0, answer.1.to_string().into_bytes())
}
