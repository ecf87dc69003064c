//! Comparing a layer with its name.

#![expect(clippy::disallowed_methods, reason = "makes the files that are then looked at")]

use super::super::tests::{Folder, digest_of};
use super::*;
use std::fs;
use std::os::unix::fs::symlink;

fn same(folder: &Folder, digest: &str, bytes: u64) -> Result<bool, FilesError> {
    verify(folder.path(), (digest, bytes), &AtomicBool::new(false), &|_| {})
}

#[test]
fn a_layer_is_what_its_name_says_or_it_is_not() {
    let folder = Folder::new();
    let content: Vec<u8> = (0..5_000_000_u32).flat_map(|number| number.to_le_bytes()).collect();
    let length = content.len() as u64;
    let digest = folder.blob(&content);
    assert!(same(&folder, &digest, length).unwrap());
    assert!(!same(&folder, &digest, length - 1).unwrap(), "another length");
    assert!(!same(&folder, &digest_of(b"never there"), length).unwrap());
    let mut flipped = content.clone();
    flipped[12_345_678] ^= 1;
    fs::write(folder.blob_path(&digest, ""), &flipped).unwrap();
    assert!(!same(&folder, &digest, length).unwrap(), "one bit");
    fs::write(folder.blob_path(&digest, ""), &content[..content.len() - 1]).unwrap();
    assert!(!same(&folder, &digest, length).unwrap(), "shorter than it says");
    assert!(same(&folder, &folder.blob(b""), 0).unwrap(), "nothing is a layer too");
    assert!(!same(&Folder::new(), &digest, length).unwrap());
}

#[test]
fn a_link_in_the_place_of_a_layer_is_not_read() {
    let folder = Folder::new();
    let outside = Folder::new();
    let digest = outside.blob(b"outside");
    symlink(outside.blob_path(&digest, ""), folder.blob_path(&digest, "")).unwrap();
    assert!(same(&folder, &digest, 7).is_err());
    assert!(same(&folder, "sha256:../../etc/passwd", 7).is_err());
}

#[test]
fn comparing_that_is_not_wanted_any_more_ends() {
    let folder = Folder::new();
    let digest = folder.blob(&[3; 100_000]);
    let stopped = verify(folder.path(), (&digest, 100_000), &AtomicBool::new(true), &|_| {});
    assert_eq!(stopped.unwrap_err().source.kind(), io::ErrorKind::Interrupted);
}
