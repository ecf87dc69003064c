//! Answers of servers of several ages.

use super::super::cases::check;
use super::*;
use proptest::prelude::*;

const DIGITS: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn entry(fields: &str) -> String {
    format!(r#"{{"name":"llama3.2:3b","digest":"{DIGITS}"{fields}}}"#)
}

fn list(entries: &[String]) -> Vec<u8> {
    format!(r#"{{"models":[{}]}}"#, entries.join(",")).into_bytes()
}

#[test]
fn a_list_of_models_with_all_fields() {
    let fields = r#","model":"llama3.2:3b","modified_at":"2026-11-20T19:22:15.968938146+01:00","size":2019393189,
        "details":{"parent_model":"","families":null}"#;
    let found = installed(&list(&[entry(fields)])).unwrap();
    let expected = Installed {
        name: "llama3.2:3b".to_owned(),
        digest: format!("sha256:{DIGITS}"),
        size_bytes: 2_019_393_189,
        modified_at: "2026-11-20T18:22:15.968938146Z".parse().ok(),
    };
    assert_eq!(found, [expected]);
}

#[test]
fn a_model_in_memory_for_good_and_one_that_is_partly_on_the_cpu() {
    let for_good = r#","size":6654289920,"size_vram":6654289920,"expires_at":"2318-03-05T07:51:12.123456789+02:00","context_length":4096"#;
    let partly = r#","size":100,"size_vram":40,"expires_at":"2026-11-20T19:27:15Z""#;
    let found = loaded(&list(&[entry(for_good), entry(partly)])).unwrap();
    assert_eq!(found[0].expires_at, "2318-03-05T05:51:12.123456789Z".parse().ok());
    assert_eq!((found[1].size_bytes, found[1].size_vram_bytes), (100, 40));
}

#[test]
fn what_old_servers_leave_out_is_filled_in() {
    for body in ["{\"models\":null}", "{\"models\":[]}"] {
        assert_eq!(installed(body.as_bytes()).unwrap(), []);
        assert_eq!(loaded(body.as_bytes()).unwrap(), []);
    }
    let bare = installed(&list(&[entry("")])).unwrap();
    assert_eq!((bare[0].size_bytes, bare[0].modified_at), (0, None));
    // Nothing is missed on the GPU where the server does not say.
    let bare = loaded(&list(&[entry(r#","size":7"#)])).unwrap();
    assert_eq!((bare[0].size_vram_bytes, bare[0].expires_at), (7, None));
    let named_by_model = format!(r#"{{"name":"","model":"tiny:1","digest":"sha256:{DIGITS}"}}"#);
    assert_eq!(installed(&list(&[named_by_model])).unwrap()[0].name, "tiny:1");
}

#[test]
fn entries_that_make_no_sense_are_left_out_and_the_others_stay() {
    let broken = [
        r#"{"digest":"00"}"#.to_owned(),
        format!(r#"{{"name":"a b","digest":"{DIGITS}"}}"#),
        format!(r#"{{"name":7,"digest":"{DIGITS}"}}"#),
        r#"{"name":"tiny:1"}"#.to_owned(),
        r#"{"name":"tiny:1","digest":"abc"}"#.to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        entry(r#","size":"large""#),
    ];
    let all: Vec<String> = broken.into_iter().chain([entry("")]).collect();
    assert_eq!(installed(&list(&all)).unwrap().len(), 1);
    assert_eq!(loaded(&list(&all)).unwrap().len(), 1);
}

#[test]
fn times_that_cannot_be_read_are_none() {
    for text in ["", "soon", "0001-01-01T00:00:00Z", "99999-01-01T00:00:00Z", "2026-13-01T00:00:00Z"] {
        let found =
            loaded(&list(&[entry(&format!(r#","size":-5,"size_vram":-1,"expires_at":"{text}""#))])).unwrap();
        assert_eq!(
            (found[0].expires_at, found[0].size_bytes, found[0].size_vram_bytes),
            (None, 0, 0),
            "{text}"
        );
    }
}

#[test]
fn what_is_no_list_is_not_taken_for_an_empty_one() {
    for body in ["", "{}", "[]", "null", "404 page not found", r#"{"models":{}}"#, r#"{"data":[]}"#] {
        assert!(installed(body.as_bytes()).is_err(), "{body}");
        assert!(version(body.as_bytes()).is_err(), "{body}");
    }
    assert_eq!(version(br#"{"version":"0.12.3"}"#).unwrap(), "0.12.3");
}

#[test]
fn only_what_embeds_and_does_nothing_else_embeds() {
    for (body, expected) in [
        (r#"{}"#, Kind::Generates),
        (r#"{"capabilities":null}"#, Kind::Generates),
        (r#"{"capabilities":[]}"#, Kind::Generates),
        (r#"{"capabilities":["completion","tools"]}"#, Kind::Generates),
        (r#"{"capabilities":["embedding"]}"#, Kind::Embeds),
        (r#"{"capabilities":["embedding","completion"]}"#, Kind::Generates),
        (r#"{"capabilities":["embedding","vision",7]}"#, Kind::Embeds),
    ] {
        assert_eq!(kind(body.as_bytes()).unwrap(), expected, "{body}");
    }
    assert!(kind(b"[").is_err());
}

#[test]
fn an_answer_is_what_was_said_or_else_thought() {
    let said = |body: &str| answer(body.as_bytes());
    assert_eq!(said(r#"{"response":"Paris.","thinking":"France…","done":true}"#).unwrap(), "Paris.");
    assert_eq!(said(r#"{"response":" \n","thinking":"France…","done":true}"#).unwrap(), "France…");
    assert_eq!(said(r#"{"response":"","done":true}"#).unwrap(), "");
    assert!(said(r#"{"done":true}"#).is_err());
    let long = format!(r#"{{"response":"x{}"}}"#, "ä".repeat(LONGEST_ANSWER_BYTES));
    assert_eq!(said(&long).unwrap().len(), LONGEST_ANSWER_BYTES - 1);
}

#[test]
fn no_bytes_make_a_reader_panic() {
    let seed =
        String::from_utf8(list(&[entry(r#","size":5,"size_vram":4,"expires_at":"2026-11-20T19:27:15Z""#)]))
            .unwrap();
    let cut = (any::<proptest::sample::Index>(), any::<proptest::sample::Index>(), any::<String>());
    check("answers", 20_000, cut, |(from, to, middle)| {
        let (from, to) = (from.index(seed.len()), to.index(seed.len()));
        let bytes = [&seed.as_bytes()[..from], middle.as_bytes(), &seed.as_bytes()[to..]].concat();
        let digests = installed(&bytes).into_iter().flatten().map(|model| model.digest);
        let digests = digests.chain(loaded(&bytes).into_iter().flatten().map(|model| model.digest));
        digests.into_iter().for_each(|digest| assert!(is_digest(&digest), "{digest}"));
        let _ = (version(&bytes), kind(&bytes), answer(&bytes));
        Ok(())
    });
}
