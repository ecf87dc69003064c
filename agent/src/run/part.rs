//! Tasks that begin and end together, and the way of commands to a loop that may be another one by now.

use crate::change::Tasks;
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// Tasks that begin and end together.
pub(crate) struct Part {
    /// Each gives its name when it ends.
    tasks: JoinSet<&'static str>,
    /// Ends them.
    pub(crate) stop: CancellationToken,
    /// Ends those that start or fetch anything. It is also cancelled with `stop`.
    pub(crate) drain: CancellationToken,
}

impl Part {
    fn new(stop: &CancellationToken, drain: &CancellationToken) -> Part {
        Part { tasks: JoinSet::new(), stop: stop.child_token(), drain: drain.child_token() }
    }

    /// Starts a task that ends only when it is told to stop.
    pub(crate) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        spawn(&mut self.tasks, name, task);
    }

    /// The next task that ends; `None` while there is none. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Result<&'static str, JoinError>> {
        self.tasks.join_next().await
    }

    /// Tells all to end, and waits for it: for `limit`, and no longer than until `hurry`. What has not ended by then is
    /// given up, as if the agent had been killed.
    async fn end(&mut self, limit: Duration, hurry: &CancellationToken) {
        self.stop.cancel();
        self.drain.cancel();
        hurry.run_until_cancelled(all_end(&mut self.tasks, limit)).await;
        self.tasks.shutdown().await;
    }
}

/// All that work.
pub(crate) struct Parts {
    pub(crate) services: Part,
    pub(crate) models: Part,
    pub(crate) telemetry: Part,
    stop: CancellationToken,
    drain: CancellationToken,
}

impl Parts {
    /// None that works yet. `stop` and `drain` end all of them.
    pub(super) fn new(stop: &CancellationToken, drain: &CancellationToken) -> Parts {
        let part = || Part::new(stop, drain);
        let (services, models, telemetry) = (part(), part(), part());
        Parts { services, models, telemetry, stop: stop.clone(), drain: drain.clone() }
    }

    /// The next task that ends. Waits for ever while there is none. Cancel safe: an end is taken by returning it.
    pub(super) async fn next(&mut self) -> Result<&'static str, JoinError> {
        tokio::select! {
            Some(ended) = self.services.next() => ended,
            Some(ended) = self.models.next() => ended,
            Some(ended) = self.telemetry.next() => ended,
            else => std::future::pending().await,
        }
    }

    /// Waits until none works any more, `limit` at most; they were told before.
    pub(super) async fn all_end(&mut self, limit: Duration) {
        let Parts { services, models, telemetry, .. } = self;
        tokio::join!(
            all_end(&mut services.tasks, limit),
            all_end(&mut models.tasks, limit),
            all_end(&mut telemetry.tasks, limit),
        );
    }

    /// Ends these, so that they can begin anew; see [`Part::end`].
    pub(super) async fn end(&mut self, which: &BTreeSet<Tasks>, limit: Duration, hurry: &CancellationToken) {
        let end = async |tasks: Tasks, part: &mut Part| {
            if which.contains(&tasks) {
                part.end(limit, hurry).await;
                *part = Part::new(&self.stop, &self.drain);
            }
        };
        // At once: each may take as long as the limit.
        tokio::join!(
            end(Tasks::Services, &mut self.services),
            end(Tasks::Models, &mut self.models),
            end(Tasks::Telemetry, &mut self.telemetry),
        );
    }
}

/// Commands, which outlast the loop that takes them.
pub(super) struct Queue<C> {
    commands: Arc<Mutex<mpsc::Receiver<C>>>,
}

impl<C: Send + 'static> Queue<C> {
    pub(super) fn new(commands: mpsc::Receiver<C>) -> Queue<C> {
        Queue { commands: Arc::new(Mutex::new(commands)) }
    }

    /// The receiver for a loop, and what hands over to it until `stop`. One command at a time leaves the queue: the others
    /// wait for the next loop. While the loop takes nothing any more, whoever asks is told so.
    pub(super) fn lend(
        &self,
        stop: CancellationToken,
    ) -> (mpsc::Receiver<C>, impl Future<Output = ()> + Send + 'static) {
        let (taker, taken) = mpsc::channel(1);
        let commands = Arc::clone(&self.commands);
        let hand_over = async move {
            // Held by the one before until that has ended.
            let mut commands = commands.lock().await;
            // Room first, then a command: one that was taken can always be handed over.
            while let Ok(room) = taker.reserve().await {
                match commands.recv().await {
                    Some(command) => room.send(command),
                    None => break,
                }
            }
            while commands.recv().await.is_some() {}
            std::future::pending::<()>().await
        };
        (taken, async move {
            stop.run_until_cancelled(hand_over).await;
        })
    }
}

pub(super) fn spawn(
    tasks: &mut JoinSet<&'static str>,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    tasks.spawn(async move {
        task.await;
        name
    });
}

pub(super) async fn all_end(tasks: &mut JoinSet<&'static str>, limit: Duration) {
    let mut left = tasks.len();
    let all = async {
        while tasks.join_next().await.is_some() {
            left -= 1;
        }
    };
    if tokio::time::timeout(limit, all).await.is_err() {
        tracing::warn!("{left} tasks did not end within {} s", limit.as_secs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(12);

    fn parts() -> (Parts, CancellationToken, CancellationToken) {
        let stop = CancellationToken::new();
        let drain = stop.child_token();
        (Parts::new(&stop, &drain), stop, drain)
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_is_named_ends_and_what_is_deaf_is_given_up() {
        let (mut parts, stop, drain) = parts();
        let stopped = parts.models.stop.clone();
        parts.models.spawn("models", async move { stopped.cancelled().await });
        parts.telemetry.spawn("deaf", std::future::pending());
        parts.services.spawn("services", std::future::pending());
        let begun = tokio::time::Instant::now();
        let which = BTreeSet::from([Tasks::Models, Tasks::Telemetry]);
        parts.end(&which, LIMIT, &CancellationToken::new()).await;
        assert_eq!(begun.elapsed(), LIMIT);
        assert_eq!(
            [parts.services.tasks.len(), parts.models.tasks.len(), parts.telemetry.tasks.len()],
            [1, 0, 0]
        );
        // What begins now hears of the end of all, and of the way down.
        assert!(!parts.models.stop.is_cancelled() && !parts.models.drain.is_cancelled());
        drain.cancel();
        assert!(parts.models.drain.is_cancelled() && !parts.models.stop.is_cancelled());
        stop.cancel();
        assert!(parts.models.stop.is_cancelled() && parts.services.stop.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_in_a_hurry_does_not_wait_for_the_deaf() {
        let (mut parts, ..) = parts();
        parts.services.spawn("deaf", std::future::pending());
        let begun = tokio::time::Instant::now();
        let hurry = CancellationToken::new();
        hurry.cancel();
        parts.end(&BTreeSet::from(Tasks::ALL), LIMIT, &hurry).await;
        assert_eq!((begun.elapsed(), parts.services.tasks.len()), (Duration::ZERO, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn commands_wait_for_the_next_loop_in_their_order() {
        let (sender, receiver) = mpsc::channel(16);
        let queue = Queue::new(receiver);
        let mut next = 0;
        for round in 0..3 {
            for number in 0..4 {
                sender.try_send(round * 4 + number).unwrap();
            }
            let stop = CancellationToken::new();
            let (mut taken, hand_over) = queue.lend(stop.clone());
            let hand_over = tokio::spawn(hand_over);
            // Two of the four are taken; the one that is in the loop's own box goes with it.
            for _ in 0..2 {
                let number = taken.recv().await.unwrap();
                assert_eq!(number, next, "none is passed over");
                next += 1;
            }
            stop.cancel();
            hand_over.await.unwrap();
            taken.close();
            next += i32::from(taken.recv().await.is_some());
        }
        assert!(sender.capacity() < 16, "the rest still waits");
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_loop_takes_nothing_whoever_asks_is_told() {
        let (sender, receiver) = mpsc::channel(16);
        let queue = Queue::new(receiver);
        let stop = CancellationToken::new();
        let (taken, hand_over) = queue.lend(stop.clone());
        let hand_over = tokio::spawn(hand_over);
        drop(taken);
        let (reply, answer) = tokio::sync::oneshot::channel::<()>();
        sender.send(reply).await.unwrap();
        assert!(answer.await.is_err(), "dropped, not kept");
        assert!(!hand_over.is_finished(), "it ends when it is told to");
        stop.cancel();
        hand_over.await.unwrap();
    }
}
