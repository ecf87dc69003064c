//! The doctor: looks at everything that the node needs, and says of each thing whether it is well and what to do if not.
//!
//! In: where everything is. Out: [`crate::finding::Finding`]s, area by area, as they come. What always holds: nothing is changed,
//! neither the agent nor the engine has to run, every question has a deadline, and one area that hangs holds up no other.
//!
//! ```text
//! look (questions: host, cloud) -> examined -> judge (pure) -> findings
//! ```
//!
//! It is a part of the program `node-agent`, which has the clients of AWS, and is called as `node-agent doctor` by
//! `agentctl doctor`, which shows what it says.

pub mod judge;

mod look;
mod program;

use crate::finding::{Area, Finding};
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use look::Known;
pub use look::Patient;
pub use program::{ARGUMENT, program};
use std::time::Duration;

/// For an area as a whole: AWS takes three tries of fifteen seconds each to be given up.
const AREA_DEADLINE: Duration = Duration::from_secs(60);

/// Looks at everything, several areas at once, and gives each area's findings to `tell` when they are there.
pub async fn examine(patient: &Patient, mut tell: impl FnMut(Vec<Finding>)) {
    let known = Known::learn(patient).await;
    tell(judge::configuration(&known.path, &known.checked, known.wanted()));
    tell(judge::boot(&known.handoff));
    let mut areas: FuturesUnordered<BoxFuture<'_, Vec<Finding>>> = FuturesUnordered::new();
    areas.push(Box::pin(within(Area::Metadata, look::metadata(patient, &known))));
    areas.push(Box::pin(within(Area::Aws, look::aws(patient, &known))));
    // Asked once for two areas: the engine runs programs to answer.
    let engine = look::engine(patient).shared();
    areas.push(Box::pin(within(
        Area::Docker,
        engine.clone().map(|facts| judge::engine(&facts, known.wanted())),
    )));
    areas.push(Box::pin(within(Area::Disks, look::disks(patient, &known, engine))));
    areas.push(Box::pin(within(Area::Network, look::network(patient, &known))));
    areas.push(Box::pin(within(Area::Units, look::units())));
    areas.push(Box::pin(within(Area::Agent, look::agent(patient, &known))));
    while let Some(findings) = areas.next().await {
        tell(findings);
    }
}

/// A look that takes too long is a finding of its own.
async fn within(area: Area, look: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    tokio::time::timeout(AREA_DEADLINE, look).await.unwrap_or_else(|_| {
        let why = format!("not known after {} s", AREA_DEADLINE.as_secs());
        vec![Finding::fail(area, area.to_string(), why, "try again; if it stays so, look at `dmesg`")]
    })
}
