//! Removing goes no further than the names that were meant.

#![expect(clippy::disallowed_methods, reason = "makes the files that are then looked at")]

use super::super::tests::{Folder, digest_of};
use super::*;
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn a_partial_goes_with_its_parts_and_nothing_else_does() {
    let folder = Folder::new();
    let whole = folder.blob(b"whole");
    let (gone, stays) = (digest_of(b"gone"), digest_of(b"stays"));
    for digest in [&gone, &stays, &whole] {
        folder.partial(digest, 8192, b"x");
    }
    fs::write(folder.blob_path(&gone, "-partial-x"), "not the server's").unwrap();
    let before = folder.names();
    partials(folder.path(), &[gone.clone(), digest_of(b"never there")]).unwrap();
    let file = file_name(&gone);
    let meant = ["-partial", "-partial-0", "-partial-1"].map(|ending| format!("{file}{ending}"));
    let expected: Vec<String> = before.into_iter().filter(|name| !meant.contains(name)).collect();
    assert_eq!(folder.names(), expected);
    partials(folder.path(), &[whole]).unwrap();
    assert!(folder.names().contains(&file_name(&digest_of(b"whole"))), "one that has become whole stays");
}

#[test]
fn a_whole_layer_goes_and_one_that_is_gone_is_success() {
    let folder = Folder::new();
    let (gone, stays) = (folder.blob(b"gone"), folder.blob(b"stays"));
    folder.partial(&gone, 8192, b"x");
    whole(folder.path(), std::slice::from_ref(&gone)).unwrap();
    whole(folder.path(), std::slice::from_ref(&gone)).unwrap();
    assert!(!folder.blob_path(&gone, "").exists() && folder.blob_path(&stays, "").exists());
    assert!(folder.blob_path(&gone, "-partial").exists());
    whole(&folder.path().join("missing"), &[gone]).unwrap();
}

#[test]
fn links_go_themselves_and_what_they_lead_to_stays() {
    let outside = Folder::new();
    let digest = outside.blob(b"outside");
    let folder = Folder::new();
    symlink(outside.blob_path(&digest, ""), folder.blob_path(&digest, "")).unwrap();
    symlink(outside.blob_path(&digest, ""), folder.blob_path(&digest, "-partial")).unwrap();
    whole(folder.path(), std::slice::from_ref(&digest)).unwrap();
    partials(folder.path(), std::slice::from_ref(&digest)).unwrap();
    assert_eq!(folder.names(), [""; 0]);
    assert!(outside.blob_path(&digest, "").exists());
    let linked = tempfile::tempdir().unwrap();
    symlink(outside.path().join("blobs"), linked.path().join("blobs")).unwrap();
    for removed in [
        whole(linked.path(), std::slice::from_ref(&digest)),
        partials(linked.path(), std::slice::from_ref(&digest)),
    ] {
        assert!(removed.is_err(), "blobs itself is a link out of the folder");
    }
    assert!(outside.blob_path(&digest, "").exists());
}

#[test]
fn what_is_no_digest_is_refused_before_anything_goes() {
    let folder = Folder::new();
    let digest = folder.blob(b"stays");
    for odd in ["../manifests", "sha256:..", "", "sha256-", &digest.replacen(':', "-", 1)] {
        let digests = [digest.clone(), odd.to_owned()];
        assert!(
            whole(folder.path(), &digests).is_err() && partials(folder.path(), &digests).is_err(),
            "{odd}"
        );
    }
    assert!(folder.blob_path(&digest, "").exists());
}
