//! `nvidia-smi -L` in the container of the server: it asks the server, which knows what is lost.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fetch;
use crate::settings::Settings;

const DEADLINE: Duration = Duration::from_secs(5);
/// What the real one ends with for an error that it has no number for.
const UNKNOWN: u8 = 255;
/// "Couldn't communicate with the driver".
const NO_DRIVER: u8 = 9;

/// What the server says at `/double/gpu`.
pub(crate) fn view(vram: u64, lost: bool) -> Value {
    let state = match (vram, lost) {
        (0, _) => "none",
        (_, true) => "lost",
        (_, false) => "present",
    };
    json!({"state": state, "vram": vram})
}

/// Prints the list of GPUs, or fails as the real one does.
pub(crate) async fn nvidia_smi(settings: &Settings) -> ExitCode {
    let asking = async { fetch::ask(&settings.own_url(), "GET", "/double/gpu", &[]).await?.whole().await };
    let answer = tokio::time::timeout(DEADLINE, asking).await;
    let view: Value = match answer {
        Ok(Ok(bytes)) => serde_json::from_slice(&bytes).unwrap_or_default(),
        // A server that is starting: what there is at its start.
        Ok(Err(_)) | Err(_) => view(settings.vram, false),
    };
    let (text, code) = match view["state"].as_str() {
        Some("present") => {
            let uuid = "GPU-00000000-0000-4000-8000-000000000000";
            (format!("GPU 0: Stand-in {} (UUID: {uuid})", crate::memory::human(settings.vram)), 0)
        }
        Some("lost") => ("Failed to initialize NVML: Unknown Error".to_owned(), UNKNOWN),
        _ => {
            let why = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.";
            (why.to_owned(), NO_DRIVER)
        }
    };
    writeln!(std::io::stdout(), "{text}").ok();
    ExitCode::from(code)
}
