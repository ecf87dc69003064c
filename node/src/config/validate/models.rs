//! `[models]`: the rules by which models come and go, and the models. Who serves them is in [`super::model_server`].

use super::{Document, each, model_server, optional, sections, update};
use crate::config::findings::{Findings, Wrong};
use crate::config::settings::{KEPT, Model, ModelReference, Models, Prewarm, Smoke};
use crate::config::text::{image, model, quantity};
use crate::config::tree::Place;
use crate::config::written;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// What is not loaded after a day never is.
const LOAD_DEADLINE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);
const WITHIN: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(10 * 60);

/// A model of some gigabytes would take hours below this: a slip of the unit.
const PREWARM_AT_LEAST: u64 = 1 << 20;

/// A version is kept under the tag with 18 characters more, and the server takes tags of 80.
const TAG_AT_MOST: usize = 60;

/// `[models]`
pub(super) fn models(
    document: Document<'_>,
    written: &written::Models,
    findings: &mut Findings,
) -> Option<Models> {
    let place = document.root.key("models");
    let server = model_server::server(document, written, findings);
    let every = update::every(&written.every, place.key("every"), findings);
    let reserve_bytes = findings.take(place.key("reserve").at(), quantity::size(&written.reserve));
    let mut duration =
        |key, text: &str, range| findings.take(place.key(key).at(), quantity::duration_in(text, range));
    let unused_for = duration("unused_for", &written.unused_for, sections::UNUSED_FOR);
    let load_deadline = duration("load_deadline", &written.load_deadline, LOAD_DEADLINE);
    let prewarm = findings.take(place.key("prewarm").at(), prewarm(&written.prewarm));
    let pull =
        each(&written.pull, |name, model| self::model(name, model, place.key("pull").key(name), findings));
    refuse_twice(&written.pull, place.key("pull"), findings);
    let (server, directory) = server?;
    Some(Models {
        server,
        directory,
        pull: pull?,
        every: every?,
        reserve_bytes: reserve_bytes?,
        reclaim: sections::reclaim(written.reclaim),
        unused_for: unused_for?,
        prewarm: prewarm?,
        load_deadline: load_deadline?,
    })
}

fn prewarm(text: &str) -> Result<Prewarm, Wrong> {
    let hint = "write \"unlimited\", \"off\", or so much per second from \"1m\", such as \"100m\"";
    match text {
        "off" => Ok(Prewarm::Off),
        "unlimited" => Ok(Prewarm::Unlimited),
        text => match quantity::size(text) {
            Ok(bytes) if bytes >= PREWARM_AT_LEAST => Ok(Prewarm::BytesPerSecond(bytes)),
            Ok(_) => Err(Wrong::new(format!("\"{text}\" per second is out of range")).hint(hint)),
            Err(_) => Err(Wrong::new(format!("\"{text}\" is no rate")).hint(hint)),
        },
    }
}

/// `[models.pull."NAME"]`
fn model(name: &str, written: &written::Model, place: Place<'_>, findings: &mut Findings) -> Option<Model> {
    let reference = findings.take(place.key_at(), reference(name));
    let digest = optional(written.digest.as_deref(), |text| {
        let digest = image::digest(text).map_err(|why| {
            Wrong::new(why).hint("copy it from models.lock, which the agent writes into its state folder")
        });
        findings.take(place.key("digest").at(), digest)
    });
    let smoke = optional(written.smoke.as_ref(), |written| smoke(written, place.key("smoke"), findings));
    Some(Model {
        reference: reference?,
        digest: digest?,
        keep_loaded: written.keep_loaded,
        required: written.required.unwrap_or(written.keep_loaded),
        smoke: smoke?,
    })
}

/// A name that the server reads, under a tag that leaves room for the names of kept versions and is none of them.
fn reference(name: &str) -> Result<ModelReference, Wrong> {
    let reference = model::reference(name)?;
    if reference.tag.contains(KEPT) {
        let wrong = format!(
            "the tag of `{name}` has `{KEPT}` in it: such names are the agent's own, for versions that it keeps"
        );
        return Err(
            Wrong::new(wrong).hint("write the tag without it, and the version as `digest = \"sha256:…\"`")
        );
    }
    if reference.tag.len() > TAG_AT_MOST {
        let wrong = format!(
            "the tag of `{name}` is longer than {TAG_AT_MOST} characters: versions are kept under longer ones"
        );
        return Err(Wrong::new(wrong));
    }
    Ok(reference)
}

fn smoke(written: &written::Smoke, place: Place<'_>, findings: &mut Findings) -> Option<Smoke> {
    let mut text = |key, text: &str| {
        let wrong = || Wrong::new(format!("`{key}` is empty"));
        let given = (!text.trim().is_empty()).then(|| text.to_owned()).ok_or_else(wrong);
        findings.take(place.key(key).at(), given)
    };
    let prompt = written.prompt.as_deref().and_then(|prompt| text("prompt", prompt));
    let expect = optional(written.expect.as_deref(), |expect| text("expect", expect));
    let within = findings.take(place.key("within").at(), quantity::duration_in(&written.within, WITHIN));
    Some(Smoke { prompt: prompt?, expect: expect?, within: within? })
}

/// Reports every name of a model that an earlier line has under another one. The server looks names up without regard to
/// case.
fn refuse_twice(pull: &BTreeMap<String, written::Model>, place: Place<'_>, findings: &mut Findings) {
    let known =
        pull.keys().filter_map(|name| Some((name, model::reference(name).ok()?.full().to_lowercase())));
    let mut names: Vec<_> = known.map(|(name, full)| (place.key(name).key_at(), name, full)).collect();
    names.sort();
    let mut first: BTreeMap<String, &str> = BTreeMap::new();
    for (at, name, full) in names {
        match first.get(&full) {
            Some(other) => {
                let wrong = Wrong::new(format!("`{name}` is the same model as `{other}`"));
                findings.add(at, wrong.hint("write all of it under one name, spelt the same in every file"));
            }
            None => {
                first.insert(full, name);
            }
        }
    }
}
