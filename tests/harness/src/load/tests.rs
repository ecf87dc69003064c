//! The load against small servers that behave as told: what is counted is what happened.

use super::*;
use crate::wait::wait_for;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"version\":\"one\"}";

/// A server that handles each connection by `work`, on a thread of its own.
fn server(work: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let work = Arc::new(work);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let work = Arc::clone(&work);
            std::thread::spawn(move || work(stream));
        }
    });
    address
}

/// Reads one request; `false` at the end of the connection.
fn read_request(stream: &mut TcpStream) -> bool {
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => request.extend(byte),
            _ => return false,
        }
    }
    true
}

fn answering(text: &'static str) -> SocketAddr {
    server(move |mut stream| {
        while read_request(&mut stream) {
            stream.write_all(text.as_bytes()).ok();
            if text != WHOLE {
                return;
            }
        }
    })
}

fn load(address: SocketAddr, per_second: u32, keep_alive: usize) -> Load {
    let limit = Duration::from_secs(60);
    Load::start(Plan { address, per_second, ports: ALL_PORTS, keep_alive, limit }).unwrap()
}

/// The load, ended once so many requests of either kind have.
fn after(load: Load, sent: u64) -> Report {
    wait_for("requests", Duration::from_secs(20), || {
        let report = load.so_far();
        let now = report.new_connections.sent.max(report.kept_connections.sent);
        if now >= sent { Ok(()) } else { Err(report.to_string()) }
    })
    .unwrap();
    load.finish()
}

#[test]
fn the_rate_is_kept_and_the_version_is_counted() {
    let report = after(load(answering(WHOLE), 200, 2), 200);
    assert_eq!(report.failures(), 0, "{report}");
    assert_eq!(report.new_connections.versions["one"], report.new_connections.sent, "{report}");
    let due = due(report.lasted, 200);
    // A request is due at the last moment, or just after.
    assert!(report.new_connections.sent.abs_diff(due) <= 2, "{due} were due: {report}");
    assert!(report.kept_connections.answered() > 2, "{report}");
    assert_eq!(report.connects, 2, "{report}");
}

#[test]
fn the_limit_ends_it() {
    let plan = Plan {
        address: answering(WHOLE),
        per_second: 100,
        ports: ALL_PORTS,
        keep_alive: 0,
        limit: Duration::from_millis(200),
    };
    let load = Load::start(plan).unwrap();
    let ended = || if load.so_far().lasted.is_zero() { Err("it is on".to_owned()) } else { Ok(()) };
    wait_for("its end", Duration::from_secs(10), ended).unwrap();
    assert!(load.finish().new_connections.sent >= 19);
}

#[test]
fn each_way_to_fail_is_counted_as_what_it_is() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cases = [
        (unused, Kind::Refused),
        (answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"), Kind::Status(503)),
        (answering("HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{\"version\":\"one\"}"), Kind::ShortBody),
        (answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), Kind::ShortBody),
        (answering(""), Kind::Closed),
        // What was sent and is not read makes the kernel answer with a reset.
        (server(drop), Kind::Reset),
    ];
    for (address, kind) in cases {
        let report = after(load(address, 100, 0), 5);
        let failed = report.new_connections.failed.clone();
        let found = failed.get(&kind).copied().unwrap_or_default();
        let closed_or_reset = if kind == Kind::Reset { failed.get(&Kind::Closed) } else { None };
        assert_eq!(found + closed_or_reset.unwrap_or(&0), report.new_connections.sent, "{kind:?}: {report}");
    }
}

#[test]
fn a_request_that_meets_the_end_of_its_connection_is_told_apart_from_a_failure() {
    // The third request of each connection is read and not answered.
    let address = server(|mut stream| {
        for _ in 0..2 {
            if read_request(&mut stream) {
                stream.write_all(WHOLE.as_bytes()).ok();
            }
        }
        read_request(&mut stream);
    });
    let report = after(load(address, 0, 1), 9);
    assert_eq!(report.failures(), 0, "{report}");
    assert!(report.cut.len() >= 2, "{report}");
    assert!(report.cut[0].story.contains("version one had answered 2 times"), "{report}");
}

#[test]
fn a_connection_that_was_closed_while_it_was_idle_is_not_used_again() {
    let address = server(|mut stream| {
        if read_request(&mut stream) {
            stream.write_all(WHOLE.as_bytes()).ok();
        }
    });
    let report = after(load(address, 0, 1), 5);
    assert_eq!((report.failures(), report.cut.len()), (0, 0), "{report}");
    assert_eq!(report.connects, report.kept_connections.sent, "{report}");
}
