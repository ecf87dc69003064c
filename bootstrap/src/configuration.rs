//! The configuration: where it comes from, read and checked before anything is changed, then installed as
//! `/etc/node-agent/node.toml`.
//!
//! In: `--config`, else user data, else the installed file, in this order; the drop-ins of node.d stay in force with
//! each. Out: a [`Configuration`] that was parsed and checked, or why there is none. What always holds: user data that
//! is wrong never takes the place of an installed configuration that is right; then the node goes on as it was, with
//! the mistakes as a problem. What `--config` gives is used or refused, nothing else is used in its place.

mod origin;

pub(crate) use origin::{Asked, ask};

use crate::outdated;
use crate::step::{Ending, Fault, Intent, PlannedStep};
use crate::user_data::UserData;
use node::config::{Draft, LoadError, Mistakes, Settings, Source};
use node::fault::Hint;
use node::files;
use node::identity::Facts;
use node::paths::Paths;
use origin::Origin;
use std::collections::BTreeSet;
use std::fs;

/// Readable by root and its group: literals in `environment` may be nobody else's business.
const MODE: u32 = 0o640;
/// The problem of user data that was not taken.
const INVALID: &str = "configuration_invalid";
const NOT_USED: &str = "user data cannot be used";

/// A configuration that was parsed and checked, and what is to be installed.
#[derive(Debug)]
pub(crate) struct Configuration {
    draft: Draft,
    origin: Origin,
    /// The text that takes the installed one's place.
    given: Option<Source>,
    /// The installed one, as long as it could stand in for what is given.
    last_good: Option<Draft>,
    /// User data was wrong, and the installed one stands in.
    pub(crate) refused: Option<Refused>,
}

/// User data that could not be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Every mistake, for the log.
    pub(crate) lines: Vec<String>,
    /// The first of them, for the status.
    pub(crate) fault: Fault,
}

/// Why there is no configuration to work with.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// What was given, or is installed, cannot be read or is wrong.
    Load(LoadError),
    /// User data is wrong, and nothing is installed that could stand in.
    Refused(Refused),
    /// There is none at all.
    Absent(Fault),
    /// None is installed, and user data could not be asked for.
    Unknown(Fault),
}

impl From<LoadError> for Unusable {
    fn from(error: LoadError) -> Unusable {
        Unusable::Load(error)
    }
}

/// What `--config` gives, without an instance and without changing anything.
pub(crate) fn given(paths: &Paths, name: &str) -> Result<Configuration, Unusable> {
    let source = origin::read_given(name)?;
    let draft = checked(Draft::with_drop_ins(source.clone(), paths))?;
    Ok(Configuration { draft, origin: Origin::Given, given: Some(source), last_good: None, refused: None })
}

/// What there is without `--config`: user data's, else the installed one.
pub(crate) fn found(paths: &Paths, asked: Asked) -> Result<Configuration, Unusable> {
    match asked {
        Asked::Answer(UserData::NodeToml { text, is_part }) => of_user_data(paths, text, is_part),
        Asked::Answer(UserData::Unreadable(reason)) => {
            let refused = Refused::because(format!("user data {reason}"));
            stand_in(paths, refused)
        }
        Asked::Answer(UserData::Other(what)) => {
            installed(paths, Origin::because(format!("user data {what}")))
        }
        Asked::Nothing => installed(paths, Origin::because("there is no user data")),
        Asked::Unknown(fault) => match installed(paths, Origin::in_vain(&fault)) {
            Err(Unusable::Absent(_)) => Err(Unusable::Unknown(fault)),
            other => other,
        },
    }
}

fn checked(draft: Result<Draft, LoadError>) -> Result<Draft, LoadError> {
    let draft = draft?;
    draft.check()?;
    Ok(draft)
}

fn of_user_data(paths: &Paths, text: String, is_part: bool) -> Result<Configuration, Unusable> {
    let origin = Origin::UserData { is_part };
    let source = Source { name: origin.file_name().to_owned(), text };
    match checked(Draft::with_drop_ins(source.clone(), paths)) {
        Ok(draft) => {
            let last_good = checked(Draft::read(paths)).ok();
            Ok(Configuration { draft, origin, given: Some(source), last_good, refused: None })
        }
        Err(LoadError::Invalid(mistakes)) => stand_in(paths, Refused::for_mistakes(&mistakes)),
        Err(error) => Err(Unusable::Load(error)),
    }
}

/// The installed one in place of user data that is wrong.
fn stand_in(paths: &Paths, refused: Refused) -> Result<Configuration, Unusable> {
    match installed(paths, Origin::because(NOT_USED)) {
        Ok(configuration) => Ok(Configuration { refused: Some(refused), ..configuration }),
        Err(_) => Err(Unusable::Refused(refused)),
    }
}

fn installed(paths: &Paths, origin: Origin) -> Result<Configuration, Unusable> {
    let path = paths.configuration();
    if !path.exists() {
        return Err(Unusable::Absent(origin.absent(&path)));
    }
    let draft = checked(Draft::read(paths))?;
    Ok(Configuration { draft, origin, given: None, last_good: None, refused: None })
}

impl Refused {
    fn because(reason: String) -> Refused {
        let hint = "give the node.toml as one part, in UTF-8; packaging/cloud-init has an example";
        let fault = Fault::new(INVALID, reason, Some(hint));
        Refused { lines: vec![fault.line()], fault }
    }

    fn for_mistakes(mistakes: &Mistakes) -> Refused {
        let message = match mistakes.0.as_slice() {
            [] => mistakes.to_string(),
            [first, others @ ..] => {
                let more =
                    if others.is_empty() { String::new() } else { format!(" (and {} more)", others.len()) };
                let unhinted = node::config::Mistake { hint: None, ..first.clone() };
                format!("{unhinted}{more}")
            }
        };
        let hint = mistakes.0.first().and_then(|first| first.hint.clone()).or_else(|| mistakes.hint());
        let fault = Fault::new(INVALID, message, hint.as_deref());
        Refused { lines: mistakes.lines().collect(), fault }
    }
}

/// What is to be done with a valid configuration. Pure.
#[derive(Debug, PartialEq, Eq)]
enum Plan<'text> {
    Keep(String),
    Install { text: &'text str, reason: String },
}

fn plan<'text>(origin: &Origin, given: Option<&'text Source>, installed: Option<&[u8]>) -> Plan<'text> {
    let what = origin.what();
    match (given, installed) {
        (None, _) => Plan::Keep(what),
        (Some(given), Some(installed)) if given.text.as_bytes() == installed => {
            Plan::Keep(format!("{what} is installed already"))
        }
        (Some(given), Some(_)) => Plan::Install {
            text: &given.text,
            reason: format!("replace the installed configuration with {what}"),
        },
        (Some(given), None) => Plan::Install { text: &given.text, reason: format!("install {what}") },
    }
}

impl Configuration {
    /// The instance tags that its settings may need.
    pub(crate) fn tags(&self) -> BTreeSet<String> {
        let mut tags = self.draft.tags();
        tags.extend(self.last_good.iter().flat_map(Draft::tags));
        tags
    }

    /// The settings of this instance. Mistakes that show only on it, such as a tag that it does not have, are refused
    /// as all others are: where the configuration is user data's, the installed one stands in.
    pub(crate) fn settle(&mut self, facts: &Facts) -> Result<Settings, Mistakes> {
        let mistakes = match self.draft.settings(facts) {
            Ok(settings) => return Ok(settings),
            Err(mistakes) => mistakes,
        };
        let stand_in = self.last_good.take();
        let Some((draft, settings)) =
            stand_in.and_then(|draft| draft.settings(facts).ok().map(|settings| (draft, settings)))
        else {
            return Err(mistakes);
        };
        (self.draft, self.given) = (draft, None);
        self.origin = Origin::because(NOT_USED);
        self.refused = Some(Refused::for_mistakes(&mistakes));
        Ok(settings)
    }

    /// The metadata service was asked for user data and did not answer.
    pub(crate) fn asked_in_vain(&self) -> bool {
        matches!(self.origin, Origin::Installed { in_vain: true, .. })
    }

    /// The same, read again: while this one waited for its turn, another bootstrap may have installed a new one.
    pub(crate) fn read_again(self, paths: &Paths) -> Result<Configuration, Unusable> {
        match self.origin {
            Origin::Installed { .. } => {
                let again = installed(paths, self.origin)?;
                Ok(Configuration { refused: self.refused, ..again })
            }
            Origin::Given | Origin::UserData { .. } => Ok(self),
        }
    }

    /// What `run` would do.
    pub(crate) fn preview(&self, paths: &Paths) -> PlannedStep {
        const STEP: &str = "configuration";
        if let Some(refused) = &self.refused {
            return PlannedStep::refuse(STEP, &refused.fault);
        }
        match plan(&self.origin, self.given.as_ref(), fs::read(paths.configuration()).ok().as_deref()) {
            Plan::Keep(reason) => PlannedStep::new(STEP, Intent::Unchanged, reason),
            Plan::Install { reason, .. } => PlannedStep::new(STEP, Intent::Change, reason),
        }
    }

    /// Installs what is to be installed. What is not settled may be wrong on this very instance: then user data does
    /// not take the place of what is good.
    pub(crate) fn install(&self, paths: &Paths, is_settled: bool) -> Ending {
        if let Some(refused) = &self.refused {
            let mut ending = Ending::failed(refused.fault.clone());
            ending.reason.push_str("; the installed configuration stays in force");
            return ending;
        }
        if self.last_good.is_some() && !is_settled {
            return Ending::skipped(
                "it is not known which instance this is; the installed one stays in force",
            );
        }
        let path = paths.configuration();
        match plan(&self.origin, self.given.as_ref(), fs::read(&path).ok().as_deref()) {
            Plan::Keep(reason) => Ending::unchanged(reason),
            Plan::Install { text, reason } => {
                outdated::note(paths);
                match files::replace(&path, text.as_bytes(), MODE) {
                    Ok(()) => Ending::done(reason),
                    Err(error) => {
                        let message = format!("cannot write {}: {error}", path.display());
                        let hint = "look at `df /etc` and `findmnt -T /etc`, then run node-bootstrap again";
                        Ending::failed(Fault::new("configuration_not_installed", message, Some(hint)))
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
