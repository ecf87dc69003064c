//! What it costs to ship logs: the agent over Docker's json-file, beside Docker's own driver and the shippers that are
//! installed here, against one endpoint of this process, in one run.
//!
//! In: the release programs. Out: rows. Measured is from the first call with events to the last, as the endpoint saw them;
//! CPU and memory are of the whole process since its start. The agent and the other shippers have one processor, the
//! endpoint the other. What always holds: what was measured has arrived, every line of it, or the row says what was lost.

mod driver;
mod ours;
mod shippers;
mod usage;

use super::Table;
use super::samples::Row;
use crate::docker_daemon::Setup;
use crate::log_node::LogNode;
use log_endpoint::numbered::Times;
use log_endpoint::{LogEndpoint, own_limit};
use std::error::Error;
use std::time::Duration;

/// What the numbers hold.
pub(super) const NOTE: &str = "Shipping logs: lines of 200 bytes over TLS, from the first call with events to the last as the \
     endpoint saw them; CPU and peak memory are of the whole process since its start. MB/s and s/GB are of json-file text, \
     for who does not read it of as many lines as it would have. The shipper has one processor, the endpoint the other; \
     Docker's driver has both.";

/// Lines of the catch-up: a gigabyte of json-file text.
const LINES: u64 = 3_700_000;
/// Of each line of a driver that is slower by an order of magnitude.
const DRIVER_LINES: u64 = 600_000;
/// Of who ships, and of who counts.
const SHIPPER: usize = 0;
const ENDPOINT: usize = 1;
/// Several times what the slowest takes.
const DEADLINE: Duration = Duration::from_secs(240);
/// As 50,000 lines a second are written.
const STEP: Duration = Duration::from_micros(20);

/// A shipper at its limit.
#[derive(Debug, Clone, Default)]
pub(super) struct Measured {
    name: String,
    /// Of the lines without their ends.
    text_bytes: u64,
    /// Of the json-file they were in; as many as the lines would have there.
    file_bytes: u64,
    seconds: f64,
    processor_seconds: f64,
    peak_bytes: u64,
    lost: u64,
    duplicates: u64,
}

#[expect(clippy::cast_precision_loss, reason = "shown to people")]
impl Measured {
    fn speed(&self) -> f64 {
        self.file_bytes as f64 / 1e6 / self.seconds
    }

    fn text_speed(&self) -> f64 {
        self.text_bytes as f64 / 1e6 / self.seconds
    }

    fn cost(&self) -> f64 {
        self.processor_seconds / (self.file_bytes as f64 / 1e9)
    }

    fn peak(&self) -> String {
        super::samples::megabytes(self.peak_bytes)
    }

    fn said(&self) -> String {
        format!("{}: {:.0} MB/s, {:.1} s/GB, {}", self.name, self.speed(), self.cost(), self.peak())
    }

    fn exactness(&self) -> String {
        format!("{} lost, {} twice", self.lost, self.duplicates)
    }
}

/// Everything, in the network of a thread of its own.
pub(super) fn rows() -> Result<Vec<Row>, Box<dyn Error>> {
    std::thread::scope(|scope| {
        let measured = scope.spawn(|| measure().map_err(|error| error.to_string()));
        measured.join().map_err(|_| "the measurement broke")?.map_err(Into::into)
    })
}

fn measure() -> Result<Vec<Row>, Box<dyn Error>> {
    crate::instance::enter_own_network()?;
    let mut node = LogNode::set(&super::dist(), Some(ENDPOINT), Setup::default())?;
    super::say("logs: what the endpoint itself can take");
    let limit = own_limit(LINES)?;
    let mut table = Table(vec![Row::alone(
        "the endpoint alone, bodies of PutLogEvents",
        "1000 MB/s",
        format!("{:.0} MB/s", limit / 1e6),
    )]);
    super::say("logs: Docker's awslogs driver");
    let mut instead = vec![told("awslogs", driver::measure(&mut node))];
    for shipper in shippers::ALL {
        super::say(&format!("logs: {}", shipper.name()));
        instead.push(told(shipper.name(), shippers::measure(*shipper, &node)));
    }
    for containers in [1, 20] {
        super::say(&format!("logs: the agent, {containers} containers, a gigabyte"));
        let what = format!("catch-up, {containers} container{}", if containers == 1 { "" } else { "s" });
        let measured = ours::catch_up(&mut node, containers);
        table.add(&what, measured.map(|ours| beside(&what, &ours, &instead)));
    }
    super::say("logs: the agent, live at 1 MB/s");
    table.add("live, 1 MB/s", ours::live(&mut node));
    Ok(table.0)
}

/// Why it could not be measured is told at length here, and in a few words in the table.
fn told(name: &str, measured: Result<Measured, Box<dyn Error>>) -> Result<Measured, Box<dyn Error>> {
    measured.map_err(|why| {
        super::say(&format!("logs: {name} was not measured: {why}"));
        format!("{name}: not measured, see above").into()
    })
}

/// Ours beside each of the others.
fn beside(what: &str, ours: &Measured, instead: &[Result<Measured, Box<dyn Error>>]) -> Vec<Row> {
    let speed = format!("{:.0} MB/s ({:.0} of text)", ours.speed(), ours.text_speed());
    let mut rows = vec![
        Row::alone(&format!("{what}: json-file text, one core"), "250 MB/s", speed),
        Row::alone(&format!("{what}: CPU"), "3 s/GB", format!("{:.2} s/GB", ours.cost())),
        Row::alone(&format!("{what}: peak memory"), "40 MB", ours.peak()),
        Row::alone(&format!("{what}: lines"), "0 lost", ours.exactness()),
    ];
    rows.extend(instead.iter().map(|other| match other {
        Ok(other) => Row {
            what: format!("{what}: speed, CPU, peak memory"),
            bar: "-".to_owned(),
            ours: ours.said(),
            instead: format!("{}, {}", other.said(), other.exactness()),
            ratio: Some(ours.speed() / other.speed()),
        },
        Err(why) => Row {
            instead: why.to_string(),
            ..Row::alone(&format!("{what}: speed, CPU, peak memory"), "-", ours.said())
        },
    }));
    rows
}

/// Lines that were written until a moment ago, so that no time is refused.
fn times(lines: u64) -> Times {
    #[expect(clippy::disallowed_methods, reason = "lines of now")]
    let now = jiff::Timestamp::now();
    let took = STEP * u32::try_from(lines).unwrap_or(u32::MAX);
    Times { first: now - took, step: STEP }
}

/// What arrived of `lines` in each of the streams.
fn outcome(endpoint: &LogEndpoint, streams: &[(String, String)], lines: u64) -> (u64, u64) {
    let of = |(group, stream): &(String, String)| {
        endpoint.look(group, stream, |seen| (lines.saturating_sub(seen.distinct), seen.duplicates))
    };
    streams.iter().map(of).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}
