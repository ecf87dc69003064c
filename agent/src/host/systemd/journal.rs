//! The log of this process: to the journal with its fields where systemd started us, to standard error elsewhere.
//!
//! Every event becomes one entry: `MESSAGE`, `PRIORITY`, and each field of the event and of the spans around it in
//! capitals (`service = "api"` is `SERVICE=api`), so that `journalctl SERVICE=api` finds it.
//! Not its job: keeping secrets out. No value of a secret can be formatted in the first place.

#![expect(clippy::disallowed_methods, reason = "JOURNAL_STREAM is systemd's protocol, not configuration")]

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::os::fd::AsFd;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

/// The SDK's own log shows requests and answers in full, secrets among them; no `RUST_LOG` may bring that up.
const CAPPED: &str = "aws=warn";

/// Starts logging for the whole process; `filter` is `RUST_LOG`. A second call does nothing.
pub fn start(identifier: &'static str, filter: Option<&str>) {
    let wanted = filter.and_then(|filter| EnvFilter::try_new(filter).ok());
    let mut filter = wanted.unwrap_or_else(|| EnvFilter::new("info"));
    if let Ok(cap) = CAPPED.parse() {
        filter = filter.add_directive(cap);
    }
    let registry = tracing_subscriber::registry().with(filter);
    // Failing means that a subscriber is there already, as in tests.
    let _ = if stderr_is_the_journal() {
        registry.with(Journal { identifier }).try_init()
    } else {
        registry.with(fmt::layer().with_writer(std::io::stderr).with_ansi(false)).try_init()
    };
}

/// Whether standard error goes to the journal, as systemd says in `JOURNAL_STREAM=DEVICE:INODE`.
fn stderr_is_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(status) = nix::sys::stat::fstat(std::io::stderr().as_fd()) else { return false };
    stream == format!("{}:{}", status.st_dev, status.st_ino)
}

struct Journal {
    identifier: &'static str,
}

/// Fields of an event or a span, by their names in the journal.
#[derive(Debug, Default, Clone)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(journal_name(field.name()), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = write!(text, "{value:?}");
        self.0.insert(journal_name(field.name()), text);
    }
}

/// The journal takes capitals, digits and underscores, no leading underscore or digit, and 64 characters.
fn journal_name(name: &str) -> String {
    let capital = |character: char| match character.to_ascii_uppercase() {
        allowed @ ('A'..='Z' | '0'..='9') => allowed,
        _ => '_',
    };
    let name: String = name.chars().map(capital).take(60).collect();
    if name.starts_with(|first: char| first.is_ascii_uppercase()) { name } else { format!("F{name}") }
}

fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

impl<S: Subscriber + for<'lookup> LookupSpan<'lookup>> Layer<S> for Journal {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        let scope =
            context.event_scope(event).into_iter().flat_map(tracing_subscriber::registry::Scope::from_root);
        for span in scope {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.0.extend(outer.0.clone());
            }
        }
        event.record(&mut fields);
        let metadata = event.metadata();
        fields.0.insert("PRIORITY".to_owned(), priority(*metadata.level()).to_string());
        fields.0.insert("SYSLOG_IDENTIFIER".to_owned(), self.identifier.to_owned());
        fields.0.insert("TARGET".to_owned(), metadata.target().to_owned());
        let entries: Vec<String> = fields.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
        // The journal is where one would complain.
        let _ = systemd::journal::send(&entries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn field_names_are_what_the_journal_accepts() {
        let names = ["service", "container_id", "http.status", "_private", "9lives"].map(journal_name);
        assert_eq!(names.to_vec(), ["SERVICE", "CONTAINER_ID", "HTTP_STATUS", "F_PRIVATE", "F9LIVES"]);
        assert_eq!(journal_name(&"x".repeat(99)).len(), 60);
    }

    #[test]
    fn the_sdk_is_capped_whatever_the_filter_says() {
        #[derive(Clone, Default)]
        struct Seen(Arc<Mutex<Vec<String>>>);
        impl<S: Subscriber> Layer<S> for Seen {
            fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
                self.0.lock().unwrap().push(event.metadata().target().to_owned());
            }
        }
        let seen = Seen::default();
        let filter = EnvFilter::try_new("trace").unwrap().add_directive(CAPPED.parse().unwrap());
        let subscriber = tracing_subscriber::registry().with(filter).with(seen.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!(target: "aws_smithy_runtime::client", "a whole request");
            tracing::warn!(target: "aws_config", "no region");
            tracing::trace!(target: "agent", "a step");
        });
        assert_eq!(*seen.0.lock().unwrap(), ["aws_config", "agent"]);
    }
}
