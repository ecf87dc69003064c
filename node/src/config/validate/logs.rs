//! `[logs]`

use super::{list, optional, shaping};
use crate::config::findings::{Findings, Wrong};
use crate::config::settings::{EVENT_OVERHEAD_BYTES, LogFile, Logs, Shaping, StreamName, Units};
use crate::config::text::log::{self, Sources};
use crate::config::text::{name, quantity};
use crate::config::tree::Place;
use crate::config::written;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// With less, one outage of a minute on a busy node is lost; with more than the largest volume, nothing is said.
const QUEUE: RangeInclusive<u64> = 16 << 20..=1 << 40;
/// Docker hands on lines in pieces of 16 KiB; one request to CloudWatch takes 1 MiB.
const EVENT: RangeInclusive<u64> = 16 << 10..=1 << 20;

/// Checks `[logs]`.
pub(super) fn logs(written: &written::Logs, place: Place<'_>, findings: &mut Findings) -> Option<Logs> {
    let group = written.group.as_deref();
    let group = group.and_then(|group| findings.take(place.key("group").at(), name::log_group(group)));
    let retention_days = optional(written.retention_days, |days| {
        findings.take(place.key("retention_days").at(), name::retention_days(days))
    });
    let tags = tags(&written.tags, place.key("tags"), findings);
    let stream = findings.take(place.key("stream").at(), log::stream(&written.stream, Sources::Several));
    let files = files(&written.files, place.key("files"), findings);
    let journal = journal(&written.journal, place.key("journal"), findings);
    let mut size =
        |key, text: &str, range| findings.take(place.key(key).at(), quantity::size_in(text, range));
    let queue_bytes = size("queue", &written.queue, QUEUE);
    let event_bytes = size("max_event", &written.max_event, EVENT);
    Some(Logs {
        group: group?,
        retention_days: retention_days?,
        tags: tags?,
        stream: stream?,
        files: files?,
        journal: journal?,
        kernel: written.kernel,
        queue_bytes: queue_bytes?,
        max_event_bytes: usize::try_from(event_bytes?).ok()?.saturating_sub(EVENT_OVERHEAD_BYTES),
    })
}

fn tags(
    written: &BTreeMap<String, String>,
    place: Place<'_>,
    findings: &mut Findings,
) -> Option<BTreeMap<String, String>> {
    if written.len() > log::TAGS_AT_MOST {
        let most = log::TAGS_AT_MOST;
        findings.add(place.at(), Wrong::new(format!("a log group has at most {most} tags")));
        return None;
    }
    super::each(written, |key, value| {
        findings.take(place.key(key).key_at(), log::tag(key, value)).map(|()| value.clone())
    })
}

fn journal(written: &[String], place: Place<'_>, findings: &mut Findings) -> Option<Units> {
    if written == ["*"] && !place.is_unusable() {
        return Some(Units::All);
    }
    let units = list(written, place, findings, log::unit)?;
    let mut taken = BTreeSet::new();
    let twice = units.iter().position(|unit| !taken.insert(unit));
    if let Some(index) = twice {
        findings.add(place.item(index).at(), Wrong::new(format!("\"{}\" is named twice", units[index])));
        return None;
    }
    Some(Units::These(units))
}

fn files(written: &[written::LogFile], place: Place<'_>, findings: &mut Findings) -> Option<Vec<LogFile>> {
    let checked: Vec<Option<LogFile>> = written
        .iter()
        .enumerate()
        .map(|(index, written)| file(written, place.item(index), findings))
        .collect();
    let (mut paths, mut streams) = (BTreeSet::new(), BTreeSet::new());
    let mut all_differ = true;
    for (index, file) in checked.iter().enumerate().filter_map(|(index, file)| Some((index, file.as_ref()?)))
    {
        let place = place.item(index);
        if !paths.insert(file.path.as_str()) {
            all_differ = false;
            findings.add(path_at(place), Wrong::new(format!("`{}` is named twice", file.path)));
        }
        // With {service} in it the path keeps them apart.
        let alone = file.stream.as_ref().filter(|stream| !stream.0.contains("{service}"));
        if alone.is_some_and(|stream| !streams.insert(stream.0.as_str())) {
            all_differ = false;
            let wrong = Wrong::new("another file has this stream already").hint("write {service} in it");
            findings.add(place.key("stream").at(), wrong);
        }
    }
    if all_differ { checked.into_iter().collect() } else { None }
}

fn path_at(place: Place<'_>) -> crate::config::findings::Span {
    place.key("path").at()
}

fn file(written: &written::LogFile, place: Place<'_>, findings: &mut Findings) -> Option<LogFile> {
    let table = match written {
        written::LogFile::Path(path) => {
            let path = findings.take(place.at(), log::file(path))?;
            return Some(LogFile { path, stream: None, shaping: Shaping::default() });
        }
        written::LogFile::Table(table) => table,
    };
    let path = table.path.as_deref().and_then(|path| findings.take(path_at(place), log::file(path)));
    let stream =
        optional(table.stream.as_deref(), |stream| stream_of(stream, path.as_deref(), place, findings));
    let shaping = shaping::shaping(&shaping::Rules::from(table), &[], place, findings);
    Some(LogFile { path: path?, stream: stream?, shaping: shaping? })
}

/// Of a path that is wrong itself it is not known how many files it stands for.
fn stream_of(
    text: &str,
    path: Option<&str>,
    place: Place<'_>,
    findings: &mut Findings,
) -> Option<StreamName> {
    let sources = if path.is_some_and(log::is_glob) { Sources::Several } else { Sources::One };
    findings.take(place.key("stream").at(), log::stream(text, sources))
}
