//! Asks the service that a variable of the environment points to, as the
//! application asks its database or model server: by the name in its URL.

use std::io::{Error, Result};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(5);

/// The status line that the service whose `http://HOST:PORT` is the value of
/// `variable` gives for `/`.
pub(crate) async fn answer_of(variable: &str) -> Result<String> {
    let url = crate::environment(variable).unwrap_or_default();
    let authority = url.strip_prefix("http://").unwrap_or_default().trim_end_matches('/');
    let asking = async {
        let stream = TcpStream::connect(authority).await?;
        let mut stream = BufReader::new(stream);
        let request = format!("GET / HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        Ok(line.trim().to_owned())
    };
    let late = |_| Error::other(format!("{authority}: no answer within {} s", DEADLINE.as_secs()));
    tokio::time::timeout(DEADLINE, asking).await.map_err(late)?
}
