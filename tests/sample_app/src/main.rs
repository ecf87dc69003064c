//! A small real HTTP service for tests, told by its environment how to behave.
//!
//! In: `PORT` (8000), `HEALTH_PATH` (`/health`), `VERSION`, `NAME`, `MODE`. Out:
//! one JSON line per request and a numbered heartbeat line each second on
//! standard output. On SIGTERM it finishes the requests that are open and exits
//! 0, unless it is told to ignore it. As a worker it listens nowhere, and on
//! SIGTERM finishes its task; as a writer of numbered lines it listens nowhere and
//! writes nothing else. It never writes the value of a secret.

mod line;
mod mode;
mod numbered;
mod reach;
mod service;
mod worker;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use mode::Mode;
use service::Service;

/// Longest wait for open requests after SIGTERM.
const DRAIN: Duration = Duration::from_secs(60);
const PORT: u16 = 8000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(code) => code,
        Err(error) => {
            service::log(&json!({"event": "error", "error": error.to_string()}));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the application's configuration is its environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

async fn run() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mode: Mode = environment("MODE").unwrap_or_default().parse()?;
    let port = environment("PORT").map_or(Ok(PORT), |port| port.parse())?;
    // As process 1 of a container it has no default action for SIGTERM, so this
    // must come before anything that takes time.
    let mut terminated = signal(SignalKind::terminate())?;
    if let Mode::Numbered(how) = mode {
        numbered::run(&mut terminated, how).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let service = Arc::new(Service::new(mode, environment));
    service::log(
        &json!({"event": "start", "version": service.version, "mode": mode.to_string(), "port": port}),
    );
    if mode == Mode::Exit {
        return Ok(ExitCode::from(1));
    }
    if let Mode::Worker(task) = mode {
        worker::run(&mut terminated, task).await;
        return Ok(ExitCode::SUCCESS);
    }
    if let Mode::SlowStart(delay) = mode {
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            _ = terminated.recv() => return Ok(ExitCode::SUCCESS),
        }
    }
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await?;
    service::log(&json!({"event": "listening", "address": listener.local_addr()?.to_string()}));
    let heartbeat = tokio::spawn(heartbeat());
    if let Mode::Leak(pace) = mode {
        tokio::spawn(leak(pace));
    }
    let crash = async {
        match mode {
            Mode::CrashAfter(delay) => tokio::time::sleep(delay).await,
            _ => std::future::pending().await,
        }
    };
    let connections = GracefulShutdown::new();
    let code = tokio::select! {
        () = accept(&listener, &service, &connections) => ExitCode::FAILURE,
        () = crash => ExitCode::from(1),
        () = service.crashed() => ExitCode::from(1),
        () = asked_to_stop(&mut terminated, mode) => {
            drop(listener);
            drain(connections).await;
            ExitCode::SUCCESS
        }
    };
    heartbeat.abort();
    service::log(&json!({"event": "stop", "clean": code == ExitCode::SUCCESS}));
    Ok(code)
}

async fn accept(listener: &TcpListener, service: &Arc<Service>, connections: &GracefulShutdown) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let service = Arc::clone(service);
        let answers = service_fn(move |request| {
            let service = Arc::clone(&service);
            async move { Ok::<_, std::convert::Infallible>(service.answer(&request).await) }
        });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answers);
        let watched = connections.watch(connection);
        tokio::spawn(async move {
            // A client that goes away is its own affair.
            watched.await.ok();
        });
    }
}

async fn asked_to_stop(terminated: &mut Signal, mode: Mode) {
    loop {
        terminated.recv().await;
        service::log(&json!({"event": "sigterm"}));
        if mode != Mode::IgnoreTerm {
            return;
        }
    }
}

async fn drain(connections: GracefulShutdown) {
    if tokio::time::timeout(DRAIN, connections.shutdown()).await.is_err() {
        service::log(&json!({"event": "drain", "error": "requests were still open at the deadline"}));
    }
}

/// Takes memory until somebody ends it: written to, because the kernel gives what is only asked for to nobody.
async fn leak(mebibytes_per_second: u32) {
    const MEBIBYTE: usize = 1 << 20;
    let mut taken = Vec::new();
    let mut moment = tokio::time::interval(Duration::from_secs(1) / mebibytes_per_second.max(1));
    loop {
        moment.tick().await;
        taken.push(vec![1_u8; MEBIBYTE]);
    }
}

/// Numbered from 1 without gaps, so that a reader of the log can count losses.
async fn heartbeat() {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    for number in 1_u64.. {
        second.tick().await;
        service::log(&json!({"event": "heartbeat", "number": number}));
    }
}
