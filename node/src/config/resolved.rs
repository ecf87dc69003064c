//! A configuration for one instance, as values and as a person would type it: every `${…}` replaced, every default written
//! out, what follows from something else (a strategy, the server of the models) said.
//!
//! In: what was typed, and the settings that came of it. Out: [`Settings`], and a document in the words of node.toml that
//! makes the same settings again. Secrets are names in both. Pure.

use super::settings::{ModelServer, Settings, Shaping, Strategy};
use super::written::{self, Written};
use toml::{Table, Value};

/// A configuration for one instance.
#[derive(Debug)]
pub struct Resolved {
    /// What the programs work with.
    pub settings: Settings,
    written: Written,
}

/// Equal when they mean the same, however they are typed.
impl PartialEq for Resolved {
    fn eq(&self, other: &Resolved) -> bool {
        self.settings == other.settings
    }
}

impl Resolved {
    pub(super) fn new(settings: Settings, written: Written) -> Resolved {
        let mut resolved = Resolved { settings, written };
        resolved.say_what_follows();
        resolved
    }

    /// Writes out what validation made of keys that were left out.
    fn say_what_follows(&mut self) {
        let (settings, written) = (&self.settings, &mut self.written);
        written.node.name = Some(settings.node_name.clone());
        // Used up: nothing refers to a variable any more.
        written.var.clear();
        for (name, service) in &mut written.services {
            let Some(settings) = settings.services.get(name) else { continue };
            service.update.strategy = Some(match settings.update.strategy {
                Strategy::BlueGreen => written::Strategy::BlueGreen,
                Strategy::Recreate => written::Strategy::Recreate,
            });
            service.imds = settings.imds;
        }
        if let (Some(written), Some(models)) = (&mut written.models, &settings.models) {
            written.server = Some(match &models.server {
                ModelServer::Service { name, .. } => name.clone(),
                ModelServer::Url(url) => url.clone(),
            });
            for (name, model) in &mut written.pull {
                model.required = models.pull.get(name).map(|model| model.required);
            }
        }
    }

    /// As TOML, which is a valid node.toml for this instance.
    pub fn to_toml(&self) -> String {
        let mut document = Value::Table(self.document());
        escape(&mut document);
        // A table of tables, texts and numbers: writing it cannot fail.
        toml::to_string(&document).unwrap_or_default()
    }

    /// The same as values, by the keys of node.toml.
    pub fn to_keys(&self) -> serde_json::Value {
        // As above; a number that is not finite was refused.
        serde_json::to_value(self.document()).unwrap_or_default()
    }

    fn document(&self) -> Table {
        let mut document = Table::try_from(&self.written).unwrap_or_default();
        document.remove("var");
        // What says nothing is left out: where no log is shipped at all, it must not be written.
        let says_nothing = |name: &str| {
            let service = self.settings.services.get(name);
            service.is_none_or(|service| service.logs == Shaping::default())
        };
        if let Some(Value::Table(services)) = document.get_mut("services") {
            let services = services.iter_mut().filter(|(name, _)| says_nothing(name));
            let services = services.filter_map(|(_, service)| service.as_table_mut());
            services.for_each(|service| drop(service.remove("logs")));
        }
        document
    }
}

/// A text that looks like a variable by now is meant as it is.
fn escape(value: &mut Value) {
    match value {
        Value::String(text) => *text = text.replace("${", "$${"),
        Value::Array(items) => items.iter_mut().for_each(escape),
        Value::Table(entries) => entries.iter_mut().for_each(|(_, value)| escape(value)),
        _ => {}
    }
}
