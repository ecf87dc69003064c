//! The product code of the three crates, for the suites that read it as text.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("agent/ lies in the workspace").to_owned()
}

pub(crate) fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Modules that only tests are compiled with: their names say so, or they are a model or a scenario.
fn is_test_module(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.ends_with("_tests.rs")
        || ["/tests.rs", "/tests/", "/simulation", "/scenarios/"].iter().any(|part| text.contains(part))
}

/// Every file of product code that `counts`: its path from the workspace's root, and its text.
pub(crate) fn product_sources(counts: impl Fn(&Path) -> bool) -> Vec<(String, String)> {
    let root = workspace();
    let crates = ["node/src", "bootstrap/src", "agent/src"];
    let files = crates.iter().flat_map(|name| rust_files(&root.join(name)));
    files
        .filter(|path| !is_test_module(path) && counts(path))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a readable source file");
            (path.strip_prefix(&root).expect("inside").to_string_lossy().into_owned(), text)
        })
        .collect()
}
