//! The configuration: read and checked before anything is changed, then installed as `/etc/node-agent/node.toml`.
//!
//! With `--config` the given text takes the place of the installed file; the drop-ins of node.d stay in force.

use crate::step::{Ending, Fault, Intent, PlannedStep};
use node::config::{Draft, LoadError, Mistake, Mistakes, Source};
use node::fault::Hint;
use node::files;
use node::paths::Paths;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

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

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigurationError {
    #[error("cannot read the configuration {name}")]
    Read {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Invalid(#[from] Mistakes),
}

impl Hint for ConfigurationError {
    fn hint(&self) -> Option<String> {
        let missing = matches!(self, ConfigurationError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound);
        missing.then(|| "write it, or give one with --config PATH (- for standard input)".to_owned())
    }
}

impl From<LoadError> for ConfigurationError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Read { path, source } => ConfigurationError::Read { name: path, source },
            LoadError::Invalid(mistakes) => ConfigurationError::Invalid(mistakes),
        }
    }
}

/// Reads, parses and checks, without an instance and without changing anything.
pub(crate) fn load(paths: &Paths, given: Option<&str>) -> Result<Configuration, ConfigurationError> {
    let Some(name) = given else {
        let draft = Draft::read(paths)?;
        draft.check()?;
        return Ok(Configuration { draft, given: None });
    };
    let source = read_given(name)?;
    let mut sources = vec![source.clone()];
    sources.extend(drop_ins(paths)?);
    let draft = Draft::parse(sources)?;
    draft.check()?;
    Ok(Configuration { draft, given: Some(source) })
}

fn read_given(name: &str) -> Result<Source, ConfigurationError> {
    let (name, text) = if name == "-" {
        ("<standard input>".to_owned(), read_text(io::stdin().lock()))
    } else {
        (name.to_owned(), fs::File::open(name).and_then(read_text))
    };
    match text {
        Ok(text) => Ok(Source { name, text }),
        Err(source) => Err(ConfigurationError::Read { name, source }),
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

/// `node.d/*.toml` in the order of their names.
fn drop_ins(paths: &Paths) -> Result<Vec<Source>, ConfigurationError> {
    let folder = paths.drop_ins();
    let failed = |path: &Path| {
        let name = path.display().to_string();
        move |source| ConfigurationError::Read { name, source }
    };
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed(&folder))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed(&folder))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    let read = |path: std::path::PathBuf| {
        let text = fs::read_to_string(&path).map_err(failed(&path))?;
        Ok(Source { name: path.display().to_string(), text })
    };
    files.into_iter().map(read).collect()
}

/// One mistake as one line: `file:line:column: message (hint: …)`.
pub(crate) fn mistake_line(mistake: &Mistake) -> String {
    let Mistake { file, line, column, message, hint } = mistake;
    let hint = hint.as_ref().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
    format!("{file}:{line}:{column}: {message}{hint}").replace(['\n', '\r'], " ")
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
        (Some(given), Some(_)) => Plan::Install { text: &given.text, reason: "replace the installed configuration" },
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
            Plan::Install { text, reason } => match files::replace(&path, text.as_bytes(), MODE) {
                Ok(()) => Ending::done(reason),
                Err(error) => {
                    let message = format!("cannot write {}: {error}", path.display());
                    Ending::failed(Fault::new("configuration_not_installed", message, None))
                }
            },
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

    #[test]
    fn a_mistake_is_one_line() {
        let mistake = Mistake {
            file: "node.toml".to_owned(),
            line: 3,
            column: 7,
            message: "unknown key\n`imag`".to_owned(),
            hint: Some("did you mean `image`?".to_owned()),
        };
        assert_eq!(mistake_line(&mistake), "node.toml:3:7: unknown key `imag` (hint: did you mean `image`?)");
    }
}
