//! Streams of pulls against a slow and obvious reading of them.

use super::super::cases::check;
use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn after(lines: &[&str]) -> (Pulling, Vec<bool>) {
    let mut pulling = Pulling::default();
    let moved = lines.iter().map(|line| pulling.note(line.as_bytes()).expect("a line")).collect();
    (pulling, moved)
}

#[test]
fn the_total_grows_as_layers_are_announced() {
    let (pulling, moved) = after(&[
        r#"{"status":"pulling manifest"}"#,
        r#"{"status":"pulling aa","digest":"sha256:aa","total":100}"#,
        r#"{"status":"pulling aa","digest":"sha256:aa","total":100}"#,
        r#"{"status":"pulling aa","digest":"sha256:aa","total":100,"completed":100}"#,
        r#"{"status":"pulling bb","digest":"sha256:bb","total":20,"completed":20}"#,
        r#"{"status":"pulling bb","digest":"sha256:bb","total":20,"completed":20}"#,
        r#"{}"#,
    ]);
    assert_eq!(pulling.progress(), PullProgress { completed_bytes: 120, total_bytes: 120 });
    assert_eq!(moved, [true, true, false, true, true, false, false]);
}

#[test]
fn numbers_that_make_no_sense_do_no_harm() {
    let (pulling, _) = after(&[
        r#"{"digest":"sha256:aa","total":9223372036854775807,"completed":9223372036854775807}"#,
        r#"{"digest":"sha256:bb","total":9223372036854775807,"completed":9223372036854775807}"#,
        r#"{"digest":"sha256:cc","total":9223372036854775807,"completed":-1}"#,
        r#"{"digest":"sha256:dd","total":null,"completed":5}"#,
    ]);
    assert_eq!(pulling.progress().total_bytes, u64::MAX);
    let (pulling, _) = after(&[r#"{"digest":"sha256:dd","completed":5}"#]);
    assert_eq!(pulling.progress(), PullProgress { completed_bytes: 5, total_bytes: 5 });
    for line in ["[]", "7", "{", r#"{"total":"1"}"#, r#"{"status":7}"#, "\u{feff}{}"] {
        assert!(matches!(Pulling::default().note(line.as_bytes()), Err(Failure::Broken(_))), "{line}");
    }
    let error = Pulling::default().note(br#"{"error":{"code":7}}"#).expect_err("an error");
    assert!(matches!(&error, Failure::Refused(meaning) if meaning.message == r#"{"code":7}"#), "{error:?}");
}

#[test]
fn more_layers_than_any_model_has_are_refused() {
    let mut pulling = Pulling::default();
    let mut note = |number| pulling.note(format!(r#"{{"digest":"{number}","total":1}}"#).as_bytes());
    assert!((0..LAYERS_AT_MOST).all(|number| note(number).is_ok()));
    assert!(note(LAYERS_AT_MOST).is_err());
}

/// A line of a pull, as values.
#[derive(Debug, Clone)]
enum Said {
    Layer(u8, u64, u64),
    Step(&'static str),
    Nothing,
}

fn said() -> impl Strategy<Value = Said> {
    let steps = ["pulling manifest", "verifying sha256 digest", "writing manifest", "success"];
    prop_oneof![
        4 => (0..3_u8, 0..50_u64, 0..50_u64).prop_map(|(digest, total, completed)| Said::Layer(digest, total, completed)),
        2 => proptest::sample::select(steps.to_vec()).prop_map(Said::Step),
        1 => Just(Said::Nothing),
    ]
}

impl Said {
    fn line(&self) -> String {
        match self {
            Said::Layer(digest, total, completed) => {
                format!(
                    "{{\"status\":\"pulling\",\"digest\":\"{digest}\",\"total\":{total},\"completed\":{completed}}}\n"
                )
            }
            Said::Step(status) => format!("{{\"status\":\"{status}\"}}\n"),
            Said::Nothing => "\n".to_owned(),
        }
    }
}

/// Done, and how far: of all lines at once.
fn obvious(lines: &[Said]) -> (bool, PullProgress) {
    let mut layers = BTreeMap::new();
    let mut done = false;
    for line in lines {
        match line {
            Said::Layer(digest, total, completed) => {
                layers.insert(digest, (*total, *completed));
                done = false;
            }
            Said::Step(status) => done = *status == "success",
            Said::Nothing => {}
        }
    }
    let completed_bytes = layers.values().map(|layer| layer.1).sum();
    let total_bytes = layers.values().map(|layer| layer.0).sum::<u64>().max(completed_bytes);
    (done, PullProgress { completed_bytes, total_bytes })
}

#[test]
fn any_stream_cut_anywhere_means_what_its_lines_mean() {
    check("streams", 20_000, (vec(said(), 0..12), 1..40_usize), |(lines, size)| {
        let text: String = lines.iter().map(Said::line).collect();
        // The last line has its end or has none.
        for text in [text.as_str(), text.trim_end()] {
            let mut stream = Stream::default();
            for chunk in text.as_bytes().chunks(size) {
                prop_assert!(stream.chunk(chunk).is_ok());
            }
            let (done, progress) = obvious(&lines);
            match stream.end() {
                Ok(found) => prop_assert_eq!((true, found), (done, progress)),
                Err(failure) => prop_assert!(!done && matches!(failure, Failure::Broken(_)), "{:?}", failure),
            }
        }
        Ok(())
    });
}

#[test]
fn only_more_bytes_new_layers_and_new_steps_are_signs_of_life() {
    check("signs of life", 20_000, vec(said(), 0..16), |lines| {
        let mut pulling = Pulling::default();
        let mut layers: BTreeMap<u8, u64> = BTreeMap::new();
        for said in &lines {
            let moved = pulling.note(said.line().trim().as_bytes());
            match said {
                Said::Layer(digest, _, completed) => {
                    let before = layers.insert(*digest, *completed);
                    prop_assert_eq!(moved.unwrap(), before.is_none_or(|before| before < *completed));
                }
                // An empty line does not come this far.
                Said::Nothing => prop_assert!(moved.is_err()),
                Said::Step("pulling manifest") if !layers.is_empty() => prop_assert!(!moved.unwrap()),
                Said::Step(_) => prop_assert!(moved.is_ok()),
            }
        }
        Ok(())
    });
}
