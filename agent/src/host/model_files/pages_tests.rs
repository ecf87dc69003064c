//! Pages of real files; on a file system that has none of its own (tmpfs) nothing can be dropped, so the target folder's.

#![expect(clippy::single_range_in_vec_init, reason = "one stretch that is missing")]

use super::*;
use std::io::Write;
use std::os::unix::fs::FileExt;

fn file(bytes: usize) -> File {
    let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    file.write_all(&vec![5; bytes]).unwrap();
    file.sync_all().unwrap();
    file
}

#[test]
fn what_is_in_memory_and_what_is_not_is_told_by_the_page() {
    let page = page_size() as u64;
    let length = 64 * page - 10;
    let file = file(usize::try_from(length).unwrap());
    let pages = Pages::of(&file).unwrap();
    assert_eq!(pages.missing(&(0..length)).unwrap(), []);
    let_go(&file, &(0..length)).unwrap();
    assert_eq!(pages.missing(&(0..length)).unwrap(), [0..length]);
    let mut byte = [0];
    file.read_at(&mut byte, 5 * page).unwrap();
    let missing = pages.missing(&(0..length)).unwrap();
    assert_eq!(missing, [0..5 * page, 6 * page..length], "one page, and nothing read ahead of it");
    assert_eq!(pages.missing(&(page..3 * page)).unwrap(), [page..3 * page]);
    pages.fetch(&(0..length)).unwrap();
    let mut all = vec![0; usize::try_from(length).unwrap()];
    file.read_exact_at(&mut all, 0).unwrap();
    assert_eq!(pages.missing(&(0..length)).unwrap(), []);
}

#[test]
fn what_a_process_has_mapped_is_not_dropped() {
    let page = page_size();
    let file = file(16 * page);
    let length = 16 * page as u64;
    // SAFETY: a private reading of a file that nobody shortens.
    let mapped = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            16 * page,
            libc::PROT_READ,
            libc::MAP_SHARED | libc::MAP_POPULATE,
            file.as_raw_fd(),
            0,
        )
    };
    assert_ne!(mapped, libc::MAP_FAILED);
    let pages = Pages::of(&file).unwrap();
    let_go(&file, &(0..length)).unwrap();
    assert_eq!(pages.missing(&(0..length)).unwrap(), [], "a running model keeps its pages");
    // SAFETY: the mapping of above, which nothing refers to.
    unsafe { libc::munmap(mapped, 16 * page) };
    let_go(&file, &(0..length)).unwrap();
    assert_eq!(pages.missing(&(0..length)).unwrap(), [0..length]);
}

#[test]
fn a_file_of_nothing_has_no_pages_and_one_that_became_shorter_is_an_error() {
    let empty = file(0);
    assert_eq!(Pages::of(&empty).unwrap().missing(&(0..0)).unwrap(), []);
    let file = file(10);
    assert!(Pages::of(&file).unwrap().missing(&(0..11)).is_err());
}
