//! Which files of the node there are now: the paths of node.toml, with their stars.

use crate::logs::glob::{matches, split};
use node::config::settings::LogFile;
use std::path::{Path, PathBuf};

/// A pattern that names more is a mistake, and would cost a task each.
const FILES_AT_MOST: usize = 200;

/// The files of `wanted` that are there, each once, with what node.toml says of it. What cannot be listed is not there.
pub(super) fn there(wanted: &[LogFile]) -> Vec<(PathBuf, &LogFile)> {
    let mut found: Vec<(PathBuf, &LogFile)> = Vec::new();
    for file in wanted {
        for path in listed(&file.path) {
            if found.len() < FILES_AT_MOST && !found.iter().any(|(known, _)| *known == path) {
                found.push((path, file));
            }
        }
    }
    found
}

/// Whether node.toml names a path.
pub(super) fn names(wanted: &[LogFile], path: &Path) -> bool {
    let Some(path) = path.to_str() else { return false };
    wanted.iter().any(|file| {
        let (pattern, components) = (file.path.split('/'), path.split('/'));
        pattern.clone().count() == components.clone().count()
            && pattern.zip(components).all(|(pattern, component)| {
                if pattern.contains(['*', '?']) { matches(pattern, component) } else { pattern == component }
            })
    })
}

fn listed(pattern: &str) -> Vec<PathBuf> {
    let (directory, components) = split(pattern);
    if components.is_empty() {
        let path = PathBuf::from(pattern);
        return if path.is_file() { vec![path] } else { Vec::new() };
    }
    let mut paths = vec![PathBuf::from(directory)];
    for component in components {
        paths = paths.iter().flat_map(|path| below(path, component)).collect();
    }
    paths.retain(|path| path.is_file() && !is_packed(path));
    paths.sort_unstable();
    paths
}

/// What a rotation has packed was a log before, and was read then.
fn is_packed(path: &Path) -> bool {
    const PACKED: [&str; 4] = ["gz", "xz", "zst", "bz2"];
    path.extension().and_then(|extension| extension.to_str()).is_some_and(|it| PACKED.contains(&it))
}

fn below(directory: &Path, component: &str) -> Vec<PathBuf> {
    if !component.contains(['*', '?']) {
        return vec![directory.join(component)];
    }
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| matches(component, name)).map(|name| directory.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use node::config::settings::Shaping;

    fn file(path: &str) -> LogFile {
        LogFile { path: path.to_owned(), stream: None, shaping: Shaping::default() }
    }

    #[test]
    fn paths_with_stars_are_the_files_that_match_and_each_is_found_once() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for name in
            ["app/one.log", "app/two.log", "app/two.log.1", "app/two.gz", "app/.hidden.log", "other/one.log"]
        {
            node::files::replace(&at(name), b"", 0o600).unwrap();
        }
        std::fs::create_dir(at("app/folder.log")).unwrap();
        let path = |pattern: &str| format!("{}/{pattern}", root.path().display());
        let wanted = [file(&path("app/one.log")), file(&path("*/*.log")), file(&path("missing.log"))];
        let found: Vec<PathBuf> = there(&wanted).into_iter().map(|(path, _)| path).collect();
        assert_eq!(found, [at("app/one.log"), at("app/two.log"), at("other/one.log")]);
        assert!(found.iter().all(|path| names(&wanted, path)));
        assert!(names(&wanted, &at("missing.log")) && !names(&wanted, &at("app/two.log.1")));
    }
}
