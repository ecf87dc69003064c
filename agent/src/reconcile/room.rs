//! How much room the engine has, and which images are in its store, as far as the plan depends on it.
//!
//! In: the engine. Out: its disk, not older than a minute, and before a pull than a few seconds; its images, asked for
//! only when the plan wants to know, beside the loop, because a large store takes a while to list. What cannot be asked
//! is unknown, and asked again later.

use crate::engine::{Engine, EngineError, LocalImage};
use crate::observed::Disk;
use crate::plan::Reclaim;
use node::fault::one_line;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How old what is known of the disk may be.
const DISK_AGE: Duration = Duration::from_secs(60);
/// The same before a pull.
const DISK_AGE_BEFORE_PULL: Duration = Duration::from_secs(5);
/// How old the list of images may be; images of others come and go.
const STORE_AGE: Duration = Duration::from_secs(3600);
/// From one list that could not be had to the next question.
const STORE_RETRY: Duration = Duration::from_secs(60);

/// Keeps what was said.
pub(super) struct Room<E> {
    engine: Arc<E>,
    disk: Option<Disk>,
    disk_asked: Option<Instant>,
    store: Option<Vec<LocalImage>>,
    store_asked: Option<Instant>,
    /// At most one question.
    listing: JoinSet<Result<Vec<LocalImage>, EngineError>>,
    /// The list that is on its way was overtaken by a change.
    outdated: bool,
}

impl<E: Engine> Room<E> {
    pub(super) fn new(engine: Arc<E>) -> Room<E> {
        Room {
            engine,
            disk: None,
            disk_asked: None,
            store: None,
            store_asked: None,
            listing: JoinSet::new(),
            outdated: false,
        }
    }

    pub(super) fn disk(&self) -> Option<Disk> {
        self.disk
    }

    pub(super) fn store(&self) -> Option<Vec<LocalImage>> {
        self.store.clone()
    }

    /// Asks what is too old to be relied on.
    pub(super) async fn look(&mut self) {
        if older(self.disk_asked, DISK_AGE) {
            self.ask_disk().await;
        }
        if self.store.is_some() && older(self.store_asked, STORE_AGE) {
            self.store = None;
        }
    }

    /// Asks what a plan depends on. Returns whether something new is known at once.
    pub(super) async fn asked(&mut self, reclaim: &Reclaim) -> bool {
        if reclaim.asks_store
            && self.listing.is_empty()
            && (self.outdated || older(self.store_asked, STORE_RETRY))
        {
            self.outdated = false;
            self.store_asked = Some(Instant::now());
            let engine = Arc::clone(&self.engine);
            self.listing.spawn(async move { engine.images().await });
        }
        let stale = reclaim.asks_disk && older(self.disk_asked, DISK_AGE_BEFORE_PULL);
        if stale {
            self.ask_disk().await;
        }
        stale
    }

    async fn ask_disk(&mut self) {
        self.disk_asked = Some(Instant::now());
        self.disk = self.engine.disk().await.unwrap_or_else(|error| {
            tracing::debug!("the room for images is not known: {}", one_line(&error));
            None
        });
    }

    /// Images came or went.
    pub(super) fn forget(&mut self) {
        self.disk_asked = None;
        self.store = None;
        self.outdated = true;
    }

    /// Returns when the images in the store became known. Cancel safe; never returns while nobody asked.
    pub(super) async fn changed(&mut self) {
        loop {
            // Takes an answer only by returning it.
            match self.listing.join_next().await {
                Some(Ok(Ok(_))) if self.outdated => return,
                Some(Ok(Ok(images))) => {
                    self.store = Some(images);
                    return;
                }
                Some(Ok(Err(error))) => {
                    tracing::debug!("the images in the store are not known: {}", one_line(&error));
                }
                Some(Err(error)) => tracing::error!("the question for images broke off: {error}"),
                None => std::future::pending().await,
            }
        }
    }
}

fn older(asked: Option<Instant>, age: Duration) -> bool {
    asked.is_none_or(|asked| asked.elapsed() >= age)
}
