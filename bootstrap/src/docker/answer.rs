//! What a package manager's answer means: is another one at work, is there no network, does it not know the package.
//! Pure, held against answers as apt-get, dnf, yum and rpm have given them.

/// Why an installation failed, as far as the answer tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Another process holds a lock; who, if that is said.
    Locked {
        holder: Option<String>,
    },
    NoNetwork,
    UnknownPackage,
    Other,
}

const LOCKED: [&str; 8] = [
    "Could not get lock",
    "Unable to acquire the dpkg frontend lock",
    "Unable to lock directory",
    "is another process using it",
    "Another app is currently holding the yum lock",
    "another copy is running as pid",
    "Failed to obtain the transaction lock",
    "transaction lock on",
];

const UNKNOWN: [&str; 5] = [
    "Unable to locate package",
    "has no installation candidate",
    "Unable to find a match",
    "No match for argument",
    "No package docker available",
];

const NO_NETWORK: [&str; 11] = [
    "Temporary failure resolving",
    "Could not resolve host",
    "Could not connect to",
    "Unable to connect to",
    "Network is unreachable",
    "Connection timed out",
    "Connection refused",
    "Failed to download metadata for repo",
    "Cannot find a valid baseurl for repo",
    "Some index files failed to download",
    "Unable to fetch some archives",
];

/// Reads the whole output. A lock comes first: it is what a later try gets past. A network that fails is also why a
/// package is not known.
pub(super) fn trouble(output: &str) -> Trouble {
    let says = |signs: &[&str]| signs.iter().any(|sign| output.contains(sign));
    if says(&LOCKED) {
        Trouble::Locked { holder: holder(output) }
    } else if says(&NO_NETWORK) {
        Trouble::NoNetwork
    } else if says(&UNKNOWN) {
        Trouble::UnknownPackage
    } else {
        Trouble::Other
    }
}

/// `1234 (apt-get)` of apt, the number of the others.
fn holder(output: &str) -> Option<String> {
    let number = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    if let Some((_, rest)) = output.split_once("held by process ") {
        let process = number(rest);
        let name = rest[process.len()..].strip_prefix(" (").and_then(|rest| rest.split_once(')'));
        return Some(name.map_or(process.clone(), |(name, _)| format!("{process} ({name})")));
    }
    let places = ["running as pid ", "pid: ", "process with pid "];
    let rest = places.iter().find_map(|place| output.split_once(place).map(|(_, rest)| rest))?;
    Some(number(rest)).filter(|process| !process.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(holder: &str) -> Trouble {
        Trouble::Locked { holder: (!holder.is_empty()).then(|| holder.to_owned()) }
    }

    #[test]
    fn an_answer_that_another_package_manager_holds_the_lock_says_who_where_it_can() {
        let recorded = [
            (
                "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 1302 (unattended-upgr)\n\
                 N: Be aware that removing the lock file is not a solution and may break your system.\n\
                 E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?\n",
                locked("1302 (unattended-upgr)"),
            ),
            (
                "Reading package lists...\nE: Could not get lock /var/lib/apt/lists/lock. It is held by process 977 (apt-get)\n\
                 E: Unable to lock directory /var/lib/apt/lists/\n",
                locked("977 (apt-get)"),
            ),
            (
                "E: Could not get lock /var/lib/dpkg/lock - open (11: Resource temporarily unavailable)\n",
                locked(""),
            ),
            (
                "Existing lock /var/run/yum.pid: another copy is running as pid 3210.\n\
                 Another app is currently holding the yum lock; waiting for it to exit...\n  The other application is: yum\n\
                 \x20   Memory :  82 M RSS (374 MB VSZ)\n    State  : Sleeping, pid: 3210\n",
                locked("3210"),
            ),
            (
                "Waiting for process with pid 2718 to finish.\nError: Failed to obtain the transaction lock (logged in as: root).\n",
                locked("2718"),
            ),
            (
                "error: can't create transaction lock on /var/lib/rpm/.rpm.lock (Resource temporarily unavailable)\n",
                locked(""),
            ),
        ];
        for (output, expected) in recorded {
            assert_eq!(trouble(output), expected, "{output}");
        }
    }

    #[test]
    fn answers_without_a_network_or_a_package_are_told_apart() {
        let recorded = [
            (
                "Err:1 http://deb.debian.org/debian bookworm InRelease\n  Temporary failure resolving 'deb.debian.org'\n\
                 E: Some index files failed to download. They have been ignored, or old ones used instead.\n\
                 E: Unable to locate package docker.io\n",
                Trouble::NoNetwork,
            ),
            (
                "E: Failed to fetch http://archive.ubuntu.com/pool/d/docker.io.deb  Could not connect to archive.ubuntu.com:80 \
                 (185.125.190.36), connection timed out\nE: Unable to fetch some archives, maybe run apt-get update\n",
                Trouble::NoNetwork,
            ),
            (
                "Amazon Linux 2023 repository  0.0  B/s |   0  B     00:30\nErrors during downloading metadata for repository \
                 'amazonlinux':\n  - Curl error (28): Timeout was reached\n\
                 Error: Failed to download metadata for repo 'amazonlinux': Cannot prepare internal mirrorlist\n",
                Trouble::NoNetwork,
            ),
            (
                "[Errno 14] curl#6 - \"Could not resolve host: amazonlinux-2-repos-eu-north-1.s3.amazonaws.com\"\n\
                 Cannot find a valid baseurl for repo: amzn2-core/2/x86_64\n",
                Trouble::NoNetwork,
            ),
            ("E: Unable to locate package docker.io\n", Trouble::UnknownPackage),
            ("E: Package 'docker.io' has no installation candidate\n", Trouble::UnknownPackage),
            (
                "No match for argument: docker\nError: Unable to find a match: docker\n",
                Trouble::UnknownPackage,
            ),
            ("No package docker available.\nError: Nothing to do\n", Trouble::UnknownPackage),
            (
                "dpkg: error processing package docker.io (--configure):\n installed post-installation script returned 1\n",
                Trouble::Other,
            ),
        ];
        for (output, expected) in recorded {
            assert_eq!(trouble(output), expected, "{output}");
        }
    }
}
