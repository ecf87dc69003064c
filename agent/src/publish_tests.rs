//! The node in one line, and what is worth a write of the last status.

use super::*;
use crate::status::{Model, ModelServer, ModelServerState, ModelState, Node, UpdateState, UpdateStatus};
use jiff::Timestamp;
use node::problem::Problem;

fn model(name: &str, state: ModelState) -> Model {
    Model {
        name: name.to_owned(),
        digest: None,
        size_bytes: None,
        state,
        progress: None,
        on_gpu: None,
        memory_bytes: None,
        gpu_memory_bytes: None,
        required: true,
        keep_loaded: name.starts_with("kept"),
        reason: None,
        since: None,
        pinned: None,
        previous: None,
        update: UpdateStatus { state: UpdateState::Current, candidate: None, reason: None, checked_at: None },
    }
}

fn status(models: Vec<Model>) -> Status {
    let server = ModelServer {
        service: None,
        endpoint: None,
        version: None,
        state: ModelServerState::Up,
        reason: None,
        gpus: None,
        gpu_restarts: 0,
        directory: None,
        free_bytes: Some(1 << 30),
        prewarm: None,
    };
    Status {
        node: Node {
            name: "n".to_owned(),
            instance_id: String::new(),
            instance_type: String::new(),
            region: String::new(),
            availability_zone: String::new(),
            state: NodeState::Starting,
            since: Timestamp::UNIX_EPOCH,
            version: "0".to_owned(),
            boot: "b".to_owned(),
        },
        services: Vec::new(),
        model_server: (!models.is_empty()).then_some(server),
        models,
        volumes: Vec::new(),
        logs: Logs::default(),
        secrets: Vec::new(),
        problems: Vec::new(),
    }
}

#[test]
fn the_line_counts_models_that_are_in_place_where_there_are_any() {
    assert_eq!(status_line(&status(Vec::new())), "starting; 0 of 0 services running");
    let mut all = status(vec![
        model("kept:loaded", ModelState::Loaded),
        model("kept:present", ModelState::Present),
        model("present", ModelState::Present),
        model("pulling", ModelState::Pulling),
    ]);
    assert_eq!(status_line(&all), "starting; 0 of 0 services running; 2 of 4 models ready");
    let (code, message) = ("model_disk_full".to_owned(), "no room".to_owned());
    all.problems.push(Problem { code, message, hint: None, since: Timestamp::UNIX_EPOCH });
    let line = "starting; 0 of 0 services running; 2 of 4 models ready; model_disk_full: no room";
    assert_eq!(status_line(&all), line);
}

#[test]
fn a_pull_that_goes_on_is_written_as_seldom_as_the_counters_and_its_end_at_once() {
    let before = status(vec![model("a", ModelState::Pulling)]);
    let mut now = before.clone();
    (now.models[0].progress, now.model_server.as_mut().unwrap().free_bytes) = (Some(0.5), Some(7));
    assert!(!worth_writing(&before, &now, PAUSE), "only numbers moved");
    assert!(worth_writing(&before, &now, COUNTERS_PAUSE));
    now.models[0].state = ModelState::Present;
    assert!(worth_writing(&before, &now, PAUSE));
}
