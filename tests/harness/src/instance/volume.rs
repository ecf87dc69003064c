//! An EBS volume: a loop device over a sparse file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A block device that goes, with its file, when it is dropped.
#[derive(Debug)]
pub struct Volume {
    file: PathBuf,
    device: PathBuf,
}

impl Volume {
    /// A blank volume of `bytes`, stored at `file`.
    pub fn blank(file: &Path, bytes: u64) -> io::Result<Volume> {
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::File::create(file)?.set_len(bytes)?;
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file).output()?;
        let device = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() || device.is_empty() {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(io::Error::other(format!("cannot attach {}: {words}", file.display())));
        }
        Ok(Volume { file: file.to_owned(), device: PathBuf::from(device) })
    }

    /// The block device.
    pub fn device(&self) -> &Path {
        &self.device
    }

    /// The file behind it.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Enlarges the volume as EBS does: the device grows, what is on it does not.
    pub fn grow(&self, bytes: u64) -> io::Result<()> {
        fs::OpenOptions::new().write(true).open(&self.file)?.set_len(bytes)?;
        super::run_on_host("losetup", &["--set-capacity"], Some(&self.device))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = super::run_on_host("losetup", &["--detach"], Some(&self.device));
        let _ = fs::remove_file(&self.file);
    }
}
