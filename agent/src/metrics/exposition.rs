//! Families as Prometheus reads them: the text format, version 0.0.4. Pure.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>

use super::families::{Family, Kind, Sample};
use std::fmt::Write;

/// What the answer is called.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The whole text.
pub fn text(families: &[Family]) -> String {
    let mut text = String::new();
    for family in families {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP {} {}", family.name, escaped(family.help, false));
        let _ = writeln!(text, "# TYPE {} {kind}", family.name);
        for sample in &family.samples {
            text.push_str(family.name);
            labels(&mut text, sample);
            let _ = writeln!(text, " {}", sample.value);
        }
    }
    text
}

fn labels(text: &mut String, sample: &Sample) {
    for (index, (name, value)) in sample.labels.iter().enumerate() {
        let before = if index == 0 { '{' } else { ',' };
        let _ = write!(text, "{before}{name}=\"{}\"", escaped(value, true));
    }
    if !sample.labels.is_empty() {
        text.push('}');
    }
}

/// Backslashes and line feeds, in values also quotation marks, are written with a backslash.
fn escaped(text: &str, value: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if value { text.replace('"', "\\\"") } else { text }
}

#[cfg(test)]
#[path = "exposition_tests.rs"]
mod tests;
