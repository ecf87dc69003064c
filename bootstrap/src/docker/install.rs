//! Which commands install Docker on which distribution: one table, pure, from the text of os-release.

use crate::command::Invocation;
use std::time::Duration;

/// Downloads about 100 MB and unpacks them. One that is frozen ends here, with all that it has started.
const DEADLINE: Duration = Duration::from_secs(900);
/// apt-get waits so long for another holder of the package lock, then says who that is; it is tried again. dnf and yum
/// wait by themselves. Without the last, `update` counts as done where nothing could be fetched.
const APT_OPTIONS: [&str; 7] =
    ["-o", "DPkg::Lock::Timeout=5", "-o", "Acquire::Retries=3", "-o", "APT::Update::Error-Mode=any", "-q"];

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

/// How Docker comes onto a distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Recipe {
    /// In this order.
    Commands(Vec<Invocation>),
    /// It has none of its own in its repositories, only podman.
    NotPackaged,
    Unknown,
}

/// `has`: whether a program is installed.
pub(super) fn recipe(distribution: &Distribution, has: impl Fn(&str) -> bool) -> Recipe {
    let run = |program: &str, arguments: &[&str]| {
        Invocation::new(program, DEADLINE).arguments(arguments.iter().copied())
    };
    let apt = |arguments: &[&str]| run("apt-get", &[&APT_OPTIONS[..], arguments].concat());
    // yum where dnf is missing: the same words.
    let manager = if has("dnf") || !has("yum") { "dnf" } else { "yum" };
    // The agent leads ports to containers with it. No engine asks for it by itself.
    let nftables: &[&str] = if has("nft") { &[] } else { &["nftables"] };
    let install = |package: &str| run(manager, &[&["install", "-y", package], nftables].concat());
    Recipe::Commands(match (distribution.id.as_str(), distribution.version.as_str()) {
        // Docker is in the extras of Amazon Linux 2, not in its core repository.
        ("amzn", "2") if has("amazon-linux-extras") => {
            let nftables = nftables.iter().map(|package| run(manager, &["install", "-y", package]));
            nftables.chain([run("amazon-linux-extras", &["install", "-y", "docker"])]).collect()
        }
        ("amzn", _) => vec![install("docker")],
        ("fedora", _) => vec![install("moby-engine")],
        (id, _) if is_debian(id, distribution) => {
            // apparmor is only recommended by docker.io, but where the kernel has AppArmor an engine that finds no
            // `apparmor_parser` starts no container.
            let packages = ["-y", "--no-install-recommends", "install", "docker.io", "apparmor"];
            vec![apt(&["update"]), apt(&[&packages[..], nftables].concat())]
        }
        _ if ["rhel", "centos"].iter().any(|name| is_like(distribution, name)) => return Recipe::NotPackaged,
        _ => return Recipe::Unknown,
    })
}

fn is_like(distribution: &Distribution, name: &str) -> bool {
    distribution.id == name || distribution.like.iter().any(|like| like == name)
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
    const FEDORA_41: &str = "NAME=\"Fedora Linux\"\nID=fedora\nVERSION_ID=41\n";
    const ROCKY_9: &str =
        "NAME=\"Rocky Linux\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"\n";
    const APT_INSTALL: &str = "apt-get -o DPkg::Lock::Timeout=5 -o Acquire::Retries=3 -o \
        APT::Update::Error-Mode=any -q -y --no-install-recommends install docker.io apparmor";
    const APT_INSTALL_WITH_NFTABLES: &str = "apt-get -o DPkg::Lock::Timeout=5 -o Acquire::Retries=3 -o \
        APT::Update::Error-Mode=any -q -y --no-install-recommends install docker.io apparmor nftables";
    const APT_UPDATE: &str =
        "apt-get -o DPkg::Lock::Timeout=5 -o Acquire::Retries=3 -o APT::Update::Error-Mode=any -q update";

    #[test]
    fn every_recorded_distribution_has_its_commands() {
        type Row = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);
        const EXTRAS: &str = "amazon-linux-extras install -y docker";
        let table: [Row; 11] = [
            (AMAZON_2, "amzn 2", &["yum", "amazon-linux-extras", "nft"], &[EXTRAS]),
            // The last one is what counts: an engine without nftables is better than none.
            (AMAZON_2, "amzn 2", &["yum", "amazon-linux-extras"], &["yum install -y nftables", EXTRAS]),
            (AMAZON_2, "amzn 2", &["yum", "nft"], &["yum install -y docker"]),
            (AMAZON_2023, "amzn 2023", &["dnf", "yum", "nft"], &["dnf install -y docker"]),
            (AMAZON_2023, "amzn 2023", &["dnf", "yum"], &["dnf install -y docker nftables"]),
            (AMAZON_2023, "amzn 2023", &["yum", "nft"], &["yum install -y docker"]),
            (FEDORA_41, "fedora 41", &["dnf", "nft"], &["dnf install -y moby-engine"]),
            (FEDORA_41, "fedora 41", &["dnf"], &["dnf install -y moby-engine nftables"]),
            (UBUNTU_22, "ubuntu 22.04", &["apt-get", "nft"], &[APT_UPDATE, APT_INSTALL]),
            (DEBIAN_12, "debian 12", &["apt-get", "nft"], &[APT_UPDATE, APT_INSTALL]),
            (DEBIAN_12, "debian 12", &["apt-get"], &[APT_UPDATE, APT_INSTALL_WITH_NFTABLES]),
        ];
        for (text, name, programs, expected) in table {
            let distribution = Distribution::parse(text);
            assert_eq!(distribution.name(), name);
            let Recipe::Commands(commands) = recipe(&distribution, |program| programs.contains(&program))
            else {
                panic!("{name} has none")
            };
            let shown: Vec<String> = commands.iter().map(ToString::to_string).collect();
            assert_eq!(shown, expected, "{name}");
        }
    }

    #[test]
    fn a_distribution_without_a_package_is_told_from_an_unknown_one() {
        for (text, expected) in [
            (ROCKY_9, Recipe::NotPackaged),
            ("ID=\"rhel\"\nID_LIKE=\"fedora\"\n", Recipe::NotPackaged),
            ("ID=nixos", Recipe::Unknown),
            ("", Recipe::Unknown),
        ] {
            assert_eq!(recipe(&Distribution::parse(text), |_| true), expected, "{text}");
        }
        assert_eq!(Distribution::parse("").name(), "an unknown distribution");
    }
}
