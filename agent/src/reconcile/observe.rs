//! What the engine says, and since when it has been saying anything.

use crate::clock::Clock;
use crate::desired::Desired;
use crate::engine::{Engine, EngineError};
use crate::history::History;
use crate::observed::Container;
use crate::plan::{image_key, images_of_interest};
use crate::rules::Rules;
use crate::snapshot::{EngineView, ImageState, Observed, RulesView};
use crate::updates::Candidates;
use jiff::Timestamp;
use node::config::settings::ImageReference;
use node::fault::{Hint, one_line};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long an image is taken to be there without asking again. One that vanished all the same makes a creation fail,
/// which asks anew.
const TRUSTED: Duration = Duration::from_secs(60);

/// What was seen.
pub(super) struct Seen {
    pub(super) engine: EngineView,
    pub(super) images: BTreeMap<String, ImageState>,
    pub(super) bridges: BTreeSet<(Ipv4Addr, u8)>,
}

/// Keeps what is true between two looks.
pub(super) struct Observer<E> {
    engine: Arc<E>,
    /// Since when it has been answering without a break.
    up_since: Option<Timestamp>,
    down_since: Option<Timestamp>,
    last_known: Vec<Container>,
    /// Images that are there, and when that was asked.
    images: BTreeMap<String, (ImageState, Instant)>,
    /// Networks of containers, and when they were asked for; a container that is made may bring the first.
    bridges: Option<(BTreeSet<(Ipv4Addr, u8)>, Instant)>,
    last_look: Option<Timestamp>,
    /// Breaks of the engine's events that are accounted for.
    breaks: u64,
}

impl<E: Engine> Observer<E> {
    pub(super) fn new(engine: Arc<E>) -> Observer<E> {
        Observer {
            engine,
            up_since: None,
            down_since: None,
            last_known: Vec::new(),
            images: BTreeMap::new(),
            bridges: None,
            last_look: None,
            breaks: 0,
        }
    }

    /// Whom it asks.
    pub(super) fn engine(&self) -> &Arc<E> {
        &self.engine
    }

    /// Returns when something happened in the engine since the last return. Cancel safe.
    pub(super) async fn changed(&self) {
        self.engine.changed().await;
    }

    /// Which images and networks are there is asked anew at the next look.
    pub(super) fn forget_images(&mut self) {
        self.images.clear();
        self.bridges = None;
    }

    pub(super) async fn observe(
        &mut self,
        desired: &Desired,
        candidates: &Candidates,
        history: &History,
        clock: &Clock,
    ) -> Seen {
        let listed = self.engine.containers().await;
        let now = clock();
        self.notice_clock(now);
        let containers = match listed {
            Err(error) => return self.down(&error, now),
            Ok(containers) => containers,
        };
        self.notice_break(now);
        let since = *self.up_since.get_or_insert(now);
        self.down_since = None;
        self.last_known.clone_from(&containers);
        let mut moment = Observed {
            engine: EngineView::Up { since, containers },
            candidates: candidates.clone(),
            verdicts: BTreeMap::new(),
            images: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            bridges: BTreeSet::new(),
            rules: RulesView::InForce(Rules::default()),
            connections: BTreeMap::new(),
            disk: None,
            store: None,
        };
        for (image, digest) in images_of_interest(desired, &moment, history) {
            match self.image(&image, &digest).await {
                Ok(state) => {
                    moment.images.insert(image_key(&image, &digest), state);
                }
                Err(error @ EngineError::Unreachable { .. }) => return self.down(&error, clock()),
                // The plan waits for what is not known; the next look asks again.
                Err(error) => tracing::warn!("{}", one_line(&error)),
            }
        }
        let bridges = match self.bridges().await {
            Ok(bridges) => bridges,
            Err(error) => return self.down(&error, clock()),
        };
        Seen { engine: moment.engine, images: moment.images, bridges }
    }

    async fn bridges(&mut self) -> Result<BTreeSet<(Ipv4Addr, u8)>, EngineError> {
        if let Some((bridges, asked)) = &self.bridges
            && asked.elapsed() < TRUSTED
        {
            return Ok(bridges.clone());
        }
        let bridges = self.engine.bridges().await?;
        self.bridges = Some((bridges.clone(), Instant::now()));
        Ok(bridges)
    }

    async fn image(&mut self, image: &ImageReference, digest: &str) -> Result<ImageState, EngineError> {
        let key = image_key(image, digest);
        if let Some((state, asked)) = self.images.get(&key)
            && asked.elapsed() < TRUSTED
        {
            return Ok(*state);
        }
        let state = match self.engine.image(image, digest).await? {
            Some(facts) => ImageState::Present(facts),
            None => ImageState::Absent,
        };
        if matches!(state, ImageState::Present(_)) {
            self.images.insert(key, (state, Instant::now()));
        }
        Ok(state)
    }

    fn down(&mut self, error: &EngineError, now: Timestamp) -> Seen {
        self.up_since = None;
        self.forget_images();
        let since = *self.down_since.get_or_insert_with(|| {
            tracing::warn!("{}", node::fault::with_hint(error));
            now
        });
        let engine = EngineView::Down {
            since,
            message: one_line(error),
            hint: error.hint(),
            last_known: self.last_known.clone(),
        };
        Seen { engine, images: BTreeMap::new(), bridges: BTreeSet::new() }
    }

    /// An engine that was restarted between two answers has stopped everything itself: nobody watched.
    fn notice_break(&mut self, now: Timestamp) {
        let breaks = self.engine.breaks();
        if std::mem::replace(&mut self.breaks, breaks) != breaks {
            self.up_since = Some(now);
        }
    }

    /// A clock that was set back makes every earlier moment lie in the future: what is counted from the beginning of
    /// the watch is counted from now.
    fn notice_clock(&mut self, now: Timestamp) {
        if self.last_look.is_some_and(|last| now < last) {
            self.up_since = self.up_since.map(|_| now);
            self.down_since = self.down_since.map(|_| now);
        }
        self.last_look = Some(now);
    }
}
