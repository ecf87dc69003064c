//! The local cloud as a program, for a demo or a suite in another process.
//!
//! Writes one JSON line when every door is open (`{"ready": true, …}` with the
//! addresses), then one per request; none holds a secret. Ends on SIGTERM or
//! SIGINT.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use harness::local_cloud::{Bind, Config, Initial, LocalCloud};
use harness::netns;
use tokio::signal::unix::{SignalKind, signal};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A cloud on this host for tests. Doors that are not named stay closed.
#[derive(Parser)]
#[command(name = "local-cloud")]
struct Arguments {
    /// Metadata service (the address that instances expect is 169.254.169.254:80)
    #[arg(long, value_name = "ADDRESS:PORT")]
    imds: Option<SocketAddr>,
    /// AWS services, all at one address
    #[arg(long, value_name = "ADDRESS:PORT")]
    aws: Option<SocketAddr>,
    /// Registry over TLS
    #[arg(long, value_name = "ADDRESS:PORT")]
    registry: Option<SocketAddr>,
    /// Registry over plain HTTP
    #[arg(long, value_name = "ADDRESS:PORT")]
    registry_plain: Option<SocketAddr>,
    /// Base URL of the registry behind the gate
    #[arg(long, value_name = "URL")]
    registry_backend: Option<String>,
    /// Further name or address in the registry's certificate
    #[arg(long, value_name = "NAME")]
    registry_name: Vec<String>,
    /// Directory served over HTTP
    #[arg(long, value_names = ["ADDRESS:PORT", "DIRECTORY"], num_args = 2)]
    files: Option<Vec<String>>,
    /// Control endpoint; always bound outside of --netns
    #[arg(long, value_name = "ADDRESS:PORT")]
    control: Option<SocketAddr>,
    /// State to start with, JSON
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Where to write the certificate of the registry's authority, PEM
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
    /// Network namespace in which the doors listen, such as /run/netns/NAME
    #[arg(long, value_name = "FILE")]
    netns: Option<PathBuf>,
}

impl Arguments {
    fn config(&self) -> Result<Config, Failure> {
        let initial = match &self.state {
            Some(file) => serde_json::from_slice(&std::fs::read(file)?)?,
            None => Initial::default(),
        };
        let files = match self.files.as_deref() {
            Some([address, directory]) => {
                self.bind(Some(address.parse()?))?.map(|bind| (bind, PathBuf::from(directory)))
            }
            _ => None,
        };
        Ok(Config {
            imds: self.bind(self.imds)?,
            aws: self.bind(self.aws)?,
            registry: self.bind(self.registry)?,
            registry_plain: self.bind(self.registry_plain)?,
            registry_names: self.registry_name.clone(),
            registry_backend: self.registry_backend.clone(),
            models: None,
            files,
            control: self.control.map(Bind::Address),
            initial,
            log_requests: true,
        })
    }

    fn bind(&self, address: Option<SocketAddr>) -> Result<Option<Bind>, Failure> {
        let Some(address) = address else { return Ok(None) };
        let Some(path) = self.netns.clone() else { return Ok(Some(Bind::Address(address))) };
        let listener = netns::enter_path(path, move || std::net::TcpListener::bind(address))??;
        Ok(Some(Bind::Listener(listener)))
    }
}

#[tokio::main]
#[expect(clippy::print_stderr, reason = "the program's output")]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprint!("local-cloud: {failure}");
            let mut cause = failure.source();
            while let Some(source) = cause {
                eprint!(": {source}");
                cause = source.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the line that says where everything listens")]
#[expect(clippy::disallowed_methods, reason = "writes the authority once, before anyone is told of it")]
async fn run(arguments: &Arguments) -> Result<(), Failure> {
    // Before the first line: who waits for it may signal at once.
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let cloud = LocalCloud::start(arguments.config()?).await?;
    if let Some(file) = &arguments.authority {
        std::fs::write(file, cloud.authority_pem())?;
    }
    println!("{}", serde_json::json!({"ready": true, "doors": cloud.addresses()}));
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    Ok(())
}
