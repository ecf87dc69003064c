//! What the loop tells: models, their server and its problems, as the last plan has them.
//!
//! In: a plan. Out: the board, only when something is different from what it has. Decides nothing.

use super::plan::Plan;
use super::record::{Durable, Record};
use super::store::StoreError;
use super::{Models as Loop, Unsaved};
use crate::board::{Board, Owner};
use crate::status::{
    Model, ModelExplanation, ModelServer, ModelServerState, ModelState, Models, UpdateState, UpdateStatus,
};
use jiff::Timestamp;
use node::config::settings;
use node::problem::Problem;

/// What was published last: the board wakes its readers at every change, so nothing is published twice.
#[derive(Clone)]
pub(super) struct Published {
    models: Models,
    problems: Vec<Problem>,
}

impl Published {
    /// But for the beginning of problems, of which the board keeps the first.
    fn same(&self, other: &Published) -> bool {
        let text = |problem: &Problem| (problem.code.clone(), problem.message.clone(), problem.hint.clone());
        self.models == other.models && self.problems.iter().map(text).eq(other.problems.iter().map(text))
    }
}

/// Puts all models on the board as absent, so that the node does not call itself ready before they were looked at.
pub fn announce(wanted: &settings::Models, board: &Board, now: Timestamp) {
    recall(wanted, &Durable::default(), board, now);
}

/// The same with what is remembered, before the server is asked: who reads then sees what was asked for before.
pub(super) fn recall(wanted: &settings::Models, durable: &Durable, board: &Board, now: Timestamp) {
    board.publish_models(unknown_yet(wanted, durable, now), now);
}

fn unknown_yet(wanted: &settings::Models, durable: &Durable, now: Timestamp) -> Models {
    let reason = "the model server has not been asked yet";
    let service = match &wanted.server {
        settings::ModelServer::Service { name, .. } => Some(name.clone()),
        settings::ModelServer::Url(_) => None,
    };
    let endpoint = match &wanted.server {
        settings::ModelServer::Service { .. } => None,
        settings::ModelServer::Url(url) => Some(url.clone()),
    };
    let server = ModelServer {
        service,
        endpoint,
        version: None,
        state: ModelServerState::Down,
        reason: Some(reason.to_owned()),
        gpus: None,
        gpu_restarts: 0,
        directory: wanted.directory.clone(),
        free_bytes: None,
        prewarm: None,
    };
    let models: Vec<Model> = wanted
        .pull
        .values()
        .map(|model| absent(model, durable.record(&model.reference.full()), reason, now))
        .collect();
    let explained =
        |model: &Model| ModelExplanation { model: model.name.clone(), ..ModelExplanation::default() };
    let explanations = models.iter().map(explained).collect();
    Models { server: Some(server), models, explanations }
}

fn absent(model: &settings::Model, record: Option<&Record>, reason: &str, now: Timestamp) -> Model {
    let pin = record.and_then(|record| record.pin.as_ref()).map(|pin| pin.digest.clone());
    Model {
        name: model.reference.to_string(),
        digest: None,
        size_bytes: None,
        state: ModelState::Absent,
        progress: None,
        on_gpu: None,
        memory_bytes: None,
        gpu_memory_bytes: None,
        required: model.required,
        keep_loaded: model.keep_loaded,
        reason: Some(reason.to_owned()),
        since: Some(now),
        pinned: model.digest.clone().or(pin),
        previous: record.and_then(|record| record.previous.clone()),
        update: UpdateStatus { state: UpdateState::Current, candidate: None, reason: None, checked_at: None },
    }
}

impl<S, R, F, E> Loop<S, R, F, E> {
    pub(super) fn publish(&mut self, plan: &Plan, now: Timestamp) {
        let (mut models, explanations): (Vec<Model>, Vec<ModelExplanation>) =
            plan.models.iter().cloned().unzip();
        let before = self.published.as_ref().map(|published| published.models.models.as_slice());
        keep_since(&mut models, before.unwrap_or_default(), now);
        let models = Models { server: Some(plan.server.clone()), models, explanations };
        let problems = plan.problems.iter().cloned().chain(self.record_problems(now)).collect();
        let published = Published { models, problems };
        if self.published.as_ref().is_some_and(|before| before.same(&published)) {
            return;
        }
        self.published = Some(published.clone());
        let Published { models, problems } = published;
        // Problems first: for a moment between the two, a node must not look better than it is.
        self.board.publish_problems(Owner::Models, problems, now);
        self.board.publish_models(models, now);
    }

    fn record_problems(&self, now: Timestamp) -> Vec<Problem> {
        let unsaved = match &self.unsaved {
            Some(Unsaved::Failed(error)) => Some(error),
            _ => None,
        };
        // What was lost matters for as long as some model has nothing to return to.
        let good = |model: &settings::Model| {
            self.durable.record(&model.reference.full()).is_some_and(|record| record.good.is_some())
        };
        let damage = self.damage.as_ref().filter(|_| !self.wanted.models.pull.values().all(good));
        let problem = |error: &StoreError| Problem::from_error(error.code(), error, now);
        damage.into_iter().chain(unsaved).map(problem).collect()
    }
}

/// A model that is in the same state as before has been in it since the same moment.
fn keep_since(models: &mut [Model], before: &[Model], now: Timestamp) {
    for model in models {
        let same = before.iter().find(|before| before.name == model.name && before.state == model.state);
        model.since = same.and_then(|same| same.since).or(Some(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::tests::samples::{at, board, settings};
    use crate::status::NodeState;

    #[test]
    fn before_the_first_look_every_model_is_absent_and_the_node_is_not_ready() {
        let board = board();
        board.publish_services(Vec::new(), Vec::new(), Vec::new(), at(1));
        assert_eq!(board.status().node.state, NodeState::Ready);
        let mut wanted = settings(&["a:1", "b"]);
        for model in wanted.pull.values_mut() {
            model.required = true;
        }
        announce(&wanted, &board, at(2));
        let status = board.status();
        assert_eq!(status.node.state, NodeState::Starting);
        let seen: Vec<_> =
            status.models.iter().map(|model| (model.name.as_str(), model.state, model.since)).collect();
        let absent = ModelState::Absent;
        assert_eq!(seen, [("a:1", absent, Some(at(2))), ("b:latest", absent, Some(at(2)))]);
        assert_eq!(board.models().explanations.len(), 2);
    }

    #[test]
    fn what_a_person_asked_for_is_seen_before_the_server_has_answered() {
        let (board, wanted) = (board(), settings(&["a:1", "b"]));
        let mut durable = Durable::default();
        let full = wanted.pull["a:1"].reference.full();
        let pin = crate::models::record::Pin { digest: "sha256:1".to_owned(), at: at(1) };
        let previous = Some("sha256:1".to_owned());
        durable.models.insert(full, Record { pin: Some(pin), previous, ..Record::default() });
        recall(&wanted, &durable, &board, at(2));
        let told: Vec<_> =
            board.status().models.into_iter().map(|model| (model.pinned, model.previous)).collect();
        let first = Some("sha256:1".to_owned());
        assert_eq!(told, [(first.clone(), first), (None, None)]);
    }

    #[test]
    fn a_state_that_stays_keeps_its_beginning() {
        let wanted = settings(&["a:1"]);
        let mut first = unknown_yet(&wanted, &Durable::default(), at(1)).models;
        let mut second = unknown_yet(&wanted, &Durable::default(), at(2)).models;
        keep_since(&mut second, &first, at(2));
        assert_eq!(second[0].since, Some(at(1)));
        second[0].state = ModelState::Pulling;
        keep_since(&mut second, &first, at(3));
        assert_eq!(second[0].since, Some(at(3)));
        first.clear();
        keep_since(&mut second, &first, at(4));
        assert_eq!(second[0].since, Some(at(4)), "one that is new has just come");
    }
}
