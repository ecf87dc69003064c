//! What a test needs of the host, and how it says that it was skipped.

#![expect(clippy::disallowed_methods, reason = "looks for programs in the PATH")]

use std::io::Write as _;

/// Whether a program can be found as a shell would find it.
#[must_use]
pub fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).any(|file| file.is_file())
}

/// Whether the test runs as root.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

/// Says that the running test is skipped, on a line of its own that the test
/// harness does not capture: a pass that checked nothing must show.
pub fn skipped(why: &str) {
    say("SKIPPED", why);
}

/// Says how many cases the running test has tried, or of which seed, likewise: a test that tried none must show.
pub fn tried(what: &str) {
    say("TRIED", what);
}

fn say(word: &str, what: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    writeln!(std::io::stderr(), "{word} {test}: {what}").ok();
}
