//! A device that is open and proven to be the one that was planned.
//!
//! While the descriptor is open the kernel gives the device's number to no other device, and everything is read and
//! written through it, so that a volume that is swapped meanwhile cannot take its place. Closed, it proves nothing.

use super::{ApplyError, io_error};
use crate::volumes::plan::Device;
use crate::volumes::signatures::Content;
use crate::volumes::{identify, kernel, observe};
use nix::libc;
use node::nvme;
use node::paths::Paths;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

/// A `mkfs` of a run that was killed a moment ago still has the device, until the kernel has ended it.
const BUSY_AT_MOST: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// An open device.
#[derive(Debug, Clone)]
pub(super) struct Proven {
    pub(super) file: Arc<File>,
    pub(super) device: Device,
}

impl Proven {
    /// Opens it when the kernel confirms that nobody holds it in any mount namespace, and proves who it is and that
    /// what was planned for is still on it.
    pub(super) async fn alone(
        paths: &Paths,
        device: &Device,
        content: Option<Content>,
        write: bool,
    ) -> Result<Proven, ApplyError> {
        let looks = BUSY_AT_MOST.as_millis() / LOOK_AGAIN.as_millis();
        let mut opened = Err(io::Error::from_raw_os_error(libc::EBUSY));
        for look in 0..=looks {
            if look > 0 {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            let node = device.node.clone();
            opened = super::blocking("open", device, move || Ok(open_alone(&node, write))).await?;
            match &opened {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                _ => break,
            }
        }
        let file = Arc::new(opened.map_err(io_error("have for itself", &device.node))?);
        let proven = Proven { file, device: device.clone() };
        let (paths, checked) = (paths.clone(), proven.clone());
        super::blocking("prove", device, move || {
            checked.prove_identity(&paths)?;
            checked.prove_content(content.as_ref())
        })
        .await?;
        Ok(proven)
    }

    /// Opens what is mounted already, and proves who it is.
    pub(super) async fn in_use(paths: &Paths, device: &Device) -> Result<Proven, ApplyError> {
        let (paths, device_there) = (paths.clone(), device.clone());
        super::blocking("prove", device, move || {
            let file = File::open(&device_there.node).map_err(io_error("open", &device_there.node))?;
            let proven = Proven { file: Arc::new(file), device: device_there };
            proven.prove_identity(&paths)?;
            Ok(proven)
        })
        .await
    }

    /// The same without the right to write: some kernels mount nothing that somebody has open for writing.
    pub(super) fn only_reading(self) -> Result<Proven, ApplyError> {
        let file = File::open(self.path()).map_err(io_error("open", &self.device.node))?;
        Ok(Proven { file: Arc::new(file), device: self.device })
    }

    /// How another program reaches what this descriptor has open.
    pub(super) fn path(&self) -> String {
        path_of(&self.file)
    }

    pub(super) fn changed(&self, what: String) -> ApplyError {
        ApplyError::Changed { device: self.device.node.clone(), what }
    }

    fn prove_identity(&self, paths: &Paths) -> Result<(), ApplyError> {
        let Device { node, name, number, size_bytes, serial, .. } = &self.device;
        let metadata = self.file.metadata().map_err(io_error("examine", node))?;
        if observe::device_number(&metadata) != Some(*number) || observe::number(paths, name) != Some(*number)
        {
            return Err(self.changed("another device number".to_owned()));
        }
        let bytes = kernel::device_bytes(&self.file).map_err(io_error("measure", node))?;
        if bytes != *size_bytes {
            return Err(self.changed(format!("{bytes} bytes instead of {size_bytes}")));
        }
        if observe::serial(paths, name) != *serial {
            return Err(self.changed("another serial number".to_owned()));
        }
        if name.starts_with("nvme") { self.prove_controller() } else { Ok(()) }
    }

    /// The controller behind this very descriptor says who it is.
    fn prove_controller(&self) -> Result<(), ApplyError> {
        let Device { node, model, serial, attach_names, .. } = &self.device;
        let data = nvme::identify_controller(&self.file).map_err(io_error("ask who it is", node))?;
        let said = identify::controller(&data);
        let same = said.as_ref().is_some_and(|said| {
            let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            text(&said.serial) == *serial
                && text(&said.model) == *model
                && said.attach_name.as_slice() == attach_names.as_slice()
        });
        if same { Ok(()) } else { Err(self.changed(format!("its controller says {said:?}"))) }
    }

    fn prove_content(&self, planned: Option<&Content>) -> Result<(), ApplyError> {
        let node = &self.device.node;
        let content = observe::read_content(&self.file, self.device.size_bytes);
        match content.map_err(io_error("read", node))? {
            content if Some(&content) == planned => Ok(()),
            content => Err(self.changed(format!("it holds {content}"))),
        }
    }
}

/// How another program reaches what a descriptor of this one has open.
pub(super) fn path_of(file: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

/// `O_EXCL` only asks: that descriptor is given back at once, because `mkfs` and the checkers ask for the same.
fn open_alone(node: &str, write: bool) -> io::Result<File> {
    let open = |flags| OpenOptions::new().read(true).write(write).custom_flags(flags).open(node);
    let kept = open(0)?;
    drop(open(libc::O_EXCL)?);
    Ok(kept)
}
