//! What `make demo` and `make test` say on a host that lacks something: one line, at once, and nothing is changed.

#![expect(clippy::disallowed_methods, reason = "runs the script as a person would")]

use std::path::Path;
use std::process::{Command, Output};

fn workspace() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap_or_default()
}

fn one_line(output: &Output, expected: &[&str]) {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let story = format!("{}\n--- stdout\n{stdout}--- stderr\n{stderr}", output.status);
    assert_eq!(output.status.code(), Some(1), "{story}");
    assert_eq!(stdout.lines().count() + stderr.lines().count(), 1, "{story}");
    assert!(expected.iter().all(|part| stderr.contains(part)), "{story}");
}

#[test]
fn without_root_it_says_so_in_one_line() {
    if !nix::unistd::geteuid().is_root() {
        return harness::requirements::skipped("becoming another user needs root");
    }
    let script = std::fs::read(workspace().join("tests/prepare.sh")).expect("the script");
    let folder = tempfile::Builder::new().permissions(readable()).tempdir().expect("a folder");
    std::fs::write(folder.path().join("prepare.sh"), script).expect("a copy");
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "prepare.sh", "demo"])
        .current_dir(folder.path())
        .output()
        .expect("setpriv");
    one_line(&output, &["cannot go on", "not root", "sudo -E make demo"]);
}

#[test]
fn without_disk_space_it_says_how_much_is_needed_in_one_line() {
    if !nix::unistd::geteuid().is_root() {
        return harness::requirements::skipped("a small file system needs root");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let script = workspace().join("tests/prepare.sh");
    // The mount is seen by this shell alone and goes with it.
    let line = "mount -t tmpfs -o size=1m small \"$1\" && cd \"$1\" && exec sh \"$2\" demo";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", line, "sh"])
        .args([folder.path(), &script])
        .output()
        .expect("unshare");
    one_line(&output, &["cannot go on", "0 GiB free", "need 15 GiB"]);
}

fn readable() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}
