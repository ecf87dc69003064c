//! How requests reach the engine: over connections to a unix socket or plain TCP that are kept for the next request, with
//! the API version that both sides speak in the path.
//!
//! The library can do this too, but it refuses to start without a socket file, asks for the version with a version that
//! old engines refuse, and leaves it out of the path. Connecting here makes no call: the version is asked for (`/_ping`)
//! before the first request, and again after the engine was away, because it may come back as another version.
//!
//! Not its job: deadlines. The caller drops the future, which closes the connection.

use super::connections::{Connection, Idle, Payload};
use bollard::BollardRequest;
use bollard::errors::Error;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use tokio::net::{TcpStream, UnixStream};

/// Where Docker listens unless `DOCKER_HOST` says otherwise.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// Docker's port for plain HTTP.
const DEFAULT_PORT: u16 = 2375;
/// The newest API whose answers the library's types describe.
const NEWEST: Version = Version { major: 1, minor: 53 };
/// Docker 19.03; what is older lacks what we ask for.
const OLDEST: Version = Version { major: 1, minor: 40 };

/// Where the engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// A unix socket.
    Unix(PathBuf),
    /// `host:port`, plain HTTP.
    Tcp(String),
}

impl Endpoint {
    /// Takes `DOCKER_HOST` apart. `Err` says which forms there are.
    pub(super) fn parse(docker_host: Option<&str>) -> Result<Endpoint, String> {
        let Some(host) = docker_host.filter(|host| !host.is_empty()) else {
            return Ok(Endpoint::Unix(DEFAULT_SOCKET.into()));
        };
        let unsupported = || format!("`{host}` is none of unix://PATH, tcp://HOST:PORT, http://HOST:PORT");
        let (scheme, rest) = host.split_once("://").ok_or_else(unsupported)?;
        let rest = if scheme == "unix" { rest } else { rest.trim_end_matches('/') };
        match (scheme, rest) {
            (_, "") => Err(unsupported()),
            ("unix", path) => Ok(Endpoint::Unix(path.into())),
            ("tcp" | "http", address) if !address.contains('/') => Ok(Endpoint::Tcp(with_port(address))),
            _ => Err(unsupported()),
        }
    }
}

fn with_port(address: &str) -> String {
    // An IPv6 address has colons of its own; its port comes after the bracket.
    let after_host = address.rfind(']').map_or(address, |bracket| &address[bracket..]);
    if after_host.contains(':') { address.to_owned() } else { format!("{address}:{DEFAULT_PORT}") }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(formatter, "{}", path.display()),
            Endpoint::Tcp(address) => write!(formatter, "tcp://{address}"),
        }
    }
}

/// A version of the engine's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    fn parse(text: &str) -> Option<Version> {
        let (major, minor) = text.trim().split_once('.')?;
        Some(Version { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

/// The version to speak with an engine whose newest is `theirs`.
fn agreed(theirs: Version) -> Result<Version, String> {
    if theirs < OLDEST {
        return Err(format!("the engine's API {theirs} is too old, {OLDEST} is needed"));
    }
    Ok(theirs.min(NEWEST))
}

/// The engine reads this header as base64url and takes what it cannot read for an anonymous request; the library writes
/// plain base64, which differs for some passwords.
fn make_login_url_safe(headers: &mut HeaderMap) {
    const LOGIN: &str = "x-registry-auth";
    let Some(login) = headers.get(LOGIN).and_then(|value| value.to_str().ok()) else { return };
    if let Ok(mut value) = HeaderValue::try_from(login.replace('+', "-").replace('/', "_")) {
        value.set_sensitive(true);
        headers.insert(LOGIN, value);
    }
}

/// Carries the library's requests to the engine.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) endpoint: Endpoint,
    version: Mutex<Option<Version>>,
    idle: Idle,
}

impl Transport {
    pub(super) fn new(endpoint: Endpoint) -> Transport {
        Transport { endpoint, version: Mutex::new(None), idle: Idle::default() }
    }

    /// Sends one request and returns when the head of the answer is there.
    ///
    /// A connection that was kept may have ended a moment ago, with an engine that was restarted. What was not sent is
    /// sent again, and so is a question, which changes nothing; anything else may have been done and is an error.
    pub(super) async fn request(&self, request: BollardRequest) -> Result<Response<Incoming>, Error> {
        let (head, body) = request.into_parts();
        let question = matches!(head.method, Method::GET | Method::HEAD);
        let again = head.clone();
        let tried =
            self.try_request(Request::from_parts(head, body.map_err(Into::into).boxed_unsync())).await;
        let answer = match tried {
            Err(Broken { stale: true, unsent: Some(body), .. }) => {
                self.forget();
                self.try_request(Request::from_parts(again, body)).await
            }
            Err(Broken { stale: true, .. }) if question => {
                self.forget();
                self.try_request(Request::from_parts(again, nothing())).await
            }
            tried => tried,
        };
        answer.map_err(|broken| {
            self.forget();
            broken.error
        })
    }

    async fn try_request(&self, mut request: Request<Payload>) -> Result<Response<Incoming>, Broken> {
        let version = self.agree().await?;
        *request.uri_mut() = versioned(request.uri(), version)?;
        make_login_url_safe(request.headers_mut());
        self.send(request).await
    }

    /// Asks for the version again before the next request, over a new connection: the engine was away.
    pub(super) fn forget(&self) {
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.idle.clear();
    }

    /// Asks for the engine's version, unless it is known.
    async fn agree(&self) -> Result<Version, Broken> {
        // The engine ends a connection that is kept only when it ends itself: the next one may be another version.
        if self.idle.drop_ended() {
            self.forget();
        }
        // Copied out so that the lock is not held while waiting for the engine.
        let known = *self.version.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(version) = known {
            return Ok(version);
        }
        let (answer, mut connection) = self.exchange(Request::get("/_ping").body(nothing())?).await?;
        let theirs = answer.headers().get("Api-Version").and_then(|value| value.to_str().ok());
        let agreed = match theirs.and_then(Version::parse) {
            Some(theirs) => agreed(theirs),
            None => Err("it does not say which version of the Docker API it speaks".to_owned()),
        };
        let agreed = agreed.map_err(|message| Error::DockerStreamError { error: message })?;
        // Read to its end, so that the request that waits for this goes over the same connection.
        if answer.into_body().collect().await.is_ok() && connection.sender.ready().await.is_ok() {
            self.idle.put(connection);
        }
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = Some(agreed);
        Ok(agreed)
    }

    async fn send(&self, request: Request<Payload>) -> Result<Response<Incoming>, Broken> {
        let (answer, connection) = self.exchange(request).await?;
        self.idle.keep(connection);
        Ok(answer)
    }

    /// The head of the answer, and the connection over which the rest of it comes.
    async fn exchange(
        &self,
        mut request: Request<Payload>,
    ) -> Result<(Response<Incoming>, Connection), Broken> {
        let (mut connection, kept) = match self.idle.take() {
            Some(connection) => (connection, true),
            None => (self.connect().await?, false),
        };
        let host = match &self.endpoint {
            Endpoint::Unix(_) => "docker",
            Endpoint::Tcp(address) => address,
        };
        let host = HeaderValue::from_str(host).map_err(hyper::http::Error::from)?;
        request.headers_mut().insert(HOST, host);
        match connection.sender.try_send_request(request).await {
            Ok(answer) => Ok((answer, connection)),
            Err(mut failed) => {
                let unsent = failed.take_message().map(Request::into_body);
                Err(Broken { stale: kept, unsent, error: failed.into_error().into() })
            }
        }
    }

    async fn connect(&self) -> Result<Connection, Error> {
        match &self.endpoint {
            Endpoint::Unix(path) => Connection::over(UnixStream::connect(path).await?).await,
            Endpoint::Tcp(address) => Connection::over(TcpStream::connect(address.as_str()).await?).await,
        }
    }
}

/// A request that brought no answer.
struct Broken {
    /// It went over a connection that had been kept.
    stale: bool,
    /// The body, where nothing of the request was written.
    unsent: Option<Payload>,
    error: Error,
}

impl<E: Into<Error>> From<E> for Broken {
    fn from(error: E) -> Broken {
        Broken { stale: false, unsent: None, error: error.into() }
    }
}

fn nothing() -> Payload {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// `/v1.41/…` before the path, which the library leaves bare.
fn versioned(uri: &Uri, version: Version) -> Result<Uri, Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(format!("/v{version}{path}").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_host_in_all_its_forms() {
        let unix = |path: &str| Ok(Endpoint::Unix(path.into()));
        let tcp = |address: &str| Ok(Endpoint::Tcp(address.to_owned()));
        let none_of =
            |host: &str| Err(format!("`{host}` is none of unix://PATH, tcp://HOST:PORT, http://HOST:PORT"));
        for (host, expected) in [
            (None, unix("/var/run/docker.sock")),
            (Some(""), unix("/var/run/docker.sock")),
            (Some("unix:///run/d.sock"), unix("/run/d.sock")),
            (Some("tcp://10.0.0.1:2376"), tcp("10.0.0.1:2376")),
            (Some("tcp://engine"), tcp("engine:2375")),
            (Some("tcp://[::1]"), tcp("[::1]:2375")),
            (Some("http://[::1]:99/"), tcp("[::1]:99")),
            (Some("ssh://engine"), none_of("ssh://engine")),
            (Some("https://engine:2376"), none_of("https://engine:2376")),
            (Some("tcp://engine:1/prefix"), none_of("tcp://engine:1/prefix")),
            (Some("/run/d.sock"), none_of("/run/d.sock")),
            (Some("unix://"), none_of("unix://")),
        ] {
            assert_eq!(Endpoint::parse(host), expected, "DOCKER_HOST={host:?}");
        }
    }

    #[test]
    fn the_older_of_both_versions_is_spoken() {
        let version = |text| Version::parse(text).expect("a version");
        assert_eq!(agreed(version("1.41")), Ok(version("1.41")), "Docker 20.10");
        assert_eq!(agreed(version("1.99")), Ok(NEWEST), "a future engine");
        assert_eq!(
            agreed(version("1.39")),
            Err("the engine's API 1.39 is too old, 1.40 is needed".to_owned()),
            "Docker 18.09"
        );
        assert_eq!(Version::parse("latest"), None);
    }

    #[test]
    fn the_version_goes_before_the_path() {
        let uri: Uri = "http://docker/containers/json?all=true".parse().expect("a URI");
        let versioned = versioned(&uri, OLDEST).expect("still a URI");
        assert_eq!(versioned.to_string(), "/v1.40/containers/json?all=true");
    }
}
