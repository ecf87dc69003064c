//! Places over kills, cuts and failures of the disk.

use super::*;

fn place(file: u64, offset: u64) -> Place {
    Place { file, offset }
}

fn load(directory: &Path) -> Places {
    let (places, error) = Places::load(directory);
    assert!(error.is_none(), "{error:?}");
    places
}

#[test]
fn places_are_found_again_after_a_kill_although_nobody_saved_them() {
    let directory = tempfile::tempdir().unwrap();
    let places = load(directory.path());
    places.delivered("one", place(1, 10)).unwrap();
    places.delivered("two", place(3, 0)).unwrap();
    places.delivered("one", place(2, 5)).unwrap();
    places.forget("two").unwrap();
    std::mem::forget(places);
    let again = load(directory.path());
    assert_eq!((again.of("one"), again.of("two")), (Some(place(2, 5)), None));
}

#[test]
fn a_line_that_was_cut_leaves_the_one_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let places = load(directory.path());
    places.delivered("one", place(1, 10)).unwrap();
    places.delivered("one", place(1, 20)).unwrap();
    let path = directory.path().join(FILE_NAME);
    let whole = std::fs::read(&path).unwrap();
    for end in 0..whole.len() {
        node::files::replace(&path, &whole[..end], MODE).unwrap();
        let offset = load(directory.path()).of("one").map(|place| place.offset);
        assert!(matches!(offset, None | Some(10 | 20)), "cut after {end} bytes: {offset:?}");
    }
}

#[test]
fn the_file_stays_small_however_much_is_delivered() {
    let directory = tempfile::tempdir().unwrap();
    let places = load(directory.path());
    for offset in 0..10_000 {
        places.delivered("one", place(1, offset)).unwrap();
    }
    let size = std::fs::metadata(directory.path().join(FILE_NAME)).unwrap().len();
    assert!(size <= LARGEST, "{size} bytes");
    assert_eq!(load(directory.path()).of("one"), Some(place(1, 9_999)));
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_and_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    std::fs::create_dir(&path).unwrap();
    let (places, error) = Places::load(directory.path());
    assert!(error.is_some());
    assert!(places.delivered("one", place(1, 1)).is_err());
    assert_eq!(places.of("one"), Some(place(1, 1)), "shipping goes on");
    std::fs::remove_dir(&path).unwrap();
    places.delivered("one", place(1, 2)).unwrap();
    places.sync().unwrap();
    assert_eq!(load(directory.path()).of("one"), Some(place(1, 2)));
}
