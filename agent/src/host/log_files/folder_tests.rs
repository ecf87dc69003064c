//! The kept folder beside an engine that rotates and removes.

use super::*;
use tempfile::TempDir;

struct Scene {
    engine: TempDir,
    kept: TempDir,
}

impl Scene {
    fn new() -> Scene {
        Scene { engine: tempfile::tempdir().unwrap(), kept: tempfile::tempdir().unwrap() }
    }

    fn log(&self) -> PathBuf {
        self.engine.path().join("c-json.log")
    }

    fn write(&self, text: &str) {
        use std::io::Write;
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// As the engine does it: the oldest goes, the others move up.
    fn rotate(&self, files: u32) {
        let name = |age: u32| match age {
            0 => self.log(),
            age => PathBuf::from(format!("{}.{age}", self.log().display())),
        };
        for age in (0..files - 1).rev() {
            if name(age).exists() {
                fs::rename(name(age), name(age + 1)).unwrap();
            }
        }
    }

    fn folder(&self) -> Folder {
        Folder::open(self.kept.path()).unwrap()
    }
}

/// What the kept files hold, in their order.
fn contents(folder: &Folder) -> Vec<String> {
    use std::io::Read;
    let read = |kept: &Kept| {
        let mut text = String::new();
        let mut file =
            File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&kept.file))).unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    };
    folder.files().values().map(read).collect()
}

#[test]
fn files_are_kept_in_the_order_in_which_they_were_written() {
    let scene = Scene::new();
    for text in ["one", "two", "three"] {
        scene.rotate(3);
        scene.write(text);
    }
    let mut folder = scene.folder();
    assert!(folder.find_files(&scene.log(), true).unwrap());
    assert_eq!(contents(&folder), ["one", "two", "three"]);
    scene.rotate(3);
    scene.write("four");
    assert!(folder.find_files(&scene.log(), true).unwrap());
    assert_eq!(contents(&folder), ["one", "two", "three", "four"], "what the engine removed is still there");
    assert!(folder.is_only_ours(1) && !folder.is_only_ours(2));
}

#[test]
fn an_agent_that_starts_again_finds_the_same_numbers() {
    let scene = Scene::new();
    scene.write("one");
    let mut folder = scene.folder();
    folder.find_files(&scene.log(), true).unwrap();
    drop(folder);
    scene.rotate(3);
    scene.write("two");
    let mut folder = scene.folder();
    folder.find_files(&scene.log(), true).unwrap();
    assert_eq!(folder.files().keys().copied().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(contents(&folder), ["one", "two"]);
}

#[test]
fn a_log_whose_container_was_removed_is_still_kept() {
    let scene = Scene::new();
    scene.write("last words");
    let mut folder = scene.folder();
    folder.find_files(&scene.log(), true).unwrap();
    fs::remove_dir_all(scene.engine.path()).unwrap();
    assert!(!folder.find_files(&scene.log(), true).unwrap(), "there is no log any more");
    assert_eq!(contents(&folder), ["last words"]);
    assert_eq!(contents(&scene.folder()), ["last words"], "also for the next start");
}

#[test]
fn what_somebody_else_kept_meanwhile_is_adopted() {
    let scene = Scene::new();
    scene.write("one");
    let (mut reader, mut keeper) = (scene.folder(), scene.folder());
    reader.find_files(&scene.log(), true).unwrap();
    scene.rotate(2);
    scene.write("two");
    keeper.find_files(&scene.log(), true).unwrap();
    fs::remove_dir_all(scene.engine.path()).unwrap();
    reader.find_files(&scene.log(), true).unwrap();
    assert_eq!(contents(&reader), ["one", "two"]);
}

#[test]
fn a_link_that_was_not_numbered_is_made_anew() {
    let scene = Scene::new();
    scene.write("one");
    fs::hard_link(scene.log(), scene.kept.path().join("incoming-0")).unwrap();
    let mut folder = scene.folder();
    folder.find_files(&scene.log(), true).unwrap();
    assert_eq!(contents(&folder), ["one"]);
    assert!(!scene.kept.path().join("incoming-0").exists());
}

#[test]
fn other_files_beside_the_log_are_not_taken() {
    let scene = Scene::new();
    scene.write("one");
    for name in ["c-json.log.1.gz", "c-json.log.x", "config.v2.json", "c-json.logs"] {
        fs::hard_link(scene.log(), scene.engine.path().join(name)).unwrap();
    }
    fs::create_dir(scene.engine.path().join("c-json.log.2")).unwrap();
    let mut folder = scene.folder();
    folder.find_files(&scene.log(), true).unwrap();
    assert_eq!(contents(&folder), ["one"]);
}

#[test]
fn files_that_are_rotated_while_they_are_looked_for_are_all_kept_in_order() {
    let scene = Scene::new();
    let mut folder = scene.folder();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..200 {
                scene.rotate(200);
                scene.write(&format!("{number:03}"));
            }
        });
        while !writer.is_finished() {
            // Rotated again and again: the next look finds it.
            let _ = folder.find_files(&scene.log(), true);
        }
    });
    folder.find_files(&scene.log(), true).unwrap();
    let contents = contents(&folder);
    assert!(contents.is_sorted(), "{contents:?}");
    assert_eq!(contents.len(), 200);
    println!("TRIED 200 rotations under the eyes of the reader");
}

#[test]
fn of_a_file_of_the_node_what_was_rotated_before_the_first_look_is_not_taken() {
    let scene = Scene::new();
    for text in ["old", "older than us", "now"] {
        scene.rotate(3);
        scene.write(text);
    }
    let mut folder = scene.folder();
    folder.find_files(&scene.log(), false).unwrap();
    assert_eq!(contents(&folder), ["now"]);
    scene.rotate(3);
    scene.write("next");
    folder.find_files(&scene.log(), false).unwrap();
    assert_eq!(contents(&folder), ["now", "next"]);
}

#[test]
fn a_copy_beside_the_log_is_not_taken() {
    let scene = Scene::new();
    scene.write("one");
    let mut folder = scene.folder();
    folder.find_files(&scene.log(), false).unwrap();
    fs::copy(scene.log(), scene.engine.path().join("c-json.log.1")).unwrap();
    File::options().write(true).open(scene.log()).unwrap().set_len(0).unwrap();
    folder.find_files(&scene.log(), false).unwrap();
    assert_eq!(folder.files().len(), 1);
}

/// On another file system than the folder in which logs are kept.
fn elsewhere() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

#[test]
fn a_file_to_which_no_link_can_lead_keeps_its_number_by_a_mark() {
    let scene =
        Scene { engine: elsewhere(), kept: tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap() };
    scene.write("one");
    let mut folder = scene.folder();
    folder.find_files(&scene.log(), true).unwrap();
    scene.rotate(2);
    scene.write("two");
    folder.find_files(&scene.log(), true).unwrap();
    assert_eq!(contents(&folder), ["one", "two"]);
    assert!(!folder.is_only_ours(1) && !folder.is_only_ours(2));
    let mut again = scene.folder();
    again.find_files(&scene.log(), true).unwrap();
    assert_eq!(contents(&again), ["one", "two"]);
    scene.rotate(2);
    scene.write("three");
    assert!(folder.is_only_ours(1), "held by its descriptor");
    let mut later = scene.folder();
    later.find_files(&scene.log(), true).unwrap();
    assert_eq!(later.files().keys().copied().collect::<Vec<_>>(), [2, 3], "the first is gone");
    assert_eq!(contents(&later), ["two", "three"]);
}
