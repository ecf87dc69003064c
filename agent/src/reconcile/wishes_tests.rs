//! Stories of wishes: what is remembered before, what a person wishes, what is remembered or refused.

use super::*;
use crate::history::Update;
use crate::simulation::samples::{at, service};

fn digest(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

fn version(digit: &str) -> Version {
    Version { digest: digest(digit), spec: "spec".to_owned() }
}

/// Ran `a`, then `b`, which runs now.
fn record() -> Record {
    let mut record = Record::default();
    record.record_good(&version("a"), "registry.example/api:latest".to_owned());
    record.record_good(&version("b"), "registry.example/api:latest".to_owned());
    record
}

fn update(digit: &str, end: Option<UpdateEnd>) -> Update {
    Update { version: version(digit), from: None, began: at(0), ended: end.as_ref().map(|_| at(1)), end }
}

fn target(to: &str) -> Wish {
    Wish::Target { to: to.to_owned(), retry: false }
}

fn rollback(to: Option<&str>) -> Wish {
    Wish::Rollback { to: to.map(str::to_owned) }
}

/// What is looked up for the wish, or the code of the refusal.
fn looked_up(record: &Record, wish: &Wish) -> Result<String, &'static str> {
    match begin(&service("api", "spec"), &mut record.clone(), wish, at(9)) {
        Ok(Next::LookUp(image)) => Ok(image.to_string()),
        Ok(Next::Answer(taken)) => panic!("{wish:?} was answered at once: {taken:?}"),
        Err(refused) => Err(refused.code),
    }
}

fn answered(record: &mut Record, wish: &Wish) -> String {
    match begin(&service("api", "spec"), record, wish, at(9)) {
        Ok(Next::Answer(taken)) => taken.message,
        other => panic!("{wish:?}: {other:?}"),
    }
}

#[test]
fn a_tag_a_digest_or_a_whole_reference_of_the_same_repository_is_looked_up_and_no_other() {
    let pinned = format!("registry.example/api@{}", digest("c"));
    let cases = [
        ("v1.2".to_owned(), Ok("registry.example/api:v1.2".to_owned())),
        (digest("c"), Ok(pinned.clone())),
        ("registry.example/api:v1.2".to_owned(), Ok("registry.example/api:v1.2".to_owned())),
        ("registry.example/api".to_owned(), Ok("registry.example/api:latest".to_owned())),
        (pinned.clone(), Ok(pinned)),
        ("registry.example/other:v1".to_owned(), Err("other_repository")),
        ("other.example/api:v1".to_owned(), Err("other_repository")),
        ("api:v1".to_owned(), Err("other_repository")),
        ("sha256:abc".to_owned(), Err("reference_invalid")),
        ("-v1".to_owned(), Err("reference_invalid")),
        (String::new(), Err("reference_invalid")),
        ("https://registry.example/api".to_owned(), Err("reference_invalid")),
    ];
    for (to, expected) in cases {
        assert_eq!(looked_up(&record(), &target(&to)), expected, "--to {to}");
    }
    let refused = reference(&service("api", "spec"), "registry.example/other:v1").unwrap_err();
    assert_eq!(
        refused.message,
        "service api runs images of registry.example/api, not of registry.example/other"
    );
    assert_eq!(refused.hint.as_deref(), Some("name another repository in [services.api] image of node.toml"));
}

#[test]
fn a_rollback_goes_to_the_newest_good_version_that_is_not_left() {
    let pinned = |digit: &str| Ok(format!("registry.example/api@{}", digest(digit)));
    type Change = fn(&mut Record);
    let cases: [(&str, Change, Result<String, &str>); 7] = [
        ("the previous one", |_| {}, pinned("a")),
        (
            "an update to c is under way: back to what it leaves",
            |r| r.updates.push(update("c", None)),
            pinned("b"),
        ),
        (
            "the update to c has failed: from b",
            |r| {
                r.updates.push(update("c", Some(UpdateEnd::Failed("no".to_owned()))));
            },
            pinned("a"),
        ),
        (
            "only the settings changed last: an older image",
            |r| {
                r.previous = Some(Version { spec: "old".to_owned(), ..version("b") });
                r.updates = ["d", "c", "b"].map(|digit| update(digit, Some(UpdateEnd::Passed))).to_vec();
            },
            pinned("c"),
        ),
        (
            "the previous one is barred",
            |r| {
                r.record_bad(&version("a"), "ended".to_owned(), Vec::new(), at(0));
            },
            Err("nothing_to_go_back_to"),
        ),
        ("there was none before", |r| r.previous = None, Err("nothing_to_go_back_to")),
        ("nothing ever passed", |r| *r = Record::default(), Err("nothing_to_go_back_to")),
    ];
    for (story, change, expected) in cases {
        let mut record = record();
        change(&mut record);
        assert_eq!(looked_up(&record, &rollback(None)), expected, "{story}");
    }
}

#[test]
fn a_rollback_finds_the_rest_of_a_digest_in_the_history() {
    let mut record = record();
    record.updates.push(update("c", Some(UpdateEnd::Passed)));
    let twin = format!("{}{}", "c".repeat(20), "0".repeat(44));
    let pinned = |digest: &str| Ok(format!("registry.example/api@{digest}"));
    let cases = [
        ("aaaaaaaaaaaa", pinned(&digest("a"))),
        ("sha256:cccccccccccc", pinned(&digest("c"))),
        (&digest("e")[7..], pinned(&digest("e"))),
        ("aaaaaaaaaaa", Err("digest_invalid")),
        ("v1.2", Err("digest_invalid")),
        ("AAAAAAAAAAAA", Err("digest_invalid")),
        (&"a".repeat(65), Err("digest_invalid")),
        ("eeeeeeeeeeee", Err("digest_unknown")),
    ];
    for (to, expected) in cases {
        assert_eq!(looked_up(&record, &rollback(Some(to))), expected, "--to {to}");
    }
    record.record_bad(
        &Version { digest: format!("sha256:{twin}"), ..version("c") },
        "no".to_owned(),
        vec![],
        at(0),
    );
    assert_eq!(looked_up(&record, &rollback(Some("cccccccccccc"))), Err("digest_ambiguous"));
    assert_eq!(looked_up(&record, &rollback(Some(&twin[..21]))), pinned(&format!("sha256:{twin}")));
}

#[test]
fn what_was_found_becomes_the_target_and_lifts_nothing_else() {
    let mut record = record();
    record.record_bad(&version("d"), "it ended".to_owned(), Vec::new(), at(0));
    let before = record.clone();
    let taken = take(&service("api", "spec"), &mut record, (&target("v3"), digest("c")), at(9)).unwrap();
    assert_eq!(taken.target, Some(Goal { digest: digest("c"), at: at(9) }));
    let until = "and stays there until `agentctl update api`";
    assert_eq!(taken.message, format!("service api goes to {} (v3), {until}", digest("c")));
    let expected = Target {
        digest: digest("c"),
        named: "v3".to_owned(),
        instead_of: "registry.example/api:latest".to_owned(),
        at: at(9),
    };
    assert_eq!(record, Record { target: Some(expected), ..before });
    let again =
        take(&service("api", "spec"), &mut record, (&target(&digest("b")), digest("b")), at(10)).unwrap();
    assert_eq!(again.message, format!("service api runs {}, {until}", digest("b")));
    record.stopped_since = Some(at(0));
    let stopped = take(&service("api", "spec"), &mut record, (&rollback(None), digest("a")), at(11)).unwrap();
    let start = "it is stopped since 2023-11-14 22:13 UTC: `agentctl start api` starts it";
    let back = format!("service api goes to {}, which it ran before, {until}; {start}", digest("a"));
    assert_eq!(stopped.message, back);
}

#[test]
fn a_barred_digest_is_taken_only_by_who_says_so() {
    let mut record = record();
    record.record_bad(&version("c"), "it ended with code 3".to_owned(), Vec::new(), at(0));
    let before = record.clone();
    for wish in [target("v3"), rollback(Some(&digest("c")))] {
        let refused = take(&service("api", "spec"), &mut record, (&wish, digest("c")), at(9)).unwrap_err();
        let cause = format!("{} failed on service api before: it ended with code 3", digest("c"));
        assert_eq!((refused.code, refused.message), ("quarantined", cause));
        let hint = format!("`agentctl update api --to {} --retry` tries it all the same", digest("c"));
        assert_eq!(refused.hint, Some(hint));
        assert_eq!(record, before, "nothing is changed by a refusal");
    }
    let retry = Wish::Target { to: "v3".to_owned(), retry: true };
    let taken = take(&service("api", "spec"), &mut record, (&retry, digest("c")), at(9)).unwrap();
    assert!(taken.message.contains("which failed before and is tried again"), "{}", taken.message);
    assert_eq!(record.quarantine, []);
    assert_eq!(record.target.map(|target| target.digest), Some(digest("c")));
}

#[test]
fn a_held_service_takes_no_other_image_whoever_asks() {
    let mut record = record();
    let said = answered(&mut record, &Wish::Hold);
    assert_eq!(said, "service api is held: it takes no other image until `agentctl release api`");
    assert_eq!(record.held_since, Some(at(9)));
    let before = record.clone();
    for wish in [target("v3"), Wish::Retry, rollback(None), rollback(Some("aaaaaaaaaaaa"))] {
        assert_eq!(looked_up(&record, &wish), Err("held"), "{wish:?}");
    }
    // It was held while the registry was asked.
    let refused =
        take(&service("api", "spec"), &mut record, (&target("v3"), digest("c")), at(9)).unwrap_err();
    assert_eq!(refused.message, "service api is held since 2023-11-14 22:13 UTC");
    assert_eq!(refused.hint.as_deref(), Some("release it first: `agentctl release api`"));
    let again = answered(&mut record, &Wish::Hold);
    assert_eq!(again, "service api is held since 2023-11-14 22:13 UTC already, until `agentctl release api`");
    assert_eq!(record, before);
    let released = answered(&mut record, &Wish::Release);
    assert_eq!(released, "service api is released, and follows registry.example/api:latest again");
    assert_eq!(answered(&mut record, &Wish::Release), "service api is not held");
    assert_eq!(record, Record { held_since: None, ..before });
}

#[test]
fn a_released_service_says_where_it_stays() {
    let mut record = record();
    take(&service("api", "spec"), &mut record, (&target("v3"), digest("c")), at(9)).unwrap();
    answered(&mut record, &Wish::Hold);
    let stays = format!("service api is released, and stays on {} until `agentctl update api`", digest("c"));
    assert_eq!(answered(&mut record, &Wish::Release), stays);
}

#[test]
fn a_stop_is_remembered_from_the_first_time_it_was_asked_for() {
    let mut record = record();
    let before = record.clone();
    let said = answered(&mut record, &Wish::Stop);
    let start = "until `agentctl start api`";
    assert_eq!(said, format!("stopping service api; it stays stopped, also over a reboot, {start}"));
    record.stopped_since = Some(at(-60));
    let again = answered(&mut record, &Wish::Stop);
    assert_eq!(again, format!("service api is stopped since 2023-11-14 22:12 UTC already, {start}"));
    assert_eq!(record.stopped_since, Some(at(-60)));
    assert_eq!(refuse_stopped("api", &record).unwrap_err().code, "stopped");
    assert_eq!(answered(&mut record, &Wish::Start), "starting service api");
    assert_eq!(answered(&mut record, &Wish::Start), "service api is not stopped");
    assert_eq!(record, before);
}
