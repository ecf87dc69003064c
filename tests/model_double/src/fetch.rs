//! One request to a registry over plain HTTP, on a connection of its own; errors in Go's words.

use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// An answer whose body is still to come.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Of the body, where the registry says it.
    pub(crate) length: Option<u64>,
    body: Incoming,
    connection: JoinHandle<()>,
}

impl Answer {
    /// The next bytes of the body; `None` at its end.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, String>> {
        loop {
            match self.body.frame().await? {
                Ok(frame) => match frame.into_data() {
                    Ok(data) => return Some(Ok(data)),
                    Err(_) => continue,
                },
                Err(_) => return Some(Err("unexpected EOF".to_owned())),
            }
        }
    }

    /// The whole body.
    pub(crate) async fn whole(mut self) -> Result<Vec<u8>, String> {
        let mut whole = Vec::new();
        while let Some(data) = self.next().await {
            whole.extend_from_slice(&data?);
        }
        Ok(whole)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // Closes the connection: nothing more is sent for nobody.
        self.connection.abort();
    }
}

/// Asks `base` (`http://HOST:PORT`) for a path.
pub(crate) async fn ask(
    base: &str,
    method: &str,
    path: &str,
    headers: &[(&str, String)],
) -> Result<Answer, String> {
    let url = format!("{base}{path}");
    let verb = format!("{}{}", &method[..1], method[1..].to_lowercase());
    let failed = |why: String| format!("{verb} \"{url}\": {why}");
    let Some(authority) = base.strip_prefix("http://") else {
        return Err(failed("the double speaks no TLS; set DOUBLE_REGISTRY".to_owned()));
    };
    let address = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
    let stream = TcpStream::connect(&address)
        .await
        .map_err(|error| failed(format!("dial tcp {address}: connect: {}", in_words(&error))))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| failed(error.to_string()))?;
    let connection = tokio::spawn(async move {
        // What went wrong is seen by whoever reads the answer.
        connection.await.ok();
    });
    let mut request = Request::builder().method(method).uri(path).header("host", authority);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| failed(error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(|_| failed("EOF".to_owned()))?;
    let length = answer.headers().get("content-length").and_then(|value| value.to_str().ok());
    let length = length.and_then(|text| text.parse().ok());
    Ok(Answer { status: answer.status().as_u16(), length, body: answer.into_body(), connection })
}

fn in_words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}
