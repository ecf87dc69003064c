//! How many connections are served at a time, and who waits for how long.
//!
//! In: the user behind a connection. Out: a [`Claim`], which becomes a [`Place`] as soon as one is free, or nothing. Answers
//! that last are counted apart ([`Followers`]).
//! Invariant: there are never more of both than the constants add up to; a user other than root has a share of each and
//! no more, so that nobody's slow clients keep another user out, and nobody's keep root out.
//! Not its job: deadlines for what is served ([`super::socket`]).

use super::api::Fault;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Served at a time. An answer takes less than a millisecond: more than these are needed for slow clients only.
const PLACES: usize = 96;
/// And as many again for root alone.
const ROOT_PLACES: usize = 32;
/// Of these, one user's.
const SHARE: usize = 64;
/// Connections that wait for a place.
const LINE: usize = 192;
/// Of these, one user's. With its share that makes 208: two hundred clients at once are all answered.
const LINE_SHARE: usize = 144;
/// For a place to become free: longer than a client may take to say what it wants, so that whoever waits for such
/// clients gets their place.
const PATIENCE: Duration = Duration::from_secs(3);

/// Followers of logs at a time, and likewise of the status; the rest of the places stays free for answers.
const FOLLOWERS: usize = 16;
/// And as many again for root alone.
const ROOT_FOLLOWERS: usize = 4;

/// All of them.
#[derive(Debug)]
pub(super) struct Places {
    everybody: Arc<Semaphore>,
    root: Arc<Semaphore>,
    line: Arc<Semaphore>,
    users: HashMap<u32, Weak<User>>,
}

/// What one user may have.
#[derive(Debug)]
struct User {
    served: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// A connection that may be served.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _share: Option<(OwnedSemaphorePermit, Arc<User>)>,
}

/// A connection that is served at once, or waits in the line.
#[derive(Debug)]
pub(super) struct Claim {
    /// Held while it waits.
    line: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
    everybody: Arc<Semaphore>,
    /// Root's own places, where it is root who asks.
    root: Option<Arc<Semaphore>>,
    user: Option<Arc<User>>,
}

impl Places {
    /// All free.
    pub(super) fn new() -> Places {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Places {
            everybody: semaphore(PLACES),
            root: semaphore(ROOT_PLACES),
            line: semaphore(LINE),
            users: HashMap::new(),
        }
    }

    /// A claim for a connection of that user; `None` where the line is full.
    pub(super) fn claim(&mut self, uid: u32) -> Option<Claim> {
        let user = (uid != 0).then(|| self.user(uid));
        let own = match &user {
            Some(user) => Some(Arc::clone(&user.waiting).try_acquire_owned().ok()?),
            None => None,
        };
        let line = (Arc::clone(&self.line).try_acquire_owned().ok()?, own);
        let root = user.is_none().then(|| Arc::clone(&self.root));
        Some(Claim { line, everybody: Arc::clone(&self.everybody), root, user })
    }

    fn user(&mut self, uid: u32) -> Arc<User> {
        if let Some(user) = self.users.get(&uid).and_then(Weak::upgrade) {
            return user;
        }
        // Those that have no connection are forgotten here: there are never more than connections.
        self.users.retain(|_, user| user.strong_count() > 0);
        let (served, waiting) = (Arc::new(Semaphore::new(SHARE)), Arc::new(Semaphore::new(LINE_SHARE)));
        let user = Arc::new(User { served, waiting });
        self.users.insert(uid, Arc::downgrade(&user));
        user
    }
}

impl Claim {
    /// The place, once there is one; `None` when that takes too long.
    pub(super) async fn place(self) -> Option<Place> {
        let Claim { line, everybody, root, user } = self;
        let wait = async {
            // The own share first: who waits for that is in nobody's way.
            let share = match user {
                Some(user) => Some((Arc::clone(&user.served).acquire_owned().await.ok()?, user)),
                None => None,
            };
            let permit = match root {
                None => everybody.acquire_owned().await,
                // Cancel safe: what is given up is only the wait.
                Some(root) => tokio::select! {
                    biased;
                    permit = everybody.acquire_owned() => permit,
                    permit = root.acquire_owned() => permit,
                },
            };
            Some(Place { _permit: permit.ok()?, _share: share })
        };
        let place = tokio::time::timeout(PATIENCE, wait).await.ok().flatten();
        drop(line);
        place
    }
}

/// Answers of one kind that last until their readers hang up.
#[derive(Debug, Clone)]
pub(super) struct Followers {
    everybody: Arc<Semaphore>,
    root: Arc<Semaphore>,
}

impl Followers {
    /// Nobody yet.
    pub(super) fn new() -> Followers {
        let (everybody, root) = (Semaphore::new(FOLLOWERS), Semaphore::new(ROOT_FOLLOWERS));
        Followers { everybody: Arc::new(everybody), root: Arc::new(root) }
    }

    /// Held as long as the answer lasts; `busy` is what all of them do, in words.
    pub(super) fn admit(&self, uid: u32, busy: &str) -> Result<OwnedSemaphorePermit, Fault> {
        let one = |of: &Arc<Semaphore>| Arc::clone(of).try_acquire_owned().ok();
        let permit = one(&self.everybody).or_else(|| if uid == 0 { one(&self.root) } else { None });
        permit.ok_or_else(|| {
            Fault::new("agent_busy", format!("{FOLLOWERS} others {busy} already")).hinting("try again later")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::time::Instant;

    const ALICE: u32 = 1000;
    const BOB: u32 = 1001;

    /// Takes places for `uid` until none is to be had at once; those that wait are left out.
    fn crowd(places: &mut Places, uid: u32) -> Vec<Place> {
        // Not as a task of the runtime, which would be told to pause after a hundred of them.
        let at_once = |claim: Claim| tokio::task::unconstrained(claim.place()).now_or_never()?;
        std::iter::from_fn(|| at_once(places.claim(uid)?)).collect()
    }

    /// Claims for `uid` until the line has no room, each being waited for.
    fn line_up(places: &mut Places, uid: u32) -> Vec<tokio::task::JoinHandle<Option<Place>>> {
        std::iter::from_fn(|| Some(tokio::spawn(places.claim(uid)?.place()))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn one_users_slow_clients_keep_neither_another_user_nor_root_out() {
        let mut places = Places::new();
        let alices = crowd(&mut places, ALICE);
        assert_eq!(alices.len(), SHARE);
        let _waiting = line_up(&mut places, ALICE);
        let bobs = crowd(&mut places, BOB);
        assert_eq!(bobs.len(), PLACES - SHARE);
        assert_eq!(crowd(&mut places, 0).len(), ROOT_PLACES);
    }

    #[tokio::test(start_paused = true)]
    async fn two_hundred_of_one_user_are_served_as_places_become_free() {
        let mut places = Places::new();
        let mut served = crowd(&mut places, ALICE);
        let waiting = line_up(&mut places, ALICE);
        assert_eq!(served.len() + waiting.len(), SHARE + LINE_SHARE);
        assert!(places.claim(ALICE).is_none(), "the line has no room");
        for next in waiting {
            served.pop();
            served.push(next.await.unwrap().expect("a place, as one became free"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_gets_no_place_and_leaves_the_line() {
        let mut places = Places::new();
        let _slow = crowd(&mut places, ALICE);
        let begun = Instant::now();
        assert!(places.claim(ALICE).unwrap().place().await.is_none());
        assert_eq!(begun.elapsed(), PATIENCE);
        assert_eq!(line_up(&mut places, ALICE).len(), LINE_SHARE, "nobody is left in the line");
    }

    #[test]
    fn nobodys_followers_keep_root_from_following() {
        let followers = Followers::new();
        let held: Vec<_> = std::iter::from_fn(|| followers.admit(ALICE, "follow").ok()).collect();
        assert_eq!(held.len(), FOLLOWERS);
        let roots: Vec<_> = std::iter::from_fn(|| followers.admit(0, "follow").ok()).collect();
        assert_eq!(roots.len(), ROOT_FOLLOWERS);
        assert_eq!(followers.admit(0, "follow").expect_err("all places are taken").code, "agent_busy");
        drop(held);
        assert!(followers.admit(BOB, "follow").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_gives_its_place_back_and_users_without_connections_are_forgotten() {
        let mut places = Places::new();
        for round in 0..3 {
            assert_eq!(crowd(&mut places, ALICE + round).len(), SHARE, "round {round}");
        }
        assert_eq!(crowd(&mut places, 0).len(), PLACES + ROOT_PLACES);
        assert_eq!(places.line.available_permits(), LINE);
        assert_eq!(places.users.len(), 1, "{:?}", places.users);
    }
}
