//! What is shipped of one source: `[services.NAME.logs]`, and the same keys of a file.

use super::{list, optional};
use crate::config::findings::{Findings, Wrong};
use crate::config::settings::{Field, Multiline, Sample, Shaping};
use crate::config::text::{pattern, quantity};
use crate::config::tree::Place;
use crate::config::written;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Every line is asked by every one of them.
const PATTERNS_AT_MOST: usize = 32;
const REPEAT: RangeInclusive<u32> = 1..=1_000_000;
const ONE_IN: RangeInclusive<u32> = 2..=1_000_000;
/// The limits of a rate: a line now and then, and more than any node can ship.
const RATE: RangeInclusive<u64> = 1 << 10..=1 << 30;
const DAILY: RangeInclusive<u64> = 1 << 20..=16 << 40;

/// The keys that services and files have in common.
pub(super) struct Rules<'w> {
    include: &'w [String],
    exclude: &'w [String],
    multiline: Option<&'w written::Multiline>,
    sample: &'w [written::Sample],
    repeat: Option<i64>,
    max_rate: Option<&'w str>,
    daily: Option<&'w str>,
}

impl<'w> From<&'w written::ServiceLogs> for Rules<'w> {
    fn from(written: &'w written::ServiceLogs) -> Rules<'w> {
        Rules {
            include: &written.include,
            exclude: &written.exclude,
            multiline: written.multiline.as_ref(),
            sample: &written.sample,
            repeat: written.repeat,
            max_rate: written.max_rate.as_deref(),
            daily: written.daily.as_deref(),
        }
    }
}

impl<'w> From<&'w written::LogFileTable> for Rules<'w> {
    fn from(written: &'w written::LogFileTable) -> Rules<'w> {
        Rules {
            include: &written.include,
            exclude: &written.exclude,
            multiline: written.multiline.as_ref(),
            sample: &written.sample,
            repeat: written.repeat,
            max_rate: written.max_rate.as_deref(),
            daily: written.daily.as_deref(),
        }
    }
}

/// Checks the rules of one source, whose table is at `place`.
pub(super) fn shaping(
    rules: &Rules<'_>,
    fields: &[written::Field],
    place: Place<'_>,
    findings: &mut Findings,
) -> Option<Shaping> {
    let include = patterns(rules.include, place.key("include"), findings);
    let exclude = patterns(rules.exclude, place.key("exclude"), findings);
    let multiline = optional(rules.multiline, |written| multiline(written, place.key("multiline"), findings));
    let sample = samples(rules.sample, place.key("sample"), findings);
    let repeat =
        optional(rules.repeat, |number| findings.take(place.key("repeat").at(), count(number, &REPEAT)));
    let mut size = |key, text, range| {
        optional(text, |text: &str| findings.take(place.key(key).at(), quantity::size_in(text, range)))
    };
    let max_rate = size("max_rate", rules.max_rate, RATE);
    let daily = size("daily", rules.daily, DAILY);
    Some(Shaping {
        include: include?,
        exclude: exclude?,
        multiline: multiline?,
        sample: sample?,
        repeat: repeat?,
        max_rate: max_rate?,
        daily: daily?,
        fields: fields.iter().copied().collect::<BTreeSet<_>>().into_iter().map(field).collect(),
    })
}

/// `[services.NAME.logs]`. Without `[logs]` nothing of it would happen, and nobody would hear of it.
pub(super) fn of_service(
    written: &written::ServiceLogs,
    is_shipped: bool,
    place: Place<'_>,
    findings: &mut Findings,
) -> Option<Shaping> {
    if place.is_written() && !is_shipped {
        let wrong = Wrong::absent("no log is shipped: there is no [logs]");
        findings.add(place.key_at(), wrong.hint("write [logs] with a `group`, or leave this out"));
    }
    shaping(&Rules::from(written), &written.fields, place, findings)
}

fn patterns(texts: &[String], place: Place<'_>, findings: &mut Findings) -> Option<Vec<String>> {
    few_enough(texts.len(), place, findings)?;
    list(texts, place, findings, pattern::selective)
}

fn few_enough(count: usize, place: Place<'_>, findings: &mut Findings) -> Option<()> {
    if count <= PATTERNS_AT_MOST {
        return Some(());
    }
    let wrong = Wrong::new(format!("{count} patterns are more than {PATTERNS_AT_MOST}"));
    findings.add(place.at(), wrong.hint("join some of them with |"));
    None
}

fn multiline(written: &written::Multiline, place: Place<'_>, findings: &mut Findings) -> Option<Multiline> {
    match written {
        written::Multiline::Kind(written::MultilineKind::Python) => Some(Multiline::Python),
        written::Multiline::Kind(written::MultilineKind::Java) => Some(Multiline::Java),
        written::Multiline::Start(written) => {
            let start = pattern::selective(written.start.as_deref()?);
            findings.take(place.key("start").at(), start).map(Multiline::Start)
        }
    }
}

fn samples(written: &[written::Sample], place: Place<'_>, findings: &mut Findings) -> Option<Vec<Sample>> {
    few_enough(written.len(), place, findings)?;
    let checked: Vec<Option<Sample>> = written
        .iter()
        .enumerate()
        .map(|(index, written)| {
            let place = place.item(index);
            let pattern = written.pattern.as_deref();
            let pattern =
                pattern.and_then(|text| findings.take(place.key("pattern").at(), pattern::any(text)));
            let one_in = written.one_in;
            let one_in =
                one_in.and_then(|number| findings.take(place.key("one_in").at(), count(number, &ONE_IN)));
            Some(Sample { pattern: pattern?, one_in: one_in? })
        })
        .collect();
    checked.into_iter().collect()
}

fn count(number: i64, range: &RangeInclusive<u32>) -> Result<u32, Wrong> {
    u32::try_from(number).ok().filter(|number| range.contains(number)).ok_or_else(|| {
        Wrong::new(format!("{number} is out of range")).hint(format!(
            "write a number from {} to {}",
            range.start(),
            range.end()
        ))
    })
}

fn field(written: written::Field) -> Field {
    match written {
        written::Field::Service => Field::Service,
        written::Field::ImageDigest => Field::ImageDigest,
        written::Field::InstanceId => Field::InstanceId,
    }
}
