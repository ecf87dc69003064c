//! Situations of models, and what the plan makes of them.

use super::simulation::agent::Node;
use super::simulation::{FOREIGN, MODELS, digest, full, manifest, reference};
use super::{Action, Plan, kept_name, plan};
use crate::command::ModelWish;
use crate::models::files::{Partial, WarmProgress};
use crate::models::observed::{
    Attempt, Failure, GpuView, Observed, ServerView, Serving, StepKind, WarmedView,
};
use crate::models::record::{Asked, Durable, wish};
use crate::models::server::{Endpoint, Loaded};
use crate::registry::RegistryError;
use crate::status::{ModelState, UpdateState};
use jiff::SignedDuration;
use node::config::settings::Reclaim;
use std::time::Duration;

/// All models are good and loaded.
fn served() -> Node {
    let mut node = Node::new();
    for _ in 0..30 {
        node.pass(None);
        node.step_ends(false);
        node.pull_goes_on(1000);
        node.advance(1);
    }
    node
}

fn planned(node: &Node, observed: &Observed, wants_gpus: bool) -> Plan {
    plan(&node.settings, &Serving { wants_gpus }, observed, &node.durable, node.world.now)
}

fn codes(plan: &Plan) -> Vec<&str> {
    plan.problems.iter().map(|problem| problem.code.as_str()).collect()
}

fn reason(plan: &Plan, index: usize) -> &str {
    plan.models[index].0.reason.as_deref().unwrap_or("no reason")
}

fn failed(code: &'static str, failures: u32, digest: String, at: jiff::Timestamp) -> Attempt {
    let message = format!("it failed with {code}");
    let failure = Failure { code, message, hint: None, blames_version: true };
    Attempt { failures, busy: 0, at, digest: Some(digest), failure: Some(failure) }
}

#[test]
fn all_is_served_and_nothing_is_left_to_do() {
    let mut node = served();
    let plan = node.plan();
    assert_eq!((&plan.pull, &plan.step, &plan.drop_pull, &plan.restart_server), (&None, &None, &None, &None));
    assert_eq!(codes(&plan), Vec::<&str>::new());
    let states: Vec<ModelState> = plan.models.iter().map(|(status, _)| status.state).collect();
    assert_eq!(states, [ModelState::Loaded, ModelState::Loaded, ModelState::Present]);
    assert!(plan.models.iter().all(|(status, _)| status.update.state == UpdateState::Current));
    assert!(plan.models.iter().all(|(status, _)| status.reason.is_none()));
}

#[test]
fn of_two_models_that_do_not_fit_together_the_first_is_pulled_and_the_second_refused_with_the_numbers() {
    let mut node = Node::new();
    node.settings.pull.remove(MODELS[2]);
    node.world.room = 150 + 150 + 20 + 149;
    for _ in 0..20 {
        node.pass(None);
        node.step_ends(false);
        node.pull_goes_on(1000);
        node.advance(1);
    }
    let plan = node.plan();
    assert!(plan.pull.is_none() && plan.step.is_none());
    assert_eq!(plan.models[0].0.state, ModelState::Loaded);
    assert_eq!(plan.models[1].0.state, ModelState::Failed);
    let numbers = "it needs 150 B, 169 B are free, and 20 B have to stay free";
    assert!(reason(&plan, 1).contains(numbers), "{}", reason(&plan, 1));
    assert_eq!(codes(&plan), ["model_disk_full"]);
    assert!(node.world.partials.is_empty(), "nothing is half there");
}

#[test]
fn a_pull_waits_while_nothing_is_known_of_a_folder_that_node_toml_names() {
    let mut node = Node::new();
    node.pass(None);
    let mut observed = node.observed();
    assert!(planned(&node, &observed, false).pull.is_some());
    observed.files = None;
    observed.files_problem = Some("cannot read /models".to_owned());
    let plan = planned(&node, &observed, false);
    assert_eq!(plan.pull, None);
    assert!(reason(&plan, 0).ends_with("how much room the folder of the models has: cannot read /models"));
    observed.files_problem = None;
    assert!(reason(&planned(&node, &observed, false), 0).ends_with("it has not been looked at yet"));
    observed.files = node.observed().files.map(|files| crate::models::files::Files { disk: None, ..files });
    assert_eq!(planned(&node, &observed, false).pull, None, "nothing is known of its disk");
    node.settings.directory = None;
    assert!(planned(&node, &observed, false).pull.is_some(), "there is nothing to look at");
}

#[test]
fn while_its_server_is_not_running_nothing_is_done_and_the_reason_is_the_service() {
    let mut node = served();
    let mut observed = node.observed();
    observed.server = ServerView::NotRunning { reason: "its volume is missing".to_owned() };
    let plan = planned(&node, &observed, false);
    assert!(plan.pull.is_none() && plan.step.is_none() && plan.notes.is_empty());
    assert_eq!(plan.models[0].0.state, ModelState::Absent);
    assert_eq!(reason(&plan, 0), "the server `ollama` is not running: its volume is missing");
}

#[test]
fn a_silent_server_is_a_problem_after_half_a_minute() {
    let mut node = served();
    let mut observed = node.observed();
    let endpoint = Endpoint("http://10.0.0.2:11434".to_owned());
    let since = node.world.now;
    observed.server = ServerView::Silent { endpoint, reason: "no answer in 5 s".to_owned(), since };
    let plan = planned(&node, &observed, false);
    assert_eq!(codes(&plan), Vec::<&str>::new());
    assert_eq!(plan.wake_at, Some(since + SignedDuration::from_secs(30)));
    node.advance(30);
    assert_eq!(codes(&planned(&node, &observed, false)), ["model_server_unreachable"]);
}

#[test]
fn a_pin_that_the_registry_does_not_have_is_refused_before_any_pull() {
    let mut node = Node::new();
    node.settings.pull.get_mut(MODELS[0]).unwrap().digest = Some(digest(MODELS[0], 1));
    node.pass(None);
    let plan = node.plan();
    assert_ne!(plan.pull.as_ref().map(|step| step.model.clone()), Some(full(MODELS[0])));
    assert_eq!(plan.models[0].0.state, ModelState::Failed);
    assert_eq!(codes(&plan), ["model_digest_mismatch"]);
    assert!(reason(&plan, 0).starts_with("node.toml pins sha256:"), "{}", reason(&plan, 0));
}

#[test]
fn a_model_that_the_registry_does_not_know_fails_with_what_it_said() {
    let mut node = Node::new();
    node.pass(None);
    let mut observed = node.observed();
    let lookup = observed.lookups.get_mut(&full(MODELS[0])).unwrap();
    let message = "registry.ollama.ai has no first:1".to_owned();
    lookup.answer = Err(RegistryError { code: "model_not_found", message: message.clone(), hint: None });
    lookup.known = None;
    let plan = planned(&node, &observed, false);
    assert_eq!((plan.models[0].0.state, reason(&plan, 0)), (ModelState::Failed, message.as_str()));
    assert_eq!(codes(&plan), ["model_not_found"]);
}

#[test]
fn a_pull_that_failed_is_tried_again_later_each_time_and_at_once_after_a_restart_of_the_server() {
    for (failures, wait) in [(1, 1), (2, 2), (5, 16), (9, 256), (10, 300), (40, 300)] {
        let mut node = Node::new();
        node.settings.pull.retain(|name, _| name == MODELS[0]);
        node.pass(None);
        let mut observed = node.observed();
        let attempt = failed("model_pull_stalled", failures, digest(MODELS[0], 0), node.world.now);
        observed.attempts.insert((full(MODELS[0]), StepKind::Pull), attempt);
        let plan = planned(&node, &observed, false);
        assert!(plan.pull.is_none());
        assert_eq!(
            plan.wake_at,
            Some(node.world.now + SignedDuration::from_secs(wait)),
            "{failures} failures"
        );
        assert_eq!(codes(&plan), ["model_pull_stalled"]);
        node.advance(wait);
        assert!(planned(&node, &observed, false).pull.is_some());
    }
}

#[test]
fn after_a_restart_of_the_server_required_models_are_loaded_before_anything_else() {
    let mut node = served();
    node.world.tags.insert(full(MODELS[1]), digest(MODELS[1], 1));
    node.advance(7200);
    node.world.restart();
    node.pass(None);
    let plan = node.plan();
    let Some(Action::Load { name, .. }) = node.memory.step.as_ref().map(|step| &step.action) else {
        panic!("{:#?}", node.memory.step)
    };
    assert_eq!(name.full(), full(MODELS[0]));
    assert_eq!(plan.models[0].0.state, ModelState::Present);
    assert!(reason(&plan, 0).starts_with("is being loaded since"), "{}", reason(&plan, 0));
}

#[test]
fn a_lost_gpu_is_answered_by_three_restarts_each_after_a_longer_wait() {
    let mut node = served();
    let since = node.world.now;
    let mut observed = node.observed();
    observed.gpu = GpuView::Lost { reason: "nvidia-smi ended with 9".to_owned(), since };
    for (restarts, wait) in [(0, 60), (1, 300), (2, 900)] {
        observed.gpu_restarts_of_loss = restarts;
        observed.gpu_restarted_at = (restarts > 0).then_some(node.world.now);
        let early = planned(&node, &observed, true);
        assert_eq!(early.restart_server, None);
        assert!(codes(&early).contains(&"model_gpu_lost"));
        node.advance(wait);
        assert!(planned(&node, &observed, true).restart_server.is_some(), "restart {restarts}");
    }
    observed.gpu_restarts_of_loss = 3;
    node.advance(100_000);
    let plan = planned(&node, &observed, true);
    assert_eq!(plan.restart_server, None);
    assert!(
        plan.problems
            .iter()
            .any(|it| it.message.contains("3 restarts of the server's container did not help"))
    );
}

#[test]
fn restarts_for_earlier_losses_are_shown_and_leave_three_for_this_one() {
    let mut node = served();
    let mut observed = node.observed();
    observed.gpu = GpuView::Lost { reason: "nvidia-smi ended with 9".to_owned(), since: node.world.now };
    observed.gpu_restarts = 7;
    node.advance(60);
    let plan = planned(&node, &observed, true);
    assert!(plan.restart_server.is_some_and(|why| why.ends_with("(restart 1 of 3)")));
    assert_eq!((plan.server.gpu_restarts, plan.gpu_is_lost), (7, Some(true)));
    observed.gpu = GpuView::Unknown;
    assert_eq!(planned(&node, &observed, true).gpu_is_lost, Some(true), "all are on the CPU");
    let ServerView::Up { loaded, .. } = &mut observed.server else { panic!("it is up") };
    loaded.clear();
    assert_eq!(planned(&node, &observed, true).gpu_is_lost, None, "nobody can tell");
    observed.gpu = GpuView::Present(1);
    assert_eq!(planned(&node, &observed, true).gpu_is_lost, Some(false));
}

#[test]
fn a_model_partly_on_the_cpu_is_told_and_one_wholly_there_is_a_lost_gpu() {
    let mut node = served();
    let mut observed = node.observed();
    let ServerView::Up { loaded, .. } = &mut observed.server else { panic!() };
    for it in loaded.iter_mut() {
        it.size_vram_bytes = it.size_bytes - 1;
    }
    let partly = planned(&node, &observed, true);
    assert_eq!(codes(&partly), ["model_partly_on_cpu", "model_partly_on_cpu"]);
    assert!(partly.problems.iter().all(|problem| !crate::status::degrades(problem)));
    assert_eq!(partly.models[0].0.on_gpu, Some(false));
    let mut observed = node.observed();
    observed.on_cpu.insert(digest(MODELS[0], 0), node.world.now);
    node.advance(59);
    assert_eq!(planned(&node, &observed, true).restart_server, None);
    node.advance(1);
    let wholly = planned(&node, &observed, true);
    assert!(wholly.restart_server.is_some_and(|why| why.contains("wholly on the CPU")));
    assert_eq!(planned(&node, &observed, false).restart_server, None, "no GPU was asked for");
}

#[test]
fn what_a_client_has_loaded_on_the_cpu_restarts_no_server() {
    let mut node = served();
    node.advance(3600);
    let mut observed = node.observed();
    let ServerView::Up { loaded, .. } = &mut observed.server else { panic!("it is up") };
    loaded.iter_mut().for_each(|it| it.size_vram_bytes = it.size_bytes);
    let (size_bytes, size_vram_bytes, expires_at) = (1, 0, None);
    // One that is not ours, and one that is not to stay in memory.
    for (name, version) in [(FOREIGN, digest(FOREIGN, 0)), (MODELS[2], digest(MODELS[2], 0))] {
        let name = name.to_owned();
        loaded.push(Loaded { name, digest: version.clone(), size_bytes, size_vram_bytes, expires_at });
        observed.on_cpu.insert(version, node.world.now - SignedDuration::from_secs(3000));
    }
    let plan = planned(&node, &observed, true);
    assert_eq!((plan.restart_server.as_deref(), codes(&plan)), (None, Vec::new()));
    // Ours was loaded long ago, and again by a client a moment ago.
    let ServerView::Up { loaded, .. } = &mut observed.server else { panic!("it is up") };
    loaded.iter_mut().for_each(|it| it.size_vram_bytes = 0);
    observed.on_cpu.insert(digest(MODELS[0], 0), node.world.now);
    let plan = planned(&node, &observed, true);
    assert_eq!((plan.restart_server.as_deref(), codes(&plan)), (None, vec!["model_gpu_lost"]));
}

#[test]
fn a_volume_that_reads_slowly_is_called_cold_unless_a_cap_is_why() {
    let mut node = served();
    let mut observed = node.observed();
    let read = 1 << 30;
    let progress = |speed| WarmProgress {
        read_bytes: read,
        total_bytes: read,
        mebibytes_per_second: speed,
        from_device_bytes: read,
    };
    for (speed, cap, cold) in [(12.0, None, true), (500.0, None, false), (12.0, Some(12 << 20), false)] {
        let warmed = WarmedView { progress: progress(speed), not_kept: None };
        observed.warmed.insert(digest(MODELS[0], 0), warmed);
        node.settings.prewarm = cap.map_or(super::Prewarm::Unlimited, super::Prewarm::BytesPerSecond);
        let plan = planned(&node, &observed, false);
        assert_eq!(codes(&plan).contains(&"model_volume_cold"), cold, "{speed} MiB/s with {cap:?}");
    }
}

#[test]
fn a_busy_server_bars_no_version_and_one_that_gives_no_answer_in_time_does() {
    for (code, busy, barred) in [("model_server_busy", 5, false), ("model_server_unreachable", 0, true)] {
        let mut node = served();
        let new = digest(MODELS[0], 1);
        node.world.tags.insert(full(MODELS[0]), new.clone());
        node.advance(7200);
        for _ in 0..50 {
            node.pass(None);
            if node.memory.step.as_ref().is_some_and(|step| step.action.kind() == StepKind::Load) {
                break;
            }
            node.step_ends(false);
            node.pull_goes_on(1000);
        }
        let loads = node.memory.step.take().map(|step| step.action.kind());
        assert_eq!(loads, Some(StepKind::Load), "{}", node.story());
        let mut observed = node.observed();
        let mut attempt = failed(code, 5, new, node.world.now);
        attempt.busy = busy;
        attempt.failure.iter_mut().for_each(|failure| failure.blames_version = false);
        observed.attempts.insert((full(MODELS[0]), StepKind::Load), attempt);
        let plan = planned(&node, &observed, false);
        let bad = plan.notes.iter().any(|note| matches!(note, super::Note::Bad { .. }));
        assert_eq!(bad, barred, "{code}: {:?}", plan.notes);
        assert!(barred || codes(&plan) == [code], "{:?}", codes(&plan));
    }
}

#[test]
fn a_tag_is_asked_for_at_its_interval_and_what_is_pinned_and_there_never() {
    let mut node = served();
    assert!(node.plan().lookups.is_empty());
    node.advance(3600 + 360);
    assert_eq!(node.plan().lookups.len(), 3);
    node.settings.every = None;
    assert!(node.plan().lookups.is_empty());
    node.settings.every = Some(Duration::from_secs(60));
    node.settings.pull.get_mut(MODELS[0]).unwrap().digest = Some(digest(MODELS[0], 0));
    assert_eq!(node.plan().lookups, [reference(MODELS[1]), reference(MODELS[2])]);
}

#[test]
fn a_tag_that_is_never_followed_is_asked_for_only_when_a_server_has_answered_without_it() {
    let mut node = served();
    node.settings.every = None;
    let mut observed = node.observed();
    observed.lookups.clear();
    assert_eq!(planned(&node, &observed, false).lookups, []);
    let ServerView::Up { installed, .. } = &mut observed.server else { panic!("it is up") };
    installed.clear();
    assert_eq!(planned(&node, &observed, false).lookups.len(), 3);
    observed.server = ServerView::NotRunning { reason: "service ollama is starting".to_owned() };
    assert_eq!(planned(&node, &observed, false).lookups, []);
}

#[test]
fn models_that_node_toml_no_longer_has_go_when_they_are_ours_and_old() {
    for (reclaim, after, goes) in [
        (Reclaim::Ours, 168 * 3600 + 3600, true),
        (Reclaim::Ours, 167 * 3600 - 3600, false),
        (Reclaim::Never, 1000 * 3600, false),
    ] {
        let mut node = served();
        node.settings.pull.remove(MODELS[2]);
        node.settings.reclaim = reclaim;
        node.advance(after);
        let step = node.plan().step;
        let deletes = matches!(&step, Some(step) if matches!(&step.action, Action::Delete { name } if name.full() == full(MODELS[2])));
        assert_eq!(deletes, goes, "{reclaim:?} after {after} s: {step:?}");
    }
}

#[test]
fn a_version_that_fails_its_smoke_prompt_with_nothing_before_it_is_not_asked_for_ever() {
    let mut node = Node::new();
    node.world.tags.insert(full(MODELS[1]), digest(MODELS[1], 3));
    for _ in 0..60 {
        node.pass(None);
        node.step_ends(false);
        node.pull_goes_on(1000);
        node.advance(1);
    }
    let plan = node.plan();
    assert!(plan.step.is_none(), "{:?}", plan.step);
    assert_eq!(plan.models[1].0.state, ModelState::Failed);
    assert_eq!(codes(&plan), ["model_failed"]);
    assert!(reason(&plan, 1).contains("tried again with another version"), "{}", reason(&plan, 1));
}

#[test]
fn what_a_person_asks_for_changes_the_record_or_is_refused() {
    let mut node = served();
    let observed = node.observed();
    let mut durable: Durable = node.durable.clone();
    let mut model = node.settings.pull[MODELS[0]].clone();
    let ask = |durable: &mut Durable, model: &node::config::settings::Model, asked: &ModelWish| {
        let moment = Asked { model, observed: &observed, now: node.world.now };
        wish(durable, &moment, asked).map_err(|refused| refused.code)
    };
    assert_eq!(ask(&mut durable, &model, &ModelWish::Rollback), Err("model_no_previous"));
    assert!(ask(&mut durable, &model, &ModelWish::Pin { digest: None }).is_ok());
    let pin = |durable: &Durable| durable.record(&full(MODELS[0])).unwrap().pin.clone().map(|pin| pin.digest);
    assert_eq!(pin(&durable), Some(digest(MODELS[0], 0)));
    let prefix = digest(MODELS[0], 0)[..15].to_owned();
    assert!(ask(&mut durable, &model, &ModelWish::Pin { digest: Some(prefix) }).is_ok());
    let unknown = ModelWish::Pin { digest: Some("sha256:ffffffff".to_owned()) };
    assert_eq!(ask(&mut durable, &model, &unknown), Err("model_version_unknown"));
    let odd = ModelWish::Pin { digest: Some("latest".to_owned()) };
    assert_eq!(ask(&mut durable, &model, &odd), Err("model_digest_invalid"));
    assert!(ask(&mut durable, &model, &ModelWish::Unpin).is_ok());
    assert_eq!(pin(&durable), None);
    model.digest = Some(digest(MODELS[0], 0));
    assert_eq!(ask(&mut durable, &model, &ModelWish::Pin { digest: None }), Err("model_pinned"));
    assert_eq!(ask(&mut durable, &model, &ModelWish::Update { retry: false }), Err("model_pinned"));
    assert!(ask(&mut durable, &model, &ModelWish::Update { retry: true }).is_ok());
}

#[test]
fn going_back_while_a_version_is_on_its_way_means_the_one_that_is_good() {
    let mut node = served();
    let observed = node.observed();
    let model = &node.settings.pull[MODELS[0]];
    let asked = Asked { model, observed: &observed, now: node.world.now };
    let mut durable: Durable = node.durable.clone();
    // What is installed is not good yet.
    let record = durable.models.get_mut(&full(MODELS[0])).unwrap();
    record.good = Some(digest(MODELS[0], 1));
    record.previous = Some(digest(MODELS[0], 2));
    wish(&mut durable, &asked, &ModelWish::Rollback).unwrap();
    let pin = |durable: &Durable| durable.record(&full(MODELS[0])).unwrap().pin.clone().unwrap().digest;
    assert_eq!(pin(&durable), digest(MODELS[0], 1));
    // And once it is, the one before.
    durable.models.get_mut(&full(MODELS[0])).unwrap().good = Some(digest(MODELS[0], 0));
    wish(&mut durable, &asked, &ModelWish::Rollback).unwrap();
    assert_eq!(pin(&durable), digest(MODELS[0], 2));
}

#[test]
fn what_the_server_cannot_take_up_goes_before_the_pull_once_it_is_no_longer_in_work() {
    let mut node = Node::new();
    node.pass(None);
    let mut observed = node.observed();
    let layer = manifest(MODELS[0], 1).layers[0].digest.clone();
    let broken = Partial { allocated_bytes: 1, modified_at: node.world.now, broken: true };
    observed.files.as_mut().unwrap().partials.insert(layer.clone(), broken);
    observed.broken_since.insert(layer.clone(), node.world.now);
    let early = planned(&node, &observed, false);
    let pulls_it = |plan: &Plan| plan.pull.as_ref().is_some_and(|step| step.model == full(MODELS[0]));
    assert!(!pulls_it(&early) && early.step.is_none(), "{early:?}");
    assert!(reason(&early, 0).contains("is broken"), "{}", reason(&early, 0));
    assert!(early.wake_at.is_some_and(|at| at <= node.world.now + SignedDuration::from_secs(10)));
    node.advance(10);
    // Nor where it was written after the look had begun.
    observed.files_seen_at = Some(node.world.now - SignedDuration::from_secs(11));
    assert!(planned(&node, &observed, false).step.is_none());
    // What was seen while the server wrote it says nothing of what is there now: it is looked at again first.
    let unseen = planned(&node, &observed, false);
    assert!(!pulls_it(&unseen) && unseen.step.is_none(), "{unseen:?}");
    observed.files_seen_at = Some(node.world.now);
    let later = planned(&node, &observed, false);
    let action = later.step.map(|step| step.action);
    let clean = Some(Action::Clean { partials: vec![layer.clone()], blobs: Vec::new() });
    assert_eq!(action, clean);
    // One that is being written may show the time of the write before: that it was seen so just now is what counts.
    let first_seen = observed.broken_since.insert(layer.clone(), node.world.now);
    assert!(planned(&node, &observed, false).step.is_none());
    observed.broken_since.extend(first_seen.map(|at| (layer.clone(), at)));
    node.advance(-3600);
    observed.files_seen_at = Some(node.world.now);
    observed.broken_since.insert(layer.clone(), node.world.now - SignedDuration::from_secs(10));
    let set_back = planned(&node, &observed, false);
    assert_eq!(set_back.step.map(|step| step.action), clean, "the clock was set back");
}

#[test]
fn a_kept_name_says_its_version() {
    let name = kept_name(&reference("llama3.2:3b"), "sha256:0123456789abcdef");
    assert_eq!(name.to_string(), "llama3.2:3b.kept-0123456789ab");
    assert_eq!(manifest(MODELS[0], 0).size_bytes(), 150);
}

#[test]
fn a_pull_that_does_not_fit_makes_what_nobody_needs_go_but_only_if_it_fits_then() {
    for (room, goes) in [(450 + 169, true), (450 + 10, false)] {
        let mut node = served();
        node.settings.pull.remove(MODELS[2]);
        node.settings.pull.remove(MODELS[1]);
        node.settings.reclaim = Reclaim::Ours;
        node.world.delete(&full(MODELS[1]));
        node.world.room = room;
        node.settings
            .pull
            .insert(MODELS[1].to_owned(), super::simulation::agent::model(MODELS[1], true, false));
        // The registry is asked once more, as somebody removed what a pull had brought.
        node.pass(None);
        let plan = node.plan();
        assert!(plan.pull.is_none());
        let name = |step: &super::Step| match &step.action {
            Action::Delete { name } => Some(name.full()),
            _ => None,
        };
        assert_eq!(plan.step.as_ref().and_then(name), goes.then(|| full(MODELS[2])), "room {room}");
        assert_eq!(codes(&plan), ["model_disk_full"]);
    }
}

#[test]
fn a_new_version_with_a_damaged_file_gives_way_to_the_good_one_and_only_that_file_is_pulled_again() {
    let mut node = served();
    let (name, model) = (MODELS[0], full(MODELS[0]));
    node.world.tags.insert(model.clone(), digest(name, 1));
    node.world.corrupts_next = true;
    node.advance(7200);
    let mut states = Vec::new();
    for _ in 0..40 {
        node.pass(None);
        node.step_ends(false);
        node.pull_goes_on(1000);
        node.advance(1);
        let there = node.world.names[&model].clone();
        if states.last() != Some(&there) {
            states.push(there);
        }
    }
    let (old, new) = (digest(name, 0), digest(name, 1));
    assert_eq!(states, [old.clone(), new.clone(), old, new.clone()]);
    assert_eq!(node.durable.record(&model).unwrap().good, Some(new));
    assert!(node.durable.record(&model).unwrap().quarantine.is_empty());
}
