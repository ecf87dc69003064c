//! Where a configuration comes from: asks for user data, reads what `--config` names, and says it in words.

use crate::step::Fault;
use crate::user_data::{self, UserData};
use node::config::{LoadError, Source};
use node::imds::Client;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

/// More than any node.toml; a device or an endless pipe is given by mistake.
const LARGEST_BYTES: u64 = 4 << 20;
/// The client's patience and one request more; this is for what its own deadlines do not cover.
const DEADLINE: Duration = Duration::from_secs(120);

/// Where a configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `--config`
    Given,
    /// User data, the whole of it or one part.
    UserData {
        /// One part of a message.
        is_part: bool,
    },
    /// `/etc/node-agent/node.toml`
    Installed {
        /// Why no other.
        why: String,
        /// The metadata service was asked for user data and did not answer.
        in_vain: bool,
    },
}

impl Origin {
    /// The installed one, and why no other.
    pub(super) fn because(why: impl Into<String>) -> Origin {
        Origin::Installed { why: why.into(), in_vain: false }
    }

    /// The installed one, where the metadata service does not tell user data.
    pub(super) fn in_vain(fault: &Fault) -> Origin {
        Origin::Installed { why: format!("user data is not known: {}", fault.message), in_vain: true }
    }

    /// In words, for a reason.
    pub(super) fn what(&self) -> String {
        match self {
            Origin::Given => "the given configuration".to_owned(),
            Origin::UserData { is_part: false } => "the node.toml that user data is".to_owned(),
            Origin::UserData { is_part: true } => "the node.toml in a part of user data".to_owned(),
            Origin::Installed { why, .. } => format!("the installed one is valid; {why}"),
        }
    }

    /// What mistakes call the file.
    pub(super) fn file_name(&self) -> &'static str {
        match self {
            Origin::UserData { is_part: true } => "<node.toml of user data>",
            _ => "<user data>",
        }
    }

    /// That the installed one is not there.
    pub(super) fn absent(&self, path: &Path) -> Fault {
        const HINT: &str = "write it, give one with --config, or give a node.toml as user data; it is taken for one \
                            when its first line is `# node.toml`";
        let why = match self {
            Origin::Installed { why, .. } => format!(", and {why}"),
            _ => String::new(),
        };
        let message = format!("there is no configuration: no {}{why}", path.display());
        Fault::new("configuration_missing", message, Some(HINT))
    }
}

/// What the metadata service said of user data.
#[derive(Debug)]
pub(crate) enum Asked {
    /// There is none (404).
    Nothing,
    /// There is some.
    Answer(UserData),
    /// It is not known.
    Unknown(Fault),
}

/// What to do where it does not answer.
const ROUTE: &str = "check that no firewall or route hides 169.254.169.254, then run node-bootstrap again";

/// Asks, with a deadline.
pub(crate) async fn ask(client: &Client) -> Asked {
    match tokio::time::timeout(DEADLINE, client.user_data()).await {
        Ok(Ok(None)) => Asked::Nothing,
        Ok(Ok(Some(bytes))) => Asked::Answer(user_data::read(&bytes, &sections())),
        Ok(Err(error)) => Asked::Unknown(Fault::from_error(error.code(), &error)),
        Err(_) => {
            let message =
                format!("the instance metadata service gave no answer within {} s", DEADLINE.as_secs());
            Asked::Unknown(Fault::new("imds_unreachable", message, Some(ROUTE)))
        }
    }
}

/// The top-level keys of node.toml, from its schema.
fn sections() -> BTreeSet<String> {
    let schema = node::config::schema();
    let properties = schema["properties"].as_object();
    properties.into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

/// What `--config` names.
pub(super) fn read_given(name: &str) -> Result<Source, LoadError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sections_of_user_data_are_those_of_the_schema() {
        let sections = sections();
        for name in ["node", "docker", "agent", "volumes", "secrets", "services", "logs"] {
            assert!(sections.contains(name), "{name}: {sections:?}");
        }
    }
}
