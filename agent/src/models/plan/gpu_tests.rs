//! Models that fell to the CPU, from what was observed to the page that a person reads.

use super::simulation::agent::Node;
use super::simulation::{MODELS, digest};
use super::{Plan, plan};
use crate::ctl::render::models::{explain, render};
use crate::ctl::render::text::Page;
use crate::models::observed::{GpuView, Observed, ServerView, Serving};
use crate::status::{Models, degrades};
use jiff::SignedDuration;
use node::config::settings::ModelServer;

/// One model that stays loaded, good and in memory, since a quarter of an hour.
fn served() -> Node {
    let mut node = Node::new();
    node.settings.pull.retain(|name, _| name == MODELS[0]);
    for _ in 0..30 {
        node.pass(None);
        node.step_ends(false);
        node.pull_goes_on(1000);
        node.advance(1);
    }
    node.advance(870);
    node
}

fn planned(node: &Node, observed: &Observed, wants_gpus: bool) -> Plan {
    plan(&node.settings, &Serving { wants_gpus }, observed, &node.durable, node.world.now)
}

/// `agentctl models`, then `agentctl explain`.
fn page(node: &Node, plan: &Plan) -> String {
    let (models, explanations) = plan.models.iter().cloned().unzip();
    let models = Models { server: Some(plan.server.clone()), models, explanations };
    let (now, plain) = (node.world.now, Page { width: 80, colour: false });
    format!("{}\n{}", render(&models, now, plain), explain(&models.explanations, &models.models, now, plain))
}

fn assert_golden(name: &str, text: &str, expected: &str) {
    assert_eq!(text, expected, "{name} differs; it is now:\n{text}");
}

#[test]
fn a_model_that_fell_to_the_cpu_says_since_when_and_which_restart_comes() {
    let mut node = served();
    let mut observed = node.observed();
    observed.gpu = GpuView::Present(1);
    observed.on_cpu.insert(digest(MODELS[0], 0), node.world.now);
    node.advance(20);
    let waits = planned(&node, &observed, true);
    assert_eq!(waits.restart_server, None);
    assert_golden("gpu_waits", &page(&node, &waits), include_str!("golden/gpu_waits.txt"));
    (observed.gpu_restarts, observed.gpu_restarts_of_loss) = (3, 3);
    let spent = planned(&node, &observed, true);
    let reason = spent.models[0].0.reason.as_deref().unwrap_or_default();
    assert!(reason.ends_with("3 restarts of the server's container did not help"), "{reason}");
}

#[test]
fn of_a_server_at_a_url_a_person_is_told_to_restart_it() {
    let mut node = served();
    node.settings.server = ModelServer::Url("http://10.0.0.2:11434".to_owned());
    let mut observed = node.observed();
    observed.on_cpu.insert(digest(MODELS[0], 0), node.world.now);
    let without = planned(&node, &observed, false);
    assert_eq!((without.models[0].0.reason.clone(), without.problems.len()), (None, 0), "it never had a GPU");
    observed.has_gpu = true;
    node.advance(20);
    let told = planned(&node, &observed, false);
    assert_golden("gpu_url", &page(&node, &told), include_str!("golden/gpu_url.txt"));
    let problem = &told.problems[0];
    assert!(problem.code == "model_gpu_lost" && degrades(problem), "{problem:?}");
    assert!(problem.message.ends_with("; restart the server"), "{}", problem.message);
    assert_eq!(told.restart_server, None);
}

#[test]
fn a_model_that_lost_its_gpu_or_has_only_a_part_on_it_says_so() {
    let mut node = served();
    let mut observed = node.observed();
    let since = node.world.now - SignedDuration::from_secs(5);
    let ServerView::Up { loaded, .. } = &mut observed.server else { panic!("it is up") };
    loaded.iter_mut().for_each(|it| it.size_vram_bytes = it.size_bytes - 50);
    let partly = planned(&node, &observed, true);
    let reason = partly.models[0].0.reason.as_deref();
    assert_eq!(reason, Some("100 B of its 150 B are on the GPU, the rest is on the CPU"));
    let ServerView::Up { loaded, .. } = &mut observed.server else { panic!("it is up") };
    loaded.iter_mut().for_each(|it| it.size_vram_bytes = it.size_bytes);
    observed.gpu = GpuView::Lost { reason: "nvidia-smi: Failed to initialize NVML".to_owned(), since };
    let lost = planned(&node, &observed, true);
    let reason = &lost.models[0].1.reasons[0];
    let at = since + SignedDuration::from_secs(60);
    assert_eq!(
        reason.text,
        format!(
            "the GPU has been gone from the server's container since {since:.0}: nvidia-smi: Failed to initialize NVML; \
             the server's container is restarted at {at:.0}, restart 1 of 3"
        )
    );
    assert_eq!(reason.until, Some(at));
}
