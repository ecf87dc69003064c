//! What the engine has stored: room, images, and making room.
//!
//! Where it stores is the engine's own word, believed only for an engine on this host. Not its job: which images may go.

use super::transport::Endpoint;
use super::{ASK_DEADLINE, Docker, REMOVE_DEADLINE, Refusal};
use crate::engine::{EngineError, LocalImage};
use crate::observed::Disk;
use bollard::models::{ImageSummary, SystemInfo};
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
};
use jiff::Timestamp;
use nix::sys::statvfs::statvfs;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

/// Where containerd keeps images by default; the engine does not say where its containerd does.
const CONTAINERD_ROOT: &str = "/var/lib/containerd";
/// How the engine says that containerd keeps its images.
const SNAPSHOTTER: &str = "io.containerd.snapshotter";
/// What stands in the place of a name that an image does not have.
const NO_NAME: &str = "<none>";

/// Folders whose file systems hold images and containers.
pub(super) type Storage = Vec<PathBuf>;

impl Docker {
    /// The fuller one where they are two file systems.
    pub(super) async fn room(&self) -> Result<Option<Disk>, EngineError> {
        if !is_here(&self.shared.transport.endpoint) {
            return Ok(None);
        }
        let storage = self.storage().await?;
        let look = tokio::task::spawn_blocking(move || {
            storage.iter().filter_map(|folder| disk_of(folder)).min_by_key(|disk| disk.free_bytes)
        });
        // A device that hangs holds its thread, not us.
        Ok(tokio::time::timeout(ASK_DEADLINE, look).await.ok().and_then(Result::ok).flatten())
    }

    /// Folders that hold images and containers, as far as the engine on this host has said already. Asks nobody.
    pub fn known_storage(&self) -> Vec<PathBuf> {
        let here = is_here(&self.shared.transport.endpoint);
        let known = self.shared.storage.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone().filter(|_| here).unwrap_or_default()
    }

    /// Asked once: the engine runs programs to answer this.
    async fn storage(&self) -> Result<Storage, EngineError> {
        let known = || self.shared.storage.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known().clone();
        if let Some(storage) = before {
            return Ok(storage);
        }
        let info = self.ask(ASK_DEADLINE, self.client().info()).await;
        let info = info.map_err(|refusal| self.refused("ask the engine where it stores images", refusal))?;
        let storage = folders(&info);
        *known() = Some(storage.clone());
        Ok(storage)
    }

    pub(super) async fn local_images(&self) -> Result<Vec<LocalImage>, EngineError> {
        let all = ListContainersOptionsBuilder::default().all(true).build();
        let images = ListImagesOptionsBuilder::default().build();
        // Images first: a container that is made in between keeps its image. One that is removed does no harm.
        let images = self.ask(ASK_DEADLINE, self.client().list_images(Some(images))).await;
        let images = images.map_err(|refusal| self.refused("list images", refusal))?;
        let containers = self.ask(ASK_DEADLINE, self.client().list_containers(Some(all))).await;
        let containers = containers.map_err(|refusal| self.refused("list containers", refusal))?;
        let used: BTreeSet<String> = containers.into_iter().filter_map(|it| it.image_id).collect();
        Ok(images.into_iter().map(|image| local(image, &used)).collect())
    }

    pub(super) async fn drop_image(&self, name: &str) -> Result<(), EngineError> {
        let _turn = self.turn().await;
        let options = RemoveImageOptionsBuilder::default().force(false).build();
        let removed = self.ask(REMOVE_DEADLINE, self.client().remove_image(name, Some(options), None)).await;
        let operation = format!("remove image {name}");
        match removed {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.status() == Some(404) => Ok(()),
            Err(Refusal::Answered { status: 409, message }) => Err(EngineError::Refused {
                operation,
                code: "image_in_use",
                message,
                hint: Some("look who uses it with `docker ps --all`".to_owned()),
            }),
            Err(refusal) => Err(self.refused(&operation, refusal)),
        }
    }
}

/// A unix socket is taken to be this host's, an address to be another's.
fn is_here(endpoint: &Endpoint) -> bool {
    matches!(endpoint, Endpoint::Unix(_))
}

pub(super) fn folders(info: &SystemInfo) -> Storage {
    let root = info.docker_root_dir.as_deref().filter(|root| root.starts_with('/')).map(PathBuf::from);
    let words = info.driver_status.iter().flatten().flatten();
    let containerd = words.into_iter().any(|word| word.starts_with(SNAPSHOTTER));
    root.into_iter().chain(containerd.then(|| PathBuf::from(CONTAINERD_ROOT))).collect()
}

/// `None` where it cannot be seen from here. Blocks as long as the device does.
fn disk_of(folder: &Path) -> Option<Disk> {
    let numbers = statvfs(folder).ok()?;
    let unit = numbers.fragment_size();
    // What is reserved for root stays free: it is what keeps a full disk repairable.
    let (free, total) = (numbers.blocks_available(), numbers.blocks());
    Some(Disk { free_bytes: free.saturating_mul(unit), total_bytes: total.saturating_mul(unit) })
}

fn local(image: ImageSummary, used: &BTreeSet<String>) -> LocalImage {
    let names = image.repo_digests.into_iter().chain(image.repo_tags);
    LocalImage {
        names: names.filter(|name| !name.contains(NO_NAME)).collect(),
        size_bytes: u64::try_from(image.size).unwrap_or_default(),
        created_at: Timestamp::from_second(image.created).unwrap_or(Timestamp::UNIX_EPOCH),
        in_use: used.contains(&image.id),
        id: image.id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_elsewhere_tells_nothing_of_this_hosts_disks() {
        let endpoint = |host| Endpoint::parse(Some(host)).expect("a host");
        assert!(is_here(&endpoint("unix:///run/docker.sock")));
        assert!(!is_here(&endpoint("tcp://10.0.0.1:2375")));
    }

    #[test]
    fn where_images_lie() {
        let info = |root: &str, driver: &str| SystemInfo {
            docker_root_dir: Some(root.to_owned()),
            driver_status: Some(vec![vec!["driver-type".to_owned(), driver.to_owned()]]),
            ..SystemInfo::default()
        };
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(folders(&info("/data", "overlay2")), paths(&["/data"]));
        let containerd = info("/var/lib/docker", "io.containerd.snapshotter.v1");
        assert_eq!(folders(&containerd), paths(&["/var/lib/docker", CONTAINERD_ROOT]));
        assert_eq!(folders(&SystemInfo::default()), paths(&[]));
        assert_eq!(disk_of(Path::new("/nowhere/docker")), None);
    }

    #[test]
    fn an_image_without_a_name_has_none() {
        let image = ImageSummary {
            id: "sha256:1".to_owned(),
            repo_tags: vec!["<none>:<none>".to_owned()],
            repo_digests: vec!["r/app@sha256:2".to_owned(), "<none>@<none>".to_owned()],
            size: 7,
            ..ImageSummary::default()
        };
        let local = local(image, &BTreeSet::from(["sha256:1".to_owned()]));
        assert_eq!(
            (local.names, local.size_bytes, local.in_use),
            (vec!["r/app@sha256:2".to_owned()], 7, true)
        );
    }
}
