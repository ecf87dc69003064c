//! Logs in files, from the engine's folder to the service and back behind what was delivered.

use super::service::{Reply, ScriptedService};
use super::*;
use crate::host::log_files::{Keep, LogFile, Rules, container_feed};
use crate::logs::feed::Feed;
use crate::logs::sink::PutError;
use crate::logs::source::{Left, LogSource, SourceError, SourceLine};
use futures_util::stream::{self, Stream};
use node::config::settings::Units;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

/// An engine's folder under which containers have their logs.
#[derive(Clone)]
struct Files {
    root: Arc<TempDir>,
    /// Of lines that are the same, so many a minute are kept.
    repeat: Option<u32>,
}

impl Files {
    fn new() -> Files {
        Files { root: Arc::new(tempfile::tempdir().unwrap()), repeat: None }
    }

    fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    fn log(&self) -> PathBuf {
        self.root.path().join("docker/containers").join(API).join("c-json.log")
    }

    fn write(&self, lines: &[(Timestamp, String)]) {
        fs::create_dir_all(self.log().parent().unwrap()).unwrap();
        let mut file = OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let mut text = String::new();
        for (time, line) in lines {
            let log = serde_json::to_string(&format!("{line}\n")).unwrap();
            text.push_str(&format!("{{\"log\":{log},\"stream\":\"stdout\",\"time\":\"{time}\"}}\n"));
        }
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rotate(&self) {
        let name = |age: u32| PathBuf::from(format!("{}.{age}", self.log().display()));
        let _ = fs::rename(name(1), name(2));
        let _ = fs::rename(self.log(), name(1));
        self.write(&[]);
    }

    fn remove(&self) {
        fs::remove_dir_all(self.log().parent().unwrap()).unwrap();
    }

    fn keep(&self) -> Keep {
        Keep::new(&self.state())
    }

    fn rules(&self) -> Rules {
        let shaping = settings::Shaping { repeat: self.repeat, ..settings::Shaping::default() };
        Rules {
            max_event: 1000,
            services: BTreeMap::from([("api".to_owned(), shaping)]),
            files: Vec::new(),
            journal: Units::These(Vec::new()),
            kernel: false,
            instance_id: "i-0123".to_owned(),
        }
    }
}

impl LogSource for Files {
    fn follow(
        &self,
        _: &str,
        _: Option<Timestamp>,
    ) -> impl Stream<Item = Result<SourceLine, SourceError>> + Send {
        stream::empty()
    }

    async fn open(&self, container_id: &str) -> Result<Option<Box<dyn Feed>>, SourceError> {
        let log = LogFile { path: self.log(), service: "api".to_owned(), digest: None };
        Ok(Some(container_feed(self.keep().begin(container_id, &log).expect("kept"), &self.rules())))
    }

    async fn left(&self, known: BTreeSet<String>) -> Vec<Left> {
        let left = self.keep().all_but(&known).into_iter();
        left.map(|source| Left {
            source: source.container_id.clone(),
            name: source.service.clone(),
            stream: None,
            of_container: true,
            feed: container_feed(source, &self.rules()),
        })
        .collect()
    }
}

/// A run of the agent's shipper.
struct Run {
    service: ScriptedService,
    board: Board,
    shutdown: CancellationToken,
    shipper: JoinHandle<()>,
}

impl Run {
    fn start(files: &Files, service: &ScriptedService, bound: u64) -> Run {
        let started = Instant::now();
        let clock: Clock = Arc::new(move || BEGIN + SignedDuration::try_from(started.elapsed()).unwrap());
        let board = Board::new(node());
        let shipper = Shipper {
            board: board.clone(),
            settings: settings::Logs { queue_bytes: bound, ..settings::Logs::to_group("/aws/ec2/api") },
            instance_id: "i-0123".to_owned(),
            node_name: "api".to_owned(),
            source: files.clone(),
            sink: service.clone(),
            state: files.state(),
            beside: Vec::new(),
            clock,
        };
        let shutdown = CancellationToken::new();
        let shipper = tokio::spawn(run(shipper, shutdown.clone()));
        Run { service: service.clone(), board, shutdown, shipper }
    }

    fn show(&self, state: &ContainerState) {
        self.board.publish_services(Vec::new(), Vec::new(), vec![container(API, state)], BEGIN);
    }

    async fn until(&self, what: &str, condition: impl Fn(&Run) -> bool) {
        let day = Instant::now() + Duration::from_secs(24 * 3600);
        while !condition(self) {
            let (logs, count) = (self.board.status().logs, self.service.count(STREAM));
            assert!(Instant::now() < day, "never came to pass: {what}\nstatus: {logs:?}\ndelivered {count}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn until_count(&self, count: usize) {
        self.until(&format!("{count} lines delivered"), |run| run.service.count(STREAM) >= count).await;
        self.until("nothing owed", |run| run.board.status().logs.backlog_bytes == 0).await;
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.shipper.await.expect("the shipper does not panic");
    }
}

fn texts(lines: &[(Timestamp, String)]) -> Vec<String> {
    lines.iter().map(|(_, text)| text.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn lines_of_a_file_are_delivered_in_their_order_once() {
    let (files, service) = (Files::new(), ScriptedService::default());
    let lines = numbered(0, 30_000);
    files.write(&lines[..10_000]);
    let run = Run::start(&files, &service, u64::MAX);
    run.show(&running());
    run.until_count(10_000).await;
    files.write(&lines[10_000..]);
    run.until_count(30_000).await;
    run.stop().await;
    assert_eq!(service.messages(STREAM), texts(&lines));
}

#[tokio::test(start_paused = true)]
async fn a_line_waits_two_seconds_for_others_and_no_longer() {
    let (files, service) = (Files::new(), ScriptedService::default());
    files.write(&[]);
    let run = Run::start(&files, &service, u64::MAX);
    run.show(&running());
    tokio::time::sleep(Duration::from_secs(30)).await;
    let written = Instant::now();
    files.write(&numbered(0, 1));
    run.until_count(1).await;
    let (at, events) = service.calls()[0];
    assert_eq!(events, 1);
    assert!(at - written <= Duration::from_secs(3), "{:?}", at - written);
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_the_service_loses_nothing_through_rotation_and_removal() {
    let (files, service) = (Files::new(), ScriptedService::default());
    let fail = PutError::Retry { reason: "no route".to_owned() };
    service.otherwise(Reply::Fail(fail));
    let lines = numbered(0, 3_600);
    let run = Run::start(&files, &service, u64::MAX);
    files.write(&[]);
    run.show(&running());
    for part in lines.chunks(100) {
        files.write(part);
        tokio::time::sleep(Duration::from_secs(100)).await;
        files.rotate();
    }
    let status = run.board.status().logs;
    assert!(status.oldest_unshipped_seconds >= 3_000, "{status:?}");
    assert!(run.board.status().problems.iter().any(|problem| problem.code == "logs_unreachable"));
    files.remove();
    run.board.publish_services(Vec::new(), Vec::new(), Vec::new(), BEGIN);
    service.otherwise(Reply::Accept);
    run.until_count(3_600).await;
    assert_eq!(service.messages(STREAM), texts(&lines));
    run.until("nothing kept", |_| fs::read_dir(files.state().join("logs")).unwrap().count() == 0).await;
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_removed_container_is_delivered_by_the_next_run() {
    let (files, service) = (Files::new(), ScriptedService::default());
    service.otherwise(Reply::Hang);
    let lines = numbered(0, 500);
    files.write(&lines);
    let run = Run::start(&files, &service, u64::MAX);
    run.show(&running());
    run.until("a first call", |run| !run.service.calls().is_empty()).await;
    // Killed.
    run.shipper.abort();
    files.remove();
    service.otherwise(Reply::Accept);
    let run = Run::start(&files, &service, u64::MAX);
    run.until_count(500).await;
    assert_eq!(service.messages(STREAM), texts(&lines));
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_kill_repeats_one_batch_at_most() {
    let (files, service) = (Files::new(), ScriptedService::default());
    let lines = numbered(0, 60_000);
    files.write(&lines);
    let mut largest = 0;
    for kill in 0..10u64 {
        let run = Run::start(&files, &service, u64::MAX);
        run.show(&running());
        tokio::time::sleep(Duration::from_millis(37 * kill)).await;
        let before = service.count(STREAM);
        run.until("some more", |run| run.service.count(STREAM) >= (before + 1).min(60_000)).await;
        run.shipper.abort();
        largest = largest.max(service.calls().iter().map(|(_, events)| *events).max().unwrap_or(0));
    }
    let run = Run::start(&files, &service, u64::MAX);
    run.show(&running());
    run.until("the last line", |run| run.service.last(STREAM) == lines.last().map(|(_, text)| text.clone()))
        .await;
    run.stop().await;
    let mut delivered = service.messages(STREAM);
    let repeated = delivered.len() - lines.len();
    println!("TRIED 10 kills over {} lines: {repeated} repeated, a batch has {largest}", lines.len());
    assert!(repeated <= 10 * largest, "{repeated} lines repeated");
    let number = |line: &String| line.split(' ').next().unwrap().parse::<usize>().unwrap();
    delivered.sort_by_key(number);
    delivered.dedup();
    assert_eq!(delivered, texts(&lines), "none is lost");
}

#[tokio::test(start_paused = true)]
async fn over_the_bound_the_counter_of_dropped_events_is_what_is_missing() {
    let (files, service) = (Files::new(), ScriptedService::default());
    service.otherwise(Reply::Fail(PutError::Throttled { reason: "Rate exceeded".to_owned() }));
    files.write(&[]);
    let run = Run::start(&files, &service, 20_000);
    run.show(&running());
    let lines = numbered(0, 2_000);
    for part in lines.chunks(50) {
        files.write(part);
        tokio::time::sleep(Duration::from_secs(3)).await;
        files.rotate();
    }
    service.otherwise(Reply::Accept);
    run.until("nothing owed", |run| run.board.status().logs.backlog_bytes == 0).await;
    let dropped = run.board.status().logs.events_dropped;
    let delivered = service.messages(STREAM);
    println!("TRIED {} lines over the bound: {dropped} dropped", lines.len());
    assert!(dropped > 0);
    assert_eq!(delivered.len() as u64 + dropped, lines.len() as u64);
    let expected: Vec<String> = texts(&lines)[usize::try_from(dropped).unwrap()..].to_vec();
    assert_eq!(delivered, expected, "the oldest went");
    run.stop().await;
}

/// The line, and how often it came.
fn came(times: usize, at: Timestamp) -> Vec<(Timestamp, String)> {
    vec![(at, "connection refused".to_owned()); times]
}

fn told(line_by_line: &[usize]) -> Vec<String> {
    let told = |more: &usize| {
        format!("[node-agent] the line before this one came {more} times more; that is left out")
    };
    line_by_line.iter().flat_map(|more| ["connection refused".to_owned(), told(more)]).collect()
}

#[tokio::test(start_paused = true)]
async fn how_often_the_last_line_came_is_told_in_silence_at_the_end_of_the_container_and_of_the_agent() {
    let files = Files { repeat: Some(1), ..Files::new() };
    let service = ScriptedService::default();
    let started = Instant::now();
    let now = || BEGIN + SignedDuration::try_from(started.elapsed()).unwrap();

    let run = Run::start(&files, &service, u64::MAX);
    files.write(&came(5, now()));
    run.show(&running());
    run.until("the line", |run| run.service.count(STREAM) == 1).await;
    let after_the_line = Instant::now();
    run.until("how often it came", |run| run.service.count(STREAM) == 2).await;
    assert!(after_the_line.elapsed() >= Duration::from_secs(50), "{:?}", after_the_line.elapsed());
    assert_eq!(service.messages(STREAM), told(&[4]));
    let calls = service.calls().len();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(service.calls().len(), calls, "it is said once");

    // The same line after a time is a new one.
    files.write(&came(3, now()));
    run.until("the line again", |run| run.service.count(STREAM) == 3).await;
    run.stop().await;
    assert_eq!(service.messages(STREAM), told(&[4, 2]), "the agent stops");

    let run = Run::start(&files, &service, u64::MAX);
    service.otherwise(Reply::Fail(PutError::Retry { reason: "no route".to_owned() }));
    // The clock of this run begins anew.
    files.write(&came(4, BEGIN));
    run.show(&running());
    tokio::time::sleep(Duration::from_secs(300)).await;
    files.remove();
    run.board.publish_services(Vec::new(), Vec::new(), Vec::new(), BEGIN);
    service.otherwise(Reply::Accept);
    run.until("all of it", |run| run.service.count(STREAM) == 6).await;
    assert_eq!(service.messages(STREAM), told(&[4, 2, 3]), "the container is gone");
    run.until("nothing kept", |_| fs::read_dir(files.state().join("logs")).unwrap().count() == 0).await;
    run.stop().await;
}
