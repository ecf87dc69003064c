//! Sources that are silent, and cost nothing meanwhile.

use super::service::ScriptedService;
use super::*;
use crate::logs::body::Builder;
use crate::logs::feed::{Ahead, Feed, FeedError, Filled, GivenUp, Place, Then};
use crate::logs::source::Left;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Counts how often it is looked at, and has nothing.
struct Silent {
    looks: Arc<AtomicUsize>,
    bell: Arc<Notify>,
    rings: bool,
}

impl Feed for Silent {
    fn begin(&mut self, _: Option<Place>) {}

    fn bell(&self) -> Option<Arc<Notify>> {
        Some(Arc::clone(&self.bell))
    }

    fn look(&mut self) -> Result<Ahead, FeedError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        Ok(Ahead { rings: self.rings, ..Ahead::default() })
    }

    fn fill(&mut self, _: &mut Builder, _: Then, _: i64) -> Result<Filled, FeedError> {
        unreachable!("there is nothing to read")
    }

    fn delivered(&mut self, _: Place) {}

    fn go_back(&mut self) {}

    fn give_up_oldest(&mut self) -> Result<Option<GivenUp>, FeedError> {
        Ok(None)
    }

    fn finish(&mut self) {}
}

/// Looks within an hour, and whether the bell is heard at once afterwards.
async fn looks(rings: bool) -> usize {
    let (looks, bell) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let feed = Box::new(Silent { looks: Arc::clone(&looks), bell: Arc::clone(&bell), rings });
    let name = "silent".to_owned();
    let silent = Left { source: name.clone(), name, stream: None, of_container: false, feed };
    let state = tempfile::tempdir().unwrap();
    let stage =
        Stage::with(ScriptedEngine::default(), ScriptedService::default(), state.path(), vec![silent]);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let within_an_hour = looks.load(Ordering::Relaxed);
    bell.notify_one();
    let rung = Instant::now();
    stage.until("another look", |_| looks.load(Ordering::Relaxed) > within_an_hour).await;
    assert!(rung.elapsed() <= Duration::from_millis(100), "{:?}", rung.elapsed());
    stage.stop().await;
    within_an_hour
}

#[tokio::test(start_paused = true)]
async fn a_silent_source_is_looked_at_seldom_where_its_bell_rings_and_often_where_it_does_not() {
    let (with_a_bell, without) = (looks(true).await, looks(false).await);
    assert!(with_a_bell <= 121, "{with_a_bell} looks in an hour");
    assert!(without >= 3_000, "{without} looks in an hour");
}
