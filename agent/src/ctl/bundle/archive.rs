//! A tar of text files, packed, readable by its owner only; whole or not there.

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// One that is being written, beside the place where it will be.
pub(super) struct Archive {
    tar: Option<tar::Builder<GzEncoder<File>>>,
    temporary: PathBuf,
    path: PathBuf,
    folder: String,
    at: u64,
}

impl Archive {
    /// Begins one for `path`, all of whose files will be in `folder` and of the time `at`.
    pub(super) fn create(path: &Path, folder: &str, at: Timestamp) -> io::Result<Archive> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let tar = tar::Builder::new(GzEncoder::new(file, Compression::default()));
        let at = u64::try_from(at.as_second()).unwrap_or_default();
        Ok(Archive { tar: Some(tar), temporary, path: path.to_owned(), folder: folder.to_owned(), at })
    }

    /// Adds a file.
    pub(super) fn add(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.at);
        let place = format!("{}/{}", self.folder, name.trim_start_matches('/'));
        match &mut self.tar {
            Some(tar) => tar.append_data(&mut header, place, content),
            None => Err(io::Error::other("the archive is finished")),
        }
    }

    /// Ends it, and puts it where it was wanted.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let Some(tar) = self.tar.take() else { return Ok(()) };
        let mut file = tar.into_inner()?.finish()?;
        file.flush()?;
        file.sync_all()?;
        fs::rename(&self.temporary, &self.path)
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        // After a rename there is none; before it nobody can use it.
        let _ = fs::remove_file(&self.temporary);
    }
}
