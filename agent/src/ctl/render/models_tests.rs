//! Golden texts of models: what an operator sees, character by character.

use super::models::{explain, render};
use super::tests::{PLAIN, ago, assert_golden, now, ready};
use super::text::{Page, clean};
use crate::status::*;
use jiff::SignedDuration;
use node::problem::Problem;

fn digest(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

fn model(name: &str) -> Model {
    Model {
        name: name.to_owned(),
        digest: Some(digest("a")),
        size_bytes: Some(2_019_393_189),
        state: ModelState::Loaded,
        progress: None,
        on_gpu: Some(true),
        memory_bytes: None,
        gpu_memory_bytes: None,
        required: true,
        keep_loaded: true,
        reason: None,
        since: Some(ago(7500)),
        pinned: None,
        previous: None,
        update: UpdateStatus {
            state: UpdateState::Current,
            candidate: None,
            reason: None,
            checked_at: Some(ago(1200)),
        },
    }
}

fn embeddings() -> Model {
    Model {
        digest: Some(digest("b")),
        size_bytes: Some(274_302_450),
        state: ModelState::Present,
        on_gpu: None,
        memory_bytes: None,
        gpu_memory_bytes: None,
        required: false,
        keep_loaded: false,
        ..model("nomic-embed-text:latest")
    }
}

fn server() -> ModelServer {
    ModelServer {
        service: Some("ollama".to_owned()),
        endpoint: Some("http://172.18.0.2:11434".to_owned()),
        version: Some("0.5.4".to_owned()),
        state: ModelServerState::Up,
        reason: None,
        gpus: Some(1),
        gpu_restarts: 0,
        directory: Some("/mnt/ollama-models/models".to_owned()),
        free_bytes: Some(94_274_000_000),
        prewarm: Some(Prewarm {
            model: "registry.ollama.ai/library/llama3.2:3b".to_owned(),
            read_bytes: 2_019_393_189,
            total_bytes: 2_019_393_189,
            mebibytes_per_second: 812.4,
            not_kept: None,
        }),
    }
}

fn problem(code: &str, message: &str, hint: &str) -> Problem {
    Problem {
        code: code.to_owned(),
        message: message.to_owned(),
        hint: Some(hint.to_owned()),
        since: ago(42),
    }
}

/// All is well.
fn fine() -> (Models, Vec<Problem>) {
    let models = vec![model("llama3.2:3b"), embeddings()];
    let explain = |model: &Model| ModelExplanation {
        model: model.name.clone(),
        reasons: vec![Reason { text: "it is what its tag names".to_owned(), until: None }],
        good: model.digest.clone(),
        ..ModelExplanation::default()
    };
    let explanations = models.iter().map(explain).collect();
    (Models { server: Some(server()), models, explanations }, Vec::new())
}

fn pulling() -> (Models, Vec<Problem>) {
    let (mut models, problems) = fine();
    let server = models.server.as_mut().unwrap();
    (server.gpus, server.service) = (Some(4), None);
    let prewarm = server.prewarm.as_mut().unwrap();
    (prewarm.read_bytes, prewarm.mebibytes_per_second) = (734_003_200, 12.0);
    prewarm.not_kept = Some("1.1 GiB of memory are available".to_owned());
    let coming = &mut models.models[0];
    coming.name = "hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M".to_owned();
    (coming.state, coming.progress, coming.on_gpu) = (ModelState::Pulling, Some(0.437), None);
    coming.digest = None;
    coming.reason = Some("pulling what its tag names: 841 MiB of 1.8 GiB".to_owned());
    models.explanations[0].model.clone_from(&coming.name);
    let waiting = &mut models.models[1];
    (waiting.state, waiting.digest, waiting.size_bytes) = (ModelState::Absent, None, None);
    waiting.reason = Some("waits for the pull that is under way".to_owned());
    waiting.update.checked_at = None;
    (models, problems)
}

fn failed() -> (Models, Vec<Problem>) {
    let (mut models, mut problems) = fine();
    let failed = &mut models.models[1];
    let why = "needs 39.6 GiB more, free 38.0 GiB, reserve 2.0 GiB: nothing is pulled";
    (failed.name, failed.state) = ("llama3.3:70b".to_owned(), ModelState::Failed);
    (failed.digest, failed.size_bytes) = (None, Some(42_520_413_916));
    failed.reason = Some(why.to_owned());
    models.explanations[1] = ModelExplanation {
        model: failed.name.clone(),
        reasons: vec![Reason {
            text: why.to_owned(),
            until: Some(now().checked_add(SignedDuration::from_secs(125)).unwrap()),
        }],
        ..ModelExplanation::default()
    };
    let message = format!("model llama3.3:70b: {why}");
    problems.push(problem(
        "model_disk_full",
        &message,
        "enlarge the volume of /mnt/ollama-models, or remove a model",
    ));
    (models, problems)
}

fn rolled_back() -> (Models, Vec<Problem>) {
    let (mut models, mut problems) = fine();
    let cause = "its smoke prompt was answered with \"\x1b[31mlorem\", and 42 was expected";
    let back = &mut models.models[0];
    (back.previous, back.pinned) = (Some(digest("c")), Some(digest("a")));
    (back.update.state, back.update.candidate) = (UpdateState::RolledBack, Some(digest("f")));
    back.update.reason = Some(format!("ffffffffffff failed: {cause}"));
    let explanation = &mut models.explanations[0];
    explanation.previous = Some(digest("c"));
    let failed = Quarantined {
        digest: digest("f"),
        at: ago(3600),
        cause: cause.to_owned(),
        last_log_lines: Vec::new(),
    };
    explanation.quarantined.push(failed);
    let update = |to: &str, from: Option<&str>, began: i64, cause: Option<&str>| PastUpdate {
        digest: digest(to),
        from: from.map(digest),
        began: ago(began),
        ended: Some(ago(began - 240)),
        state: if cause.is_some() { PastUpdateState::Failed } else { PastUpdateState::Passed },
        cause: cause.map(str::to_owned),
    };
    explanation.updates = vec![
        update("c", None, 90_000, None),
        update("a", Some("c"), 50_000, None),
        update("f", Some("a"), 3840, Some(cause)),
    ];
    problems.push(problem(
        ROLLED_BACK,
        "model llama3.2:3b went back to aaaaaaaaaaaa",
        "publish a version that works",
    ));
    (models, problems)
}

fn gpu_lost() -> (Models, Vec<Problem>) {
    let (mut models, mut problems) = fine();
    let server = models.server.as_mut().unwrap();
    (server.gpus, server.gpu_restarts, server.prewarm) = (Some(0), 2, None);
    let slow = &mut models.models[0];
    slow.on_gpu = Some(false);
    slow.reason = Some("wholly on the CPU; ollama is restarted for it in 5m".to_owned());
    let message =
        "ollama has lost its GPU: nvidia-smi ended with 255: Failed to initialize NVML: Unknown Error";
    problems.push(problem("model_gpu_lost", message, "its container is restarted, 2 of 3 times so far"));
    (models, problems)
}

fn in_status((models, problems): (Models, Vec<Problem>)) -> Status {
    let mut status = ready();
    if problems.iter().any(degrades) {
        status.node.state = NodeState::Degraded;
    }
    (status.models, status.model_server, status.problems) = (models.models, models.server, problems);
    status
}

/// Compares one scene in `agentctl models` and in `agentctl status`.
fn assert_both(name: &str, scene: (Models, Vec<Problem>), models: &str, status: &str) {
    assert_golden(name, &render(&scene.0, now(), PLAIN), models);
    assert_golden(name, &super::status::render(&in_status(scene), None, now(), PLAIN), status);
}

#[test]
fn models_that_are_in_place() {
    let (models, status) =
        (include_str!("golden/models_ready.txt"), include_str!("golden/models_ready_status.txt"));
    assert_both("models_ready", fine(), models, status);
}

#[test]
fn a_model_that_is_pulled_shows_how_far_and_one_that_waits_what_for() {
    let (models, status) =
        (include_str!("golden/models_pulling.txt"), include_str!("golden/models_pulling_status.txt"));
    assert_both("models_pulling", pulling(), models, status);
}

#[test]
fn a_model_that_does_not_fit_shows_the_numbers_once() {
    let (models, status) =
        (include_str!("golden/models_failed.txt"), include_str!("golden/models_failed_status.txt"));
    assert_both("models_failed", failed(), models, status);
}

#[test]
fn a_model_that_went_back_shows_what_is_barred_and_what_is_kept() {
    let (models, status) =
        (include_str!("golden/models_rolled_back.txt"), include_str!("golden/models_rolled_back_status.txt"));
    assert_both("models_rolled_back", rolled_back(), models, status);
}

#[test]
fn a_server_without_its_gpu_shows_the_restarts() {
    let (models, status) =
        (include_str!("golden/models_gpu_lost.txt"), include_str!("golden/models_gpu_lost_status.txt"));
    assert_both("models_gpu_lost", gpu_lost(), models, status);
}

#[test]
fn a_server_that_does_not_answer_says_why() {
    let (mut models, _) = fine();
    let server = models.server.as_mut().unwrap();
    (server.state, server.version, server.gpus) = (ModelServerState::Silent, None, None);
    (server.free_bytes, server.prewarm) = (None, None);
    server.reason =
        Some("the model server at http://172.18.0.2:11434 does not answer (list models)".to_owned());
    assert_golden("models_silent", &render(&models, now(), PLAIN), include_str!("golden/models_silent.txt"));
    server_down(&mut models);
    assert_golden("models_down", &render(&models, now(), PLAIN), include_str!("golden/models_down.txt"));
}

fn server_down(models: &mut Models) {
    let server = models.server.as_mut().unwrap();
    (server.state, server.endpoint, server.directory) = (ModelServerState::Down, None, None);
    server.reason = Some("ollama waits for the volume models".to_owned());
    models.models.clear();
}

#[test]
fn an_explanation_of_models_gives_reasons_and_past_moves() {
    let (models, _) = rolled_back();
    let text = explain(&models.explanations, &models.models, now(), PLAIN);
    assert_golden("models_explain", &text, include_str!("golden/models_explain.txt"));
}

#[test]
fn a_node_without_models_shows_none() {
    let none = Models { server: None, models: Vec::new(), explanations: Vec::new() };
    let text = render(&none, now(), PLAIN);
    assert_eq!(text, "no models: node.toml has no [models], or the agent has not finished its first look\n");
    assert!(!super::status::render(&ready(), None, now(), PLAIN).contains("MODEL"));
    assert_eq!(explain(&none.explanations, &none.models, now(), PLAIN), "");
}

#[test]
fn colours_of_models_change_nothing_but_colours() {
    for scene in [fine(), pulling(), failed(), rolled_back(), gpu_lost()] {
        let coloured = render(&scene.0, now(), Page { colour: true, ..PLAIN });
        assert!(coloured.contains("\x1b[32mup\x1b[0m"), "{coloured}");
        let plain = clean(&coloured.replace('\n', "§")).replace('§', "\n");
        assert_eq!(plain, render(&scene.0, now(), PLAIN));
    }
}

#[test]
fn a_status_of_an_older_agent_is_read_without_what_is_new_of_models() {
    let older = r#"{"name":"llama3.2:3b","digest":null,"size_bytes":null,"state":"absent","progress":null,"on_gpu":null}"#;
    let model: Model = serde_json::from_str(older).unwrap();
    assert_eq!(
        (model.required, model.update.state, model.is_in_place()),
        (false, UpdateState::Current, false)
    );
}
