//! `[volumes.NAME]`

use super::{Document, each, optional};
use crate::config::findings::{Findings, Span, Wrong};
use crate::config::settings::{Filesystem, Volume, VolumeIdentity};
use crate::config::text::{access, device, name, path, quantity};
use crate::config::tree::Place;
use crate::config::written;
use std::collections::BTreeMap;
use std::time::Duration;

/// A volume that is not attached after a day needs a person.
const WAIT_AT_MOST: Duration = Duration::from_secs(24 * 60 * 60);

/// All volumes; no two may be the same one or share a mount point.
pub(super) fn volumes(document: Document<'_>, findings: &mut Findings) -> Option<BTreeMap<String, Volume>> {
    let places = document.root.key("volumes");
    let mut mounts = Vec::new();
    let mut identities = Vec::new();
    let volumes = each(&document.written.volumes, |name, written| {
        let place = places.key(name);
        let mount = written
            .mount
            .as_deref()
            .and_then(|mount| findings.take(place.key("mount").at(), path::mount_point(mount)));
        let identity = identity(written, place, findings);
        if let Some(mount) = &mount {
            mounts.push((place.key("mount").at(), name.to_owned(), mount.clone()));
        }
        if let Some((at, identity)) = &identity {
            identities.push((*at, name.to_owned(), format!("{identity:?}")));
        }
        volume(name, written, place, findings, (identity.map(|(_, identity)| identity), mount))
    });
    refuse_twice(mounts, "is already mounted there", findings);
    refuse_twice(identities, "is already this volume", findings);
    volumes
}

fn volume(
    name: &str,
    written: &written::Volume,
    place: Place<'_>,
    findings: &mut Findings,
    (identity, mount): (Option<VolumeIdentity>, Option<String>),
) -> Option<Volume> {
    let named = findings.take(place.key_at(), name::thing("volume", name));
    let wait = quantity::duration_in(&written.wait, Duration::ZERO..=WAIT_AT_MOST);
    let wait = findings.take(place.key("wait").at(), wait);
    let owner = optional(written.owner.as_deref(), |owner| {
        findings.take(place.key("owner").at(), access::owner(owner))
    });
    let mode =
        optional(written.mode.as_deref(), |mode| findings.take(place.key("mode").at(), access::mode(mode)));
    named?;
    Some(Volume {
        identity: identity?,
        mount: mount?,
        filesystem: match written.filesystem {
            written::Filesystem::Xfs => Filesystem::Xfs,
            written::Filesystem::Ext4 => Filesystem::Ext4,
        },
        format_if_blank: written.format == written::Format::IfBlank,
        wait: wait?,
        optional: written.optional,
        owner: owner?,
        mode: mode?,
    })
}

fn identity(
    written: &written::Volume,
    place: Place<'_>,
    findings: &mut Findings,
) -> Option<(Span, VolumeIdentity)> {
    let (device, volume_id) = (place.key("device"), place.key("volume_id"));
    match (device.is_written(), volume_id.is_written()) {
        (true, true) => {
            let at = device.key_at().max(volume_id.key_at());
            findings.add(at, Wrong::new("`device` and `volume_id` are both written").hint("leave one out"));
        }
        (false, false) if !place.has_or_means("device") && !place.has_or_means("volume_id") => {
            let wrong = Wrong::absent("neither `device` nor `volume_id` says which volume it is")
                .hint("write device = \"/dev/sdf\", the name that it is attached under");
            findings.add(place.at(), wrong);
        }
        _ => {}
    }
    let name = written.device.as_deref();
    let name = name.and_then(|name| findings.take(device.at(), device::attach_name(name)));
    let id = written.volume_id.as_deref();
    let id = id.and_then(|id| findings.take(volume_id.at(), device::volume_id(id)));
    match (name, id) {
        (Some(name), None) => Some((device.at(), VolumeIdentity::AttachName(name))),
        (None, Some(id)) => Some((volume_id.at(), VolumeIdentity::VolumeId(id))),
        _ => None,
    }
}

/// Reports every value that an earlier volume has too.
fn refuse_twice(mut values: Vec<(Span, String, String)>, what: &str, findings: &mut Findings) {
    values.sort();
    let mut first = BTreeMap::new();
    for (at, name, value) in values {
        match first.get(&value) {
            Some(other) => {
                findings.add(at, Wrong::new(format!("volume `{other}` {what}, `{name}` cannot be it too")))
            }
            None => {
                first.insert(value, name);
            }
        }
    }
}
