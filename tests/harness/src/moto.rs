//! moto (PyPI), which answers Secrets Manager, ECR and CloudWatch Logs after its own reading of the AWS protocols.
//!
//! In: an address to listen on. Out: a server that is seeded and read by its HTTP API, and counts what it was asked.
//! What always holds: it runs in the network of the thread that started it and is gone when dropped.
//! Not its job: the metadata service and the registry, which it does not have.

#![expect(clippy::disallowed_methods, reason = "starts a program and reads its record")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::http::HttpClient;
use crate::processes::Process;

/// The password of moto's ECR token; the token's `expiresAt` lies in 2015.
pub const REGISTRY_PASSWORD: &str = "123456789012-auth-token";
/// It imports every service it knows when it starts.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Events that one GetLogEvents answers at most.
const PAGE: usize = 10_000;

/// A running moto server.
pub struct Moto {
    process: Process,
    url: String,
    region: String,
    client: HttpClient,
    runtime: Runtime,
    record: TempDir,
}

/// Where `tests/prepare.sh` installs it.
fn server() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/moto/bin/moto_server")
}

impl Moto {
    /// Whether it is installed; a test says so and returns when not.
    #[must_use]
    pub fn is_installed() -> bool {
        server().is_file()
    }

    /// Starts a server in the network of the calling thread and returns when it answers.
    ///
    /// # Errors
    /// Why it did not, with its output.
    pub fn start(address: SocketAddr, region: &str) -> Result<Moto, Box<dyn Error>> {
        let record = tempfile::tempdir()?;
        let mut command = Command::new(server());
        command.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]);
        command
            .env("MOTO_ENABLE_RECORDING", "yes")
            .env("MOTO_RECORDER_FILEPATH", record.path().join("record"));
        let mut process = Process::start("moto_server", command)?;
        process.wait_for_line("Running on", START_DEADLINE)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (url, region) = (format!("http://{address}"), region.to_owned());
        Ok(Moto { process, url, region, client: HttpClient::default(), runtime, record })
    }

    /// Its base URL, for `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its log.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Calls an operation as a JSON 1.1 client does; moto reads service and region from the credential scope and does
    /// not check the signature.
    ///
    /// # Errors
    /// The answer of a call that failed.
    pub fn call(&self, target: &str, input: &Value) -> Result<Value, Box<dyn Error>> {
        let service = match target.split_once('.').map(|(prefix, _)| prefix) {
            Some("secretsmanager") => "secretsmanager",
            Some("Logs_20140328") => "logs",
            Some("AmazonEC2ContainerRegistry_V20150921") => "ecr",
            _ => return Err(format!("{target}: no service that this client knows").into()),
        };
        let scope = format!("seed/20260101/{}/{service}/aws4_request", self.region);
        let signature = "SignedHeaders=host;x-amz-target, Signature=none";
        let authorization = format!("AWS4-HMAC-SHA256 Credential={scope}, {signature}");
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", target),
        ];
        let answer = self.client.send("POST", &self.url, &headers, input.to_string());
        let answer = self.runtime.block_on(answer)?;
        if answer.status.is_success() {
            return Ok(answer.json());
        }
        Err(format!("{target}: {} {}", answer.status, answer.text()).into())
    }

    /// Points a tag of a repository to a manifest, as a push to ECR does.
    ///
    /// # Errors
    /// The answer of a call that failed.
    pub fn put_image(
        &self,
        repository: &str,
        tag: &str,
        digest: &str,
        manifest: &str,
    ) -> Result<(), Box<dyn Error>> {
        let input = json!({
            "repositoryName": repository, "imageTag": tag, "imageDigest": digest, "imageManifest": manifest,
        });
        self.call("AmazonEC2ContainerRegistry_V20150921.PutImage", &input).map(drop)
    }

    /// The messages of a stream, oldest first; none where there is no such stream.
    #[must_use]
    pub fn messages(&self, group: &str, stream: &str) -> Vec<String> {
        let mut messages = Vec::new();
        let mut input = json!({
            "logGroupName": group, "logStreamName": stream, "startFromHead": true, "limit": PAGE,
        });
        while let Ok(page) = self.call("Logs_20140328.GetLogEvents", &input) {
            let events = page["events"].as_array().cloned().unwrap_or_default();
            messages.extend(events.iter().filter_map(|event| event["message"].as_str()).map(str::to_owned));
            let next = page["nextForwardToken"].clone();
            if events.is_empty() || next == input["nextToken"] {
                break;
            }
            input["nextToken"] = next;
        }
        messages
    }

    /// How often each operation was called by others than this client, by `X-Amz-Target`.
    #[must_use]
    pub fn requests(&self) -> BTreeMap<String, u64> {
        let record = fs::read_to_string(self.record.path().join("record")).unwrap_or_default();
        let mut counts = BTreeMap::new();
        for line in record.lines() {
            let request: Value = serde_json::from_str(line).unwrap_or_default();
            let header = |name: &str| {
                let headers = request["headers"].as_object().into_iter().flatten();
                let mut found = headers.filter(|(key, _)| key.eq_ignore_ascii_case(name));
                found.next().and_then(|(_, value)| value.as_str()).unwrap_or_default().to_owned()
            };
            if !header("authorization").contains("Signature=none") {
                *counts.entry(header("x-amz-target")).or_default() += 1;
            }
        }
        counts
    }
}
