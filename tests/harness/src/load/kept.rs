//! A client that keeps its connection, as browsers, load balancers and pools do: a request every 50 ms on the same one.
//!
//! It looks before it sends, and connects anew when the other side has closed. What no look can prevent is a request that
//! is on its way while the other side closes: HTTP leaves it to the client to send it again (RFC 9112, 9.3.1). Such
//! requests are counted apart, with the connection that they were sent on.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::exchange::{Ended, Kind, ask};
use super::{DEADLINE, Shared};

const PAUSE: Duration = Duration::from_millis(50);

/// A connection that has carried requests.
struct Connection {
    stream: TcpStream,
    answers: u64,
    version: String,
}

pub(super) async fn client(shared: Arc<Shared>) {
    let mut pace = tokio::time::interval(PAUSE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut connection: Option<Connection> = None;
    while !shared.is_over() {
        pace.tick().await;
        connection = connection.filter(is_open);
        let begun = shared.started.elapsed();
        let work = tokio::time::timeout(DEADLINE, turn(&shared, &mut connection));
        let ended = work.await.unwrap_or_else(|_| Err((Kind::TimedOut, format!("{} s", DEADLINE.as_secs()))));
        let took = shared.started.elapsed().saturating_sub(begun);
        let failed = ended.is_err();
        let used = connection.as_ref().filter(|connection| connection.answers > 0);
        let mut report = shared.report();
        match (ended, used) {
            (Err((kind @ (Kind::Closed | Kind::Reset), story)), Some(used)) => {
                let story = format!(
                    "sent on a connection on which version {} had answered {} times, while it was closed: {story}",
                    used.version, used.answers
                );
                report.cut.push(super::Failure { at: begun, took, kind, story });
                report.kept_connections.sent += 1;
            }
            (ended, _) => report.kept_connections.count(begun, took, ended),
        }
        drop(report);
        if failed {
            connection = None;
        }
    }
}

/// One request, on the connection that is there or on a new one.
async fn turn(shared: &Shared, connection: &mut Option<Connection>) -> Ended {
    if connection.is_none() {
        let stream = TcpStream::connect(shared.plan.address).await;
        let stream = stream.map_err(|error| (Kind::Refused, error.to_string()))?;
        shared.report().connects += 1;
        *connection = Some(Connection { stream, answers: 0, version: String::new() });
    }
    let Some(open) = connection else { return Err((Kind::Other, "no connection".to_owned())) };
    let version = ask(&mut open.stream, "keep-alive").await?;
    open.answers += 1;
    open.version.clone_from(&version);
    Ok(version)
}

/// Nothing waits to be read on a connection that is open and idle: neither its end nor an answer that nobody asked for.
fn is_open(connection: &Connection) -> bool {
    let read = connection.stream.try_read(&mut [0; 1]);
    read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}
