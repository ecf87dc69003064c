//! The order, the bounds and the ends of reading ahead, on real files.

use super::*;
use std::io::Write;

/// Files of these lengths; every byte tells its file and its place.
fn layers(lengths: &[usize]) -> Vec<Layer> {
    let layer = |(index, length): (usize, &usize)| {
        let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.write_all(&content(index, *length)).unwrap();
        file.sync_all().unwrap();
        Layer { file, path: format!("layer {index}"), size: *length as u64 }
    };
    lengths.iter().enumerate().map(layer).collect()
}

fn content(index: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at / 4096 + at + index * 97) % 251).unwrap()).collect()
}

fn stays() -> Result<(), String> {
    Ok(())
}

fn missing(layer: &Layer) -> u64 {
    let missing = Pages::of(&layer.file).unwrap().missing(&(0..layer.size)).unwrap();
    missing.iter().map(|stretch| stretch.end - stretch.start).sum()
}

/// A host may page out what nobody touched for a while, by guesses that hit fresh pages too; not time after time.
fn stays_in_memory(mut situation: impl FnMut() -> Vec<u64>, expected: &[u64]) {
    const TRIES: usize = 5;
    let mut seen = Vec::new();
    while seen.len() < TRIES && seen.last().is_none_or(|seen| seen != expected) {
        seen.push(situation());
    }
    assert_eq!(
        seen.last().map(Vec::as_slice),
        Some(expected),
        "bytes that are missing, try by try: {seen:?}"
    );
}

fn make_cold(layers: &[Layer]) {
    for layer in layers {
        let_go(&layer.file, &(0..layer.size)).unwrap();
        assert_eq!(missing(layer), layer.size, "{}", layer.path);
    }
}

#[test]
fn every_byte_comes_once_in_the_order_of_the_layers() {
    let lengths = [3_000_001, 0, 1, (5 << 20) + 4096, 70_000];
    let layers = layers(&lengths);
    make_cold(&layers);
    let mut heard = Vec::new();
    let mut words = 0;
    let wish = Wish { rate: None, may_stay: &stays, stop: &AtomicBool::new(false) };
    let ended = read(&layers, &wish, &mut |next| match next {
        Heard::Bytes(bytes) => heard.extend_from_slice(bytes),
        Heard::Progress(_) => words += 1,
    })
    .unwrap();
    let expected: Vec<u8> =
        lengths.iter().enumerate().flat_map(|(index, length)| content(index, *length)).collect();
    assert!(heard == expected, "{} bytes of {}", heard.len(), expected.len());
    let bytes = expected.len() as u64;
    assert_eq!((ended.progress.read_bytes, ended.progress.total_bytes), (bytes, bytes));
    assert_eq!(ended.progress.from_device_bytes, bytes);
    assert!(ended.progress.mebibytes_per_second > 0.0 && words > 0, "{ended:?}");
    assert_eq!(ended.not_kept, None);
    let again = || {
        read(&layers, &wish, &mut |_| {}).unwrap();
        layers.iter().map(missing).collect()
    };
    stays_in_memory(again, &[0; 5]);
}

#[test]
fn what_may_not_stay_goes_and_what_was_there_before_does_not() {
    let layers = layers(&[4 << 20, 2 << 20]);
    let short = || Err("memory is short".to_owned());
    let wish = Wish { rate: None, may_stay: &short, stop: &AtomicBool::new(false) };
    let situation = || {
        make_cold(&layers);
        let mut before = vec![0; 1 << 20];
        layers[0].file.read_exact_at(&mut before, 1 << 20).unwrap();
        let ended = read(&layers, &wish, &mut |_| {}).unwrap();
        assert_eq!(ended.not_kept.as_deref(), Some("memory is short"));
        vec![ended.progress.from_device_bytes, missing(&layers[0]), missing(&layers[1])]
    };
    stays_in_memory(situation, &[5 << 20, 3 << 20, 2 << 20]);
}

#[test]
fn memory_that_gets_short_on_the_way_keeps_what_is_there_and_adds_nothing() {
    let layers = layers(&[usize::try_from(BETWEEN_LOOKS).unwrap(), 8 << 20]);
    let situation = || {
        make_cold(&layers);
        let looks = Mutex::new(0);
        let may_stay = || {
            let mut looks = looks.lock().unwrap();
            *looks += 1;
            if *looks == 1 { Ok(()) } else { Err(format!("short at look {looks}")) }
        };
        let wish = Wish { rate: None, may_stay: &may_stay, stop: &AtomicBool::new(false) };
        let ended = read(&layers, &wish, &mut |_| {}).unwrap();
        assert_eq!(ended.not_kept.as_deref(), Some("short at look 2"), "and it is not asked again");
        vec![missing(&layers[0]), missing(&layers[1])]
    };
    stays_in_memory(situation, &[0, 8 << 20]);
}

#[test]
fn whoever_has_heard_enough_ends_it_and_at_most_what_was_asked_for_was_read() {
    let layers = layers(&[usize::try_from(3 * AHEAD).unwrap()]);
    make_cold(&layers);
    let stop = AtomicBool::new(false);
    let wish = Wish { rate: None, may_stay: &stays, stop: &stop };
    let mut heard = 0;
    let ended = read(&layers, &wish, &mut |next| {
        if let Heard::Bytes(bytes) = next {
            heard += bytes.len() as u64;
            stop.store(true, Ordering::Relaxed);
        }
    });
    assert_eq!(ended.unwrap_err().source.kind(), io::ErrorKind::Interrupted);
    assert!(heard <= PIECE, "the piece at hand: {heard}");
    assert!(missing(&layers[0]) >= AHEAD, "of {}: {}", layers[0].size, missing(&layers[0]));
}

#[test]
fn a_file_that_became_shorter_is_an_error_with_its_name_and_does_not_hang() {
    let layers = layers(&[5 << 20, 5 << 20]);
    layers[1].file.set_len(4096).unwrap();
    let wish = Wish { rate: None, may_stay: &stays, stop: &AtomicBool::new(false) };
    let error = read(&layers, &wish, &mut |_| {}).unwrap_err();
    assert_eq!((error.path.as_str(), error.source.kind()), ("layer 1", io::ErrorKind::UnexpectedEof));
}
