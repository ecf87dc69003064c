//! The models folder: `blobs/sha256-HEX` whole layers, `-partial` and `-partial-N` beside them, and
//! `manifests/HOST/NAMESPACE/MODEL/TAG` what names mean. Source: ollama `server/images.go`, `manifest/`.
//!
//! What always holds, as at Ollama: the manifest is written last and not atomically; a layer goes when no manifest that
//! can be read names it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::host;
use crate::name::Name;

/// What is younger is left alone at start: it may belong to a pull.
const GRACE: Duration = Duration::from_secs(60 * 60);

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) media_type: String,
    /// `sha256:…`
    pub(crate) digest: String,
    pub(crate) size: u64,
}

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Of its bytes, hex, without a prefix.
    pub(crate) digest: String,
    pub(crate) config: Option<Layer>,
    pub(crate) layers: Vec<Layer>,
}

impl Manifest {
    /// Reads one; `None` where it is none.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let document: Value = serde_json::from_slice(bytes).ok()?;
        let layer = |value: &Value| {
            let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
            let digest = text("digest");
            (is_digest(&digest)).then(|| Layer {
                media_type: text("mediaType"),
                digest,
                size: value["size"].as_u64().unwrap_or(0),
            })
        };
        let layers = match &document["layers"] {
            Value::Array(layers) => layers.iter().map(layer).collect::<Option<_>>()?,
            Value::Null => Vec::new(),
            _ => return None,
        };
        let digest = hex(&Sha256::digest(bytes));
        document.is_object().then(|| Self { digest, config: layer(&document["config"]), layers })
    }

    /// Its layers and then its configuration: the order in which they are pulled.
    pub(crate) fn files(&self) -> Vec<Layer> {
        self.layers.iter().chain(&self.config).cloned().collect()
    }

    /// Bytes of all of them.
    pub(crate) fn size(&self) -> u64 {
        self.files().iter().map(|layer| layer.size).sum()
    }
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:");
    digits.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    root: PathBuf,
}

impl Store {
    /// Makes what is missing of it.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root.join("blobs"))?;
        fs::create_dir_all(root.join("manifests"))?;
        Ok(Self { root: root.to_owned() })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the layer of that digest is or will be.
    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        self.root.join("blobs").join(digest.replacen(':', "-", 1))
    }

    fn place(&self, name: &Name) -> PathBuf {
        self.root.join("manifests").join(name.path())
    }

    /// What a name means; a manifest that makes no sense is an error of that kind.
    pub(crate) fn read(&self, name: &Name) -> io::Result<Manifest> {
        let bytes = fs::read(self.place(name))?;
        Manifest::parse(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Gives a name its meaning.
    #[expect(
        clippy::disallowed_methods,
        reason = "Ollama does not write it atomically, and so this must not"
    )]
    pub(crate) fn write(&self, name: &Name, manifest: &[u8]) -> io::Result<()> {
        let place = self.place(name);
        fs::create_dir_all(place.parent().unwrap_or(&self.root))?;
        fs::write(place, manifest)
    }

    /// Another name for the same.
    pub(crate) fn copy(&self, from: &Name, to: &Name) -> io::Result<()> {
        if from == to { Ok(()) } else { fs::read(self.place(from)).and_then(|bytes| self.write(to, &bytes)) }
    }

    /// Takes a name away, and the layers that no other needs.
    pub(crate) fn remove(&self, name: &Name) -> io::Result<()> {
        let manifest = self.read(name)?;
        fs::remove_file(self.place(name))?;
        self.remove_empty_folders(&self.root.join("manifests"))?;
        self.remove_unused(manifest.files().into_iter().map(|layer| layer.digest).collect());
        Ok(())
    }

    /// Every name with its meaning and when it was given; and whether a manifest made no sense.
    pub(crate) fn list(&self) -> (Vec<(Name, Manifest, Timestamp)>, bool) {
        let (mut found, mut damaged) = (Vec::new(), false);
        let root = self.root.join("manifests");
        for file in files_below(&root) {
            let parts = file.strip_prefix(&root).unwrap_or(&file).components();
            let parts: Vec<_> = parts.map(|part| part.as_os_str().to_string_lossy()).collect();
            let [host, namespace, model, tag] = parts.as_slice() else { continue };
            let Some(name) = Name::of_parts([host, namespace, model, tag]) else { continue };
            match self.read(&name) {
                Ok(manifest) => found.push((name, manifest, modified(&file).unwrap_or_default())),
                Err(_) => damaged = true,
            }
        }
        (found, damaged)
    }

    /// Removes those of the layers that no manifest names; files that are not there are no matter.
    pub(crate) fn remove_unused(&self, mut digests: BTreeSet<String>) {
        for (_, manifest, _) in self.list().0 {
            for layer in manifest.files() {
                digests.remove(&layer.digest);
            }
        }
        for digest in digests {
            fs::remove_file(self.blob(&digest)).ok();
        }
    }

    /// What Ollama does at start: partial and orphaned files older than an hour go, but not while a manifest makes no
    /// sense.
    pub(crate) fn prune(&self) -> io::Result<()> {
        if self.list().1 {
            return Ok(());
        }
        let mut unused = BTreeSet::new();
        for entry in fs::read_dir(self.root.join("blobs"))?.flatten() {
            let age = modified(&entry.path()).map(|then| host::now().duration_since(then));
            if age.is_none_or(|age| age.unsigned_abs() < GRACE) {
                continue;
            }
            let digest = entry.file_name().to_string_lossy().replacen('-', ":", 1);
            if is_digest(&digest) {
                unused.insert(digest);
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        self.remove_unused(unused);
        self.remove_empty_folders(&self.root.join("manifests"))
    }

    fn remove_empty_folders(&self, folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)?.flatten().filter(|entry| entry.path().is_dir()) {
            self.remove_empty_folders(&entry.path())?;
            if fs::read_dir(entry.path())?.next().is_none() {
                fs::remove_dir(entry.path())?;
            }
        }
        Ok(())
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

fn modified(path: &Path) -> Option<Timestamp> {
    Timestamp::try_from(fs::metadata(path).ok()?.modified().ok()?).ok()
}

/// An error of the file system in Go's words, which clients look for.
pub(crate) fn words(doing: &str, path: &Path, error: &io::Error) -> String {
    let what = match error.kind() {
        io::ErrorKind::StorageFull => "no space left on device".to_owned(),
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "read-only file system".to_owned(),
        _ => error.to_string(),
    };
    format!("{doing} {}: {what}", path.display())
}
