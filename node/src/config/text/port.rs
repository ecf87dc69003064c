//! Published ports and health checks over HTTP.

use crate::config::findings::Wrong;
use crate::config::settings::{Port, Protocol};
use std::net::SocketAddr;

/// `HOST:CONTAINER[/tcp|/udp]`.
pub(in crate::config) fn published(text: &str) -> Result<Port, Wrong> {
    let wrong = |why: &str| Wrong::new(format!("\"{text}\" is not a port: {why}"));
    let (numbers, protocol) = match text.split_once('/') {
        None => (text, Protocol::Tcp),
        Some((numbers, "tcp")) => (numbers, Protocol::Tcp),
        Some((numbers, "udp")) => (numbers, Protocol::Udp),
        Some((_, other)) => {
            return Err(wrong(&format!("`{other}` is not a protocol")).hint("write /udp, or nothing for TCP"));
        }
    };
    let parts: Vec<&str> = numbers.split(':').collect();
    match parts.as_slice() {
        [host, container] => {
            let host = number(host).map_err(|why| wrong(&why))?;
            let container = number(container).map_err(|why| wrong(&why))?;
            Ok(Port { host, container, protocol })
        }
        [only] => {
            Err(wrong("it has one number").hint(format!("write HOST:CONTAINER, such as \"{only}:{only}\"")))
        }
        [.., host, container] => Err(wrong("ports are published on all addresses of the host, not on one")
            .hint(format!("write \"{host}:{container}\" and close the port in the security group"))),
        [] => Err(wrong("it is empty")),
    }
}

/// A port number in words that say what is wrong with it.
pub(in crate::config) fn number(text: &str) -> Result<u16, String> {
    let refused = || format!("`{text}` is not a number from 1 to 65535");
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse::<u16>().ok().filter(|number| digits && *number > 0).ok_or_else(refused)
}

/// `IP:PORT` or `[IPv6]:PORT` to listen on. A name could mean several addresses, or none at boot.
pub(in crate::config) fn listens(text: &str) -> Result<SocketAddr, Wrong> {
    let address = text.parse::<SocketAddr>().ok().filter(|address| address.port() > 0);
    address.ok_or_else(|| {
        Wrong::new(format!("\"{text}\" is not an address to listen on"))
            .hint("write IP:PORT, such as \"127.0.0.1:9464\" or \"[::]:9464\"")
    })
}

/// `/PATH` or `PORT/PATH`: the port, where one is written, and the path with its slash.
pub(in crate::config) fn http_check(text: &str) -> Result<(Option<u16>, String), Wrong> {
    let wrong = |why: &str| {
        Wrong::new(format!("\"{text}\" is not a check over HTTP: {why}"))
            .hint("write \"/PATH\" or \"PORT/PATH\", such as \"8000/health\"")
    };
    let Some(slash) = text.find('/') else { return Err(wrong("it has no path")) };
    let (port, path) = text.split_at(slash);
    if path.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(wrong("the path has spaces or control characters"));
    }
    match port {
        "" => Ok((None, path.to_owned())),
        port => Ok((Some(number(port).map_err(|why| wrong(&why))?), path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_are_taken() {
        let cases = [
            ("80:8000", (80, 8000, Protocol::Tcp)),
            ("53:53/udp", (53, 53, Protocol::Udp)),
            ("65535:1/tcp", (65535, 1, Protocol::Tcp)),
        ];
        for (text, (host, container, protocol)) in cases {
            assert_eq!(published(text), Ok(Port { host, container, protocol }), "{text}");
        }
    }

    #[test]
    fn ports_that_are_refused() {
        let cases = [
            "",
            ":",
            "80",
            "80:",
            ":80",
            "0:80",
            "80:65536",
            "+80:80",
            "80:80/sctp",
            "80-90:80-90",
            "a:b",
            "80:80/",
            "127.0.0.1:80:80",
            "[::1]:80:80",
        ];
        for text in cases {
            assert!(published(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_port_on_one_address_is_answered_with_why_and_what_to_do() {
        let wanted = Wrong::new(
            "\"127.0.0.1:80:8000\" is not a port: ports are published on all addresses of the host, not on one",
        )
        .hint("write \"80:8000\" and close the port in the security group");
        assert_eq!(published("127.0.0.1:80:8000"), Err(wanted));
    }

    #[test]
    fn http_checks() {
        assert_eq!(http_check("/health?full=1"), Ok((None, "/health?full=1".to_owned())));
        assert_eq!(http_check("8000/api/health/"), Ok((Some(8000), "/api/health/".to_owned())));
        for text in ["", "health", "8000", "0/x", "http://localhost/x", "/a b"] {
            assert!(http_check(text).is_err(), "{text}");
        }
    }
}
