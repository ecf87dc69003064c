//! The configuration from outside: texts in, settings or mistakes with their lines and columns out.

mod contract;
mod drop_ins;
mod examples;
mod interpolation;
mod logs;
mod mistakes;
mod model_mistakes;
mod models;
mod never_panics;
mod resolved;
mod schema;
mod several;
mod supervision;
mod valid;
mod windows;

use super::{Draft, Mistakes, Settings, Source};
use crate::identity::Facts;

/// An instance with two tags.
fn facts() -> Facts {
    Facts {
        instance_id: "i-0123456789abcdef0".to_owned(),
        instance_type: "t3.medium".to_owned(),
        region: "ap-northeast-2".to_owned(),
        availability_zone: "ap-northeast-2a".to_owned(),
        account: "123456789012".to_owned(),
        image_id: "ami-0123456789abcdef0".to_owned(),
        tags: [("Name", "web-1"), ("Stage", "prod")]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    }
}

fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned() }
}

/// Parses one file called `n`.
fn parse(text: &str) -> Result<Draft, Mistakes> {
    Draft::parse(vec![source("n", text)])
}

/// What is wrong with one file, without an instance; empty if nothing is.
fn check(text: &str) -> Vec<String> {
    lines(parse(text).and_then(|draft| draft.check()))
}

/// The settings of one file on the instance of [`facts`].
fn settings(text: &str) -> Settings {
    match parse(text).and_then(|draft| draft.settings(&facts())) {
        Ok(settings) => settings,
        Err(mistakes) => panic!("{text}\n{}", lines::<()>(Err(mistakes)).join("\n")),
    }
}

/// `LINE:COLUMN: MESSAGE (hint: HINT)` of each mistake.
fn lines<T>(result: Result<T, Mistakes>) -> Vec<String> {
    match result {
        Ok(_) => Vec::new(),
        Err(mistakes) => {
            assert!(!mistakes.0.is_empty(), "an error without a mistake");
            mistakes.lines().map(|line| line.strip_prefix("n:").unwrap_or(&line).to_owned()).collect()
        }
    }
}
