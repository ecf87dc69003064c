//! A models' folder as the server makes it, and the folder's own work under time-outs and dropped futures.

#![expect(clippy::disallowed_methods, reason = "makes the files that are then looked at")]

use super::*;
use node::hexadecimal::hexadecimal;
use sha2::{Digest, Sha256};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// A folder that goes with its value.
pub(super) struct Folder(tempfile::TempDir);

impl Folder {
    pub(super) fn new() -> Folder {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("blobs")).unwrap();
        Folder(folder)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn blob_path(&self, digest: &str, ending: &str) -> PathBuf {
        self.path().join("blobs").join(format!("{}{ending}", digest.replacen(':', "-", 1)))
    }

    /// A whole layer; its digest.
    pub(super) fn blob(&self, content: &[u8]) -> String {
        let digest = digest_of(content);
        fs::write(self.blob_path(&digest, ""), content).unwrap();
        digest
    }

    /// A layer on its way: in full length from the beginning, with a part that has come, and a note for each part.
    pub(super) fn partial(&self, digest: &str, length: u64, come: &[u8]) {
        let file = fs::File::create(self.blob_path(digest, "-partial")).unwrap();
        file.set_len(length).unwrap();
        file.write_all_at(come, length / 2).unwrap();
        file.sync_all().unwrap();
        for part in 0..2 {
            let note = format!("{{\"N\":{part},\"Offset\":0,\"Size\":{length},\"Completed\":1}}\n");
            fs::write(self.blob_path(digest, &format!("-partial-{part}")), note).unwrap();
        }
    }

    /// What a name means.
    pub(super) fn manifest(&self, place: &str, content: &[u8]) {
        let path = self.path().join("manifests").join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Names among the layers, in order.
    pub(super) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path().join("blobs")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

pub(super) fn digest_of(content: &[u8]) -> String {
    format!("sha256:{}", hexadecimal(&Sha256::digest(content)))
}

pub(super) fn manifest_of(layers: &[(&str, u64)]) -> Vec<u8> {
    let layers: Vec<_> = layers
        .iter()
        .map(|(digest, size)| {
            serde_json::json!({ "mediaType": "application/vnd.ollama.image.model", "digest": digest, "size": size })
        })
        .collect();
    serde_json::json!({ "schemaVersion": 2, "layers": layers }).to_string().into_bytes()
}

#[tokio::test]
async fn a_layer_is_looked_at_compared_read_ahead_and_removed() {
    let folder = Folder::new();
    let content = vec![7; 3 << 20];
    let digest = folder.blob(&content);
    let files = ModelFolder::default();
    assert_eq!(files.look(folder.path()).await.unwrap().blobs.keys().collect::<Vec<_>>(), [&digest]);
    assert!(files.verify(folder.path(), &digest, 3 << 20).await.unwrap());
    let progress = std::sync::Mutex::new(Vec::new());
    let hear = |far| progress.lock().unwrap().push(far);
    let warmed = files.warm(folder.path(), std::slice::from_ref(&digest), Prewarm::Unlimited, &hear).await;
    let warmed = warmed.unwrap();
    assert_eq!((warmed.progress.read_bytes, warmed.progress.total_bytes), (3 << 20, 3 << 20));
    files.remove_blobs(folder.path(), std::slice::from_ref(&digest)).await.unwrap();
    assert_eq!(folder.names(), [""; 0]);
    let error = files.warm(folder.path(), &[digest], Prewarm::Unlimited, &hear).await.unwrap_err();
    assert_eq!(error.source.kind(), io::ErrorKind::NotFound, "{error:?}");
}

#[tokio::test]
async fn reading_ahead_that_is_off_reads_nothing() {
    let missing = Path::new("/nonexistent/models");
    let digests = [digest_of(b"")];
    let warmed = ModelFolder::default().warm(missing, &digests, Prewarm::Off, &|_| {}).await.unwrap();
    assert_eq!(warmed.progress, WarmProgress::default());
    assert!(warmed.kept.is_err());
}

/// Work that says when it begins and when it has heard that it is not wanted any more.
fn endless(
    began: oneshot::Sender<()>,
    ended: oneshot::Sender<()>,
) -> impl FnOnce(&AtomicBool, &dyn Fn(WarmProgress)) -> Result<(), FilesError> + Send + 'static {
    move |stop, _| {
        began.send(()).unwrap();
        while !stop.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        ended.send(()).unwrap();
        Ok(())
    }
}

#[tokio::test]
async fn work_on_layers_ends_when_nobody_waits_for_it_any_more() {
    let files = ModelFolder::default();
    let ((began, has_begun), (ended, has_ended)) = (oneshot::channel(), oneshot::channel());
    let work = files.long(Path::new("/models"), endless(began, ended), &|_| {});
    tokio::select! {
        _ = work => panic!("it does not end by itself"),
        begun = has_begun => begun.unwrap(),
    }
    has_ended.await.unwrap();
    let done = files.long(Path::new("/models"), |_, _| Ok(5), &|_| {}).await;
    assert_eq!(done.unwrap(), 5, "the next one has its turn");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_is_a_time_out_and_holds_one_thread() {
    let files = ModelFolder::default();
    let (let_go, hold) = std::sync::mpsc::channel::<()>();
    let hanging = files.brief(Path::new("/models"), move || {
        let _ = hold.recv();
        Ok(())
    });
    // Virtual time passes only while no blocking work is under way, so this deadline is passed by hand.
    tokio::pin!(hanging);
    assert!(futures_util::poll!(&mut hanging).is_pending());
    tokio::time::advance(DEADLINE + Duration::from_secs(1)).await;
    let error = hanging.await.unwrap_err();
    assert_eq!(error.source.kind(), io::ErrorKind::TimedOut);
    assert_eq!(files.turn.available_permits(), 0, "the next one waits for the kernel's answer to this one");
    let_go.send(()).unwrap();
    files.brief(Path::new("/models"), || Ok(())).await.unwrap();
}
