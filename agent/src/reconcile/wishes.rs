//! What a wish of a person does to what is remembered of a service, or why it is refused. Pure.
//!
//! A wish that names an image is granted in two halves: [`begin`] says what is to be looked up, [`take`] makes the
//! digest that was found the target. Nothing is changed by a refusal.
//! Not its job: making a wish come true, which the plan does.

use crate::command::{Goal, Refused, Taken, Wish};
use crate::desired::Service;
use crate::history::{Record, Target, UpdateEnd, Version};
use jiff::Timestamp;
use node::config::settings::{ImageReference, ImageVersion};
use node::fault::Hint;
use std::collections::BTreeSet;

/// Digits that are enough of a digest: as many as the engine and we show.
const PREFIX_AT_LEAST: usize = 12;
/// Digits of a whole one.
const DIGITS: usize = 64;

/// What is to be done for a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing more.
    Answer(Taken),
    /// To find out whether there is such an image, and its digest.
    LookUp(ImageReference),
}

/// Grants what can be granted at once.
pub(super) fn begin(
    service: &Service,
    record: &mut Record,
    wish: &Wish,
    now: Timestamp,
) -> Result<Next, Refused> {
    let image = &service.settings.image;
    if matches!(wish, Wish::Target { .. } | Wish::Retry | Wish::Rollback { .. }) {
        refuse_held(&service.name, record)?;
    }
    Ok(match wish {
        Wish::Target { to, .. } => Next::LookUp(reference(service, to)?),
        Wish::Retry => Next::LookUp(image.clone()),
        Wish::Rollback { to } => {
            let digest = match to {
                Some(text) => in_history(&service.name, record, text)?,
                None => way_back(service, record)?,
            };
            Next::LookUp(ImageReference { version: ImageVersion::Digest(digest), ..image.clone() })
        }
        Wish::Hold => Next::Answer(hold(&service.name, record, now)),
        Wish::Release => Next::Answer(release(service, record)),
        Wish::Stop => Next::Answer(stop(&service.name, record, now)),
        Wish::Start => Next::Answer(start(&service.name, record)),
    })
}

/// Makes `digest`, which exists, what the service runs from now on.
pub(super) fn take(
    service: &Service,
    record: &mut Record,
    (wish, digest): (&Wish, String),
    now: Timestamp,
) -> Result<Taken, Refused> {
    let name = &service.name;
    refuse_held(name, record)?;
    let (named, retry, what) = match wish {
        Wish::Target { to, retry } if *to != digest => (to.clone(), *retry, format!(" ({to})")),
        Wish::Target { retry, .. } => (digest.clone(), *retry, String::new()),
        Wish::Rollback { to: None } => (digest.clone(), false, ", which it ran before".to_owned()),
        _ => (digest.clone(), false, String::new()),
    };
    let version = Version { digest: digest.clone(), spec: service.spec_hash.clone() };
    match record.barred(&version) {
        Some(entry) if !retry => {
            let message = format!("{digest} failed on service {name} before: {}", entry.cause);
            let hint = format!("`agentctl update {name} --to {digest} --retry` tries it all the same");
            return Err(Refused::new("quarantined", message, hint));
        }
        _ => {}
    }
    let lifted = retry && record.lift(&digest);
    let runs = under_way(record).or(record.good.as_ref()).is_some_and(|runs| runs.digest == digest);
    let instead_of = service.settings.image.to_string();
    record.target = Some(Target { digest: digest.clone(), named, instead_of, at: now });
    let goes = if runs { "runs" } else { "goes to" };
    let mut message = format!("service {name} {goes} {digest}{what}");
    if lifted {
        message.push_str(", which failed before and is tried again");
    }
    message.push_str(&format!(", and stays there until `agentctl update {name}`"));
    if let Some(since) = record.stopped_since {
        let start = format!("`agentctl start {name}` starts it");
        message.push_str(&format!("; it is stopped since {}: {start}", moment(since)));
    }
    Ok(Taken { message, target: Some(Goal { digest, at: now }) })
}

/// No other image is taken while a person holds the service.
pub(super) fn refuse_held(name: &str, record: &Record) -> Result<(), Refused> {
    record.held_since.map_or(Ok(()), |since| {
        let message = format!("service {name} is held since {}", moment(since));
        Err(Refused::new("held", message, format!("release it first: `agentctl release {name}`")))
    })
}

/// Nothing of a service that a person has stopped is started but by `start`.
pub(super) fn refuse_stopped(name: &str, record: &Record) -> Result<(), Refused> {
    record.stopped_since.map_or(Ok(()), |since| {
        let message = format!("service {name} is stopped since {}", moment(since));
        Err(Refused::new("stopped", message, format!("`agentctl start {name}` starts it")))
    })
}

fn hold(name: &str, record: &mut Record, now: Timestamp) -> Taken {
    let release = format!("until `agentctl release {name}`");
    Taken::from(match record.held_since {
        Some(since) => format!("service {name} is held since {} already, {release}", moment(since)),
        None => {
            record.held_since = Some(now);
            format!("service {name} is held: it takes no other image {release}")
        }
    })
}

fn release(service: &Service, record: &mut Record) -> Taken {
    let name = &service.name;
    if record.held_since.take().is_none() {
        return Taken::from(format!("service {name} is not held"));
    }
    let image = service.settings.image.to_string();
    let target = record.target.as_ref().filter(|target| target.instead_of == image);
    Taken::from(match target {
        Some(target) => {
            let until = format!("until `agentctl update {name}`");
            format!("service {name} is released, and stays on {} {until}", target.digest)
        }
        None => format!("service {name} is released, and follows {image} again"),
    })
}

fn stop(name: &str, record: &mut Record, now: Timestamp) -> Taken {
    let start = format!("until `agentctl start {name}`");
    Taken::from(match record.stopped_since {
        Some(since) => format!("service {name} is stopped since {} already, {start}", moment(since)),
        None => {
            record.stopped_since = Some(now);
            format!("stopping service {name}; it stays stopped, also over a reboot, {start}")
        }
    })
}

fn start(name: &str, record: &mut Record) -> Taken {
    Taken::from(match record.stopped_since.take() {
        Some(_) => format!("starting service {name}"),
        None => format!("service {name} is not stopped"),
    })
}

/// What `to` means for the service: a tag or digest of its own repository, or a whole reference to that.
fn reference(service: &Service, to: &str) -> Result<ImageReference, Refused> {
    let (name, image) = (&service.name, &service.settings.image);
    let own = image.name();
    let text = match to {
        digest if digest.starts_with("sha256:") => format!("{own}@{digest}"),
        whole if whole.contains(['/', ':', '@']) => whole.to_owned(),
        tag => format!("{own}:{tag}"),
    };
    let found = text.parse::<ImageReference>().map_err(|error| Refused {
        code: "reference_invalid",
        message: error.to_string(),
        hint: error.hint().or(Some(format!("a tag, a digest or a reference of {own}"))),
    })?;
    if found.name() != own {
        let message = format!("service {name} runs images of {own}, not of {}", found.name());
        let hint = format!("name another repository in [services.{name}] image of node.toml");
        return Err(Refused::new("other_repository", message, hint));
    }
    Ok(found)
}

/// The version that a rollback without a name goes to: the newest good one that is not what it runs or is on its way to.
fn way_back(service: &Service, record: &Record) -> Result<String, Refused> {
    let leaves = under_way(record).or(record.good.as_ref()).map(|version| &version.digest);
    let passed = record.updates.iter().rev().filter(|update| update.end == Some(UpdateEnd::Passed));
    let good = record.good.iter().chain(&record.previous).chain(passed.map(|update| &update.version));
    let barred = |digest: &str| {
        let version = Version { digest: digest.to_owned(), spec: service.spec_hash.clone() };
        record.barred(&version).is_some()
    };
    let mut digests = good.map(|version| &version.digest);
    let found = digests.find(|digest| leaves.is_some_and(|leaves| leaves != *digest) && !barred(digest));
    found.cloned().ok_or_else(|| {
        let name = &service.name;
        let message =
            format!("service {name} has run no other good version, so there is nothing to go back to");
        Refused::new("nothing_to_go_back_to", message, format!("`agentctl update {name} --to REF` names one"))
    })
}

/// The digest that `text` is, or is the beginning of.
fn in_history(name: &str, record: &Record, text: &str) -> Result<String, Refused> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let is_digit = |digit: char| digit.is_ascii_digit() || ('a'..='f').contains(&digit);
    if !digits.chars().all(is_digit) || !(PREFIX_AT_LEAST..=DIGITS).contains(&digits.len()) {
        let message = format!("{text} is not a digest, nor the first {PREFIX_AT_LEAST} digits of one");
        let hint =
            format!("`agentctl explain {name}` lists them; `agentctl update {name} --to TAG` takes a tag");
        return Err(Refused::new("digest_invalid", message, hint));
    }
    if digits.len() == DIGITS {
        return Ok(format!("sha256:{digits}"));
    }
    let mut matching = known(record)
        .into_iter()
        .filter(|digest| digest.strip_prefix("sha256:").is_some_and(|known| known.starts_with(digits)));
    match (matching.next(), matching.next()) {
        (Some(digest), None) => Ok(digest.to_owned()),
        (Some(_), Some(_)) => {
            let message = format!("several digests in the history of service {name} begin with {digits}");
            Err(Refused::new("digest_ambiguous", message, "give more of it"))
        }
        (None, _) => {
            let message = format!("no digest in the history of service {name} begins with {digits}");
            let hint = "give all 64 digits of one that is only in the registry";
            Err(Refused::new("digest_unknown", message, hint))
        }
    }
}

/// Every digest that is remembered of the service.
fn known(record: &Record) -> BTreeSet<&str> {
    let updates = record.updates.iter().flat_map(|update| update.from.iter().chain([&update.version]));
    let versions = record.good.iter().chain(&record.previous).chain(updates);
    let digests = versions.map(|version| version.digest.as_str());
    let barred = record.quarantine.iter().map(|entry| entry.digest.as_str());
    let target = record.target.iter().map(|target| target.digest.as_str());
    digests.chain(barred).chain(target).collect()
}

/// The version of an update that is not decided yet.
fn under_way(record: &Record) -> Option<&Version> {
    record.updates.last().filter(|update| update.end.is_none()).map(|update| &update.version)
}

fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
#[path = "wishes_tests.rs"]
mod tests;
