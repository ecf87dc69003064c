//! The handoff as it may be found.

use super::*;

const BOOT: &str = "b1946ac9-2492-4d23-a1f9-1c1d3b6f2a10";

fn handoff() -> serde_json::Value {
    serde_json::json!({
        "schema": SCHEMA, "boot_id": BOOT, "bootstrap_version": "0.1.0",
        "started_at": "2026-03-01T12:00:00Z", "finished_at": "2026-03-01T12:00:01Z",
        "identity": null, "volumes": [], "secrets": [], "steps": [],
        "problems": [
            {"code": "secret_missing", "message": "m", "hint": null, "since": "2026-03-01T12:00:00Z"},
            {"code": "volume_refused", "message": "m", "hint": null, "since": "2026-03-01T12:00:00Z"},
            {"code": "imds_unreachable", "message": "m", "hint": null, "since": "2026-03-01T12:00:00Z"},
        ],
    })
}

fn read(text: &str) -> Result<Handoff, HandoffError> {
    let root = tempfile::tempdir().unwrap();
    let paths = Paths::under(root.path());
    node::files::replace(&paths.handoff(), text.as_bytes(), 0o644).unwrap();
    read_handoff(&paths, BOOT)
}

#[test]
fn the_handoff_of_this_boot_is_read() {
    assert_eq!(read(&handoff().to_string()).unwrap().boot_id, BOOT);
}

#[test]
fn every_other_document_has_its_own_name() {
    let with = |key: &str, value: serde_json::Value| {
        let mut document = handoff();
        document[key] = value;
        document.to_string()
    };
    let cases = [
        (with("boot_id", "another".into()), "handoff_stale"),
        (with("schema", (SCHEMA + 1).into()), "handoff_unreadable"),
        (with("schema", "one".into()), "handoff_unreadable"),
        (with("volumes", 7.into()), "handoff_unreadable"),
        (String::new(), "handoff_unreadable"),
        ("{\"schema\": 1".to_owned(), "handoff_unreadable"),
    ];
    for (text, code) in cases {
        let error = read(&text).expect_err(&text);
        assert_eq!(error.code(), code, "{text}: {error}");
        assert!(error.hint().is_some());
    }
    let nowhere = Paths::under("/nonexistent");
    assert_eq!(read_handoff(&nowhere, BOOT).expect_err("no file").code(), "handoff_missing");
}

#[test]
fn a_document_of_a_newer_schema_may_have_any_shape() {
    let error = read("{\"schema\": 99, \"boot\": {}}").expect_err("too new");
    assert!(error.to_string().ends_with("has schema 99, and this agent knows 1"), "{error}");
}

#[test]
fn problems_that_the_agent_looks_after_itself_are_not_told_twice() {
    let handoff = read(&handoff().to_string()).unwrap();
    let codes: Vec<String> = standing_problems(&handoff).into_iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["volume_refused"]);
}
