//! One collection for all who ask, a device that hangs, and lines for CloudWatch: in virtual time.

use super::collector::{DEADLINE, FRESH};
use super::samples::{Scripted, at, board};
use super::*;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

fn collector(source: &Arc<Scripted>) -> Arc<Collector> {
    let source: Arc<dyn Source> = Arc::clone(source) as Arc<dyn Source>;
    Arc::new(Collector::new(source, board(), Arc::new(|| at(0))))
}

#[tokio::test]
async fn whoever_asks_within_a_second_gets_what_was_measured_already() {
    let source = Arc::new(Scripted::default());
    let collector = collector(&source);
    let asked = (0..50).map(|_| {
        let collector = Arc::clone(&collector);
        tokio::spawn(async move { collector.collect().await })
    });
    for answer in asked.collect::<Vec<_>>() {
        let kernel = answer.await.unwrap().kernel.clone().unwrap();
        assert_eq!(kernel, super::samples::kernel(1), "the first and only look");
    }
    assert_eq!(source.looks.load(Ordering::SeqCst), 1);
    // Time goes on without anybody waiting for it.
    tokio::time::pause();
    tokio::time::advance(FRESH).await;
    tokio::time::resume();
    collector.collect().await;
    assert_eq!(source.looks.load(Ordering::SeqCst), 2);
}

#[expect(clippy::await_holding_lock, reason = "the device hangs for as long as it is held, on other threads")]
#[tokio::test]
async fn a_device_that_hangs_costs_its_own_numbers_and_one_thread() {
    let source = Arc::new(Scripted::default());
    let collector = collector(&source);
    let hangs = source.device.lock().unwrap();
    for _ in 1..=2 {
        let begun = Instant::now();
        let collection = collector.collect().await;
        assert!(collection.kernel.is_some() && collection.ebs.is_some(), "{collection:?}");
        assert_eq!(collection.file_systems, None);
        assert!(begun.elapsed() < DEADLINE + FRESH, "{:?}", begun.elapsed());
        tokio::time::pause();
        tokio::time::advance(FRESH).await;
        tokio::time::resume();
    }
    assert_eq!(source.most_under_way.load(Ordering::SeqCst), 1, "there is never a second one beside it");
    drop(hangs);
    let back = loop {
        tokio::time::pause();
        tokio::time::advance(FRESH).await;
        tokio::time::resume();
        let collection = collector.collect().await;
        if collection.file_systems.is_some() {
            break collection;
        }
    };
    assert_eq!(back.file_systems.as_ref().map(Vec::len), Some(1));
}

struct Round {
    source: Arc<Scripted>,
    collector: Arc<Collector>,
    lines: Lines,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn rounds(every: Duration, room: usize) -> Round {
    let source = Arc::new(Scripted::default());
    let collector = collector(&source);
    let (sender, lines) = mpsc::channel(room);
    let embedded = Embedded {
        collector: Arc::clone(&collector),
        every,
        namespace: "NodeAgent".to_owned(),
        lines: sender,
        clock: Arc::new(|| at(0)),
    };
    let stop = CancellationToken::new();
    let task = tokio::spawn(embed(embedded, stop.clone()));
    Round { source, collector, lines, stop, task }
}

#[tokio::test(start_paused = true)]
async fn a_round_of_lines_comes_at_once_and_then_as_often_as_it_is_wanted() {
    let every = Duration::from_secs(60);
    let mut round = rounds(every, LINES_WAITING);
    let begun = Instant::now();
    for index in 0..3 {
        // The node, and the root's file system.
        let lines = [round.lines.recv().await.unwrap(), round.lines.recv().await.unwrap()];
        assert!(lines.iter().all(|line| line.at == at(0) && line.json.contains("\"_aws\"")), "{lines:?}");
        assert_eq!(lines[0].json.contains("NetworkReceived\":"), index > 0, "{}", lines[0].json);
        let passed = begun.elapsed();
        assert!(
            passed >= every * index && passed < every * index + DEADLINE,
            "round {index} after {passed:?}"
        );
        assert_eq!(round.source.looks.load(Ordering::SeqCst), index + 1, "one look a round");
    }
    round.stop.cancel();
    round.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn lines_that_nobody_takes_are_dropped_and_counted_and_the_newest_go_first() {
    let round = rounds(Duration::from_secs(60), 3);
    while round.collector.collect().await.lines_dropped < 5 {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    assert_eq!(round.lines.len(), 3, "what waits is kept");
    // And without anybody at the other end it does not end either.
    drop(round.lines);
    let before = round.collector.collect().await.lines_dropped;
    while round.collector.collect().await.lines_dropped == before {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    assert!(!round.task.is_finished());
    round.stop.cancel();
    round.task.await.unwrap();
}
