//! The configuration: read and checked before anything is changed, then installed as `/etc/node-agent/node.toml`.
//!
//! With `--config` the given text takes the place of the installed file; the drop-ins of node.d stay in force.

use crate::outdated;
use crate::step::{Ending, Fault, Intent, PlannedStep};
use node::config::{Draft, LoadError, Source};
use node::files;
use node::paths::Paths;
use std::fs;
use std::io::{self, Read};

/// Readable by root and its group: literals in `environment` may be nobody else's business.
const MODE: u32 = 0o640;
/// More than any node.toml; a device or an endless pipe is given by mistake.
const LARGEST_BYTES: u64 = 4 << 20;

/// A configuration that was parsed and checked, and what is to be installed.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) draft: Draft,
    /// The text given by `--config`.
    given: Option<Source>,
}

/// Reads, parses and checks, without an instance and without changing anything.
pub(crate) fn load(paths: &Paths, given: Option<&str>) -> Result<Configuration, LoadError> {
    let given = given.map(read_given).transpose()?;
    let draft = match &given {
        Some(source) => Draft::with_drop_ins(source.clone(), paths)?,
        None => Draft::read(paths)?,
    };
    draft.check()?;
    Ok(Configuration { draft, given })
}

fn read_given(name: &str) -> Result<Source, LoadError> {
    let (name, text) = if name == "-" {
        ("<standard input>", read_text(io::stdin().lock()))
    } else {
        (name, fs::File::open(name).and_then(read_text))
    };
    match text {
        Ok(text) => Ok(Source { name: name.to_owned(), text }),
        Err(source) => Err(LoadError::Read { path: name.to_owned(), source }),
    }
}

fn read_text(reader: impl Read) -> io::Result<String> {
    let mut text = String::new();
    reader.take(LARGEST_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST_BYTES {
        return Err(io::Error::other(format!("it is larger than {LARGEST_BYTES} bytes")));
    }
    Ok(text)
}

/// What is to be done with a valid configuration. Pure.
#[derive(Debug, PartialEq, Eq)]
enum Plan<'text> {
    Keep(&'static str),
    Install { text: &'text str, reason: &'static str },
}

fn plan<'text>(given: Option<&'text Source>, installed: Option<&[u8]>) -> Plan<'text> {
    match (given, installed) {
        (None, _) => Plan::Keep("the installed configuration is valid"),
        (Some(given), Some(installed)) if given.text.as_bytes() == installed => {
            Plan::Keep("the given configuration is installed already")
        }
        (Some(given), Some(_)) => {
            Plan::Install { text: &given.text, reason: "replace the installed configuration" }
        }
        (Some(given), None) => Plan::Install { text: &given.text, reason: "install the given configuration" },
    }
}

impl Configuration {
    fn plan(&self, installed: Option<&[u8]>) -> Plan<'_> {
        plan(self.given.as_ref(), installed)
    }

    /// What `run` would do.
    pub(crate) fn preview(&self, paths: &Paths) -> PlannedStep {
        match self.plan(fs::read(paths.configuration()).ok().as_deref()) {
            Plan::Keep(reason) => PlannedStep::new("configuration", Intent::Unchanged, reason),
            Plan::Install { reason, .. } => PlannedStep::new("configuration", Intent::Change, reason),
        }
    }

    /// Installs what was given.
    pub(crate) fn install(&self, paths: &Paths) -> Ending {
        let path = paths.configuration();
        let installed = fs::read(&path).ok();
        match self.plan(installed.as_deref()) {
            Plan::Keep(reason) => Ending::unchanged(reason),
            Plan::Install { text, reason } => {
                outdated::note(paths);
                match files::replace(&path, text.as_bytes(), MODE) {
                    Ok(()) => Ending::done(reason),
                    Err(error) => {
                        let message = format!("cannot write {}: {error}", path.display());
                        Ending::failed(Fault::new("configuration_not_installed", message, None))
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source { name: "given.toml".to_owned(), text: text.to_owned() }
    }

    #[test]
    fn only_a_different_configuration_is_installed() {
        assert!(matches!(plan(None, Some(b"a")), Plan::Keep(_)));
        assert!(matches!(plan(Some(&source("a")), Some(b"a")), Plan::Keep(_)));
        assert!(matches!(plan(Some(&source("b")), Some(b"a")), Plan::Install { text: "b", .. }));
        assert!(matches!(plan(Some(&source("b")), None), Plan::Install { text: "b", .. }));
    }
}
