//! An EBS volume as the machine has it: an image file behind an NVMe controller whose serial number is the volume id.

use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A volume. Its file goes with the run's directory.
#[derive(Debug, Clone)]
pub struct Disk {
    id: String,
    file: PathBuf,
}

impl Disk {
    /// A blank volume of `bytes`, sparse. Its id is `vol-` and seventeen hexadecimal digits.
    ///
    /// # Errors
    /// What the system said.
    pub fn blank(directory: &Path, id: &str, bytes: u64) -> io::Result<Disk> {
        let disk = Disk { id: id.to_owned(), file: directory.join(format!("{id}.img")) };
        fs::File::create(&disk.file)?.set_len(bytes)?;
        Ok(disk)
    }

    /// `vol-…`
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The image file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The serial number of its controller: the id without the dash (AWS EBS User Guide, "Map EBS volumes to NVMe
    /// device names").
    pub(super) fn serial(&self) -> String {
        self.id.replace('-', "")
    }

    /// Enlarges the volume; only while it is not attached.
    ///
    /// # Errors
    /// What the system said.
    pub fn grow(&self, bytes: u64) -> io::Result<()> {
        fs::OpenOptions::new().write(true).open(&self.file)?.set_len(bytes)
    }

    /// sha256 of every byte.
    ///
    /// # Errors
    /// What the system said.
    pub fn sum(&self) -> io::Result<String> {
        let (mut file, mut sum, mut chunk) = (fs::File::open(&self.file)?, Sha256::new(), vec![0; 1 << 20]);
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok(sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
                length => sum.update(&chunk[..length]),
            }
        }
    }
}
