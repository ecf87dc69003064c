//! Strings beside the JSON library.

use super::*;
use crate::logs::cases::check;
use proptest::prelude::*;

/// The obvious way: the string with its quotes, by the JSON library.
fn decoded_by_library(inside: &[u8]) -> Option<String> {
    let mut quoted = vec![b'"'];
    quoted.extend_from_slice(inside);
    quoted.push(b'"');
    serde_json::from_slice(&quoted).ok()
}

/// Bytes in which quotes, escapes, control characters and broken UTF-8 are likely.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[a-z ]{0,12}".prop_map(String::into_bytes),
        2 => r#"\\["\\/bfnrt]"#.prop_map(String::into_bytes),
        1 => r"\\u[0-9a-fA-F]{4}".prop_map(String::into_bytes),
        1 => r"\\ud8[0-9a-f]{2}\\udc[0-9a-f]{2}".prop_map(String::into_bytes),
        1 => "é|€|😀".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 1..3),
        1 => r"\\[xu1]".prop_map(String::into_bytes),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

#[test]
fn a_string_is_measured_as_the_library_reads_it() {
    check("inside of strings", 20_000, bytes(), |mut bytes| {
        bytes.extend_from_slice(br#"","stream""#);
        let measured = measure(&bytes).expect("there is a quote");
        let inside = &bytes[..measured.raw];
        match decoded_by_library(inside) {
            Some(text) => {
                prop_assert!(measured.valid, "the library takes it");
                prop_assert_eq!(measured.decoded, text.len());
                prop_assert_eq!(decode(inside), text);
            }
            None => prop_assert!(!measured.valid, "the library refuses it"),
        }
        Ok(())
    });
}

#[test]
fn what_is_escaped_is_read_back_by_the_library() {
    check("texts", 20_000, any::<String>(), |text| {
        let mut inside = Vec::new();
        push_escaped(&mut inside, &text);
        prop_assert_eq!(decoded_by_library(&inside), Some(text.clone()));
        prop_assert_eq!(decode(&inside), text);
        Ok(())
    });
}

#[test]
fn a_string_without_its_end_is_not_measured() {
    assert_eq!(measure(b"no end"), None);
    assert_eq!(measure(br#"the quote is escaped \""#), None);
    assert_eq!(measure(b""), None);
}

#[test]
fn what_is_no_escape_is_kept_as_it_stands() {
    assert_eq!(decode(br"C:\work \ud800 \"), r"C:\work \ud800 \");
}
