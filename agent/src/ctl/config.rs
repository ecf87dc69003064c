//! `agentctl config check|schema`: what needs no agent.

use super::Ending;
use super::output;
use node::config::{Draft, LoadError, Mistakes, Source};
use node::exit;
use node::fault::one_line;
use node::paths::Paths;
use std::io::{self, Read};
use std::path::Path;

/// Checks a node.toml, or the node's own with its drop-ins.
pub fn check(path: Option<&Path>, paths: &Paths) -> Result<u8, Ending> {
    let own = paths.configuration();
    let shown = path.unwrap_or(&own).display().to_string();
    let draft = match path {
        None => Draft::read(paths),
        Some(path) => read(path)
            .map_err(|source| LoadError::Read { path: shown.clone(), source })
            .and_then(|source| Ok(Draft::parse(vec![source])?)),
    };
    match draft.and_then(|draft| Ok(draft.check()?)) {
        Ok(()) => {
            output::data(format!("{shown} is valid\n").as_bytes())?;
            Ok(exit::DONE)
        }
        Err(LoadError::Invalid(mistakes)) => {
            output::note(&lines(&mistakes));
            Ok(exit::INVALID_CONFIGURATION)
        }
        Err(error @ LoadError::Read { .. }) => {
            output::note(&one_line(&error));
            Ok(exit::FAILED)
        }
    }
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

fn read(path: &Path) -> io::Result<Source> {
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin().read_to_string(&mut text)?;
        return Ok(Source { name: "<standard input>".to_owned(), text });
    }
    text = std::fs::read_to_string(path)?;
    Ok(Source { name: path.display().to_string(), text })
}
