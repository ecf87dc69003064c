//! HTTP/1.1 over one connection, requests one after the other, read into one buffer that is kept.

use super::Shared;
use super::fault::Fault;
use super::store::{Answer, fault};
use serde_json::json;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// A call is a megabyte of messages, and what JSON adds to them.
const LARGEST_BODY: usize = 16 << 20;
const LONGEST_LINE: u64 = 64 << 10;
/// What is read of the socket at once: a record of TLS is 16 KiB, which its reader would fetch in pieces of 4.
pub(super) const SOCKET_BUFFER: usize = 256 << 10;

/// What the head of a request says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Head {
    operation: String,
    body_bytes: usize,
    is_compressed: bool,
    is_last: bool,
    waits: bool,
}

/// Answers until the other side goes away, or a fault ends it.
pub(super) fn serve(stream: impl Read + Write, socket: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut body = Vec::new();
    while let Some(head) = Head::read(&mut stream)? {
        let met = if head.operation.is_empty() { None } else { shared.faults.hit() };
        if let Some((Fault::Reset, hits)) = met
            && hits % 2 == 0
        {
            return reset(socket);
        }
        if head.waits {
            stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        body.resize(head.body_bytes, 0);
        stream.read_exact(&mut body)?;
        if head.is_compressed {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain)?;
            body = plain;
        }
        let Some(answer) = meet(met.map(|(fault, _)| fault), &head.operation, &body, shared) else {
            return reset(socket);
        };
        respond(stream.get_mut(), &answer)?;
        if head.is_last {
            return Ok(());
        }
    }
    Ok(())
}

/// The answer, if there is one.
fn meet(met: Option<Fault>, operation: &str, body: &[u8], shared: &Shared) -> Option<Answer> {
    match met {
        None => Some(answer(operation, body, shared)),
        Some(Fault::Unavailable) => Some((
            503,
            json!({"__type": "ServiceUnavailableException", "message": "The service is unavailable."}),
        )),
        Some(Fault::Throttled) => Some(fault("ThrottlingException", "Rate exceeded")),
        Some(Fault::Expired) => {
            Some(fault("ExpiredTokenException", "The security token included in the request is expired"))
        }
        Some(Fault::Reset) => None,
        Some(Fault::AnswerLost) => {
            answer(operation, body, shared);
            None
        }
        Some(Fault::Stall) => {
            shared.faults.sit_out();
            None
        }
    }
}

fn answer(operation: &str, body: &[u8], shared: &Shared) -> Answer {
    shared.store.count(operation);
    match operation {
        "PutLogEvents" => shared.store.put(body),
        other => shared.store.operate(other, body),
    }
}

impl Head {
    /// `None` at the end of the connection.
    fn read(stream: &mut impl BufRead) -> io::Result<Option<Head>> {
        let mut head = Head::default();
        let mut line = String::new();
        for number in 0.. {
            line.clear();
            if stream.by_ref().take(LONGEST_LINE).read_line(&mut line)? == 0 {
                return if number == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            match line.trim_end() {
                "" => return Ok(Some(head)),
                _ if number == 0 => {}
                field => head.take(field)?,
            }
        }
        Ok(None)
    }

    fn take(&mut self, field: &str) -> io::Result<()> {
        let Some((name, value)) = field.split_once(':') else {
            return Err(io::Error::other(field.to_owned()));
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => self.body_bytes = value.parse().map_err(io::Error::other)?,
            "x-amz-target" => self.operation = value.rsplit('.').next().unwrap_or_default().to_owned(),
            "content-encoding" => self.is_compressed = value == "gzip",
            "connection" => self.is_last = value.eq_ignore_ascii_case("close"),
            "expect" => self.waits = true,
            "transfer-encoding" => return Err(io::Error::other("a body without length")),
            _ => {}
        }
        if self.body_bytes > LARGEST_BODY {
            Err(io::Error::other("a body beyond all limits"))
        } else {
            Ok(())
        }
    }
}

fn respond(stream: &mut impl Write, (status, body): &Answer) -> io::Result<()> {
    let body = body.to_string();
    let reason = match status {
        200 => "OK",
        503 => "Service Unavailable",
        _ => "Bad Request",
    };
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/x-amz-json-1.1\r\n\
         x-amzn-requestid: 5f1f3c0e-0000-4000-8000-000000000000\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.flush()
}

/// With what was not sent thrown away, the kernel ends the connection with a reset instead of its usual farewell.
fn reset(socket: &TcpStream) -> io::Result<()> {
    let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    Ok(nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::Linger, &at_once)?)
}
