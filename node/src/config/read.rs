//! Files -> sources. The only part of the configuration that touches the disk.

use super::{Draft, LoadError, Source};
use crate::paths::Paths;
use std::io;
use std::path::{Path, PathBuf};

impl Source {
    /// Reads one file. Messages call it by this path.
    pub fn read(path: &Path) -> Result<Source, LoadError> {
        let text = std::fs::read_to_string(path).map_err(|source| failed(path, source))?;
        Ok(Source { name: path.display().to_string(), text })
    }
}

impl Draft {
    /// Reads node.toml and the drop-ins of node.d in the order of their names.
    pub fn read(paths: &Paths) -> Result<Draft, LoadError> {
        Draft::read_with(&paths.configuration(), paths)
    }

    /// The same with another file than node.toml (`--config PATH`); the drop-ins of node.d still apply.
    pub fn read_with(configuration: &Path, paths: &Paths) -> Result<Draft, LoadError> {
        Draft::with_drop_ins(Source::read(configuration)?, paths)
    }

    /// The same with a text that was read already, such as from standard input.
    pub fn with_drop_ins(configuration: Source, paths: &Paths) -> Result<Draft, LoadError> {
        Ok(Draft::parse(sources(configuration, paths)?)?)
    }
}

impl Source {
    /// node.toml and its drop-ins, in the order in which they are merged.
    pub fn all(paths: &Paths) -> Result<Vec<Source>, LoadError> {
        sources(Source::read(&paths.configuration())?, paths)
    }
}

fn sources(configuration: Source, paths: &Paths) -> Result<Vec<Source>, LoadError> {
    let mut sources = vec![configuration];
    for path in drop_ins(&paths.drop_ins())? {
        sources.push(Source::read(&path)?);
    }
    Ok(sources)
}

/// `*.toml` by name. Hidden files are left out: editors keep their copies in them.
fn drop_ins(directory: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(directory, error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| failed(directory, error))?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn failed(path: &Path, source: io::Error) -> LoadError {
    LoadError::Read { path: path.display().to_string(), source }
}
