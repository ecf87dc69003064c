//! Fetches the release tarball: by URL, into a temporary file, checked against its sha256 before anyone reads it.

use node::config::settings::AgentArtifact;
use node::fault::Hint;
use node::hexadecimal::hexadecimal;
use sha2::{Digest, Sha256};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

/// For the whole file, with all tries.
const DEADLINE: Duration = Duration::from_secs(600);
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Without a single byte.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// Ten times what a release has.
const LARGEST_BYTES: u64 = 256 << 20;
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_secs(1);

/// Why the tarball could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("cannot set up HTTPS")]
    Client(#[source] reqwest::Error),
    #[error("cannot fetch {url}")]
    Http {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{url} answers with status {status}")]
    Status { url: String, status: u16 },
    #[error("{url} is larger than {} MiB", LARGEST_BYTES >> 20)]
    TooLarge { url: String },
    #[error("{url} did not arrive within {} s", DEADLINE.as_secs())]
    Deadline { url: String },
    #[error("{url} has the sha256 {actual}, wanted is {wanted}")]
    Checksum { url: String, actual: String, wanted: String },
    #[error("cannot write {path}")]
    Write {
        path: String,
        #[source]
        source: io::Error,
    },
}

impl Hint for FetchError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            FetchError::Client(_) => {
                "install the CA certificates (package ca-certificates), or use an http:// URL"
            }
            FetchError::Http { .. } | FetchError::Deadline { .. } => {
                "check the route, the security group and the name service of the instance"
            }
            FetchError::Status { .. } => "check `url` in [agent]; a private bucket needs a presigned URL",
            FetchError::Checksum { .. } => "set `sha256` in [agent] to that of the release, or correct `url`",
            FetchError::TooLarge { .. } => "check `url` in [agent]: no release is nearly as large",
            FetchError::Write { .. } => "look at `df /var/lib/node-agent`, then run node-bootstrap again",
        };
        Some(hint.to_owned())
    }
}

/// Fetches into `path`, which exists only afterwards if the checksum is right.
pub(super) async fn fetch(artifact: &AgentArtifact, path: &PathBuf) -> Result<(), FetchError> {
    let fetched = match tokio::time::timeout(DEADLINE, fetch_with_tries(artifact, path)).await {
        Ok(fetched) => fetched,
        Err(_) => Err(FetchError::Deadline { url: shown(&artifact.url) }),
    };
    if fetched.is_err() {
        // It is in our way only; the next run writes it anew.
        let _ = tokio::fs::remove_file(path).await;
    }
    fetched
}

async fn fetch_with_tries(artifact: &AgentArtifact, path: &PathBuf) -> Result<(), FetchError> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .connect_timeout(CONNECT_DEADLINE)
        .read_timeout(STALL_LIMIT)
        .build()
        .map_err(FetchError::Client)?;
    let mut tries = 1;
    loop {
        match fetch_once(&client, artifact, path).await {
            Err(error) if tries < TRIES && is_transient(&error) => {
                tracing::info!("agent: {}; tries again ({tries}/{TRIES})", node::fault::one_line(&error));
                tokio::time::sleep(PAUSE * tries).await;
                tries += 1;
            }
            other => return other,
        }
    }
}

fn is_transient(error: &FetchError) -> bool {
    match error {
        FetchError::Http { .. } => true,
        FetchError::Status { status, .. } => *status >= 500 || *status == 429,
        _ => false,
    }
}

async fn fetch_once(
    client: &reqwest::Client,
    artifact: &AgentArtifact,
    path: &PathBuf,
) -> Result<(), FetchError> {
    let url = shown(&artifact.url);
    let http = |source: reqwest::Error| FetchError::Http { url: url.clone(), source: source.without_url() };
    let write = |source| FetchError::Write { path: path.display().to_string(), source };
    let mut response = client.get(&artifact.url).send().await.map_err(http)?;
    if !response.status().is_success() {
        return Err(FetchError::Status { url, status: response.status().as_u16() });
    }
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .await
        .map_err(write)?;
    let mut hash = Sha256::new();
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await.map_err(http)? {
        bytes += chunk.len() as u64;
        if bytes > LARGEST_BYTES {
            return Err(FetchError::TooLarge { url });
        }
        hash.update(&chunk);
        file.write_all(&chunk).await.map_err(write)?;
    }
    file.sync_all().await.map_err(write)?;
    let actual = hexadecimal(&hash.finalize());
    if actual == artifact.sha256 {
        return Ok(());
    }
    Err(FetchError::Checksum { url, actual, wanted: artifact.sha256.clone() })
}

/// A URL without its query: presigned ones carry a signature there that is as good as a password.
pub(super) fn shown(url: &str) -> String {
    let bare = url.split(['?', '#']).next().unwrap_or(url);
    match bare.split_once("://") {
        Some((scheme, rest)) => match rest.split_once('/') {
            Some((host, path)) => format!("{scheme}://{}/{path}", host.rsplit('@').next().unwrap_or(host)),
            None => format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or(rest)),
        },
        None => bare.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    async fn serve(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 2048];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        format!("http://{address}/agent.tar.gz?X-Amz-Signature=hidden")
    }

    async fn fetched(
        answer: &'static str,
        sha256: &str,
    ) -> (tempfile::TempDir, PathBuf, Result<(), FetchError>) {
        node::cloud::install_crypto_provider();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.part");
        let artifact = AgentArtifact { url: serve(answer).await, sha256: sha256.to_owned() };
        let result = fetch(&artifact, &path).await;
        (folder, path, result)
    }

    const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    const HELLO_SHA256: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[tokio::test]
    async fn what_has_the_right_checksum_is_kept() {
        let (_folder, path, result) = fetched(HELLO, HELLO_SHA256).await;
        result.unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"hello");
    }

    #[tokio::test]
    async fn a_wrong_checksum_leaves_nothing_and_shows_no_signature() {
        let (_folder, path, result) = fetched(HELLO, &"0".repeat(64)).await;
        let error = result.unwrap_err();
        assert!(matches!(error, FetchError::Checksum { .. }), "{error}");
        assert!(!error.to_string().contains("hidden"), "{error}");
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_missing_file_is_not_asked_for_again() {
        let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let (_folder, _, result) = fetched(answer, HELLO_SHA256).await;
        assert!(matches!(result.unwrap_err(), FetchError::Status { status: 404, .. }));
    }

    #[test]
    fn neither_signatures_nor_passwords_of_a_url_are_shown() {
        assert_eq!(shown("https://user:word@host/a/b?sig=1#x"), "https://host/a/b");
        assert_eq!(shown("http://user:word@host"), "http://host");
    }
}
