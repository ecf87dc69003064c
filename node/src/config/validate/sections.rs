//! The small sections: images, agent, secrets, registries.

use super::{Document, list};
use crate::config::findings::{Findings, Wrong};
use crate::config::settings::{AgentArtifact, Images, Reclaim, RegistryAuth, Secret};
use crate::config::text::{image, name, quantity};
use crate::config::tree::Place;
use crate::config::written;
use std::ops::RangeInclusive;
use std::time::Duration;

/// An image or a model that nobody needed for a year is not needed.
pub(super) const UNUSED_FOR: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(8760 * 60 * 60);
/// With nothing kept free the engine's file system fills; with nearly all of it no image fits.
const MIN_FREE: RangeInclusive<u8> = 1..=90;

/// `[images]`
pub(super) fn images(written: &written::Images, place: Place<'_>, findings: &mut Findings) -> Option<Images> {
    let unused_for = quantity::duration_in(&written.unused_for, UNUSED_FOR);
    let unused_for = findings.take(place.key("unused_for").at(), unused_for);
    let min_free = quantity::percent(&written.min_free).and_then(|percent| {
        let out_of_range = || Wrong::new(format!("\"{}\" is out of range", written.min_free));
        let hint = "write a share from 1% to 90%";
        MIN_FREE.contains(&percent).then_some(percent).ok_or_else(|| out_of_range().hint(hint))
    });
    let min_free_percent = findings.take(place.key("min_free").at(), min_free);
    Some(Images {
        reclaim: reclaim(written.reclaim),
        unused_for: unused_for?,
        min_free_percent: min_free_percent?,
    })
}

/// `reclaim`, of images and of models.
pub(super) fn reclaim(written: written::Reclaim) -> Reclaim {
    match written {
        written::Reclaim::Ours => Reclaim::Ours,
        written::Reclaim::All => Reclaim::All,
        written::Reclaim::Never => Reclaim::Never,
    }
}

/// `[agent]`
pub(super) fn agent(
    written: &written::Agent,
    place: Place<'_>,
    findings: &mut Findings,
) -> Option<AgentArtifact> {
    let url = written.url.as_deref().and_then(|url| findings.take(place.key("url").at(), address(url)));
    let sha256 =
        written.sha256.as_deref().and_then(|sum| findings.take(place.key("sha256").at(), checksum(sum)));
    Some(AgentArtifact { url: url?, sha256: sha256? })
}

/// The address itself is in no message: a signed one is a credential.
fn address(url: &str) -> Result<String, Wrong> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match host {
        None => Err(Wrong::new("the address does not begin with https:// or http://")),
        Some("") => Err(Wrong::new("the address has no host")),
        Some(host) if host.contains('@') => Err(Wrong::new("the address has a user name or password in it")
            .hint("use an address that the node's role or network may read")),
        Some(_) if url.chars().any(|c| c.is_whitespace() || c.is_control()) => {
            Err(Wrong::new("the address has spaces or control characters"))
        }
        Some(_) => Ok(url.to_owned()),
    }
}

fn checksum(text: &str) -> Result<String, Wrong> {
    let lower = text.to_ascii_lowercase();
    if lower.len() == 64 && image::is_lower_hex(&lower) {
        return Ok(lower);
    }
    Err(Wrong::new(format!(
        "a SHA-256 has 64 hexadecimal digits, this one has {} characters",
        text.chars().count()
    ))
    .hint("write the first column of the .sha256 file"))
}

/// `[secrets.NAME]`
pub(super) fn secret(
    name: &str,
    written: &written::Secret,
    place: Place<'_>,
    findings: &mut Findings,
) -> Option<Secret> {
    let named = findings.take(place.key_at(), name::thing("secret", name));
    let id = written.id.as_deref().and_then(|id| findings.take(place.key("id").at(), name::secret_id(id)));
    let require = list(&written.require, place.key("require"), findings, |key| match key {
        "" => Err(Wrong::new("a key cannot be empty")),
        key => Ok(key.to_owned()),
    });
    named?;
    Some(Secret {
        id: id?,
        require: require?,
        restart_on_change: written.on_change == written::OnChange::Restart,
    })
}

/// `[registries."HOST"]`
pub(super) fn registry(
    document: Document<'_>,
    host: &str,
    written: &written::Registry,
    findings: &mut Findings,
) -> Option<RegistryAuth> {
    let place = document.root.key("registries").key(host);
    let named = findings.take(place.key_at(), image::registry_host(host));
    let auth = match written.auth.as_ref()? {
        written::RegistryAuth::Kind(written::RegistryAuthKind::Ecr) => RegistryAuth::Ecr,
        written::RegistryAuth::Kind(written::RegistryAuthKind::None) => RegistryAuth::None,
        written::RegistryAuth::Secret(secret) => {
            let at = place.key("auth").key("secret").at();
            let name = document.reference("secrets", secret.secret.as_deref()?);
            RegistryAuth::Secret(findings.take(at, name)?)
        }
    };
    named.map(|()| auth)
}
