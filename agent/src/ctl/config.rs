//! `agentctl config …`: what is on disk, what is in force, and the step from one to the other.
//!
//! `check` and `schema` need no agent: they answer also where none runs, and where none would start.

use super::output;
use super::render;
use super::{Ending, Session};
use crate::control::api::Refused;
use crate::control::client::ClientError;
use crate::reload;
use node::config::{Draft, LoadError, Mistake, Mistakes, Source};
use node::exit;
use node::fault::with_hint;
use node::paths::Paths;
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::Path;

/// Checks a node.toml, or the node's own with its drop-ins.
pub fn check(path: Option<&Path>, json: bool, paths: &Paths) -> Result<u8, Ending> {
    let sources = match texts(path, paths) {
        Ok(sources) => sources,
        Err(error) => {
            output::noted_sentence(&with_hint(&error));
            return Ok(exit::FAILED);
        }
    };
    let checked = Draft::parse(sources.clone()).and_then(|draft| draft.check().map(|()| draft));
    match (checked, json) {
        (Ok(_), true) => output::data(b"[]\n")?,
        (Ok(draft), false) => output::data(format!("{}\n", valid(&draft)).as_bytes())?,
        (Err(mistakes), true) => {
            let value = serde_json::to_value(&mistakes.0).unwrap_or_default();
            output::data(format!("{value:#}\n").as_bytes())?;
            return Ok(exit::INVALID_CONFIGURATION);
        }
        (Err(mistakes), false) => return Ok(refuse(&mistakes.0, &sources)),
    }
    Ok(exit::DONE)
}

fn refuse(mistakes: &[Mistake], sources: &[Source]) -> u8 {
    output::note(&render::mistakes::render(mistakes, sources, output::page_of_notes()));
    exit::INVALID_CONFIGURATION
}

/// That it is valid, and what it is.
fn valid(draft: &Draft) -> String {
    let many = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    let name = draft.sources().first().map_or("", |source| source.name.as_str());
    let mut what = vec![many(draft.count("services"), "service")];
    for (section, one) in [("volumes", "volume"), ("secrets", "secret")] {
        match draft.count(section) {
            0 => {}
            count => what.push(many(count, one)),
        }
    }
    match draft.sources().len().saturating_sub(1) {
        0 => format!("{name} is valid: {}", what.join(", ")),
        drop_ins => format!("{name} with {} is valid: {}", many(drop_ins, "drop-in"), what.join(", ")),
    }
}

/// The configuration in force.
pub(super) async fn show(session: &Session, json: bool) -> Result<u8, Ending> {
    let shown = async {
        if json {
            let value = render::config::readable(session.client.config().await?);
            return Ok(format!("{value:#}\n"));
        }
        session.client.config_toml().await
    };
    match shown.await {
        Ok(text) => {
            output::data(text.as_bytes())?;
            Ok(exit::DONE)
        }
        Err(error) if error.is_unreachable() => Ok(unreachable(&error)),
        Err(error) => Err(error.into()),
    }
}

/// What the files, or this one, would change.
pub(super) async fn diff(session: &Session, path: Option<&Path>, json: bool) -> Result<u8, Ending> {
    // Files of the node are read by the agent, as it would read them; another one by who asks, who has to be allowed to.
    let sources = match path.map(|path| texts(Some(path), &session.paths)).transpose() {
        Ok(sources) => sources,
        Err(error) => {
            output::noted_sentence(&with_hint(&error));
            return Ok(exit::FAILED);
        }
    };
    let change = match session.client.config_diff(sources.as_deref()).await {
        Ok(change) => change,
        Err(error) => return refused(error, sources),
    };
    let same = change.is_nothing();
    if json {
        let mut value = serde_json::to_value(&change).unwrap_or_default();
        value["same"] = same.into();
        output::data(format!("{value:#}\n").as_bytes())?;
    } else if same {
        output::data(b"the files mean what is in force\n")?;
    } else {
        output::data(render::change::render(&change, output::page()).as_bytes())?;
    }
    Ok(if same { exit::DONE } else { exit::FAILED })
}

/// Has the files read now.
pub(super) async fn have_reloaded(session: &Session) -> Result<u8, Ending> {
    match session.client.config_reload().await {
        Ok(accepted) => {
            output::data(format!("{}\n", accepted.message).as_bytes())?;
            Ok(exit::DONE)
        }
        Err(error) => {
            let code = refused(error, None)?;
            if code == exit::INVALID_CONFIGURATION {
                output::note("nothing was changed: what was in force before stays so");
            }
            Ok(code)
        }
    }
}

/// The exit code for a configuration that was not taken, once it was told why.
fn refused(error: ClientError, sources: Option<Vec<Source>>) -> Result<u8, Ending> {
    match error {
        ClientError::Invalid(refused) => Ok(invalid(refused, sources)),
        ClientError::Refused(fault) if fault.code == reload::INVALID => {
            output::note(&with_hint(&fault));
            Ok(exit::INVALID_CONFIGURATION)
        }
        error if error.is_unreachable() => Ok(unreachable(&error)),
        error => Err(error.into()),
    }
}

/// What the agent found wrong, with the lines of the files where they can be read.
fn invalid(refused: Refused, sources: Option<Vec<Source>>) -> u8 {
    let mistakes = refused.mistakes;
    let sources = sources.unwrap_or_else(|| {
        let files: BTreeSet<&str> = mistakes.iter().map(|mistake| mistake.file.as_str()).collect();
        files.into_iter().filter_map(|file| Source::read(Path::new(file)).ok()).collect()
    });
    refuse(&mistakes, &sources)
}

/// Nobody answers; what can be done all the same.
fn unreachable(error: &ClientError) -> u8 {
    output::note(&format!("{}; `agentctl config check` works without it", with_hint(error)));
    exit::UNREACHABLE
}

/// The JSON Schema.
pub fn schema() -> Result<u8, Ending> {
    output::data(format!("{:#}\n", node::config::schema()).as_bytes())?;
    Ok(exit::DONE)
}

/// Every mistake as `file:line:column: message`, with its hint below.
pub fn lines(mistakes: &Mistakes) -> String {
    mistakes.0.iter().fold(String::new(), |mut text, mistake| {
        let place = format!("{}:{}:{}", mistake.file, mistake.line, mistake.column);
        text.push_str(&format!("{place}: {}\n", mistake.message));
        if let Some(hint) = &mistake.hint {
            text.push_str(&format!("    hint: {hint}\n"));
        }
        text
    })
}

fn texts(path: Option<&Path>, paths: &Paths) -> Result<Vec<Source>, LoadError> {
    match path {
        None => Source::all(paths),
        Some(path) if path == Path::new("-") => {
            const NAME: &str = "<standard input>";
            let mut text = String::new();
            let read = io::stdin().read_to_string(&mut text);
            read.map_err(|source| LoadError::Read { path: NAME.to_owned(), source })?;
            Ok(vec![Source { name: NAME.to_owned(), text }])
        }
        Some(path) => Ok(vec![Source::read(path)?]),
    }
}
