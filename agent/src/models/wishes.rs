//! What a wish of a person makes of a model's record, and why it is refused. Pure: the caller writes the record.

use super::record::{Pin, Record};
use crate::command::{Goal, Refused, Taken};
use jiff::Timestamp;
use node::config::settings::Model;
use std::collections::BTreeSet;

/// Digits of a digest that are shown, and the fewest that name one.
const SHOWN: usize = 12;
const FEWEST: usize = 4;
/// Of a whole one, behind `sha256:`.
const WHOLE: usize = 64;

/// The versions of a model that can be had.
#[derive(Debug, Clone, Default)]
pub(super) struct Versions {
    /// Those that the server has, kept ones among them; empty while it does not answer.
    pub(super) here: BTreeSet<String>,
    /// What the name means now.
    pub(super) installed: Option<String>,
    /// What the tag named when the registry answered last.
    pub(super) at_registry: Option<String>,
}

/// node.toml's own digest is nobody else's to change.
pub(super) fn refuse_configured(model: &Model) -> Result<(), Refused> {
    let Some(digest) = &model.digest else { return Ok(()) };
    let name = &model.reference;
    let message = format!("model {name} is pinned to {} by node.toml", short(digest));
    let hint = format!("change or remove `digest` of [models.pull] for {name}");
    Err(Refused::new("model_pinned", message, hint))
}

/// It follows node.toml again, whose tag names that version at its registry.
pub(super) fn update(
    model: &Model,
    record: &mut Record,
    ((named, installed), retry): ((&str, Option<&str>), bool),
    now: Timestamp,
) -> Result<Taken, Refused> {
    let name = &model.reference;
    let goes_to = model.digest.as_deref().unwrap_or(named);
    if let Some(barred) = record.barred(goes_to)
        && !retry
    {
        let message = format!("{name} names {}, which failed before: {}", short(goes_to), barred.cause);
        let hint = format!("`agentctl models update {name} --retry` tries it once more");
        return Err(Refused::new("quarantined", message, hint));
    }
    record.quarantine.retain(|entry| entry.digest != goes_to);
    let pin = record.pin.take().filter(|pin| pin.digest != goes_to);
    let who = if model.digest.is_some() { "node.toml" } else { "the registry" };
    let what = if installed == Some(goes_to) { "which is there already" } else { "to which it goes" };
    let mut message = format!("for {name} {who} names {}, {what}", short(goes_to));
    if let Some(pin) = pin {
        message.push_str(&format!("; it no longer stays on {}", short(&pin.digest)));
    }
    Ok(Taken { message, target: Some(Goal { digest: goes_to.to_owned(), at: now }) })
}

/// The previous good version comes back, and stays. While another is being tried, that is the one that is good.
pub(super) fn rollback(
    model: &Model,
    record: &mut Record,
    versions: &Versions,
    now: Timestamp,
) -> Result<Taken, Refused> {
    refuse_configured(model)?;
    let name = &model.reference;
    let being_tried = versions.installed.is_some() && versions.installed != record.good;
    let good = record.good.as_ref().filter(|_| being_tried);
    let Some(to) = good.or(record.previous.as_ref()).cloned() else {
        let message = format!("there is no good version of {name} before the one that is there");
        return Err(Refused::new("nothing_to_go_back_to", message, "`agentctl models` shows which ones are known"));
    };
    if !versions.here.is_empty() && !versions.here.contains(&to) {
        let message = format!("{} of {name} is no longer on the volume", short(&to));
        return Err(Refused::new("digest_gone", message, "`agentctl models` shows what is there"));
    }
    Ok(stay(model, record, to, now))
}

/// That version stays: a digest, the beginning of one that is known, or what is there now.
pub(super) fn pin(
    model: &Model,
    record: &mut Record,
    (digest, versions): (Option<&str>, &Versions),
    now: Timestamp,
) -> Result<Taken, Refused> {
    refuse_configured(model)?;
    let name = &model.reference;
    let to = match digest {
        Some(written) => meant(model, record, written, versions)?,
        None => versions.installed.clone().ok_or_else(|| {
            let message = format!("which version of {name} is there is not known");
            Refused::new("digest_unknown", message, "name the digest")
        })?,
    };
    if let Some(barred) = record.barred(&to) {
        let message = format!("{} of {name} failed before: {}", short(&to), barred.cause);
        let hint = format!("`agentctl models update {name} --retry` tries it once more, while its tag names it");
        return Err(Refused::new("quarantined", message, hint));
    }
    Ok(stay(model, record, to, now))
}

/// The tag is followed again.
pub(super) fn unpin(model: &Model, record: &mut Record) -> Result<Taken, Refused> {
    refuse_configured(model)?;
    let name = &model.reference;
    Ok(Taken::from(match record.pin.take() {
        Some(pin) => format!("{name} no longer stays on {} and follows its tag", short(&pin.digest)),
        None => format!("{name} follows its tag already"),
    }))
}

fn stay(model: &Model, record: &mut Record, to: String, now: Timestamp) -> Taken {
    let message = format!("{} goes to {} and stays there", model.reference, short(&to));
    // One that was asked for before has been so since then.
    let before = record.pin.take().filter(|pin| pin.digest == to);
    let pin = before.unwrap_or(Pin { digest: to.clone(), at: now });
    let target = Some(Goal { digest: to, at: pin.at });
    record.pin = Some(pin);
    Taken { message, target }
}

fn meant(model: &Model, record: &Record, written: &str, versions: &Versions) -> Result<String, Refused> {
    let name = &model.reference;
    let digits = written.strip_prefix("sha256:").unwrap_or(written).to_ascii_lowercase();
    if digits.len() < FEWEST || digits.len() > WHOLE || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let message = format!("{written} is neither a digest nor the beginning of one");
        return Err(Refused::new("digest_invalid", message, "write `sha256:` and at least four of its digits"));
    }
    let beginning = format!("sha256:{digits}");
    let moves = record.past.iter().map(|past| &past.to).chain(&record.good).chain(&record.previous);
    let can_be_had: BTreeSet<&String> = versions.here.iter().chain(&versions.at_registry).collect();
    let known: BTreeSet<&String> = can_be_had.iter().copied().chain(moves).collect();
    let matching: Vec<&String> =
        known.into_iter().filter(|digest| digest.starts_with(&beginning)).collect();
    match matching.as_slice() {
        [one] if can_be_had.contains(one) || versions.here.is_empty() => Ok((*one).clone()),
        [one] => {
            let message = format!("{} of {name} is neither on the volume nor what its tag names", short(one));
            Err(Refused::new("digest_gone", message, "`agentctl models` shows what is there"))
        }
        // Nobody has said yet what the tag names: it may well be that.
        [] if digits.len() == WHOLE && versions.at_registry.is_none() => Ok(beginning),
        [] => {
            let message = format!("{written} is no known version of {name}");
            Err(Refused::new("digest_unknown", message, "`agentctl models` shows which ones there are"))
        }
        several => {
            let several: Vec<_> = several.iter().map(|digest| short(digest)).collect();
            let message = format!("{written} may be each of {}", several.join(", "));
            Err(Refused::new("digest_ambiguous", message, "write more of it"))
        }
    }
}

fn short(digest: &str) -> String {
    digest.chars().take("sha256:".len() + SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::record::Quarantine;
    use crate::models::samples::{ONE, TWO, at, settings};

    const THREE: &str = "sha256:1111111111113333333333333333333333333333333333333333333333333333";

    fn model() -> Model {
        settings(&["a:1"]).pull.into_values().next().unwrap()
    }

    fn good(digest: &str, previous: Option<&str>) -> Record {
        let previous = previous.map(str::to_owned);
        Record { good: Some(digest.to_owned()), previous, ..Record::default() }
    }

    fn here(installed: &str, kept: &[&str]) -> Versions {
        let here = kept.iter().chain([&installed]).map(|digest| (*digest).to_owned()).collect();
        Versions { here, installed: Some(installed.to_owned()), at_registry: Some(installed.to_owned()) }
    }

    fn barred(digest: &str) -> Quarantine {
        Quarantine { digest: digest.to_owned(), cause: "it cannot be loaded".to_owned(), at: at(0) }
    }

    fn pinned(record: &Record) -> Option<&str> {
        record.pin.as_ref().map(|pin| pin.digest.as_str())
    }

    #[test]
    fn a_digest_of_node_toml_is_not_changed_by_a_command() {
        let model = Model { digest: Some(ONE.to_owned()), ..model() };
        let mut record = good(ONE, Some(TWO));
        let before = record.clone();
        let versions = here(ONE, &[TWO]);
        let refusals = [
            rollback(&model, &mut record, &versions, at(1)).unwrap_err(),
            pin(&model, &mut record, (Some(TWO), &versions), at(1)).unwrap_err(),
            unpin(&model, &mut record).unwrap_err(),
            refuse_configured(&model).unwrap_err(),
        ];
        for refused in refusals {
            assert_eq!(refused.code, "model_pinned");
            assert!(refused.message.contains("a:1 is pinned to sha256:111111111111 by"), "{refused}");
        }
        assert_eq!(record, before);
    }

    #[test]
    fn a_rollback_goes_to_the_previous_version_and_stays_there() {
        let mut record = good(TWO, Some(ONE));
        let taken = rollback(&model(), &mut record, &here(TWO, &[ONE]), at(5)).unwrap();
        assert_eq!(pinned(&record), Some(ONE));
        assert_eq!(taken.target, Some(Goal { digest: ONE.to_owned(), at: at(5) }));
        let again = rollback(&model(), &mut record, &here(TWO, &[ONE]), at(9)).unwrap();
        assert_eq!(again.target.unwrap().at, at(5), "it has been so since it was asked for first");
    }

    #[test]
    fn a_rollback_while_another_version_is_being_tried_goes_to_the_good_one() {
        let mut record = good(ONE, Some(THREE));
        rollback(&model(), &mut record, &here(TWO, &[ONE, THREE]), at(5)).unwrap();
        assert_eq!(pinned(&record), Some(ONE));
    }

    #[test]
    fn a_rollback_to_nothing_or_to_what_is_gone_is_refused() {
        let mut record = good(ONE, None);
        let refused = rollback(&model(), &mut record, &here(ONE, &[]), at(5)).unwrap_err();
        assert_eq!(refused.code, "nothing_to_go_back_to");
        let mut record = good(TWO, Some(ONE));
        let refused = rollback(&model(), &mut record, &here(TWO, &[]), at(5)).unwrap_err();
        assert_eq!(refused.code, "digest_gone");
        assert_eq!(pinned(&record), None);
    }

    #[test]
    fn a_pin_takes_what_is_there_or_the_beginning_of_what_is_known() {
        let versions = here(ONE, &[TWO, THREE]);
        for (written, to) in
            [(None, ONE), (Some("2222"), TWO), (Some("sha256:1111111111113"), THREE), (Some(TWO), TWO)]
        {
            let mut record = good(ONE, None);
            pin(&model(), &mut record, (written, &versions), at(1)).unwrap();
            assert_eq!(pinned(&record), Some(to), "{written:?}");
        }
        for (written, code) in [
            ("1111", "digest_ambiguous"),
            ("4444", "digest_unknown"),
            ("111", "digest_invalid"),
            ("sha256:xyzw", "digest_invalid"),
        ] {
            let mut record = good(ONE, None);
            let refused = pin(&model(), &mut record, (Some(written), &versions), at(1)).unwrap_err();
            assert_eq!(refused.code, code, "{written}");
            assert_eq!(pinned(&record), None);
        }
    }

    #[test]
    fn a_pin_to_what_cannot_be_had_is_refused_once_that_is_known() {
        let unknown = "sha256:4444444444444444444444444444444444444444444444444444444444444444";
        let mut record = good(ONE, Some(TWO));
        let gone = pin(&model(), &mut record, (Some(TWO), &here(ONE, &[])), at(1)).unwrap_err();
        assert_eq!(gone.code, "digest_gone");
        let refused = pin(&model(), &mut record, (Some(unknown), &here(ONE, &[])), at(1)).unwrap_err();
        assert_eq!(refused.code, "digest_unknown");
        let unasked = Versions { at_registry: None, ..here(ONE, &[]) };
        pin(&model(), &mut record, (Some(unknown), &unasked), at(1)).unwrap();
        assert_eq!(pinned(&record), Some(unknown));
        let nothing = Versions::default();
        let refused = pin(&model(), &mut record, (None, &nothing), at(1)).unwrap_err();
        assert_eq!(refused.code, "digest_unknown");
    }

    #[test]
    fn what_failed_before_is_only_taken_with_retry() {
        let mut record = Record { quarantine: vec![barred(TWO)], ..good(ONE, None) };
        let refused = pin(&model(), &mut record, (Some(TWO), &here(ONE, &[TWO])), at(1)).unwrap_err();
        assert_eq!(refused.code, "quarantined");
        let refused = update(&model(), &mut record, ((TWO, Some(ONE)), false), at(1)).unwrap_err();
        assert!(refused.message.contains("it cannot be loaded"), "{refused}");
        assert!(record.barred(TWO).is_some());
        let taken = update(&model(), &mut record, ((TWO, Some(ONE)), true), at(1)).unwrap();
        assert!(record.barred(TWO).is_none());
        assert_eq!(taken.message, "for a:1 the registry names sha256:222222222222, to which it goes");
    }

    #[test]
    fn an_update_ends_what_a_person_asked_for_and_so_does_unpin() {
        let pin = || Some(Pin { digest: ONE.to_owned(), at: at(0) });
        let mut record = Record { pin: pin(), ..good(ONE, None) };
        let taken = update(&model(), &mut record, ((TWO, Some(ONE)), false), at(1)).unwrap();
        assert!(taken.message.ends_with("it no longer stays on sha256:111111111111"), "{}", taken.message);
        assert_eq!(pinned(&record), None);
        let mut record = Record { pin: pin(), ..good(ONE, None) };
        assert!(unpin(&model(), &mut record).unwrap().message.contains("no longer stays"));
        assert_eq!(pinned(&record), None);
        assert!(unpin(&model(), &mut record).unwrap().message.ends_with("already"));
    }
}
