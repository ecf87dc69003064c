//! MIME messages as cloud-init takes them (RFC 2045, 2046): message -> its parts, containers opened. Pure.
//!
//! As lenient as mail programs are where nothing can be misread: bare line feeds, a last delimiter that is missing.
//! Not its job: undoing transfer encodings, and what a part means.

/// Tools make one level of parts.
const LEVELS_AT_MOST: usize = 8;

/// A part that holds no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part<'message> {
    /// Content type without its parameters, in lower case.
    pub(super) kind: String,
    /// File name, of either header that can carry one.
    pub(super) name: Option<String>,
    /// Transfer encoding in lower case.
    pub(super) encoding: Option<String>,
    /// As it was sent.
    pub(super) body: &'message [u8],
}

/// Whether it begins with the header of a message.
pub(super) fn is_message(bytes: &[u8]) -> bool {
    let (headers, _) = headers(bytes);
    let has = |wanted: &str| headers.iter().any(|(name, _)| name == wanted);
    has("mime-version") || has("content-type")
}

/// All parts, in their order; `None` where they are nested too deeply.
pub(super) fn parts(message: &[u8]) -> Option<Vec<Part<'_>>> {
    let mut found = Vec::new();
    collect(message, LEVELS_AT_MOST, &mut found)?;
    Some(found)
}

fn collect<'message>(message: &'message [u8], levels: usize, found: &mut Vec<Part<'message>>) -> Option<()> {
    let (headers, body) = headers(message);
    let header =
        |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let content_type = header("content-type").unwrap_or("text/plain");
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind.starts_with("multipart/")
        && let Some(boundary) = parameter(content_type, "boundary")
    {
        let levels = levels.checked_sub(1)?;
        return split(body, &boundary).into_iter().try_for_each(|part| collect(part, levels, found));
    }
    let disposition = header("content-disposition").and_then(|value| parameter(value, "filename"));
    found.push(Part {
        kind,
        name: disposition.or_else(|| parameter(content_type, "name")),
        encoding: header("content-transfer-encoding").map(|value| value.trim().to_ascii_lowercase()),
        body,
    });
    Some(())
}

/// Names in lower case and values with their continuation lines, and what comes after the empty line. A line that is
/// no header ends them too, and belongs to the body.
fn headers(message: &[u8]) -> (Vec<(String, String)>, &[u8]) {
    let mut headers: Vec<(String, String)> = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let (line, after) = next_line(rest);
        if line.is_empty() {
            return (headers, after);
        }
        let text = String::from_utf8_lossy(line);
        if text.starts_with([' ', '\t']) {
            let Some((_, value)) = headers.last_mut() else { break };
            value.push(' ');
            value.push_str(text.trim());
        } else {
            let Some((name, value)) = text.split_once(':').filter(|(name, _)| is_name(name)) else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        rest = after;
    }
    (headers, rest)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The first line without its end, and what comes after it.
fn next_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (line, after) = end.map_or((bytes, &bytes[bytes.len()..]), |end| (&bytes[..end], &bytes[end + 1..]));
    (line.strip_suffix(b"\r").unwrap_or(line), after)
}

/// A parameter of a header's value, such as `boundary="a b"; charset=utf-8`.
fn parameter(value: &str, wanted: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = parameter_value(after.trim_start());
        // Before the name may stand parameters without a value.
        if name.rsplit(';').next()?.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = after;
    }
}

/// The value, its quotes undone, and what follows it.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, after) = text.split_once(';').unwrap_or((text, ""));
        return (value.trim().to_owned(), after);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

/// What lies between the delimiters: lines of two hyphens and the boundary. What comes before the first and after the
/// closing one is for people. The line break before a delimiter belongs to it.
fn split<'message>(body: &'message [u8], boundary: &str) -> Vec<&'message [u8]> {
    let mut parts = Vec::new();
    let mut begun: Option<usize> = None;
    let mut at = 0;
    while at < body.len() {
        let (line, after) = next_line(&body[at..]);
        if let Some(closes) = delimiter(line, boundary) {
            parts.extend(begun.map(|begun| without_line_break(&body[begun..at])));
            if closes {
                return parts;
            }
            begun = Some(body.len() - after.len());
        }
        at = body.len() - after.len();
    }
    parts.extend(begun.map(|begun| &body[begun..]));
    parts
}

/// Whether a line is a delimiter, and if so whether it is the closing one.
fn delimiter(line: &[u8], boundary: &str) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary.as_bytes())?.trim_ascii_end();
    match rest {
        b"" => Some(false),
        b"--" => Some(true),
        _ => None,
    }
}

fn without_line_break(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}
