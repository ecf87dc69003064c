//! One look at all our containers: one call for the list, and one more for each container of which it is not known
//! already how it is.
//!
//! A container that vanished between the two is left out. What always holds: an engine that does not answer about one of
//! them has not answered.

use super::containers::{Unreadable, observed};
use super::inspections::Summary;
use super::{ASK_DEADLINE, Docker};
use crate::engine::EngineError;
use crate::observed::{Container, labels};
use bollard::query_parameters::ListContainersOptionsBuilder;
use futures_util::future::FutureExt;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::collections::{BTreeSet, HashMap};

/// Questions at the same time. More do not make the engine faster, and each needs a connection.
const AT_ONCE: usize = 4;

/// What became of a container's document.
pub(super) type Inspected = Result<Container, Unreadable>;

impl Docker {
    pub(super) async fn list(&self) -> Result<Vec<Container>, EngineError> {
        let pulse = &self.shared.events;
        // Nothing of a look is lost with it.
        let found = tokio::select! {
            found = self.look() => found?,
            silence = pulse.silence() => return Err(self.refused("list containers", silence)),
        };
        let mut containers = Vec::new();
        let mut unreadable = Vec::new();
        for result in found {
            match result {
                Ok(container) => containers.push(container),
                Err(reason) => unreadable.push(reason),
            }
        }
        self.remember(&containers, unreadable);
        Ok(containers)
    }

    async fn look(&self) -> Result<Vec<Inspected>, EngineError> {
        let filters = HashMap::from([("label", vec![labels::SERVICE])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let listed = self
            .ask(ASK_DEADLINE, self.client().list_containers(Some(options)))
            .await
            .map_err(|refusal| self.refused("list containers", refusal))?;
        let named = listed.iter().filter_map(|summary| Some((summary.id.clone()?, Summary::of(summary))));
        let named: Vec<(String, Summary)> = named.collect();
        self.inspections().retain(&named.iter().map(|(id, _)| id.as_str()).collect::<BTreeSet<_>>());
        let inspected: Vec<_> =
            named.into_iter().map(|(id, summary)| self.inspected(id, summary).boxed()).collect();
        let found: Vec<Option<Inspected>> = stream::iter(inspected).buffered(AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn inspected(&self, id: String, summary: Summary) -> Result<Option<Inspected>, EngineError> {
        let known = self.inspections().known(&id, &summary);
        if known.is_some() {
            return Ok(known);
        }
        let asked = self.inspections().ask(&id);
        let Some(document) = self.inspect(&id).await? else { return Ok(None) };
        let inspected = observed(document);
        self.inspections().answered(&id, asked, summary, inspected.clone());
        Ok(Some(inspected))
    }

    fn remember(&self, containers: &[Container], unreadable: Vec<Unreadable>) {
        let mut seen = self.seen();
        seen.names = containers.iter().map(|it| (it.id.clone(), it.name.clone())).collect();
        for it in &unreadable {
            if !seen.unreadable.contains(&it.id) {
                tracing::warn!(
                    container = it.id,
                    reason = it.reason,
                    "a container with our label is left alone"
                );
            }
        }
        seen.unreadable = unreadable.into_iter().map(|it| it.id).collect();
    }
}
