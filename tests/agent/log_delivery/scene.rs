//! What the situations share: how long things last, how they begin, and the verdict at their end.

use harness::log_node::{GROUP, LogNode, Writer, stream};
use harness::requirements::tried;
use harness::wait::wait_for;
use log_endpoint::Seen;
use log_endpoint::numbered::numbers_of_json_file;
use nix::mount::{MntFlags, umount2};
use std::collections::BTreeSet;
use std::error::Error;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

/// For what was written to arrive when nothing is wrong any more: the agent waits up to a minute after many failures.
pub(crate) const ARRIVAL: Duration = Duration::from_secs(90);
/// Most lines of 200 bytes in one call: 1,048,576 bytes, with 26 for each.
pub(crate) const BATCH: u64 = 4_639;

/// What lasts: as the bars have it, or a few seconds.
pub(crate) fn lasting(long: u64, ordinary: u64) -> Duration {
    let is_long = std::env::var("LOG_SUITE_LONG").is_ok_and(|value| value == "1");
    Duration::from_secs(if is_long { long } else { ordinary })
}

/// A writer and the agent, which has begun to ship.
pub(crate) fn begin(node: &mut LogNode, writer: &Writer, logs: &str) -> String {
    node.configure(std::slice::from_ref(writer), logs).expect("node.toml is written");
    node.start_agent(None).expect("the agent starts");
    let id = node.running(&writer.name).expect("the writer runs");
    node.arrived(&writer.name, 1, ARRIVAL).unwrap_or_else(|story| panic!("{story}\n{}", node.agent_log()));
    id
}

/// Lets that much time pass since `began`; the situation goes on meanwhile.
pub(crate) fn until(began: Instant, passed: Duration) {
    let look = || match began.elapsed() {
        elapsed if elapsed >= passed => Ok(()),
        elapsed => Err(format!("{elapsed:?}")),
    };
    wait_for("time to pass", passed + ARRIVAL, look).expect("a clock that goes on");
}

/// How a situation may end.
pub(crate) struct Verdict<'a> {
    pub(crate) name: &'a str,
    pub(crate) service: &'a str,
    /// Lines that may be delivered twice.
    pub(crate) duplicates: u64,
    /// How often the engine stamped a line with an earlier time than the one before: a reader of the stream sees lines in
    /// the order of their times.
    pub(crate) steps_back: u64,
    /// Lines that the engine itself may have left unfinished.
    pub(crate) torn: u64,
    /// Lines so many numbers apart are written one after the other.
    pub(crate) stride: usize,
}

impl<'a> Verdict<'a> {
    /// The usual one: no kill, one output.
    pub(crate) fn of(name: &'a str, service: &'a str) -> Verdict<'a> {
        Verdict { name, service, duplicates: 0, steps_back: 0, torn: 0, stride: 1 }
    }

    /// As many times one batch.
    pub(crate) fn after_kills(self, kills: u64) -> Verdict<'a> {
        Verdict { duplicates: kills * BATCH, ..self }
    }

    /// Waits for all of these lines, stops the agent, and judges what arrived.
    pub(crate) fn on(&self, node: &mut LogNode, numbers: Range<u64>) {
        self.on_all(node, &numbers.collect());
    }

    /// The same for lines that are not in a row.
    pub(crate) fn on_all(&self, node: &mut LogNode, numbers: &BTreeSet<u64>) {
        let there = |seen: &Seen| {
            seen.distinct >= numbers.len() as u64 && numbers.iter().all(|number| seen.has(*number))
        };
        let arrived = wait_for("all lines", ARRIVAL, || {
            node.endpoint.look(GROUP, &stream(self.service), |seen| {
                if there(seen) { Ok(()) } else { Err(format!("{} different ones", seen.distinct)) }
            })
        });
        let log = node.agent_log();
        let stopped = node.has_agent().then(|| node.stop_agent());
        let seen = node.seen(self.service);
        let lost: Vec<u64> = numbers.iter().copied().filter(|number| !seen.has(*number)).collect();
        let disorder = seen.out_of_order(self.stride);
        let offences = node.endpoint.offences();
        tried(&format!(
            "{}: {} lines in {} calls, {} lost, {} twice, {disorder} out of order, {} torn by the engine",
            self.name,
            numbers.len(),
            seen.puts,
            lost.len(),
            seen.duplicates,
            seen.damaged
        ));
        let some: Vec<_> = lost.iter().take(10).collect();
        assert!(lost.is_empty(), "{} lost, the first {some:?}; {arrived:?}\n{log}", lost.len());
        assert!(seen.damaged <= self.torn, "{} lines that are not as they were written", seen.damaged);
        assert_eq!(seen.wrapped, 0, "lines with something around them");
        assert!(offences.is_empty(), "what the service refuses: {offences:?}");
        assert_eq!(disorder, self.steps_back, "lines out of order");
        assert!(seen.duplicates <= self.duplicates, "{} twice, at most {}", seen.duplicates, self.duplicates);
        if let Some(stopped) = stopped {
            assert_eq!(stopped.expect("the agent ends"), Some(0), "{log}");
        }
    }
}

/// Waits until the json-file ends with line `number`; it is looked at often, so that what comes next comes right after.
pub(crate) fn until_written(file: &Path, number: u64) {
    let mark = format!("{{\"log\":\"#{number:012} ");
    let look = || {
        let text = tail(file).map_err(|error| error.to_string())?;
        if text.contains(&mark) { Ok(()) } else { Err(format!("{} bytes of its end", text.len())) }
    };
    wait_for(&format!("line {number} to be written"), ARRIVAL, look).expect("a container that writes");
}

fn tail(file: &Path) -> std::io::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(1000)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What the engine has put into this file so far, which may have been removed since.
pub(crate) fn written(file: &File) -> BTreeSet<u64> {
    use std::io::{Seek, SeekFrom};
    let mut again = file.try_clone().expect("a descriptor");
    again.seek(SeekFrom::Start(0)).expect("a file");
    numbers_of_json_file(again).expect("a readable file").into_iter().collect()
}

/// Everything that a situation may have left.
pub(crate) fn clear(node: &mut LogNode) -> Result<(), Box<dyn Error>> {
    node.kill_agent();
    // Most have mounted nothing there.
    let _ = umount2(&node.state(), MntFlags::MNT_DETACH);
    if node.engine.docker(&["version"], b"").is_err() {
        node.engine.stop()?;
        restart_engine(node);
    }
    node.renew()
}

/// As systemd does: again, where it does not come up at first.
pub(crate) fn restart_engine(node: &mut LogNode) {
    let launch = || node.engine.launch().map_err(|error| error.to_string());
    wait_for("the engine to start", ARRIVAL, launch).expect("the engine starts again");
}
