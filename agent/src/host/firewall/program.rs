//! Runs the program `nft`: text in, text out, killed at its deadline.
//!
//! Not its job: what the text says.

#![expect(clippy::disallowed_methods, reason = "the one place that starts nft")]

use crate::firewall::FirewallError;
use crate::host::program::FOLDERS;
use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// A transaction of hundreds of rules takes milliseconds; it may wait for another one.
const DEADLINE: Duration = Duration::from_secs(5);

/// Runs it with these arguments and this standard input; standard output, or `None` where the table does not exist.
pub(super) async fn nft(
    operation: &str,
    arguments: &[&str],
    input: &str,
) -> Result<Option<String>, FirewallError> {
    let ended = tokio::time::timeout(DEADLINE, run(arguments, input)).await;
    let (message, hint) = match ended {
        Ok(Ok(output)) if output.status.success() => {
            return Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()));
        }
        Ok(Ok(output)) => {
            let words = String::from_utf8_lossy(&output.stderr);
            let first = words.lines().map(str::trim).find(|line| !line.is_empty());
            let first = first.unwrap_or("it does not say why");
            if first.ends_with("No such file or directory") && arguments.contains(&"list") {
                return Ok(None);
            }
            (format!("`nft` ended with {}: {first}", output.status), hint(first))
        }
        Ok(Err(error)) => not_started(&error),
        Err(_) => (format!("`nft` did not end within {} s", DEADLINE.as_secs()), None),
    };
    Err(FirewallError { operation: operation.to_owned(), message, hint: hint.map(str::to_owned) })
}

fn not_started(error: &io::Error) -> (String, Option<&'static str>) {
    if error.kind() == io::ErrorKind::NotFound {
        let hint = "install the package `nftables` (apt-get install nftables, or dnf install nftables)";
        return ("the program `nft` is not installed".to_owned(), Some(hint));
    }
    (format!("`nft` cannot be started: {error}"), None)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        let (message, hint) = not_started(&io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(message, "the program `nft` is not installed");
        assert!(hint.is_some_and(|hint| hint.starts_with("install the package `nftables`")), "{hint:?}");
        assert_eq!(not_started(&io::Error::from(io::ErrorKind::OutOfMemory)).1, None);
    }

    #[test]
    fn words_of_the_program_become_what_to_do() {
        for (words, expected) in [
            ("Error: Could not process rule: Operation not supported", Some("Linux 5.2")),
            ("Error: syntax error, unexpected string", Some("Linux 5.2")),
            ("netlink: Error: cache initialization failed: Operation not permitted", Some("as root")),
            ("Error: Could not process rule: Device or resource busy", None),
        ] {
            let found = hint(words);
            assert_eq!(found.is_some(), expected.is_some(), "{words}: {found:?}");
            assert!(
                expected.is_none_or(|part| found.unwrap_or_default().contains(part)),
                "{words}: {found:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_refusal_is_one_line() {
        let error = nft("try", &["--no-such-option"], "").await.expect_err("refused");
        assert!(error.to_string().starts_with("cannot try: `nft` ended with exit status: 1: "), "{error}");
        assert!(!error.to_string().contains('\n'));
    }
}
