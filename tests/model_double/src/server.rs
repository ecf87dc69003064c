//! Listening, and ending: at once on SIGTERM, and when a fault says so.

use std::process::ExitCode;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::faults::Faults;
use crate::host;
use crate::journal::Journal;
use crate::load::Loader;
use crate::memory::Memory;
use crate::pull::Puller;
use crate::routes::Server;
use crate::settings::Settings;
use crate::store::Store;
use crate::transfer::{Pace, Transfers};

/// What a process that was killed ends with.
const KILLED: u8 = 137;

/// Serves until it is told to end.
pub(crate) async fn serve(settings: Settings) -> Result<ExitCode, String> {
    // As process 1 of a container it has no default action for SIGTERM.
    let mut terminated = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    let exit = Arc::new(Notify::new());
    let listener = TcpListener::bind(&settings.listen).await;
    let listener = listener.map_err(|error| format!("listen tcp {}: {error}", settings.listen))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let server = Arc::new(prepare(settings, Arc::clone(&exit))?);
    host::say(&json!({"event": "listening", "address": address.to_string()}));
    tokio::select! {
        () = accept(&listener, &server) => Ok(ExitCode::FAILURE),
        () = exit.notified() => Ok(ExitCode::from(KILLED)),
        _ = terminated.recv() => Ok(ExitCode::SUCCESS),
        _ = interrupted.recv() => Ok(ExitCode::SUCCESS),
    }
}

fn prepare(settings: Settings, exit: Arc<Notify>) -> Result<Server, String> {
    let place = |error: std::io::Error| format!("{}: {error}", settings.models.display());
    let store = Store::open(&settings.models).map_err(place)?;
    if settings.prunes {
        store.prune().map_err(place)?;
    }
    let file = settings.models.join("double-faults.json");
    let faults = Arc::new(Faults::open(file, settings.faults.as_deref())?);
    let pace = Pace { part_bytes: settings.part_bytes, retry: settings.retry, stall: settings.stall };
    let puller = Puller {
        store: store.clone(),
        transfers: Arc::new(Transfers::new(Arc::clone(&faults), pace)),
        registry: settings.registry.clone(),
        prunes: settings.prunes,
        exit,
    };
    let memory = Memory {
        limit: settings.memory,
        vram: settings.vram,
        at_most: settings.loaded_at_most,
        loaded: Vec::new(),
    };
    let loader = Loader::new(memory, store.clone(), Arc::clone(&faults), settings.keep_alive);
    Ok(Server { settings, store, faults, loader, puller: Arc::new(puller), journal: Journal::default() })
}

async fn accept(listener: &TcpListener, server: &Arc<Server>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        stream.set_nodelay(true).ok();
        let server = Arc::clone(server);
        let answers = service_fn(move |request| {
            let server = Arc::clone(&server);
            async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
        });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answers);
        tokio::spawn(async move {
            // A client that goes away is its own affair.
            connection.await.ok();
        });
    }
}
