//! Docker's awslogs driver, blocking, as `docker run` starts it: its work is the engine's.

use super::ours::FILE_BYTES_PER_TEXT_BYTE;
use super::usage::{forget_peak, peak_bytes, processor_seconds};
use super::{DEADLINE, DRIVER_LINES, Measured, outcome};
use crate::log_node::LogNode;
use crate::wait::wait_for;
use std::error::Error;

const GROUP: &str = "/driver";
const STREAM: &str = "driver";

/// One container at full rate.
pub(super) fn measure(node: &mut LogNode) -> Result<Measured, Box<dyn Error>> {
    node.renew()?;
    let engine = node.engine.id().ok_or("the engine does not run")?;
    node.engine.docker(&["pull", "--quiet", &node.image()], b"")?;
    forget_peak(engine)?;
    let before = processor_seconds(engine)?;
    let endpoint = format!("awslogs-endpoint={}", node.endpoint.url());
    let mode = format!("MODE=numbered={DRIVER_LINES}");
    let mut arguments = vec!["run", "--detach", "--env", &mode, "--log-driver", "awslogs"];
    let (group, stream) = (format!("awslogs-group={GROUP}"), format!("awslogs-stream={STREAM}"));
    for option in ["awslogs-region=eu-north-1", "awslogs-create-group=true", &endpoint, &group, &stream] {
        arguments.extend(["--log-opt", option]);
    }
    let image = node.image();
    arguments.push(&image);
    node.engine.docker(&arguments, b"")?;
    wait_for("the driver's lines", DEADLINE, || {
        match node.endpoint.look(GROUP, STREAM, |seen| seen.distinct) {
            distinct if distinct >= DRIVER_LINES => Ok(()),
            distinct => Err(format!("{distinct} of {DRIVER_LINES}")),
        }
    })?;
    let (lost, duplicates) = outcome(&node.endpoint, &[(GROUP.to_owned(), STREAM.to_owned())], DRIVER_LINES);
    let text_bytes = DRIVER_LINES * 200;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "shown to people"
    )]
    let file_bytes = (text_bytes as f64 * FILE_BYTES_PER_TEXT_BYTE) as u64;
    Ok(Measured {
        name: "awslogs, blocking (dockerd)".to_owned(),
        text_bytes,
        file_bytes,
        seconds: node.endpoint.span().as_secs_f64(),
        processor_seconds: processor_seconds(engine)? - before,
        peak_bytes: peak_bytes(engine)?,
        lost,
        duplicates,
    })
}
