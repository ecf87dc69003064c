//! Stories of waiting for models: one look, what `--wait` makes of it.

#[path = "models_moves_tests.rs"]
mod moves;

use super::*;
use crate::status::{ModelServer, ModelServerState, UpdateStatus};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_772_000_000 + second).unwrap()
}

const NAME: &str = "llama3.2:3b";

/// A model that is kept loaded, is so, and of which the registry was asked since.
fn loaded() -> Model {
    Model {
        name: NAME.to_owned(),
        digest: Some("sha256:new".to_owned()),
        size_bytes: Some(2 << 30),
        state: ModelState::Loaded,
        progress: None,
        on_gpu: None,
        memory_bytes: None,
        gpu_memory_bytes: None,
        required: true,
        keep_loaded: true,
        reason: None,
        since: Some(at(-100)),
        pinned: None,
        previous: None,
        update: UpdateStatus {
            state: UpdateState::Current,
            candidate: None,
            reason: None,
            checked_at: Some(at(1)),
        },
    }
}

/// A look two seconds after the command, which was given at 0.
fn look() -> ModelsSeen {
    let server = ModelServer {
        service: None,
        endpoint: None,
        version: None,
        state: ModelServerState::Up,
        reason: None,
        gpus: None,
        gpu_restarts: 0,
        directory: None,
        free_bytes: None,
        prewarm: None,
    };
    let good = Some("sha256:new".to_owned());
    let explanation = ModelExplanation { model: NAME.to_owned(), good, ..ModelExplanation::default() };
    let models = Models { server: Some(server), models: vec![loaded()], explanations: vec![explanation] };
    ModelsSeen { models, problems: Vec::new(), at: at(2) }
}

fn problem(code: &str, message: &str, since: i64) -> Problem {
    Problem {
        code: code.to_owned(),
        message: message.to_owned(),
        hint: Some("enlarge the volume".to_owned()),
        since: at(since),
    }
}

fn quarantined(digest: &str, second: i64) -> Quarantined {
    Quarantined {
        digest: digest.to_owned(),
        at: at(second),
        cause: "it answered nonsense".to_owned(),
        last_log_lines: Vec::new(),
    }
}

fn moved(to: &str, ended: Option<i64>, state: PastUpdateState) -> PastUpdate {
    PastUpdate {
        digest: to.to_owned(),
        from: Some("sha256:old".to_owned()),
        began: at(-50),
        ended: ended.map(at),
        state,
        cause: (state == PastUpdateState::Failed).then(|| "it cannot be loaded".to_owned()),
    }
}

fn kind(progress: &Progress) -> &'static str {
    match progress {
        Progress::Pending(_) => "pending",
        Progress::Done(_) => "done",
        Progress::Failed { .. } => "failed",
    }
}

type Change = fn(&mut ModelsSeen);

fn model(seen: &mut ModelsSeen) -> &mut Model {
    &mut seen.models.models[0]
}

fn explanation(seen: &mut ModelsSeen) -> &mut ModelExplanation {
    &mut seen.models.explanations[0]
}

fn absent(seen: &mut ModelsSeen) {
    let model = model(seen);
    (model.state, model.digest, model.size_bytes) = (ModelState::Absent, None, None);
    explanation(seen).good = None;
}

fn failed(seen: &mut ModelsSeen) {
    absent(seen);
    model(seen).state = ModelState::Failed;
}

fn tell(cases: &[(&str, Change, &str)], progress: impl Fn(&ModelsSeen) -> Progress) {
    for (story, change, expected) in cases {
        let mut seen = look();
        change(&mut seen);
        let progress = progress(&seen);
        assert_eq!(kind(&progress), *expected, "{story}: {progress:?}");
    }
}

#[test]
fn a_pull_is_done_when_the_model_is_where_it_should_be_and_has_passed() {
    let cases: [(&str, Change, &str); 15] = [
        ("loaded, as it should be", |_| {}, "done"),
        ("absent", absent, "pending"),
        (
            "pulling",
            |s| {
                absent(s);
                model(s).state = ModelState::Pulling;
            },
            "pending",
        ),
        ("there, and to be loaded", |s| model(s).state = ModelState::Present, "pending"),
        (
            "there, and that is enough",
            |s| (model(s).state, model(s).keep_loaded) = (ModelState::Present, false),
            "done",
        ),
        ("there, and not verified yet", |s| explanation(s).good = None, "pending"),
        ("there, but the good one is another", |s| explanation(s).good = Some("sha256:o".into()), "pending"),
        ("pinned to it", |s| model(s).pinned = Some("sha256:new".to_owned()), "done"),
        ("pinned to another", |s| model(s).pinned = Some("sha256:pin".to_owned()), "pending"),
        ("a newer one is taken", |s| model(s).update.state = UpdateState::Updating, "pending"),
        ("a newer one is there", |s| model(s).update.state = UpdateState::Available, "pending"),
        (
            "a newer one is there, and a pin holds",
            |s| {
                model(s).update.state = UpdateState::Available;
                model(s).pinned = Some("sha256:new".to_owned());
            },
            "done",
        ),
        ("the newer one is barred, the good one serves", barred_candidate, "done"),
        ("nothing published yet", |s| s.models.models.clear(), "pending"),
        (
            "a move is under way",
            |s| explanation(s).updates = vec![moved("sha256:new", None, PastUpdateState::UnderWay)],
            "pending",
        ),
    ];
    tell(&cases, |seen| pull(seen, Some(NAME), at(0)));
}

fn barred_candidate(seen: &mut ModelsSeen) {
    model(seen).update.state = UpdateState::Quarantined;
    explanation(seen).quarantined = vec![quarantined("sha256:newer", -5)];
}

/// It has failed, and that stands as a problem since then.
fn failed_by(seen: &mut ModelsSeen, code: &str, message: &str, since: i64) {
    failed(seen);
    seen.problems = vec![problem(code, message, since)];
}

const NO_ROOM: &str = "model llama3.2:3b: needs 2 GiB, free 1 GiB";

#[test]
fn a_pull_fails_by_what_stays_wrong_and_waits_through_what_passes() {
    let cases: [(&str, Change, &str); 9] = [
        ("failed, and tried again", failed, "pending"),
        (
            "the registry is away",
            |s| failed_by(s, "model_registry_unreachable", "model llama3.2:3b: no answer", 1),
            "pending",
        ),
        ("no room", |s| failed_by(s, "model_disk_full", NO_ROOM, 1), "failed"),
        (
            "there was no room before it was asked",
            |s| failed_by(s, "model_disk_full", NO_ROOM, -60),
            "pending",
        ),
        (
            "there was no room before it was asked, and there is none later",
            |s| {
                failed_by(s, "model_disk_full", NO_ROOM, -60);
                s.at = at(11);
            },
            "failed",
        ),
        (
            "no room for the newer one",
            |s| {
                model(s).update.state = UpdateState::Available;
                s.problems = vec![problem("model_disk_full", "\"llama3.2:3b\": needs 2 GiB", 1)];
            },
            "failed",
        ),
        (
            "no room for another",
            |s| failed_by(s, "model_disk_full", "model llama3.2:3b-instruct needs 2 GiB, not llama3.2", 1),
            "pending",
        ),
        (
            "nobody has it",
            |s| failed_by(s, "model_not_found", "no registry.ollama.ai/library/llama3.2:3b.", 1),
            "failed",
        ),
        (
            "nobody has it, by its reason",
            |s| {
                failed_by(s, "model_not_found", "the registry has no such model", 1);
                model(s).reason = Some("the registry has no such model, asked again in 5m".to_owned());
            },
            "failed",
        ),
    ];
    tell(&cases, |seen| pull(seen, Some(NAME), at(0)));
}

#[test]
fn a_problem_of_another_model_does_not_fail_one_that_is_only_not_done() {
    let cases: [(&str, Change, &str); 2] = [
        (
            "it is being loaded, and another does not fit beside it",
            |s| {
                (model(s).state, s.at) = (ModelState::Present, at(60));
                let message = "phi3:latest does not fit beside llama3.2:3b";
                s.problems = vec![problem("model_memory_short", message, 1)];
            },
            "pending",
        ),
        (
            "it is there, whatever is said of it",
            |s| s.problems = vec![problem("model_memory_short", "llama3.2:3b", 1)],
            "done",
        ),
    ];
    tell(&cases, |seen| pull(seen, Some(NAME), at(0)));
}

#[test]
fn a_pull_fails_where_the_version_that_it_needs_is_barred() {
    let cases: [(&str, Change, &str); 5] = [
        (
            "the only version is barred",
            |s| {
                failed(s);
                barred_candidate(s);
                explanation(s).quarantined = vec![quarantined("sha256:new", 1)];
            },
            "failed",
        ),
        (
            "the only version was barred before, and that is not looked at again yet",
            |s| {
                failed(s);
                barred_candidate(s);
            },
            "pending",
        ),
        (
            "the only version was barred before, and stays so",
            |s| {
                failed(s);
                barred_candidate(s);
                s.at = at(10);
            },
            "failed",
        ),
        (
            "the good one cannot be loaded now, and a newer one is barred",
            |s| {
                (model(s).state, s.at) = (ModelState::Failed, at(60));
                barred_candidate(s);
            },
            "pending",
        ),
        (
            "the pinned one is barred, and the good one serves",
            |s| {
                (model(s).pinned, s.at) = (Some("sha256:newer".into()), at(60));
                barred_candidate(s);
            },
            "failed",
        ),
    ];
    tell(&cases, |seen| pull(seen, Some(NAME), at(0)));
}

#[test]
fn what_stays_wrong_is_said_with_what_to_do() {
    let mut seen = look();
    failed(&mut seen);
    seen.problems = vec![problem("model_disk_full", "model llama3.2:3b: needs 2 GiB, free 1 GiB", 1)];
    let text = "llama3.2:3b failed: model llama3.2:3b: needs 2 GiB, free 1 GiB (hint: enlarge the volume)";
    assert_eq!(pull(&seen, None, at(0)), Progress::failed(text.to_owned()));
}

#[test]
fn every_model_is_waited_for_together() {
    let mut seen = look();
    let other =
        Model { name: "nomic:latest".to_owned(), state: ModelState::Present, keep_loaded: false, ..loaded() };
    seen.models.models.push(other);
    let good = Some("sha256:new".to_owned());
    let explained =
        ModelExplanation { model: "nomic:latest".to_owned(), good, ..ModelExplanation::default() };
    seen.models.explanations.push(explained);
    let done = "llama3.2:3b is loaded (sha256:new, 2.0 GiB)\nnomic:latest is present (sha256:new, 2.0 GiB)";
    assert_eq!(pull(&seen, None, at(0)), Progress::Done(done.to_owned()));
    model(&mut seen).state = ModelState::Pulling;
    (model(&mut seen).progress, model(&mut seen).reason) = (Some(0.437), Some("1 of 2 layers".to_owned()));
    let pending = "1 of 2 done; llama3.2:3b is being pulled (43%): 1 of 2 layers";
    assert_eq!(pull(&seen, None, at(0)), Progress::Pending(pending.to_owned()));
    assert_eq!(kind(&pull(&seen, Some("nomic"), at(0))), "done", "by another way to write its name");
    assert_eq!(kind(&pull(&seen, Some("registry.ollama.ai/library/llama3.2:3b"), at(0))), "pending");
    failed(&mut seen);
    seen.problems = vec![problem("model_not_found", "llama3.2:3b is not there", 1)];
    assert_eq!(kind(&pull(&seen, None, at(0))), "failed");
}

#[test]
fn a_node_that_wants_no_models_is_not_an_agent_that_has_just_started() {
    let mut seen = look();
    (seen.models.models, seen.models.explanations) = (Vec::new(), Vec::new());
    assert_eq!(pull(&seen, None, at(0)), Progress::Done("node.toml names no models".to_owned()));
    assert_eq!(kind(&pull(&seen, Some(NAME), at(0))), "pending");
    seen.models.server = None;
    for progress in [pull(&seen, None, at(0)), update(&seen, None, at(0), false)] {
        assert_eq!(progress, Progress::Pending("the agent says nothing of any model yet".to_owned()));
    }
}
