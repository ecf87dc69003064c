//! What the world outside sees of a service: new connections at a steady rate, and beside them clients that keep theirs.
//!
//! In: an address, a rate and a number of clients. Out: a [`Report`] of every request: how many were answered and by which
//! version, the slowest, and every failure with its kind and its time. The rate is kept by the clock, whatever becomes of
//! the answers. The sockets belong to the network of the thread that starts the load, so a load that is started beside
//! an instance comes from another network namespace.
//! Not its job: whether a failure is allowed.

#![expect(clippy::disallowed_methods, reason = "a load is kept by the clock, and measured")]

mod exchange;
mod kept;
mod report;

pub use exchange::{ALL_PORTS, Failure, Kind};
pub use report::{Report, Tally};

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// For a whole exchange, connecting included: one lost packet costs a second, two cost three.
const DEADLINE: Duration = Duration::from_secs(5);
/// Finer than the rate needs; what is due together goes together.
const TICK: Duration = Duration::from_millis(1);
/// More than this many open exchanges are no load but a heap: what would come on top is counted as not sent.
const OPEN_LIMIT: u64 = 10_000;

/// What load to make.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Where the service listens.
    pub address: SocketAddr,
    /// New connections each second.
    pub per_second: u32,
    /// From how many ports new connections come, one after the other. With [`ALL_PORTS`] none comes again before the
    /// connection that had it is forgotten, as with thousands of clients; with few each meets the remains of one that
    /// it had seconds ago, as behind a NAT or a load balancer.
    pub ports: u16,
    /// Clients that send a request every 50 ms on a connection that they keep.
    pub keep_alive: usize,
    /// It ends by itself after so long.
    pub limit: Duration,
}

/// A load that is on.
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Between the load's thread and whoever asks for its report.
struct Shared {
    plan: Plan,
    started: Instant,
    ends: AtomicBool,
    open: AtomicU64,
    report: Mutex<Report>,
}

impl Shared {
    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.ends.load(Ordering::Relaxed) || self.started.elapsed() >= self.plan.limit
    }
}

impl Load {
    /// Starts it on a thread of its own.
    ///
    /// # Errors
    /// When there can be no thread or no runtime on it.
    pub fn start(plan: Plan) -> io::Result<Load> {
        // Made here, so that a failure is told; its sockets are made by the thread that runs it.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (ends, open) = (AtomicBool::new(false), AtomicU64::new(0));
        let (started, report) = (Instant::now(), Mutex::new(Report::default()));
        let shared = Arc::new(Shared { plan, started, ends, open, report });
        let ours = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("load".to_owned()).spawn(move || runtime.block_on(run(ours)))?;
        Ok(Load { shared, thread: Some(thread) })
    }

    /// Time since its start, as failures carry it.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// What has become of it so far.
    #[must_use]
    pub fn so_far(&self) -> Report {
        self.shared.report().clone()
    }

    /// Ends it, waits for the exchanges that are open and says what has become of all.
    ///
    /// # Panics
    /// When the load's thread has panicked.
    #[must_use]
    pub fn finish(mut self) -> Report {
        self.shared.ends.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))), "the load's thread panicked");
        self.so_far()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
    }
}

async fn run(shared: Arc<Shared>) {
    let clients = (0..shared.plan.keep_alive).map(|_| tokio::spawn(kept::client(Arc::clone(&shared))));
    let clients: Vec<_> = clients.collect();
    let (mut tick, mut sent) = (tokio::time::interval(TICK), 0_u64);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !shared.is_over() {
        tick.tick().await;
        let due = due(shared.started.elapsed(), shared.plan.per_second);
        let late = shared.started.elapsed().saturating_sub(time_of(sent, shared.plan.per_second));
        if due > sent {
            let mut report = shared.report();
            report.behind = report.behind.max(late);
        }
        for _ in sent..due {
            one_more(&shared);
        }
        sent = sent.max(due);
    }
    let lasted = shared.started.elapsed();
    // Each of them ends by its own deadline.
    while shared.open.load(Ordering::Relaxed) > 0 {
        tick.tick().await;
    }
    for client in clients {
        client.await.ok();
    }
    shared.report().lasted = lasted;
}

/// How many requests are due after so long.
fn due(elapsed: Duration, per_second: u32) -> u64 {
    u64::try_from(elapsed.as_micros() * u128::from(per_second) / 1_000_000).unwrap_or(u64::MAX)
}

/// When the request of that number, counted from 0, is due.
fn time_of(number: u64, per_second: u32) -> Duration {
    Duration::from_micros((number + 1).saturating_mul(1_000_000) / u64::from(per_second.max(1)))
}

/// Sends a request on a connection of its own, or counts it as not sent.
fn one_more(shared: &Arc<Shared>) {
    if shared.open.load(Ordering::Relaxed) >= OPEN_LIMIT {
        shared.report().not_sent += 1;
        return;
    }
    shared.open.fetch_add(1, Ordering::Relaxed);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let begun = shared.started.elapsed();
        let ended = exchange::alone(shared.plan.address, shared.plan.ports, DEADLINE).await;
        let took = shared.started.elapsed().saturating_sub(begun);
        shared.report().new_connections.count(begun, took, ended);
        shared.open.fetch_sub(1, Ordering::Relaxed);
    });
}

#[cfg(test)]
mod tests;
