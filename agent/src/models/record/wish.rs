//! What a command of a person changes in the record of one model. Pure: the loop writes the record, then answers.
//!
//! node.toml's digest goes before whatever a person asks for, so that such a wish is refused with it rather than taken
//! and never followed.

use super::{Durable, Pin, Record};
use crate::command::{ModelWish, Refused};
use crate::models::observed::{Observed, ServerView};
use crate::models::plan::KEPT;
use jiff::Timestamp;
use node::config::settings::{self, ModelReference};
use std::collections::BTreeSet;

/// The code of a version that the model cannot go to, as far as is known.
pub const UNKNOWN: &str = "model_version_unknown";
/// Digits of a digest that are enough to name a version.
const LEAST_DIGITS: usize = 6;

/// The model that a person means, and the moment.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Of node.toml.
    pub model: &'a settings::Model,
    /// What is known now.
    pub observed: &'a Observed,
    /// The time.
    pub now: Timestamp,
}

/// Changes the record as the wish says, or says why not. The line says what will happen.
pub fn wish(durable: &mut Durable, asked: &Asked<'_>, wish: &ModelWish) -> Result<String, Refused> {
    let reference = &asked.model.reference;
    let record = durable.record_mut(&reference.full());
    match wish {
        ModelWish::Pull => Ok(format!("{reference}: what is missing is tried again now")),
        ModelWish::Update { retry } => update(record, asked, *retry),
        ModelWish::Rollback => rollback(record, asked),
        ModelWish::Pin { digest } => pin(record, asked, digest.as_deref()),
        ModelWish::Unpin => {
            not_configured(asked)?;
            let pinned = record.pin.take();
            Ok(match pinned {
                Some(pin) => format!("{reference} follows its tag again, and not {}", pin.digest),
                None => format!("{reference} was not pinned by a person and follows its tag"),
            })
        }
    }
}

fn update(record: &mut Record, asked: &Asked<'_>, retry: bool) -> Result<String, Refused> {
    let reference = &asked.model.reference;
    if !retry {
        not_configured(asked)?;
    }
    record.pin = None;
    let named = asked.model.digest.clone().or_else(|| named(asked));
    let before = record.quarantine.len();
    if retry {
        record.quarantine.retain(|entry| named.as_ref() != Some(&entry.digest));
    }
    let lifted = match before - record.quarantine.len() {
        0 => "",
        _ => ", also the one that failed before",
    };
    Ok(format!("{reference}: the registry is asked now, and what it names is taken{lifted}"))
}

fn rollback(record: &mut Record, asked: &Asked<'_>) -> Result<String, Refused> {
    let reference = &asked.model.reference;
    not_configured(asked)?;
    // While a version is on its way to be good, the one that was good before it is the one to go back to.
    let moving = record.good.is_some() && installed(asked).is_some_and(|there| record.good != Some(there));
    let back = if moving { record.good.clone() } else { record.previous.clone() };
    let Some(back) = back else {
        let message = format!("{reference} has no previous version");
        return Err(Refused::new("model_no_previous", message, "`agentctl models pin` takes a digest"));
    };
    Ok(hold(record, asked, back))
}

fn pin(record: &mut Record, asked: &Asked<'_>, digest: Option<&str>) -> Result<String, Refused> {
    let reference = &asked.model.reference;
    not_configured(asked)?;
    let digest = match digest {
        Some(digest) => resolve(record, asked, digest)?,
        None => installed(asked).ok_or_else(|| {
            let message = format!("the server has no version of {reference} that could be pinned");
            Refused::new("model_not_found", message, "give the digest, or wait until it is pulled")
        })?,
    };
    Ok(hold(record, asked, digest))
}

/// A person who names a version wants it, also if it failed before.
fn hold(record: &mut Record, asked: &Asked<'_>, digest: String) -> String {
    let reference = &asked.model.reference;
    record.quarantine.retain(|entry| entry.digest != digest);
    let message = format!("{reference} is to be {digest} and stays so; `agentctl models unpin` ends that");
    record.pin = Some(Pin { digest, at: asked.now });
    message
}

fn resolve(record: &Record, asked: &Asked<'_>, text: &str) -> Result<String, Refused> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
    let hexadecimal = digits.len() <= 64 && digits.chars().all(|digit| digit.is_ascii_hexdigit());
    if !hexadecimal || digits.len() < LEAST_DIGITS {
        let message = format!("\"{text}\" is no digest");
        return Err(Refused::new(
            "model_digest_invalid",
            message,
            "give `sha256:…`, at least six digits of it",
        ));
    }
    let whole = format!("sha256:{digits}");
    let known = versions(record, asked);
    if digits.len() == 64 {
        return reachable(asked, whole);
    }
    let mut matching = known.into_iter().filter(|digest| digest.starts_with(&whole));
    match (matching.next(), matching.next()) {
        (Some(digest), None) => reachable(asked, digest),
        (found, _) => {
            let how = if found.is_none() { "no version" } else { "more than one version" };
            let message = format!("{how} of {} begins with {whole}", asked.model.reference);
            Err(Refused::new(UNKNOWN, message, "give all 64 digits"))
        }
    }
}

/// The version, where the model can go to it: a slip of the pen would leave the node without it.
fn reachable(asked: &Asked<'_>, digest: String) -> Result<String, Refused> {
    if here(asked).contains(&digest) || named(asked).as_ref() == Some(&digest) {
        return Ok(digest);
    }
    let reference = &asked.model.reference;
    let tag = named(asked).map_or(String::new(), |named| format!(", which names {named}"));
    let message = format!("{reference} has no {digest}: it is neither kept here nor at the registry{tag}");
    let hint = format!("`agentctl explain {reference}` shows what is kept");
    Err(Refused::new(UNKNOWN, message, hint))
}

/// Versions of the model that are known here.
fn versions(record: &Record, asked: &Asked<'_>) -> BTreeSet<String> {
    let mut known = here(asked);
    known.extend(named(asked));
    known.extend(record.good.iter().chain(&record.previous).cloned());
    known.extend(record.quarantine.iter().map(|entry| entry.digest.clone()));
    known
}

/// Versions of the model that the server has, under its name or kept.
fn here(asked: &Asked<'_>) -> BTreeSet<String> {
    let reference = &asked.model.reference;
    let here = listed(asked.observed).filter(|(name, _)| {
        name.tagged(String::new()).full() == reference.tagged(String::new()).full()
            && (name.tag == reference.tag || name.tag.starts_with(&format!("{}{KEPT}", reference.tag)))
    });
    here.map(|(_, digest)| digest.to_owned()).collect()
}

fn listed(observed: &Observed) -> impl Iterator<Item = (ModelReference, &str)> {
    let installed = match &observed.server {
        ServerView::Up { installed, .. } => installed.as_slice(),
        ServerView::NotRunning { .. } | ServerView::Silent { .. } => &[],
    };
    installed.iter().filter_map(|it| Some((it.name.parse().ok()?, it.digest.as_str())))
}

fn installed(asked: &Asked<'_>) -> Option<String> {
    let full = asked.model.reference.full();
    listed(asked.observed).find(|(name, _)| name.full() == full).map(|(_, digest)| digest.to_owned())
}

fn named(asked: &Asked<'_>) -> Option<String> {
    let lookup = asked.observed.lookups.get(&asked.model.reference.full())?;
    lookup.known.as_ref().map(|known| known.digest.clone())
}

fn not_configured(asked: &Asked<'_>) -> Result<(), Refused> {
    let Some(digest) = &asked.model.digest else { return Ok(()) };
    let message = format!("node.toml pins {} to {digest}", asked.model.reference);
    Err(Refused::new("model_pinned", message, "change or remove its `digest` in node.toml"))
}
