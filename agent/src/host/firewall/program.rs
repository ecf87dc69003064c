//! Runs the program `nft`: text in, text out, killed at its deadline.
//!
//! Not its job: what the text says.

#![expect(clippy::disallowed_methods, reason = "the one place that starts nft")]

use crate::firewall::FirewallError;
use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// A transaction of hundreds of rules takes milliseconds; it may wait for another one.
const DEADLINE: Duration = Duration::from_secs(5);
/// Not the caller's: a unit and a shell have different ones.
const FOLDERS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs it with these arguments and this standard input; standard output, or `None` where the table does not exist.
pub(super) async fn nft(
    operation: &str,
    arguments: &[&str],
    input: &str,
) -> Result<Option<String>, FirewallError> {
    let failed = |message: String, hint: Option<&str>| FirewallError {
        operation: operation.to_owned(),
        message,
        hint: hint.map(str::to_owned),
    };
    let output = match tokio::time::timeout(DEADLINE, run(arguments, input)).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            let hint = "install the package `nftables` (apt-get install nftables, or dnf install nftables)";
            return Err(failed("the program `nft` is not installed".to_owned(), Some(hint)));
        }
        Ok(Err(error)) => return Err(failed(format!("`nft` cannot be started: {error}"), None)),
        Err(_) => return Err(failed(format!("`nft` did not end within {} s", DEADLINE.as_secs()), None)),
    };
    if output.status.success() {
        return Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let first = words.lines().find(|line| !line.trim().is_empty()).unwrap_or("it does not say why").trim();
    if first.ends_with("No such file or directory") && arguments.contains(&"list") {
        return Ok(None);
    }
    Err(failed(format!("`nft` ended with {}: {first}", output.status), hint(first)))
}

fn hint(words: &str) -> Option<&'static str> {
    if words.contains("not permitted") {
        return Some("run the agent as root, with CAP_NET_ADMIN");
    }
    let old = ["not supported", "JSON support not compiled-in", "syntax error"];
    old.iter().any(|part| words.contains(part)).then_some(
        "it takes Linux 5.2 or newer with nf_tables, and nftables 1.0 or newer; set strategy = \"recreate\" elsewhere",
    )
}

async fn run(arguments: &[&str], input: &str) -> io::Result<Output> {
    let mut command = tokio::process::Command::new("nft");
    command.args(arguments).env_clear().env("PATH", FOLDERS).env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read to the end says itself what it thinks of it.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    child.wait_with_output().await
}
