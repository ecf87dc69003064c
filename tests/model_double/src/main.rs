//! Stands in for the model server: Ollama's API over a real models folder and a real registry, with faults on demand.
//!
//! In: the environment ([`settings`]), requests of the API ([`routes`]), faults ([`faults`]). Out: what Ollama answers
//! and leaves on disk, and one JSON line per request on standard output. Source: ollama `server/routes.go`,
//! `server/images.go`, `server/download.go`, `server/sched.go`, `types/model/name.go`, read at several versions around
//! 0.12. On SIGTERM it ends at once, as Ollama does: what is open is cut. Called as `nvidia-smi` it is that program.
//! Not its job: TLS, and thinking: it reads the weights, and answers with the prompt.

mod answer;
mod faults;
mod fetch;
mod gpu;
mod host;
mod journal;
mod load;
mod memory;
mod name;
mod pull;
mod routes;
mod server;
mod settings;
mod store;
mod transfer;
mod weights;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let settings = match settings::Settings::read(host::environment) {
        Ok(settings) => settings,
        Err(why) => return fail(&why),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("no runtime: {error}")),
    };
    let called = std::env::args_os().next().unwrap_or_default();
    let code = if Path::new(&called).ends_with("nvidia-smi") {
        runtime.block_on(gpu::nvidia_smi(&settings))
    } else {
        runtime.block_on(server::serve(settings)).unwrap_or_else(|why| fail(&why))
    };
    // Files that are being read must not hold the end up.
    runtime.shutdown_background();
    code
}

fn fail(why: &str) -> ExitCode {
    host::say(&serde_json::json!({"event": "error", "error": why}));
    ExitCode::FAILURE
}
