//! Two questions to the engine, over its socket: does it answer, and does any container run. The agent has a whole
//! client for the rest; these two do not need one.

use node::environment::Environment;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// For one answer of a healthy engine; a socket-activated one starts within it or is asked again.
const DEADLINE: Duration = Duration::from_secs(5);
/// Far more than the two answers need.
const LARGEST_ANSWER: u64 = 4 << 20;

/// Where the engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Path of a unix socket.
    Unix(String),
    /// `host:port`
    Tcp(String),
}

impl Endpoint {
    /// By `DOCKER_HOST`, else the engine's default.
    pub(crate) fn of(environment: &Environment) -> Endpoint {
        match environment.get("DOCKER_HOST") {
            Some(host) => match (host.strip_prefix("unix://"), host.strip_prefix("tcp://")) {
                (Some(path), _) => Endpoint::Unix(path.to_owned()),
                (_, Some(address)) => Endpoint::Tcp(address.trim_end_matches('/').to_owned()),
                _ => Endpoint::Unix(host.to_owned()),
            },
            None => Endpoint::Unix(DEFAULT_SOCKET.to_owned()),
        }
    }

    /// Whether the engine answers `GET /_ping`.
    pub(crate) async fn answers(&self) -> bool {
        self.get("/_ping").await.is_ok()
    }

    /// Whether any container runs.
    pub(crate) async fn runs_containers(&self) -> io::Result<bool> {
        let body = self.get("/containers/json?limit=1").await?;
        let containers: Vec<serde::de::IgnoredAny> =
            serde_json::from_slice(&body).map_err(io::Error::other)?;
        Ok(!containers.is_empty())
    }

    async fn get(&self, path: &str) -> io::Result<Vec<u8>> {
        let asked = async {
            match self {
                Endpoint::Unix(socket) => exchange(UnixStream::connect(socket).await?, path).await,
                Endpoint::Tcp(address) => exchange(TcpStream::connect(address).await?, path).await,
            }
        };
        tokio::time::timeout(DEADLINE, asked).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

/// HTTP/1.0: the engine closes the connection after its answer and uses no chunks.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> io::Result<Vec<u8>> {
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LARGEST_ANSWER).read_to_end(&mut answer).await?;
    body(&answer)
}

fn body(answer: &[u8]) -> io::Result<Vec<u8>> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.ok_or_else(|| io::Error::other("the engine's answer is no HTTP"))?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        return Err(io::Error::other(format!("the engine answers with status {status}")));
    }
    Ok(answer[end + 4..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    async fn engine(answer: &'static str) -> (tempfile::TempDir, Endpoint) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 256];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (folder, Endpoint::Unix(socket.to_string_lossy().into_owned()))
    }

    #[tokio::test]
    async fn an_engine_that_answers_says_whether_containers_run() {
        let (_folder, idle) = engine("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n[]\n").await;
        assert!(idle.answers().await);
        assert!(!idle.runs_containers().await.unwrap());
        let (_folder, busy) = engine("HTTP/1.0 200 OK\r\n\r\n[{\"Id\":\"0\"}]").await;
        assert!(busy.runs_containers().await.unwrap());
    }

    #[tokio::test]
    async fn no_socket_or_an_error_is_no_answer() {
        assert!(!Endpoint::Unix("/nowhere/docker.sock".to_owned()).answers().await);
        let (_folder, failing) = engine("HTTP/1.0 500 Internal Server Error\r\n\r\n").await;
        assert!(!failing.answers().await);
        assert!(failing.runs_containers().await.is_err());
    }

    #[test]
    fn docker_host_names_the_endpoint() {
        let of =
            |value: &str| Endpoint::of(&[("DOCKER_HOST".to_owned(), value.to_owned())].into_iter().collect());
        assert_eq!(of("unix:///tmp/d.sock"), Endpoint::Unix("/tmp/d.sock".to_owned()));
        assert_eq!(of("tcp://127.0.0.1:2375"), Endpoint::Tcp("127.0.0.1:2375".to_owned()));
        assert_eq!(Endpoint::of(&Environment::default()), Endpoint::Unix("/var/run/docker.sock".to_owned()));
    }
}
