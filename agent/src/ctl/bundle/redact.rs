//! Takes secrets out of texts.
//!
//! In: the values of the node's secrets, and any text. Out: the text without these values, in whatever form programs
//! write them (as they are, escaped for JSON, percent-encoded, in base64 or hexadecimal), and without what has the shape
//! of a secret of somebody else. What always holds: a value of [`SHORTEST`] bytes or more that went in does not come out.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use secrecy::zeroize::Zeroizing;
use std::fs;
use std::io;
use std::path::Path;

/// Shorter values are in every text: taking them out would leave nothing to read.
pub(super) const SHORTEST: usize = 4;
/// Lines of a value that has several are secrets of their own from this length on.
const SHORTEST_LINE: usize = 8;

/// Knows what to take out.
#[derive(Default)]
pub(super) struct Redactor {
    /// Each form of a value, and what stands in its place; looked for in the order of their lengths, the longest first.
    forms: Vec<(Zeroizing<String>, String)>,
    values: usize,
    too_short: usize,
}

impl Redactor {
    /// Knows every version of every secret in the store at `folder`; nothing where there is no store.
    pub(super) fn knowing(folder: &Path) -> io::Result<Redactor> {
        let mut redactor = Redactor::default();
        match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(redactor),
            other => drop(other?),
        }
        for secret in entries(folder)? {
            let name = secret.file_name().unwrap_or_default().to_string_lossy().into_owned();
            for version in entries(&secret)?.iter().filter(|path| path.is_dir() && !path.is_symlink()) {
                for file in entries(version)?.iter().filter(|path| path.is_file()) {
                    let key = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    let value = Zeroizing::new(fs::read(file)?);
                    redactor.learn(&value, &format!("[secret {name}/{key}]"));
                }
            }
        }
        redactor
            .forms
            .sort_by(|(one, _), (other, _)| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        redactor.forms.dedup_by(|(one, _), (other, _)| one == other);
        Ok(redactor)
    }

    fn learn(&mut self, value: &[u8], place: &str) {
        let trimmed = value.trim_ascii();
        if trimmed.len() < SHORTEST {
            self.too_short += usize::from(!trimmed.is_empty());
            return;
        }
        self.values += 1;
        let mut parts = vec![value, trimmed];
        if trimmed.contains(&b'\n') {
            let lines = trimmed.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            parts.extend(lines.filter(|line| line.len() >= SHORTEST_LINE));
        }
        self.forms.extend(parts.into_iter().flat_map(forms_of).map(|form| (form, place.to_owned())));
    }

    /// How many values it knows.
    pub(super) fn values(&self) -> usize {
        self.values
    }

    /// How many it cannot take out.
    pub(super) fn too_short(&self) -> usize {
        self.too_short
    }

    /// `text` without secrets.
    pub(super) fn redacted(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (form, place) in &self.forms {
            if text.contains(form.as_str()) {
                text = text.replace(form.as_str(), place);
            }
        }
        let text = without_private_keys(&text);
        let lines: Vec<String> =
            text.split('\n').map(|line| without_named(&without_keys(&without_passwords(line)))).collect();
        lines.join("\n")
    }
}

fn entries(folder: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths: Vec<_> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.sort();
    Ok(paths)
}

/// Every way in which programs write `value` into texts.
fn forms_of(value: &[u8]) -> Vec<Zeroizing<String>> {
    let mut forms: Vec<String> = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD]
        .iter()
        .map(|engine| engine.encode(value))
        .collect();
    forms.push(node::hexadecimal::hexadecimal(value));
    let lossy = String::from_utf8_lossy(value);
    if let Ok(json) = serde_json::to_string(&lossy) {
        forms.push(json.trim_matches('"').to_owned());
        // In a line of JSON that is itself a text of JSON, as a log driver writes it.
        if let Ok(twice) = serde_json::to_string(json.trim_matches('"')) {
            forms.push(twice.trim_matches('"').to_owned());
        }
    }
    forms.push(percent_encoded(value));
    forms.push(lossy.into_owned());
    forms.into_iter().filter(|form| form.len() >= SHORTEST).map(Zeroizing::new).collect()
}

/// RFC 3986: all that is not unreserved.
fn percent_encoded(value: &[u8]) -> String {
    value.iter().fold(String::new(), |mut text, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(*byte))
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
        text
    })
}

/// Blocks of PEM whose label says that they are private (RFC 7468).
fn without_private_keys(text: &str) -> String {
    const LABEL: &str = "PRIVATE KEY-----";
    let mut kept = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find("-----BEGIN ") {
        let block = &rest[begin..];
        let label_end =
            block.find(LABEL).filter(|at| !block[..*at].contains('\n')).map(|at| at + LABEL.len());
        let Some(label_end) = label_end else {
            kept.push_str(&rest[..begin + 1]);
            rest = &rest[begin + 1..];
            continue;
        };
        kept.push_str(&rest[..begin]);
        kept.push_str("[private key]");
        // One without an end goes to the end.
        let end = block[label_end..].find(LABEL).map_or(block.len(), |at| label_end + at + LABEL.len());
        rest = &block[end..];
    }
    kept.push_str(rest);
    kept
}

/// `scheme://user:password@host`, RFC 3986.
fn without_passwords(line: &str) -> String {
    let mut kept = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("://").map(|at| at + "://".len()) {
        kept.push_str(&rest[..at]);
        rest = &rest[at..];
        let authority =
            rest.find(|c: char| c.is_whitespace() || "/?#\"'<>`".contains(c)).unwrap_or(rest.len());
        if let Some((user, (_, host))) = rest[..authority]
            .rsplit_once('@')
            .and_then(|(info, host)| Some((info.split_once(':')?.0, (info, host))))
        {
            kept.push_str(&format!("{user}:[password]@{host}"));
            rest = &rest[authority..];
        }
    }
    kept.push_str(rest);
    kept
}

/// Ids of access keys (IAM User Guide, "Understanding unique ID prefixes"): they name whose key it is.
fn without_keys(line: &str) -> String {
    const DIGITS: usize = 16;
    let mut kept = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("AKIA").into_iter().chain(rest.find("ASIA")).min() {
        let id = &rest[at + 4..];
        let long = id.chars().take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit()).count();
        kept.push_str(&rest[..at]);
        if long >= DIGITS {
            kept.push_str("[access key id]");
            rest = &id[long..];
        } else {
            kept.push_str(&rest[at..at + 4]);
            rest = id;
        }
    }
    kept.push_str(rest);
    kept
}

/// What stands behind a name that says what it is: `DB_PASSWORD = "…"`, `"api_token": "…"`, `Authorization: Bearer …`.
fn without_named(line: &str) -> String {
    const NAMES: [&str; 9] = [
        "password",
        "passwd",
        "secret_key",
        "secret",
        "token",
        "api_key",
        "apikey",
        "private_key",
        "authorization",
    ];
    /// Names of ours, whose values are names.
    const OURS: [&str; 4] = ["secret", "secrets", "secret_files", "secretsmanager"];
    let mut kept = String::new();
    let mut rest = line;
    while let Some(mark) = rest.find(['=', ':']) {
        let (before, behind) = (&rest[..mark], &rest[mark + 1..]);
        let name = before.trim_end_matches([' ', '"', '\'', '\\']);
        let name: String =
            name.chars().rev().take_while(|c| c.is_alphanumeric() || "_-.".contains(*c)).collect();
        let name = name.chars().rev().collect::<String>().to_lowercase().replace('-', "_");
        kept.push_str(&rest[..=mark]);
        rest = behind;
        let is_secret = NAMES.iter().any(|known| name.ends_with(known)) && !OURS.contains(&name.as_str());
        if is_secret && let Some((lead, length)) = value_in(behind) {
            kept.push_str(&format!("{}[taken out]", &behind[..lead]));
            rest = &behind[lead + length..];
        }
    }
    kept.push_str(rest);
    kept
}

/// Where a value begins behind its mark, and how long it is; `None` for what is no value: a table, a list, nothing.
fn value_in(text: &str) -> Option<(usize, usize)> {
    let lead = text.len() - text.trim_start().len();
    let value = &text[lead..];
    let first = value.chars().next()?;
    if "{[,;:=)]}".contains(first) {
        return None;
    }
    if let Some(quote) = Some(first).filter(|c| "\"'".contains(*c)) {
        let mut escaped = false;
        let inner = &value[1..];
        let end = inner.find(|c: char| {
            let ends = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        return Some((lead + 1, end.unwrap_or(inner.len())));
    }
    // A scheme (`Bearer`, `Basic`) belongs to what follows it.
    let words = value.split_inclusive(' ');
    let scheme = value.split(' ').next().filter(|word| matches!(*word, "Bearer" | "Basic"));
    let taken = words.take(if scheme.is_some() { 2 } else { 1 }).map(str::len).sum::<usize>();
    Some((lead, value[..taken].trim_end().trim_end_matches([',', '}', ')', ';']).len()))
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
