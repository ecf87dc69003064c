//! The instance's Docker engine over its socket, one question a connection: a look takes a millisecond, where the
//! command line takes fifty.

use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// An engine at work answers in milliseconds; one that is stopped refuses at once.
const DEADLINE: Duration = Duration::from_secs(10);

/// The engine of one instance.
pub(crate) struct Engine {
    socket: PathBuf,
}

/// A container as the engine lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    /// `created`, `running`, `exited`, …
    pub(crate) state: String,
    /// Label of ours; absent on what is not ours.
    pub(crate) digest: Option<String>,
}

impl Container {
    pub(crate) fn running(&self) -> bool {
        self.state == "running"
    }
}

/// One line of the engine's events.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) nanoseconds: u64,
    pub(crate) action: String,
    pub(crate) container_id: String,
    pub(crate) digest: Option<String>,
}

impl Engine {
    pub(crate) fn of(leader: u32) -> Engine {
        Engine { socket: PathBuf::from(format!("/proc/{leader}/root/run/docker.sock")) }
    }

    /// Status and body of a GET; `None` when there was no answer.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        // HTTP/1.0: the answer ends with the connection, and is not chunked.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    fn json(&self, path: &str) -> Option<Value> {
        let (status, body) = self.get(path)?;
        if status == 200 { serde_json::from_str(&body).ok() } else { None }
    }

    /// All containers in any state; `None` when the engine does not answer.
    pub(crate) fn containers(&self) -> Option<Vec<Container>> {
        let list = self.json("/containers/json?all=1")?;
        let containers = list.as_array()?.iter().map(|container| Container {
            id: text(&container["Id"]),
            name: text(&container["Names"][0]),
            state: text(&container["State"]),
            digest: container["Labels"]["node-agent.digest"].as_str().map(str::to_owned),
        });
        Some(containers.collect())
    }

    /// When a container was started last.
    pub(crate) fn started_at(&self, id: &str) -> Option<String> {
        self.json(&format!("/containers/{id}/json")).map(|facts| text(&facts["State"]["StartedAt"]))
    }

    /// A container's addresses on its networks.
    pub(crate) fn addresses(&self, id: &str) -> Vec<String> {
        let facts = self.json(&format!("/containers/{id}/json")).unwrap_or_default();
        let networks = facts["NetworkSettings"]["Networks"].as_object().cloned().unwrap_or_default();
        networks.values().map(|network| text(&network["IPAddress"])).collect()
    }

    pub(crate) fn has_image(&self, reference: &str) -> bool {
        self.get(&format!("/images/{reference}/json")).is_some_and(|(status, _)| status == 200)
    }

    /// The last events of containers that the engine remembers, the oldest first.
    pub(crate) fn events(&self) -> Vec<Event> {
        let filter = "%7B%22type%22%3A%5B%22container%22%5D%7D";
        let until = jiff::Timestamp::now().as_second() + 1;
        let Some((_, body)) = self.get(&format!("/events?since=1&until={until}&filters={filter}")) else {
            return Vec::new();
        };
        let lines = serde_json::Deserializer::from_str(&body).into_iter::<Value>().flatten();
        let events = lines.map(|event| Event {
            nanoseconds: event["timeNano"].as_u64().unwrap_or_default(),
            action: text(&event["Action"]),
            container_id: text(&event["Actor"]["ID"]),
            digest: event["Actor"]["Attributes"]["node-agent.digest"].as_str().map(str::to_owned),
        });
        events.collect()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
