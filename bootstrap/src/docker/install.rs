//! Which commands install Docker on which distribution: one table, pure, from the text of os-release.

use crate::command::Invocation;
use std::time::Duration;

/// Downloads about 100 MB and unpacks them, behind another package manager that cloud-init may run.
const DEADLINE: Duration = Duration::from_secs(900);
/// How long apt-get waits for another holder of the package lock; dnf and yum wait by themselves.
const APT_LOCK_TIMEOUT: &str = "DPkg::Lock::Timeout=300";

/// What os-release says about the distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Distribution {
    /// `amzn`, `ubuntu`, …
    id: String,
    version: String,
    /// Distributions that it is made from.
    like: Vec<String>,
}

impl Distribution {
    /// os-release(5): shell assignments, quoted or not.
    pub(super) fn parse(os_release: &str) -> Distribution {
        let value = |key: &str| {
            let assigned =
                os_release.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
            assigned.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
        };
        let like = value("ID_LIKE").split_whitespace().map(str::to_owned).collect();
        Distribution { id: value("ID"), version: value("VERSION_ID"), like }
    }

    /// For messages.
    pub(super) fn name(&self) -> String {
        if self.id.is_empty() {
            "an unknown distribution".to_owned()
        } else {
            format!("{} {}", self.id, self.version)
        }
    }
}

/// The commands, in order; `None` where the distribution has no Docker package of its own that is known here.
pub(super) fn commands(distribution: &Distribution) -> Option<Vec<Invocation>> {
    let run = |program: &str, arguments: &[&str]| {
        Invocation::new(program, DEADLINE).arguments(arguments.iter().copied())
    };
    match (distribution.id.as_str(), distribution.version.as_str()) {
        // Docker is in the extras of Amazon Linux 2, not in its core repository.
        ("amzn", "2") => Some(vec![run("amazon-linux-extras", &["install", "-y", "docker"])]),
        ("amzn", _) => Some(vec![run("dnf", &["install", "-y", "docker"])]),
        ("fedora", _) => Some(vec![run("dnf", &["install", "-y", "moby-engine"])]),
        (id, _) if is_debian(id, distribution) => Some(vec![
            run("apt-get", &["-o", APT_LOCK_TIMEOUT, "-o", "Acquire::Retries=3", "-q", "update"]),
            run(
                "apt-get",
                &[
                    "-o",
                    APT_LOCK_TIMEOUT,
                    "-o",
                    "Acquire::Retries=3",
                    "-q",
                    "-y",
                    "--no-install-recommends",
                    "install",
                    "docker.io",
                    // Only recommended by it, but where the kernel has AppArmor an engine that finds no
                    // `apparmor_parser` starts no container.
                    "apparmor",
                ],
            ),
        ]),
        _ => None,
    }
}

fn is_debian(id: &str, distribution: &Distribution) -> bool {
    let family = ["debian", "ubuntu"];
    family.contains(&id) || distribution.like.iter().any(|like| family.contains(&like.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMAZON_2: &str = "NAME=\"Amazon Linux\"\nVERSION=\"2\"\nID=\"amzn\"\nID_LIKE=\"centos rhel fedora\"\n\
        VERSION_ID=\"2\"\nPRETTY_NAME=\"Amazon Linux 2\"\nANSI_COLOR=\"0;33\"\n";
    const AMAZON_2023: &str = "NAME=\"Amazon Linux\"\nVERSION=\"2023\"\nID=\"amzn\"\nID_LIKE=\"fedora\"\n\
        VERSION_ID=\"2023\"\nPLATFORM_ID=\"platform:al2023\"\nPRETTY_NAME=\"Amazon Linux 2023.6.20250115\"\n";
    const UBUNTU_22: &str = "PRETTY_NAME=\"Ubuntu 22.04.5 LTS\"\nNAME=\"Ubuntu\"\nVERSION_ID=\"22.04\"\n\
        VERSION=\"22.04.5 LTS (Jammy Jellyfish)\"\nVERSION_CODENAME=jammy\nID=ubuntu\nID_LIKE=debian\n";
    const DEBIAN_12: &str = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\n\
        VERSION_ID=\"12\"\nVERSION=\"12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n";
    const ROCKY_9: &str =
        "NAME=\"Rocky Linux\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"\n";
    const APT_INSTALL: &str = "apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -q -y \
        --no-install-recommends install docker.io apparmor";
    const APT_UPDATE: &str = "apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -q update";

    #[test]
    fn every_recorded_distribution_has_its_commands() {
        let table: [(&str, &str, Option<&[&str]>); 6] = [
            (AMAZON_2, "amzn 2", Some(&["amazon-linux-extras install -y docker"])),
            (AMAZON_2023, "amzn 2023", Some(&["dnf install -y docker"])),
            (UBUNTU_22, "ubuntu 22.04", Some(&[APT_UPDATE, APT_INSTALL])),
            (DEBIAN_12, "debian 12", Some(&[APT_UPDATE, APT_INSTALL])),
            (ROCKY_9, "rocky 9.4", None),
            ("", "an unknown distribution", None),
        ];
        for (text, name, expected) in table {
            let distribution = Distribution::parse(text);
            assert_eq!(distribution.name(), name);
            let commands = commands(&distribution);
            let shown: Option<Vec<String>> =
                commands.map(|commands| commands.iter().map(ToString::to_string).collect());
            assert_eq!(
                shown.as_deref(),
                expected
                    .map(|lines| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())
                    .as_deref(),
                "{name}"
            );
        }
    }
}
