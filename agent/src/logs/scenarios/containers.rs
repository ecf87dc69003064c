//! Containers end, start again, are replaced and removed; the engine goes away and comes back.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_container_that_ended_is_read_to_its_end_and_then_left_alone() {
    let stage = Stage::new();
    stage.engine.write(API, numbered(0, 30));
    stage.engine.end(API);
    stage.show(&[(API, exited(1))]);
    stage.until_delivered(API).await;
    assert_eq!(stage.service.messages(STREAM), stage.engine.written(API));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(stage.engine.opened(API), 1, "an ended log is not read again and again");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_ends_while_it_is_followed_is_looked_at_once_more() {
    let stage = Stage::new();
    stage.engine.write(API, numbered(0, 10));
    stage.show(&[(API, running())]);
    stage.until_delivered(API).await;
    stage.engine.write(API, numbered(10, 10));
    stage.engine.end(API);
    stage.show(&[(API, exited(5))]);
    stage.until_delivered(API).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(stage.service.messages(STREAM), stage.engine.written(API));
    assert_eq!(stage.engine.opened(API), 2);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_started_again_goes_on_where_it_was() {
    let stage = Stage::new();
    stage.engine.write(API, numbered(0, 10));
    stage.engine.end(API);
    stage.show(&[(API, exited(1))]);
    stage.until_delivered(API).await;
    stage.engine.write(API, numbered(10, 10));
    stage.show(&[(API, running())]);
    stage.until_delivered(API).await;
    // Ended again before the board saw it run.
    stage.engine.write(API, numbered(20, 10));
    stage.engine.end(API);
    stage.show(&[(API, exited(60))]);
    stage.until_delivered(API).await;
    assert_eq!(stage.service.messages(STREAM), stage.engine.written(API));
}

#[tokio::test(start_paused = true)]
async fn a_container_that_was_never_started_is_not_asked_about() {
    let stage = Stage::new();
    stage.show(&[(API, ContainerState::Created)]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(stage.engine.opened(API), 0);
    stage.engine.write(API, numbered(0, 3));
    stage.show(&[(API, running())]);
    stage.until_delivered(API).await;
}

#[tokio::test(start_paused = true)]
async fn the_last_lines_of_a_removed_container_are_delivered_and_its_cursor_goes() {
    let state = tempfile::tempdir().unwrap();
    let stage = Stage::resume(ScriptedEngine::default(), ScriptedService::default(), state.path());
    stage.engine.write(API, numbered(0, 10));
    stage.engine.write("other", Vec::new());
    stage.show(&[(API, running()), ("other", running())]);
    stage.until_delivered(API).await;
    stage.engine.write(API, numbered(10, 10));
    stage.engine.remove(API);
    stage.show(&[("other", running())]);
    stage.until_delivered(API).await;
    assert_eq!(stage.service.messages(STREAM), stage.engine.written(API));
    let cursors = || std::fs::read_to_string(state.path().join("log-cursors.json")).unwrap_or_default();
    stage.until("the cursor is forgotten", |_| !cursors().contains(API)).await;
}

#[tokio::test(start_paused = true)]
async fn two_containers_of_a_service_share_its_stream_and_both_are_whole() {
    let stage = Stage::new();
    stage.engine.write("old", numbered(0, 50));
    stage.engine.write("new", numbered(1000, 50));
    stage.show(&[("old", running()), ("new", running())]);
    stage.until("all of both", |stage| stage.service.messages(STREAM).len() == 100).await;
    let messages = stage.service.messages(STREAM);
    for id in ["old", "new"] {
        let written = stage.engine.written(id);
        let found: Vec<_> = messages.iter().filter(|message| written.contains(message)).cloned().collect();
        assert_eq!(found, written, "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_restarts_loses_and_repeats_nothing() {
    let stage = Stage::new();
    stage.engine.write(API, numbered(0, 25));
    stage.show(&[(API, running())]);
    for round in 1..6 {
        stage.until("read", |stage| stage.engine.given(API) > 0).await;
        stage.engine.away(true);
        stage.engine.write(API, numbered(round * 25, 25));
        tokio::time::sleep(Duration::from_secs(90)).await;
        stage.engine.away(false);
        stage.until_delivered(API).await;
    }
    assert_eq!(stage.service.messages(STREAM), stage.engine.written(API));
    assert_eq!(stage.problems(), [""; 0], "an engine that is away is not this task's to report");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_does_not_make_a_container_that_is_missing_from_the_board_gone() {
    let stage = Stage::new();
    stage.engine.write(API, numbered(0, 10));
    stage.show(&[(API, running())]);
    stage.until_delivered(API).await;
    stage.engine.away(true);
    stage.show(&[]);
    tokio::time::sleep(Duration::from_secs(600)).await;
    stage.engine.write(API, numbered(10, 10));
    stage.engine.away(false);
    stage.show(&[(API, running())]);
    stage.until_delivered(API).await;
    assert_eq!(stage.service.messages(STREAM), stage.engine.written(API), "nothing lost, nothing repeated");
}

#[tokio::test(start_paused = true)]
async fn after_a_rotation_reading_goes_on_with_what_is_left() {
    let state = tempfile::tempdir().unwrap();
    let stage = Stage::resume(ScriptedEngine::default(), ScriptedService::default(), state.path());
    stage.engine.write(API, numbered(0, 300));
    stage.show(&[(API, running())]);
    stage.until_delivered(API).await;
    let (engine, service, _) = stage.stop().await;
    // Everything that was counted is gone, and as many lines again have come in the same second.
    engine.rotate(API, 300);
    engine.write(API, numbered(300, 300));
    let stage = Stage::resume(engine, service, state.path());
    stage.show(&[(API, running())]);
    let last = stage.engine.written(API).pop().unwrap();
    stage.until("the last line", |stage| stage.service.messages(STREAM).contains(&last)).await;
    let messages = stage.service.messages(STREAM);
    assert!(stage.engine.written(API).iter().all(|line| messages.contains(line)), "a line is missing");
}

#[tokio::test(start_paused = true)]
async fn at_a_stop_the_last_lines_of_a_container_that_has_ended_are_delivered_and_a_running_one_is_left() {
    // As when the machine goes down: the end, its news on the board and the stop come at one moment.
    let stage = Stage::new();
    stage.engine.write(API, numbered(0, 20));
    stage.engine.write("other", numbered(500, 20));
    stage.show(&[(API, running()), ("other", running())]);
    stage.until("both are read", |stage| stage.service.messages(STREAM).len() == 40).await;
    stage.engine.write(API, numbered(20, 3000));
    stage.engine.end(API);
    stage.show(&[(API, exited(30)), ("other", running())]);
    let began = Instant::now();
    let (engine, service, _) = stage.stop().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let messages = service.messages(STREAM);
    let missing = engine.written(API).into_iter().filter(|line| !messages.contains(line)).count();
    assert_eq!(missing, 0, "lines of the last moment");
}

#[tokio::test(start_paused = true)]
async fn at_a_stop_an_engine_that_is_away_keeps_the_last_lines_for_the_next_start() {
    let stage = Stage::new();
    stage.engine.write(API, numbered(0, 20));
    stage.show(&[(API, running())]);
    stage.until_delivered(API).await;
    stage.engine.write(API, numbered(20, 20));
    stage.engine.end(API);
    stage.engine.away(true);
    stage.show(&[(API, exited(30))]);
    let began = Instant::now();
    let (engine, service, _) = stage.stop().await;
    assert!(began.elapsed() <= crate::logs::DRAIN_LIMIT, "{:?}", began.elapsed());
    assert!(service.count(STREAM) <= engine.count(API));
}
