//! The seam to the health probers.

use crate::engine::Engine;
use crate::health::{Health, Verdict};
use crate::observed::Container;
use node::config::settings::{self, Network};
use std::collections::BTreeMap;
use std::future::Future;

/// Asks running containers how they are.
pub trait Gates: Send + Sync + 'static {
    /// Watches these and no others.
    fn watch(&self, containers: &[(Container, settings::Health, Network)]);

    /// What each watched container's gate says, by container id.
    fn verdicts(&self) -> BTreeMap<String, Verdict>;

    /// Returns when a verdict changed since the last return. Cancel safe.
    fn changed(&self) -> impl Future<Output = ()> + Send;
}

impl<E: Engine> Gates for Health<E> {
    fn watch(&self, containers: &[(Container, settings::Health, Network)]) {
        Health::watch(self, containers);
    }

    fn verdicts(&self) -> BTreeMap<String, Verdict> {
        Health::verdicts(self)
    }

    async fn changed(&self) {
        Health::changed(self).await;
    }
}
