//! What is seen in folders as the server makes them, and in those that somebody else had his hands in.

#![expect(clippy::disallowed_methods, reason = "makes the files that are then looked at")]

use super::super::tests::{Folder, digest_of, manifest_of};
use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

const LLAMA: &str = "registry.ollama.ai/library/llama3.2/3b";

fn seen(folder: &Folder) -> Files {
    look(folder.path()).unwrap()
}

#[test]
fn a_folder_that_does_not_exist_is_empty_and_has_the_room_of_what_is_above() {
    let folder = tempfile::tempdir().unwrap();
    let files = look(&folder.path().join("not/made/yet")).unwrap();
    assert_eq!(files, Files { disk: files.disk, ..Files::default() });
    let disk = files.disk.unwrap();
    assert!(disk.free_bytes > 0 && disk.free_bytes < disk.total_bytes, "{disk:?}");
}

#[test]
fn layers_partials_and_manifests_are_seen_as_the_server_left_them() {
    let folder = Folder::new();
    let whole = folder.blob(b"weights");
    let coming = digest_of(b"coming");
    folder.partial(&coming, 64 << 20, &[1; 1 << 20]);
    let text = manifest_of(&[(&whole, 7)]);
    folder.manifest(LLAMA, &text);
    folder.manifest("models.internal:5000/team/tuned/v2", &text);
    let files = seen(&folder);
    assert_eq!(files.blobs.len(), 1);
    assert_eq!(files.blobs[&whole].size_bytes, 7);
    assert_eq!(files.partials.len(), 1);
    let allocated = files.partials[&coming].allocated_bytes;
    assert!((1 << 20..2 << 20).contains(&allocated), "what has come, not the length: {allocated}");
    let names: Vec<&String> = files.manifests.keys().collect();
    assert_eq!(names, ["models.internal:5000/team/tuned:v2", "registry.ollama.ai/library/llama3.2:3b"]);
    assert_eq!(files.manifests[names[1]].digest, digest_of(&text));
    assert_eq!(files.damaged_manifests, [""; 0]);
}

#[test]
fn a_partial_is_as_old_as_the_newest_of_its_parts_and_a_part_alone_is_one_too() {
    let folder = Folder::new();
    let (coming, alone) = (digest_of(b"coming"), digest_of(b"alone"));
    folder.partial(&coming, 1 << 20, b"x");
    fs::write(folder.blob_path(&alone, "-partial-13"), "{}").unwrap();
    let time = |seconds| {
        fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
    };
    for (ending, seconds) in [("-partial", 1_000), ("-partial-0", 3_000), ("-partial-1", 2_000)] {
        let file = fs::File::options().write(true).open(folder.blob_path(&coming, ending)).unwrap();
        file.set_times(time(seconds)).unwrap();
    }
    let files = seen(&folder);
    assert_eq!(files.partials[&coming].modified_at, Timestamp::from_second(3_000).unwrap());
    assert_eq!(files.partials[&alone].allocated_bytes, 0);
}

#[test]
fn a_partial_is_broken_when_a_part_is_empty_or_missing_before_another() {
    for (left, is_broken) in [
        (&["0", "1", "2"][..], false),
        (&["0", "1"], false),
        (&[], false),
        (&["1", "2"], true),
        (&["0", "2"], true),
        (&["0", "1", "99999999999999999999"], true),
    ] {
        let (folder, coming) = (Folder::new(), digest_of(b"coming"));
        fs::write(folder.blob_path(&coming, "-partial"), "x").unwrap();
        for number in left {
            fs::write(folder.blob_path(&coming, &format!("-partial-{number}")), "{}").unwrap();
        }
        assert_eq!(seen(&folder).partials[&coming].broken, is_broken, "{left:?}");
    }
    for empty in ["0", "1"] {
        let (folder, coming) = (Folder::new(), digest_of(b"coming"));
        folder.partial(&coming, 1 << 20, b"x");
        assert!(!seen(&folder).partials[&coming].broken);
        fs::write(folder.blob_path(&coming, &format!("-partial-{empty}")), "").unwrap();
        assert!(seen(&folder).partials[&coming].broken, "{empty}");
    }
}

#[test]
fn names_that_are_not_the_servers_are_nobodys_business() {
    let digits = "0".repeat(64);
    for name in [
        "notes.txt".to_owned(),
        format!("sha256-{}", "0".repeat(63)),
        format!("sha256-{}", "A".repeat(64)),
        format!("sha256-{digits}-partial-"),
        format!("sha256-{digits}-partial-x"),
        format!("sha256-{digits}-partial-1-2"),
        format!("sha256-{digits}-other"),
        format!("sha512-{digits}"),
        format!("sha256:{digits}"),
        format!("xsha256-{digits}"),
    ] {
        assert_eq!(layer_name(&name), None, "{name}");
    }
    let digest = format!("sha256:{digits}");
    assert_eq!(layer_name(&format!("sha256-{digits}")), Some(LayerName::Whole(digest.clone())));
    assert_eq!(layer_name(&format!("sha256-{digits}-partial")), Some(LayerName::OnItsWay(digest.clone())));
    assert_eq!(layer_name(&format!("sha256-{digits}-partial-12")), Some(LayerName::Part(digest, 12)));
}

#[test]
fn manifests_that_make_no_sense_are_listed_with_their_place() {
    let folder = Folder::new();
    let good = manifest_of(&[(&digest_of(b"x"), 1)]);
    folder.manifest(LLAMA, &good);
    folder.manifest("registry.ollama.ai/library/empty/latest", b"");
    folder.manifest("registry.ollama.ai/library/half/latest", &good[..good.len() / 2]);
    folder.manifest("registry.ollama.ai/library/list/latest", b"{\"manifests\":[]}");
    folder.manifest("registry.ollama.ai/library/na me/latest", &good);
    folder.manifest("registry.ollama.ai/library/nested/tag/deeper", &good);
    // Not where the server looks for manifests.
    folder.manifest("registry.ollama.ai/stray", b"");
    let manifests = folder.path().join("manifests/registry.ollama.ai/library");
    symlink("/etc/hostname", manifests.join("llama3.2/linked")).unwrap();
    symlink("/", manifests.join("away")).unwrap();
    fs::create_dir(folder.path().join("manifests-v2")).unwrap();
    let files = seen(&folder);
    assert_eq!(files.manifests.len(), 1, "{:?}", files.manifests);
    let below = |name: &str| format!("manifests/registry.ollama.ai/library/{name}");
    let expected = [
        "away",
        "empty/latest",
        "half/latest",
        "list/latest",
        "llama3.2/linked",
        "na me/latest",
        "nested/tag",
    ];
    let mut expected: Vec<String> = expected.iter().map(|name| below(name)).collect();
    expected.insert(0, "manifests-v2".to_owned());
    assert_eq!(files.damaged_manifests, expected);
}

#[test]
fn links_among_the_layers_lead_nowhere_and_a_linked_folder_is_an_error() {
    let outside = Folder::new();
    let digest = outside.blob(b"outside");
    let folder = Folder::new();
    symlink(outside.blob_path(&digest, ""), folder.blob_path(&digest, "")).unwrap();
    assert!(seen(&folder).blobs.is_empty());
    let linked = tempfile::tempdir().unwrap();
    symlink(outside.path().join("blobs"), linked.path().join("blobs")).unwrap();
    let error = look(linked.path()).unwrap_err();
    assert!(error.to_string().ends_with("/blobs"), "{error}");
    let whole = tempfile::tempdir().unwrap();
    symlink(outside.path(), whole.path().join("models")).unwrap();
    assert_eq!(
        look(&whole.path().join("models")).unwrap().blobs.len(),
        1,
        "the operator's own link to the folder"
    );
}

#[test]
fn more_entries_than_models_have_are_an_error_and_not_a_wait() {
    let folder = Folder::new();
    for number in 0..20 {
        fs::write(folder.path().join("blobs").join(number.to_string()), "").unwrap();
    }
    assert!(look_at_most(folder.path(), 40).is_ok());
    let error = look_at_most(folder.path(), 10).unwrap_err();
    assert!(error.source.to_string().contains("too many entries"), "{error:?}");
}

#[test]
fn files_that_come_and_go_meanwhile_are_no_error() {
    const LOOKS: usize = 300;
    let folder = Folder::new();
    let stays = folder.blob(b"stays");
    let text = manifest_of(&[(&stays, 5)]);
    folder.manifest(LLAMA, &text);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut turn = 0_u32;
            while !over.load(Ordering::Relaxed) {
                turn += 1;
                let digest = folder.blob(&turn.to_le_bytes());
                folder.partial(&digest, 8192, b"x");
                folder.manifest("registry.ollama.ai/library/comes/latest", &text);
                for ending in ["", "-partial", "-partial-0", "-partial-1"] {
                    fs::remove_file(folder.blob_path(&digest, ending)).unwrap();
                }
                fs::remove_dir_all(folder.path().join("manifests/registry.ollama.ai/library/comes")).unwrap();
            }
        });
        let looks: Vec<Result<Files, FilesError>> = (0..LOOKS).map(|_| look(folder.path())).collect();
        over.store(true, Ordering::Relaxed);
        for files in looks {
            let files = files.unwrap();
            assert!(files.blobs.contains_key(&stays) && files.manifests.len() <= 2, "{files:?}");
        }
    });
    harness::requirements::tried(&format!("{LOOKS} looks while files came and went"));
}
