//! Lines for a follower, in virtual time.

use super::*;
use crate::board::Owner;
use crate::status::{Node, NodeState, Status};
use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;
use node::problem::Problem;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::{advance, sleep};

type Lines = Pin<Box<dyn Stream<Item = Result<Bytes, Infallible>>>>;

fn board() -> Board {
    let name = "test-node".to_owned();
    let nothing = String::new;
    Board::new(Node {
        name,
        instance_id: nothing(),
        instance_type: nothing(),
        region: nothing(),
        availability_zone: nothing(),
        state: NodeState::Starting,
        since: Timestamp::UNIX_EPOCH,
        version: nothing(),
        boot: nothing(),
    })
}

fn follower(board: &Board, places: &Arc<Semaphore>) -> Lines {
    Box::pin(lines(board, Arc::clone(places).try_acquire_owned().expect("a place")))
}

/// Writes something that is in the status.
fn change(board: &Board, message: &str) {
    let since = Timestamp::UNIX_EPOCH;
    let problem = Problem { code: "c".to_owned(), message: message.to_owned(), hint: None, since };
    board.publish_problems(Owner::Logs, vec![problem], since);
}

async fn next(lines: &mut Lines) -> Status {
    let line = lines.next().await.expect("a line").expect("it cannot fail");
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
    serde_json::from_slice(&line).expect("a status")
}

fn message(status: &Status) -> &str {
    status.problems.first().map_or("", |problem| &problem.message)
}

#[tokio::test(start_paused = true)]
async fn the_status_comes_at_once_and_again_when_it_changes() {
    let (board, places) = (board(), Arc::new(Semaphore::new(1)));
    let mut lines = follower(&board, &places);
    assert_eq!(message(&next(&mut lines).await), "");
    assert!(lines.next().now_or_never().is_none(), "nothing changed");
    change(&board, "one");
    let begun = Instant::now();
    assert_eq!(message(&next(&mut lines).await), "one");
    assert!(begun.elapsed() <= APART, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_board_that_never_rests_makes_five_lines_a_second_and_the_last_has_the_last_change() {
    let (board, places) = (board(), Arc::new(Semaphore::new(1)));
    let mut lines = follower(&board, &places);
    next(&mut lines).await;
    let writer = tokio::spawn({
        let board = board.clone();
        async move {
            for number in 0..1000 {
                change(&board, &number.to_string());
                sleep(Duration::from_millis(2)).await;
            }
        }
    });
    let (begun, mut seen) = (Instant::now(), 0);
    while message(&next(&mut lines).await) != "999" {
        seen += 1;
    }
    writer.await.expect("it ends");
    assert!((8..=11).contains(&seen), "{seen} lines in {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn nothing_new_is_a_heartbeat_every_fifteen_seconds() {
    let (board, places) = (board(), Arc::new(Semaphore::new(1)));
    let mut lines = follower(&board, &places);
    let first = next(&mut lines).await;
    for _ in 0..3 {
        let begun = Instant::now();
        assert_eq!(next(&mut lines).await, first);
        assert_eq!(begun.elapsed(), HEARTBEAT);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_part_of_the_status_is_no_line_and_delays_no_heartbeat() {
    let (board, places) = (board(), Arc::new(Semaphore::new(1)));
    let mut lines = follower(&board, &places);
    next(&mut lines).await;
    let writer = tokio::spawn({
        let board = board.clone();
        async move {
            loop {
                // The same again.
                board.publish_volumes(Vec::new(), Timestamp::UNIX_EPOCH);
                sleep(Duration::from_millis(50)).await;
            }
        }
    });
    let begun = Instant::now();
    next(&mut lines).await;
    assert!(
        begun.elapsed() >= HEARTBEAT && begun.elapsed() <= HEARTBEAT + 2 * APART,
        "{:?}",
        begun.elapsed()
    );
    writer.abort();
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_hangs_up_gives_its_place_back() {
    let (board, places) = (board(), Arc::new(Semaphore::new(1)));
    let mut lines = follower(&board, &places);
    next(&mut lines).await;
    assert_eq!(places.available_permits(), 0);
    advance(Duration::from_secs(1)).await;
    drop(lines);
    assert_eq!(places.available_permits(), 1);
}
