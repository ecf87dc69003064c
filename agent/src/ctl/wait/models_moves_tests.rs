//! The same for commands that move a model to another version.

use super::*;

#[test]
fn an_update_is_done_when_the_registry_was_asked_since_and_the_move_has_ended() {
    let cases: [(&str, Change, &str); 15] = [
        ("asked since, current, loaded", |_| {}, "done"),
        ("the registry's answer is older", |s| model(s).update.checked_at = Some(at(-1)), "pending"),
        ("the registry never answered", |s| model(s).update.checked_at = None, "pending"),
        ("a newer one is there", |s| model(s).update.state = UpdateState::Available, "pending"),
        ("it is taken", |s| model(s).update.state = UpdateState::Updating, "pending"),
        ("current, and loading", |s| model(s).state = ModelState::Present, "pending"),
        ("current, and not passed yet", |s| explanation(s).good = None, "pending"),
        ("it went back", |s| model(s).update.state = UpdateState::RolledBack, "failed"),
        ("known to be bad", |s| model(s).update.state = UpdateState::Quarantined, "failed"),
        ("held", |s| model(s).update.state = UpdateState::Held, "failed"),
        (
            "the move failed since",
            |s| explanation(s).updates = vec![moved("sha256:newer", Some(1), PastUpdateState::Failed)],
            "failed",
        ),
        (
            "a move failed before",
            |s| explanation(s).updates = vec![moved("sha256:newer", Some(-9), PastUpdateState::Failed)],
            "done",
        ),
        ("barred since", |s| explanation(s).quarantined = vec![quarantined("sha256:newer", 1)], "failed"),
        (
            "there is no room for it",
            |s| {
                model(s).update.state = UpdateState::Available;
                s.problems = vec![problem("model_disk_full", "model llama3.2:3b needs 2 GiB", 1)];
            },
            "failed",
        ),
        (
            "the tag is gone",
            |s| {
                model(s).update.checked_at = Some(at(-1));
                s.problems = vec![problem("model_not_found", "no llama3.2:3b there", 1)];
            },
            "failed",
        ),
    ];
    tell(&cases, |seen| update(seen, Some(NAME), at(0), false));
}

#[test]
fn a_model_that_node_toml_pins_is_current_without_the_registry() {
    let mut seen = look();
    (model(&mut seen).pinned, model(&mut seen).update.checked_at) = (Some("sha256:new".to_owned()), None);
    assert_eq!(
        kind(&update(&seen, None, at(0), false)),
        "pending",
        "it may be a person's pin that has just ended"
    );
    seen.at = at(10);
    assert_eq!(kind(&update(&seen, None, at(0), false)), "done");
    model(&mut seen).update.state = UpdateState::Updating;
    assert_eq!(kind(&update(&seen, None, at(0), false)), "pending");
}

#[test]
fn an_update_that_failed_says_to_what_why_and_what_is_there() {
    let mut seen = look();
    explanation(&mut seen).updates = vec![moved("sha256:newer", Some(1), PastUpdateState::Failed)];
    let text = "llama3.2:3b did not go to newer: it cannot be loaded; it has new";
    assert_eq!(update(&seen, None, at(0), false), Progress::failed(text.to_owned()));
    explanation(&mut seen).updates[0].cause = None;
    explanation(&mut seen).quarantined = vec![quarantined("sha256:newer", 1)];
    let text = "llama3.2:3b did not go to newer: it answered nonsense; it has new";
    assert_eq!(update(&seen, None, at(0), false), Progress::failed(text.to_owned()));
}

#[test]
fn a_retry_is_not_failed_by_what_had_failed_before() {
    for state in [UpdateState::RolledBack, UpdateState::Quarantined] {
        let mut seen = look();
        model(&mut seen).update.state = state;
        for (story, entries, expected) in [
            ("lifted, and not shown yet", vec![quarantined("sha256:bad", -5)], "pending"),
            ("nothing is barred", vec![], "pending"),
            ("failed again", vec![quarantined("sha256:other", -5), quarantined("sha256:bad", 1)], "failed"),
        ] {
            explanation(&mut seen).quarantined = entries;
            let progress = update(&seen, Some(NAME), at(0), true);
            assert_eq!(kind(&progress), expected, "{story}: {progress:?}");
        }
    }
}

/// `agentctl models rollback llama3.2:3b`, taken at 0.
fn wish() -> ModelWish {
    ModelWish { model: NAME.to_owned(), digest: "sha256:old".to_owned(), at: at(0), seen: false }
}

/// The wish is shown, and the newer version is still there.
fn going_back(seen: &mut ModelsSeen) {
    model(seen).pinned = Some("sha256:old".to_owned());
    model(seen).update.state = UpdateState::Updating;
}

fn back(seen: &mut ModelsSeen) {
    going_back(seen);
    (model(seen).digest, model(seen).update.state) = (Some("sha256:old".to_owned()), UpdateState::Held);
    explanation(seen).good = Some("sha256:old".to_owned());
}

#[test]
fn a_roll_back_is_done_when_exactly_that_version_is_in_place() {
    let cases: [(&str, Change, &str); 8] = [
        ("not shown yet", |_| {}, "pending"),
        ("never shown", |s| s.at = at(10), "failed"),
        (
            "pinned to another one instead",
            |s| (model(s).pinned, s.at) = (Some("sha256:x".into()), at(10)),
            "failed",
        ),
        ("shown", going_back, "pending"),
        ("there and loaded", back, "done"),
        (
            "there, and loading",
            |s| {
                back(s);
                model(s).state = ModelState::Present;
            },
            "pending",
        ),
        (
            "it cannot be loaded",
            |s| {
                going_back(s);
                explanation(s).quarantined = vec![quarantined("sha256:old", 1)];
            },
            "failed",
        ),
        (
            "the newer one had failed",
            |s| {
                back(s);
                explanation(s).quarantined = vec![quarantined("sha256:new", -1)];
            },
            "done",
        ),
    ];
    tell(&cases, |seen| wish().progress(seen));
}

#[test]
fn a_roll_back_is_overtaken_by_what_is_asked_later() {
    let mut wish = wish();
    let mut seen = look();
    going_back(&mut seen);
    assert_eq!(kind(&wish.progress(&seen)), "pending");
    model(&mut seen).pinned = None;
    let text = "llama3.2:3b did not go to sha256:old: it follows its tag again";
    assert_eq!(wish.progress(&seen), Progress::failed(text.to_owned()));
    model(&mut seen).pinned = Some("sha256:x".to_owned());
    let text = "llama3.2:3b did not go to sha256:old: it is pinned to sha256:x";
    assert_eq!(wish.progress(&seen), Progress::failed(text.to_owned()));
    seen.models.models.clear();
    assert_eq!(kind(&wish.progress(&seen)), "pending", "an agent that has just started");
}
