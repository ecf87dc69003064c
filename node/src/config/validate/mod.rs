//! As typed -> validated: formats, ranges, references and conflicts. Everything wrong is noted with its place; what the
//! structural check has already refused is skipped in silence.

mod across;
mod health;
mod logs;
mod metrics;
mod model_server;
mod models;
mod sections;
mod service;
mod shaping;
mod update;
mod volumes;

use super::findings::{Findings, Wrong, did_you_mean};
use super::settings::{Docker, Settings};
use super::text::name;
use super::tree::Place;
use super::written::Written;
use std::collections::BTreeMap;

/// What one section is checked with: the whole document, for what it refers to.
#[derive(Clone, Copy)]
struct Document<'t> {
    written: &'t Written,
    root: Place<'t>,
}

/// The settings that `written` stands for; `None` if any of it is wrong.
pub(super) fn settings(
    written: &Written,
    root: Place<'_>,
    node_name: Option<&str>,
    findings: &mut Findings,
) -> Option<Settings> {
    let document = Document { written, root };
    let name_at = root.key("node").key("name").at();
    let node_name = node_name.and_then(|text| findings.take(name_at, name::node(text)));
    let images = sections::images(&written.images, root.key("images"), findings);
    let agent = optional(written.agent.as_ref(), |agent| sections::agent(agent, root.key("agent"), findings));
    let volumes = volumes::volumes(document, findings);
    let secrets = each(&written.secrets, |name, secret| {
        sections::secret(name, secret, root.key("secrets").key(name), findings)
    });
    let services =
        each(&written.services, |name, service| service::service(document, name, service, findings));
    across::port_conflicts(document, findings);
    across::dependency_cycles(document, findings);
    let models = optional(written.models.as_ref(), |models| models::models(document, models, findings));
    let logs = optional(written.logs.as_ref(), |logs| logs::logs(logs, root.key("logs"), findings));
    let metrics = optional(written.metrics.as_ref(), |metrics| metrics::metrics(document, metrics, findings));
    let registries =
        each(&written.registries, |host, registry| sections::registry(document, host, registry, findings));
    Some(Settings {
        node_name: node_name?,
        docker: Docker { install: written.docker.install },
        images: images?,
        agent: agent?,
        volumes: volumes?,
        secrets: secrets?,
        services: services?,
        logs: logs?,
        models: models?,
        metrics: metrics?,
        registries: registries?,
    })
}

/// Checks every entry, also after one that is wrong.
fn each<W, V>(
    entries: &BTreeMap<String, W>,
    mut check: impl FnMut(&str, &W) -> Option<V>,
) -> Option<BTreeMap<String, V>> {
    let checked: Vec<_> =
        entries.iter().map(|(name, entry)| Some((name.clone(), check(name, entry)?))).collect();
    checked.into_iter().collect()
}

/// Checks what is there. The outer `None` is "wrong", the inner one "not written".
fn optional<W, V>(written: Option<W>, check: impl FnOnce(W) -> Option<V>) -> Option<Option<V>> {
    match written {
        Some(written) => check(written).map(Some),
        None => Some(None),
    }
}

/// Checks every text of an array, also after one that is wrong.
fn list<V>(
    texts: &[String],
    place: Place<'_>,
    findings: &mut Findings,
    check: impl Fn(&str) -> Result<V, Wrong>,
) -> Option<Vec<V>> {
    let checked: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| findings.take(place.item(index).at(), check(text)))
        .collect();
    checked.into_iter().collect()
}

/// A command that is run in a container which runs already: a program and its arguments, or nothing.
fn command(words: &[String], place: Place<'_>, findings: &mut Findings) -> Option<Vec<String>> {
    if words.first().is_some_and(String::is_empty) && !place.is_unusable() {
        findings.add(place.item(0).at(), Wrong::new("the name of the program is empty"));
        return None;
    }
    list(words, place, findings, name::argument)
}

impl Document<'_> {
    /// There is a `[logs]`, right or wrong.
    fn ships_logs(self) -> bool {
        self.root.has_or_means("logs")
    }

    /// A reference to `[section.name]`, which has to be there, right or wrong.
    fn reference(self, section: &str, name: &str) -> Result<String, Wrong> {
        let place = self.root.key(section);
        let section_is_unread =
            place.is_unusable() || (!place.is_written() && self.root.has_or_means(section));
        if section_is_unread || place.key(name).is_written() {
            return Ok(name.to_owned());
        }
        let names: Vec<&str> = match section {
            "secrets" => self.written.secrets.keys().map(String::as_str).collect(),
            _ => self.written.services.keys().map(String::as_str).collect(),
        };
        Err(Wrong::absent(format!("there is no [{section}.{name}]")).hint_if_any(did_you_mean(name, names)))
    }
}
