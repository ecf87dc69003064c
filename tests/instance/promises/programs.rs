//! The programs as they are released: static where they say so, small, old enough symbols, a tarball to pin.

use crate::scene::Scene;
use harness::instance::OUTSIDE_ADDRESS;
use harness::requirements::{is_on_path, skipped};
use harness::stage::dist;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const LARGEST_BOOTSTRAP: u64 = 6_000_000;
/// Amazon Linux 2023's.
const NEWEST_GLIBC: (u32, u32) = (2, 34);

fn number(bytes: &[u8], at: usize, length: usize) -> usize {
    bytes[at..at + length].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// What a 64-bit little-endian ELF asks of the loader: whether for an interpreter, and how many libraries.
fn loads(path: &Path) -> (bool, usize) {
    const INTERPRETER: usize = 3;
    const DYNAMIC: usize = 2;
    const NEEDED: usize = 1;
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}; run make dist", path.display()));
    assert_eq!(bytes[..6], [0x7f, b'E', b'L', b'F', 2, 1], "{}", path.display());
    let (table, size, count) = (number(&bytes, 32, 8), number(&bytes, 54, 2), number(&bytes, 56, 2));
    let (mut interpreter, mut libraries) = (false, 0);
    for header in (0..count).map(|index| table + index * size) {
        match number(&bytes, header, 4) {
            INTERPRETER => interpreter = true,
            DYNAMIC => {
                let (at, length) = (number(&bytes, header + 8, 8), number(&bytes, header + 32, 8));
                let tags = (at..at + length).step_by(16).map(|entry| number(&bytes, entry, 8));
                libraries += tags.filter(|tag| *tag == NEEDED).count();
            }
            _ => {}
        }
    }
    (interpreter, libraries)
}

#[test]
fn the_bootstrap_is_static_and_small() {
    let bootstrap = dist().join("node-bootstrap");
    assert_eq!(loads(&bootstrap), (false, 0), "interpreter, libraries");
    // The same look must find them where they are.
    let (interpreter, libraries) = loads(&dist().join("node-agent"));
    assert!(interpreter && libraries > 0);
    let bytes = fs::metadata(&bootstrap).unwrap().len();
    println!("node-bootstrap: {bytes} bytes");
    assert!(bytes <= LARGEST_BOOTSTRAP, "{bytes}");
}

fn objdump(option: &str, program: &str) -> String {
    let output = Command::new("objdump").arg(option).arg(dist().join(program)).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_agent_runs_on_the_glibc_of_amazon_linux_2023() {
    if !is_on_path("objdump") {
        return skipped("objdump is not installed (Debian package binutils)");
    }
    for program in ["node-agent", "agentctl"] {
        let symbols = objdump("-T", program);
        let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
            let text: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
            let mut parts = text.split('.').map(|part| part.parse().ok());
            Some((parts.next()??, parts.next()??))
        });
        let highest: (u32, u32) = versions.max().unwrap();
        println!("{program}: highest glibc symbol {}.{}", highest.0, highest.1);
        assert!(highest <= NEWEST_GLIBC, "{program}: {highest:?}");
        let headers = objdump("-p", program);
        let needed = headers.lines().filter_map(|line| line.trim().strip_prefix("NEEDED"));
        let needed: BTreeSet<&str> = needed.map(|name| name.trim().split(".so").next().unwrap()).collect();
        let mut allowed = BTreeSet::from(["libc", "libm", "libgcc_s", "ld-linux-x86-64"]);
        if program == "node-agent" {
            allowed.insert("libsystemd");
        }
        println!("{program} needs {needed:?}");
        assert!(needed.is_subset(&allowed), "{program} needs {needed:?}");
    }
}

/// Whether there is one to look at.
fn agentctl_is_built() -> bool {
    let is_there = dist().join("agentctl").is_file();
    if !is_there {
        skipped("there is no agentctl in target/dist (make dist)");
    }
    is_there
}

#[test]
fn agentctl_has_nothing_of_aws_and_nothing_of_the_engine_in_it() {
    if !agentctl_is_built() {
        return;
    }
    let has = |program: &str, name: &str| {
        let bytes = fs::read(dist().join(program)).unwrap();
        bytes.windows(name.len()).any(|window| window == name.as_bytes())
    };
    // The same look must find them where they are.
    for name in ["aws_sdk", "aws_smithy", "bollard"] {
        assert!(has("node-agent", name), "node-agent has no {name}");
    }
    for name in ["aws_sdk", "aws-sdk-", "aws_smithy", "aws-smithy-", "aws_config", "amazonaws"] {
        assert!(!has("agentctl", name), "agentctl has {name}");
    }
    for name in ["bollard", "libsystemd"] {
        assert!(!has("agentctl", name), "agentctl has {name}");
    }
}

/// The median of 50.
fn start_of_agentctl() -> Duration {
    let mut took: Vec<Duration> = (0..50)
        .map(|_| {
            let begun = Instant::now();
            let ended = Command::new(dist().join("agentctl")).arg("--version").output().unwrap();
            let took = begun.elapsed();
            assert!(ended.status.success(), "{ended:?}");
            took
        })
        .collect();
    took.sort();
    println!("agentctl --version: fastest {:?}, median {:?}, slowest {:?}", took[0], took[25], took[49]);
    took[25]
}

#[test]
fn agentctl_starts_in_under_five_milliseconds() {
    const BAR: Duration = Duration::from_millis(5);
    if !agentctl_is_built() {
        return;
    }
    // Whole instances run beside this: what they take of the machine makes a start slower, and never quicker.
    let medians: Vec<Duration> = (0..5).map(|_| start_of_agentctl()).collect();
    assert!(medians.iter().any(|median| *median < BAR), "{medians:?}");
}

#[test]
fn the_tarball_has_a_name_to_foresee_and_its_checksum_beside_it() {
    let name = format!("node-agent-{}-x86_64", env!("CARGO_PKG_VERSION"));
    let tarball = fs::read(dist().join(format!("{name}.tar.gz"))).unwrap();
    let sum = fs::read_to_string(dist().join(format!("{name}.tar.gz.sha256"))).unwrap();
    assert_eq!(sum, format!("{:x}  {name}.tar.gz\n", Sha256::digest(&tarball)));
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&tarball[..]));
    let mut files = BTreeSet::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 0));
        files.insert(entry.path().unwrap().display().to_string());
    }
    let wanted = ["bin/node-bootstrap", "bin/node-agent", "bin/agentctl", "systemd/node-agent.service"];
    let read_by_people = [
        "share/man/man1/agentctl-status.1.gz",
        "share/man/man5/node.toml.5.gz",
        "share/man/man8/node-bootstrap.8.gz",
        "share/bash-completion/completions/agentctl",
        "share/zsh/site-functions/_agentctl",
        "share/fish/vendor_completions.d/agentctl.fish",
    ];
    for file in wanted.into_iter().chain(["systemd/node-bootstrap.service"]).chain(read_by_people) {
        assert!(files.contains(&format!("{name}/{file}")), "no {file} in {files:?}");
    }
}

/// An empty root with /dev, /proc and /sys of its own mount namespace, which goes with the program.
fn in_an_empty_root(scene: &Scene, root: &Path, arguments: &[&str], input: &str) -> Output {
    use std::io::Write;
    let script = r#"for name in dev proc sys; do mount --rbind /$name "$0/$name"; done; exec chroot "$0" /node-bootstrap "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "slave", "sh", "-ec", script]).arg(root).args(arguments);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("AWS_ENDPOINT_URL", scene.stage.cloud.aws_url());
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    child.wait_with_output().unwrap()
}

/// Lines of the log with an error of that step.
fn errors<'a>(log: &'a str, step: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.contains(&format!(" error: {step}: "))).collect()
}

#[test]
fn the_bootstrap_works_in_an_empty_root() {
    let Some(scene) = Scene::set() else { return };
    let root = tempfile::tempdir().unwrap();
    for name in ["dev", "proc", "sys", "etc/ssl/certs"] {
        fs::create_dir_all(root.path().join(name)).unwrap();
    }
    let program = root.path().join("node-bootstrap");
    fs::copy(dist().join("node-bootstrap"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let text = |output: &Output| {
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };

    let version = in_an_empty_root(&scene, root.path(), &["--version"], "");
    assert_eq!(text(&version), format!("node-bootstrap {}\n", env!("CARGO_PKG_VERSION")));

    // The registry's door is the cloud's one with TLS: it answers 401 to whoever gets as far as asking.
    let node_toml = format!(
        "[agent]\nurl = \"https://{OUTSIDE_ADDRESS}/node-agent.tar.gz\"\nsha256 = \"{}\"\n\
         [docker]\ninstall = false\n",
        "0".repeat(64)
    );
    let plan = in_an_empty_root(&scene, root.path(), &["plan", "--config", "-"], &node_toml);
    println!("--- plan: {}\n{}", plan.status, text(&plan));
    assert!(text(&plan).contains("i-0123456789abcdef0"), "it asked the metadata service: {}", text(&plan));
    assert!(
        !root.path().join("etc/node-agent").exists() && !root.path().join("run").exists(),
        "plan changed something"
    );

    let run = in_an_empty_root(&scene, root.path(), &["run", "--config", "-"], &node_toml);
    println!("--- run without certificates: {}\n{}", run.status, text(&run));
    assert_eq!(run.status.code(), Some(1));
    let told = text(&run);
    let failing = errors(&told, "agent");
    assert!(failing.len() == 1 && failing[0].contains("CA certificates"), "one line that names it: {told}");
    for step in ["docker", "units"] {
        assert_eq!(errors(&told, step).len(), 1, "one line for {step}: {told}");
    }

    fs::write(root.path().join("etc/ssl/certs/ca-certificates.crt"), scene.stage.cloud.authority_pem())
        .unwrap();
    let run = in_an_empty_root(&scene, root.path(), &["run", "--config", "-"], &node_toml);
    println!("--- run with certificates: {}\n{}", run.status, text(&run));
    assert_eq!(run.status.code(), Some(1));
    let told = text(&run);
    let failing = errors(&told, "agent");
    assert!(
        failing.len() == 1 && failing[0].contains("401"),
        "TLS is accepted, one line names the refusal: {told}"
    );
    assert!(!told.contains("panicked") && !told.contains("Error {"), "{told}");
}
