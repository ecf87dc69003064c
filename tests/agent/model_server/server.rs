//! A server under test, a folder of its own and the registry that it pulls from.

#![expect(clippy::disallowed_methods, reason = "it runs the server")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::http::{Answer, HttpClient};
use harness::processes::Process;
use harness::wait::wait_for_async;
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    /// Ends with it.
    _process: Process,
    directory: tempfile::TempDir,
    url: String,
    client: HttpClient,
}

impl Server {
    pub(crate) fn start(program: &Path, arguments: &[&str]) -> Server {
        let directory = tempfile::tempdir().unwrap();
        // Neither of the two says which one it took when it is given none.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        command.args(arguments).env("OLLAMA_HOST", format!("127.0.0.1:{port}"));
        command.env("OLLAMA_MODELS", directory.path().join("models")).env("HOME", directory.path());
        command.env("OLLAMA_NOPRUNE", "1");
        let process = Process::start("the model server", command).unwrap();
        let url = format!("http://127.0.0.1:{port}");
        Server { _process: process, directory, url, client: HttpClient::default() }
    }

    pub(crate) async fn until_it_answers(&self) {
        let look = || async {
            let answer = self.client.send("GET", &format!("{}/", self.url), &[], String::new()).await;
            answer.map(drop).map_err(|error| error.to_string())
        };
        wait_for_async("the model server to answer", DEADLINE, look).await.unwrap();
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.directory.path().join("models")
    }

    /// A request without a body where `request` is null.
    pub(crate) async fn ask(&self, method: &str, path: &str, request: &Value) -> Answer {
        let body = if request.is_null() { String::new() } else { request.to_string() };
        self.client.send(method, &format!("{}{path}", self.url), &[], body).await.unwrap()
    }

    /// The same, begun and then given up when `enough` is.
    pub(crate) async fn ask_until(&self, path: &str, request: &Value, enough: impl Future<Output = ()>) {
        // A client of its own: dropped, it closes its connection.
        let (client, url, body) = (HttpClient::default(), format!("{}{path}", self.url), request.to_string());
        let asking = client.send("POST", &url, &[], body);
        tokio::select! {
            _ = asking => {}
            () = enough => {}
        }
    }
}
