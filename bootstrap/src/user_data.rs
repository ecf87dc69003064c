//! User data: whether it is, or brings, a node.toml. Pure.
//!
//! In: the bytes as the metadata service gives them, and the names of node.toml's sections. Out: [`UserData`]. What
//! always holds: any bytes give an answer, and no reason quotes them, because user data may hold passwords.
//!
//! It is a node.toml when it is text that begins with a comment that names `node.toml`, or in which a line is the
//! heading of one of its sections, such as `[services.api]`. That is judged by lines and not by the parser, so that a
//! node.toml with a mistake is reported as one and not taken for something else. Or it is a MIME message, of which one
//! part has the type `text/x-node-toml` or a file name that ends with `node.toml`. What begins as cloud-init's own
//! formats do is theirs. gzip, and base64 that was put in twice, are undone first.
//!
//! Not its job: whether the node.toml is valid.

mod mime;
mod transfer;

use flate2::read::GzDecoder;
use std::collections::BTreeSet;
use std::io::Read;

/// As much as a node.toml may have; gzip makes more of less than a packet.
const UNPACKED_BYTES_AT_MOST: u64 = 1 << 20;
/// gzip in base64, as some tools make it, and one more.
const LAYERS_AT_MOST: usize = 3;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const OUR_TYPE: &str = "text/x-node-toml";
const OUR_NAME: &str = "node.toml";
const TWO_PARTS: &str = "more than one part of it is a node.toml";

/// How other user data begins, and what that is.
/// <https://docs.cloud-init.io/en/latest/explanation/format.html>, and of Windows `<`.
const OTHERS: [(&str, &str); 11] = [
    ("#!", "is a script"),
    ("#cloud-config", "is cloud-config"),
    ("#cloud-boothook", "is a boothook of cloud-init"),
    ("#include", "is an include list of cloud-init"),
    ("#part-handler", "is a part handler of cloud-init"),
    ("#upstart-job", "is an upstart job"),
    ("## template:", "is a template of cloud-init"),
    ("<powershell", "is a script for Windows"),
    ("<script", "is a script for Windows"),
    ("<persist", "is a script for Windows"),
    ("{", "is JSON"),
];

/// What user data is to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UserData {
    /// It is a node.toml, or one part of it is.
    NodeToml {
        /// Its text.
        text: String,
        /// It was a part of a message.
        is_part: bool,
    },
    /// Something else, which is somebody else's: `user data …`.
    Other(&'static str),
    /// It says that it brings a node.toml, and none can be read from it: `user data …`.
    Unreadable(&'static str),
}

/// Reads user data; `sections` are the top-level keys of node.toml.
pub(crate) fn read(bytes: &[u8], sections: &BTreeSet<String>) -> UserData {
    read_layer(bytes, sections, LAYERS_AT_MOST)
}

fn read_layer(bytes: &[u8], sections: &BTreeSet<String>, layers: usize) -> UserData {
    if bytes.starts_with(&GZIP) {
        return match unpack(bytes).filter(|_| layers > 0) {
            Some(unpacked) => read_layer(&unpacked, sections, layers - 1),
            None => UserData::Other("is gzip data that cannot be unpacked"),
        };
    }
    if mime::is_message(bytes) {
        return read_message(bytes);
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return UserData::Other("is not text");
    };
    let begins = text.trim_start();
    if begins.is_empty() {
        return UserData::Other("is empty");
    }
    if let Some((_, what)) = OTHERS.iter().find(|(beginning, _)| begins.starts_with(beginning)) {
        return UserData::Other(what);
    }
    if is_node_toml(text, sections) {
        return UserData::NodeToml { text: text.to_owned(), is_part: false };
    }
    match transfer::base64(bytes).filter(|_| layers > 0) {
        Some(decoded) => read_layer(&decoded, sections, layers - 1),
        None => UserData::Other("is text without a section of node.toml"),
    }
}

fn unpack(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut unpacked = Vec::new();
    let read = GzDecoder::new(bytes).take(UNPACKED_BYTES_AT_MOST + 1).read_to_end(&mut unpacked).ok()?;
    (read as u64 <= UNPACKED_BYTES_AT_MOST).then_some(unpacked)
}

fn is_node_toml(text: &str, sections: &BTreeSet<String>) -> bool {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let says_so = first.trim_start().starts_with('#') && first.contains(OUR_NAME);
    says_so || text.lines().any(|line| heading(line).is_some_and(|name| sections.contains(name)))
}

/// `services` of `[services.api]`, `node` of `[ node ]`.
fn heading(line: &str) -> Option<&str> {
    let inside = line.trim_start().strip_prefix('[')?.trim_start_matches('[').trim_start();
    let end = inside.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))?;
    let (name, rest) = inside.split_at(end);
    rest.trim_start().starts_with(['.', ']']).then_some(name)
}

fn read_message(bytes: &[u8]) -> UserData {
    let Some(parts) = mime::parts(bytes) else {
        return UserData::Other("is a MIME message that nests too deeply");
    };
    let mut ours = parts.iter().filter(|part| {
        part.kind == OUR_TYPE || part.name.as_ref().is_some_and(|name| name.ends_with(OUR_NAME))
    });
    let Some(part) = ours.next() else {
        return UserData::Other("is a MIME message without a node.toml");
    };
    if ours.next().is_some() {
        return UserData::Unreadable(TWO_PARTS);
    }
    let decoded = match transfer::decode(part.encoding.as_deref(), part.body) {
        Ok(decoded) => decoded,
        Err(reason) => return UserData::Unreadable(reason),
    };
    match String::from_utf8(decoded) {
        Ok(text) => UserData::NodeToml { text, is_part: true },
        Err(_) => UserData::Unreadable("has a part node.toml that is not UTF-8"),
    }
}

#[cfg(test)]
mod tests;
