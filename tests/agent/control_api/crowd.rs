//! Many clients at once: honest ones are all answered, and a reader that takes nothing is given up.

use super::*;
use agent::control::peer::Peer;
use agent::control::socket::answer_on;
use std::sync::Barrier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn two_hundred_clients_at_once_that_only_ask_are_all_answered() {
    const CLIENTS: usize = 200;
    let bench = full();
    let (path, together) = (bench.paths().control_socket(), Arc::new(Barrier::new(CLIENTS)));
    let ask = |_| {
        let (path, together) = (path.clone(), Arc::clone(&together));
        std::thread::spawn(move || {
            together.wait();
            let begun = Instant::now();
            let mut stream = as_another_user(|| UnixStream::connect(&path).unwrap());
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            (answer, begun.elapsed())
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(ask).collect();
    let mut took: Vec<Duration> = clients
        .into_iter()
        .map(|client| {
            let (answer, took) = client.join().unwrap();
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with('}'), "{answer}");
            took
        })
        .collect();
    took.sort();
    println!("{CLIENTS} answers: median {:?}, slowest {:?}", took[CLIENTS / 2], took[CLIENTS - 1]);
}

fn full() -> Bench {
    let bench = Bench::new();
    bench.publish((0..10).map(|number| service(&format!("api-{number}"))).collect());
    bench
}

/// Where this is root, whom less is allowed than root: to Linux, credentials are those of a thread.
fn as_another_user<T>(act: impl FnOnce() -> T) -> T {
    use nix::libc::{SYS_setresuid, syscall};
    let become_user = |uid: u32| {
        // SAFETY: only numbers are passed, and only this thread becomes another user; it goes back below.
        let result = unsafe { syscall(SYS_setresuid, -1, uid, -1) };
        assert!(result == 0 || !is_root(), "{}", std::io::Error::last_os_error());
    };
    let was = nix::unistd::Uid::effective().as_raw();
    if was != 0 {
        return act();
    }
    become_user(NOBODY);
    let done = act();
    become_user(was);
    done
}

#[test]
fn whoever_comes_when_the_line_is_full_is_told_so() {
    if !is_root() {
        return harness::requirements::skipped("other users can be tried by root only");
    }
    let bench = full();
    let path = bench.paths().control_socket();
    let silent: Vec<UnixStream> =
        (0..260).filter_map(|_| as_another_user(|| UnixStream::connect(&path)).ok()).collect();
    let mut late = as_another_user(|| UnixStream::connect(&path)).unwrap();
    late.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    late.write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    late.read_to_string(&mut answer).ok();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.is_empty() || answer.contains("\"agent_busy\""), "{answer}");
    let told = silent.iter().filter(|stream| {
        stream.set_nonblocking(true).unwrap();
        let mut answer = [0; 12];
        (&mut &**stream).read(&mut answer).is_ok_and(|count| &answer[..count] == b"HTTP/1.1 503")
    });
    let told = told.count() + usize::from(!answer.is_empty());
    assert!(told > 0, "nobody was told");
    expect(&bench.agentctl(&["status"]), 0, "test-node  ready", "");
}

/// A server without a socket, for what takes long.
fn control(board: &Board) -> Control {
    let (commands, _) = mpsc::channel(1);
    let (models, _) = mpsc::channel(1);
    let (_, settings) = watch::channel(Some(Arc::new(settings())));
    let (configuration, _) = mpsc::channel(1);
    Control { board: board.clone(), commands, models, output: Arc::new(Scripted), settings, configuration }
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_takes_nothing_is_given_up_after_a_quarter_of_an_hour() {
    let board = Board::new(node());
    let (mut client, server) = tokio::io::duplex(64);
    let peer = Peer { uid: 0, gid: 0, pid: Some(1) };
    let begun = tokio::time::Instant::now();
    let served = tokio::spawn(answer_on(server, peer, control(&board)));
    client.write_all(b"GET /v1/status?follow=true HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    served.await.unwrap();
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(14 * 60) && took < Duration::from_secs(17 * 60), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_takes_what_comes_is_served_for_hours() {
    let board = Board::new(node());
    let (mut client, server) = tokio::io::duplex(64);
    let peer = Peer { uid: 0, gid: 0, pid: Some(1) };
    let served = tokio::spawn(answer_on(server, peer, control(&board)));
    client.write_all(b"GET /v1/status?follow=true HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let (begun, mut seen) = (tokio::time::Instant::now(), Vec::new());
    let lines = |seen: &[u8]| seen.windows(2).filter(|pair| pair == b"}\n").count();
    let mut buffer = [0; 256];
    while begun.elapsed() < Duration::from_secs(3 * 3600) {
        let count = client.read(&mut buffer).await.unwrap();
        assert!(count > 0, "it ended after {:?}", begun.elapsed());
        seen.extend_from_slice(&buffer[..count]);
    }
    assert!((700..=725).contains(&lines(&seen)), "{} heartbeats in three hours", lines(&seen));
    drop(client);
    // Noticed at the next heartbeat at the latest.
    served.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3 * 3600 + 60), "{:?}", begun.elapsed());
}
