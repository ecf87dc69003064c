//! The image of a web server that says nothing of itself: busybox, one page of 8 bytes.

use crate::images::{Entry, Recipe};
use crate::stage::{REGISTRY, Stage};
use std::error::Error;
use std::fs;

pub(super) const REPOSITORY: &str = "small";

/// Pushes it and returns its name.
pub(super) fn push(stage: &Stage) -> Result<String, Box<dyn Error>> {
    let mut recipe = Recipe::of_program("/bin/busybox", fs::read("/bin/busybox")?);
    let page = |name: &str| Entry::File(name.into(), 0o644, b"welcome\n".to_vec());
    recipe.layers.push(vec![
        Entry::Directory("www".into(), 0o755),
        page("www/index.html"),
        page("www/health"),
    ]);
    recipe.command = ["httpd", "-f", "-p", "8000", "-h", "/www"].map(str::to_owned).to_vec();
    stage.push_to(REPOSITORY, &recipe.build()?, "latest")?;
    Ok(format!("{REGISTRY}/{REPOSITORY}:latest"))
}
