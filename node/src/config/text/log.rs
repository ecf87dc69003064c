//! What `[logs]` names: streams, files, units, tags of a group.

use super::path;
use crate::config::findings::Wrong;
use crate::config::settings::{PLACEHOLDERS, StreamName};

/// A name is put together from this and what the placeholders stand for; CloudWatch takes 512 characters.
const TEMPLATE_CHARACTERS: usize = 256;

/// Whether `{service}` may be left out of the name of a stream: where one file alone goes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Sources {
    /// One.
    One,
    /// More than one.
    Several,
}

/// The name of a stream with its placeholders.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogStream.html>
pub(in crate::config) fn stream(text: &str, sources: Sources) -> Result<StreamName, Wrong> {
    let wrong = |why: &str| Wrong::new(format!("\"{text}\" cannot name streams: {why}"));
    let known = PLACEHOLDERS.join(", ");
    if text.chars().count() > TEMPLATE_CHARACTERS {
        return Err(wrong("it is too long").hint(format!("write at most {TEMPLATE_CHARACTERS} characters")));
    }
    if text.chars().any(|c| matches!(c, ':' | '*') || c.is_control()) {
        return Err(wrong("it has `:`, `*` or control characters, which CloudWatch Logs refuses"));
    }
    let rest = PLACEHOLDERS.iter().fold(text.to_owned(), |rest, placeholder| rest.replace(placeholder, ""));
    if rest.contains(['{', '}']) {
        return Err(wrong("a placeholder is not known").hint(format!("write one of {known}")));
    }
    if !text.contains("{instance_id}") {
        return Err(wrong("two nodes would write to one stream").hint(
            "write {instance_id} in it, without $; nodes of one Auto Scaling group may have one name",
        ));
    }
    if sources == Sources::Several && !text.contains("{service}") {
        return Err(wrong("two sources would write to one stream").hint("write {service} in it"));
    }
    Ok(StreamName(text.to_owned()))
}

/// Whether a path of a log stands for more than one file.
pub(in crate::config) fn is_glob(path: &str) -> bool {
    path.contains(['*', '?'])
}

/// File systems of the kernel have no log that a file's rules apply to.
const OF_THE_KERNEL: [&str; 3] = ["/dev/", "/proc/", "/sys/"];

/// Path of a log, or of several: `*` and `?` in any component.
pub(in crate::config) fn file(text: &str) -> Result<String, Wrong> {
    let wrong = |why: &str| Wrong::new(format!("\"{text}\" {why}"));
    let path = path::absolute(text)?;
    if text.ends_with('/') {
        return Err(wrong("is a directory")
            .hint(format!("write {}/*.log for the files in it", path.trim_end_matches('/'))));
    }
    if path.contains("**") {
        return Err(
            wrong("has `**`, and no pattern reaches over directories").hint("write one `*` for each of them")
        );
    }
    if path.contains(['[', '{']) {
        return Err(
            wrong("has brackets, which are no pattern here").hint("write `*` and `?`, or several files")
        );
    }
    if OF_THE_KERNEL.iter().any(|below| path.starts_with(below)) {
        return Err(wrong("is no log file but the kernel's"));
    }
    Ok(path)
}

/// Kinds of units: systemd.unit(5).
const UNIT_KINDS: [&str; 11] = [
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
    "timer",
    "slice",
    "scope",
];

/// The full name of a unit.
pub(in crate::config) fn unit(text: &str) -> Result<String, Wrong> {
    let wrong = |why: &str| Wrong::new(format!("\"{text}\" is not the name of a unit: {why}"));
    let good = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if text == "*" {
        return Err(Wrong::new("\"*\" stands for all units").hint("write [\"*\"] alone, or name the units"));
    }
    if text.is_empty() || text.len() > 255 || !text.chars().all(good) {
        return Err(wrong("it is empty, too long, or has characters that no unit has"));
    }
    match text.rsplit_once('.') {
        Some((name, kind)) if UNIT_KINDS.contains(&kind) && !name.is_empty() => Ok(text.to_owned()),
        _ => Err(wrong("its kind is missing").hint(format!("write \"{text}.service\""))),
    }
}

/// A group has this many tags at most.
pub(in crate::config) const TAGS_AT_MOST: usize = 50;

/// Key and value of a tag.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html>
pub(in crate::config) fn tag(key: &str, value: &str) -> Result<(), Wrong> {
    let good = |c: char| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c);
    let wrong = |why: String| Wrong::new(format!("`{key}` cannot be a tag of a log group: {why}"));
    if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
        return Err(wrong("its key is empty, or one of the two is too long".to_owned())
            .hint("up to 128 characters for the key and 256 for the value"));
    }
    if !key.chars().chain(value.chars()).all(good) {
        return Err(wrong("it has characters that AWS refuses".to_owned())
            .hint("letters, digits, spaces and _ . : / = + - @"));
    }
    if key.to_ascii_lowercase().starts_with("aws:") {
        return Err(wrong("`aws:` is for AWS itself".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_keep_nodes_and_sources_apart() {
        for text in
            ["{instance_id}/{service}", "{node}/{instance_id}-{service}.log", "{service}{instance_id}"]
        {
            assert!(stream(text, Sources::Several).is_ok(), "{text}");
        }
        assert!(stream("{instance_id}/nginx", Sources::One).is_ok());
        for text in [
            "",
            "a",
            "{service}",
            "{node}/{service}",
            "{instance_id}/{servic}",
            "{instance_id}:{service}",
            "{",
        ] {
            assert!(stream(text, Sources::One).is_err(), "{text}");
        }
        assert!(stream("{instance_id}/nginx", Sources::Several).is_err());
        assert!(stream(&format!("{{instance_id}}{{service}}{}", "x".repeat(235)), Sources::One).is_err());
    }

    #[test]
    fn files_by_path_and_by_pattern() {
        for text in ["/var/log/a.log", "/var/log/app/*.log", "/srv/*/log/app-?.log", "/a"] {
            assert_eq!(file(text), Ok(text.to_owned()), "{text}");
            assert_eq!(is_glob(text), text.contains('*'), "{text}");
        }
        for text in ["", "a.log", "/", "/var/log/", "/var/**/a", "/a[0-9]", "/{a,b}", "/proc/kmsg", "/a/../b"]
        {
            assert!(file(text).is_err(), "{text}");
        }
    }

    #[test]
    fn units_by_their_full_names() {
        for text in ["docker.service", "app@1.service", "dev-disk-by\\x2dlabel.device", "a.b.timer"] {
            assert_eq!(unit(text), Ok(text.to_owned()), "{text}");
        }
        for text in
            ["", "docker", ".service", "docker.servic", "a b.service", "*", "app@*.service", "ä.service"]
        {
            assert!(unit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tags_as_aws_takes_them() {
        for (key, value) in [("team", "x"), ("Cost Center", ""), ("팀", "가"), ("a:b", "https://x/y=1+1@z_-")]
        {
            assert_eq!(tag(key, value), Ok(()), "{key}");
        }
        let long = "x".repeat(257);
        for (key, value) in [
            ("", "x"),
            ("aws:x", "x"),
            ("AWS:x", ""),
            ("a", &long),
            (&long[..129], ""),
            ("a#", ""),
            ("a", "*"),
        ] {
            assert!(tag(key, value).is_err(), "{key}={value}");
        }
    }
}
