//! Addresses of model servers: where one listens, as `OLLAMA_HOST` has it, and the URL of one that is there already.
//! Source of `OLLAMA_HOST`: ollama `envconfig/config.go`. A port that makes no sense is replaced in silence there, and
//! refused here.

use super::port;
use crate::config::findings::Wrong;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where Ollama listens unless it is told otherwise.
pub(in crate::config) const PORT: u16 = 11434;

/// Where a server listens, and who gets there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) struct Listens {
    pub(in crate::config) port: u16,
    /// It can be reached from outside its network namespace.
    pub(in crate::config) from_outside: bool,
    /// It can be reached at 127.0.0.1 inside.
    pub(in crate::config) at_loopback: bool,
}

/// The value of `OLLAMA_HOST`: `[SCHEME://][HOST][:PORT][/…]`.
pub(in crate::config) fn listens(text: &str) -> Result<Listens, Wrong> {
    let wrong = |why: &str| {
        Wrong::new(format!("\"{text}\" is not an address to listen on: {why}"))
            .hint(format!("write \"0.0.0.0:{PORT}\", or leave it out"))
    };
    let bare = text.trim().trim_matches(['"', '\'']).trim();
    let (scheme, address) = bare.split_once("://").unwrap_or(("", bare));
    let address = address.split('/').next().unwrap_or_default();
    let (host, port) = split(address).ok_or_else(|| wrong("it is not HOST:PORT"))?;
    let by_scheme = match scheme {
        "http" => 80,
        "https" => 443,
        _ => PORT,
    };
    let number = port.map_or(Ok(by_scheme), port::number).map_err(|why| wrong(&why))?;
    let (from_outside, at_loopback) = match (host, host.parse::<IpAddr>()) {
        // Nothing at all means 127.0.0.1, nothing before a port means every address.
        ("", _) => (port.is_some(), true),
        ("localhost", _) => (false, true),
        (_, Ok(address)) if address.is_unspecified() => (true, true),
        (_, Ok(address)) => (!address.is_loopback(), address == IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => (true, false),
    };
    Ok(Listens { port: number, from_outside, at_loopback })
}

/// `http://HOST[:PORT]` or `https://HOST[:PORT]`; a slash at the end is dropped. The address is in no message: it could
/// have a password in it.
pub(in crate::config) fn url(text: &str) -> Result<String, Wrong> {
    let wrong = |why: &str| {
        Wrong::new(format!("the address of the model server {why}"))
            .hint(format!("write http://HOST:PORT, such as \"http://127.0.0.1:{PORT}\""))
    };
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    if !matches!(scheme, "http" | "https") {
        return Err(wrong("begins with neither http:// nor https://"));
    }
    let address = rest.strip_suffix('/').unwrap_or(rest);
    if address.contains('@') {
        return Err(wrong("has a user name or password in it"));
    }
    if address.contains(['/', '?', '#']) {
        return Err(wrong("has a path"));
    }
    let (host, port) = split(address).ok_or_else(|| wrong("is not HOST:PORT"))?;
    let is_name = |host: &str| host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
    let is_host = if address.starts_with('[') { host.parse::<Ipv6Addr>().is_ok() } else { is_name(host) };
    if host.is_empty() {
        return Err(wrong("has no host"));
    }
    if !is_host {
        return Err(wrong("has a host that is neither a name nor an address"));
    }
    if let Some(port) = port {
        port::number(port).map_err(|why| wrong(&format!("has no port: {why}")))?;
    }
    Ok(format!("{scheme}://{address}"))
}

/// Host and port; an IPv6 address stands in brackets where a port follows.
fn split(address: &str) -> Option<(&str, Option<&str>)> {
    if let Some(inner) = address.strip_prefix('[') {
        let (host, behind) = inner.split_once(']')?;
        return match behind {
            "" => Some((host, None)),
            behind => Some((host, Some(behind.strip_prefix(':')?))),
        };
    }
    match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => Some((host, Some(port))),
        _ => Some((address, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_server_listens_and_who_gets_there() {
        let (all, outside, inside, nobody) = ((true, true), (true, false), (false, true), (false, false));
        for (text, port, reach) in [
            ("0.0.0.0:11434", 11434, all),
            ("0.0.0.0", 11434, all),
            (":8080", 8080, all),
            ("[::]:11434", 11434, all),
            ("::", 11434, all),
            ("http://0.0.0.0:8080", 8080, all),
            ("http://0.0.0.0", 80, all),
            ("https://0.0.0.0/", 443, all),
            (" \"0.0.0.0:11434\" ", 11434, all),
            ("", 11434, inside),
            ("127.0.0.1", 11434, inside),
            ("localhost:9000", 9000, inside),
            ("127.0.0.2:9000", 9000, nobody),
            ("[::1]:9000", 9000, nobody),
            ("::1", 11434, nobody),
            ("10.0.0.5:9000", 9000, outside),
            ("ollama", 11434, outside),
        ] {
            let listens = listens(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"));
            assert_eq!((listens.port, (listens.from_outside, listens.at_loopback)), (port, reach), "{text}");
        }
        for text in ["0.0.0.0:", ":0", ":x", "0.0.0.0:65536", "[::", "[::]x"] {
            assert!(listens(text).is_err(), "{text}");
        }
    }

    #[test]
    fn urls() {
        for (text, url_of_it) in [
            ("http://127.0.0.1:11434", "http://127.0.0.1:11434"),
            ("http://models.internal/", "http://models.internal"),
            ("https://models.internal:443", "https://models.internal:443"),
            ("http://[::1]:11434", "http://[::1]:11434"),
        ] {
            assert_eq!(url(text).as_deref(), Ok(url_of_it));
        }
        for (text, why) in [
            ("", "neither http:// nor https://"),
            ("ftp://host", "neither http:// nor https://"),
            ("http://", "no host"),
            ("http://:11434", "no host"),
            ("http:///", "no host"),
            ("http://user:hidden@host:1", "user name or password"),
            ("http://host/api", "has a path"),
            ("http://host?x", "has a path"),
            ("http://host//", "has a path"),
            ("http://host:0", "`0` is not a number"),
            ("http://host:", "`` is not a number"),
            ("http://::1:11434", "neither a name nor an address"),
            ("http://[host]:1", "neither a name nor an address"),
            ("http://[::1]1", "not HOST:PORT"),
            ("http://a b", "neither a name nor an address"),
        ] {
            let (message, _) = url(text).unwrap_err().into_words();
            assert!(message.contains(why) && !message.contains("hidden"), "{text}: {message}");
        }
    }
}
