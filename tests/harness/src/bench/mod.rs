//! What `make bench` measures: the release binaries on disposable instances of this host, beside what a user would pick
//! instead, in one run.
//!
//! Out: a table of measurements with the bar of each and the ratio to the other way. What always holds: every number is
//! from this run; what could not be measured says why.

#![expect(clippy::print_stdout, reason = "its product is what it prints")]

mod boot;
mod crash;
mod delays;
mod hundred;
mod idle;
mod logs;
pub mod prewarm;
pub mod processor;
mod report;
mod samples;
mod small;
mod status;

use crate::stage::{Stage, dist};
use samples::Row;
use std::error::Error;
use std::time::Duration;

/// From user data's start to a service that answers, a slow host included.
const BOOT_DEADLINE: Duration = Duration::from_secs(120);
/// For a change of the node's state.
const DEADLINE: Duration = Duration::from_secs(60);
/// Services of the second half, as the bars have them.
const SERVICES: usize = 10;

fn node_toml(stage: &Stage) -> String {
    let agent = stage.agent_section();
    format!(
        r#"{agent}
[volumes.models]
device = "/dev/sdf"
mount = "/mnt/models"
[secrets.app]
id = "{secret}"
[services.web]
image = "{image}"
ports = ["80:8000"]
environment_from = ["app"]
mounts = ["/mnt/models:/models"]
[services.web.health]
http = "/health"
[logs]
group = "/bench/${{node.name}}"
"#,
        secret = crate::stage::SECRET,
        image = image(),
    )
}

fn image() -> String {
    format!("{}/{}:latest", crate::stage::REGISTRY, crate::stage::REPOSITORY)
}

/// What was measured so far.
struct Table(Vec<Row>);

impl Table {
    /// What could not be measured says why, and the rest goes on.
    fn add(&mut self, what: &str, measured: Result<Vec<Row>, Box<dyn Error>>) {
        match measured {
            Ok(rows) => self.0.extend(rows),
            Err(error) => {
                let story = error.to_string();
                let (why, rest) = story.split_once('\n').unwrap_or((&story, ""));
                // A table is no place for a log.
                println!("{rest}");
                self.0.push(Row::alone(what, "-", format!("not measured: {why}")));
            }
        }
    }
}

/// A node with one service that answers.
fn ready_stage() -> Result<Stage, Box<dyn Error>> {
    let mut stage = Stage::set(|what| println!("{what} …"))?;
    stage.push_sample("latest", "one", "healthy")?;
    let node_toml = node_toml(&stage);
    stage.boot(&node_toml)?;
    let ready = |status: &serde_json::Value| status["node"]["state"] == "ready";
    stage.wait_for_status("the node to be ready", BOOT_DEADLINE, ready)?;
    Ok(stage)
}

/// Measures only many first boots of bootstrap, and prints their rows.
///
/// # Errors
/// What did not start or did not answer.
pub fn run_boots() -> Result<(), Box<dyn Error>> {
    let mut stage = Stage::set(|what| println!("{what} …"))?;
    stage.push_sample("latest", "one", "healthy")?;
    samples::print(&delays::rows(&mut stage)?);
    println!("\nload of this host: {}", load());
    Ok(())
}

/// Measures only what the agent costs with ten idle services, and prints that.
///
/// # Errors
/// What did not start or did not answer.
pub fn run_idle() -> Result<(), Box<dyn Error>> {
    let stage = ready_stage()?;
    samples::print(&ten_idle(&stage)?);
    println!("\nload of this host: {}", load());
    Ok(())
}

/// Measures only `agentctl status`, and prints those rows.
///
/// # Errors
/// What did not start or did not answer.
pub fn run_status() -> Result<(), Box<dyn Error>> {
    let stage = ready_stage()?;
    let mut rows = status::rows(&stage)?;
    rows.extend(status::crowded_rows(&stage)?);
    samples::print(&rows);
    println!("\nload of this host: {}", load());
    Ok(())
}

/// Measures only how soon crashed containers are back, and prints those rows.
///
/// # Errors
/// What did not start or did not answer.
pub fn run_crashes() -> Result<(), Box<dyn Error>> {
    let stage = ready_stage()?;
    ten_services(&stage, &image())?;
    samples::print(&crash::rows(&stage)?);
    println!("\nload of this host: {}", load());
    Ok(())
}

/// Measures only a hundred services on one engine, and prints their rows.
///
/// # Errors
/// What did not start or did not answer.
pub fn run_hundred() -> Result<(), Box<dyn Error>> {
    let mut stage = Stage::set(|what| println!("{what} …"))?;
    stage.push_sample("latest", "one", "healthy")?;
    samples::print(&hundred::rows(&mut stage)?);
    println!("\nload of this host: {}", load());
    Ok(())
}

/// Measures only how a model's layers are read ahead from a slow volume, and prints those rows.
///
/// # Errors
/// What this host cannot do, or what did not start.
pub fn run_prewarm() -> Result<(), Box<dyn Error>> {
    samples::print(&prewarm::rows(&dist().join("node-agent"))?);
    println!("\nload of this host: {}", load());
    Ok(())
}

/// Measures only what shipping logs costs, and prints those rows.
///
/// # Errors
/// What this host cannot do, or what did not start.
pub fn run_logs() -> Result<(), Box<dyn Error>> {
    samples::print(&logs::rows()?);
    println!("\n{}", logs::NOTE);
    println!("\nload of this host: {}", load());
    Ok(())
}

fn say(what: &str) {
    println!("{what} …");
}

/// Measures everything and prints the table.
///
/// # Errors
/// What did not start or did not answer.
pub fn run() -> Result<(), Box<dyn Error>> {
    let before = load();
    let mut stage = Stage::set(say)?;
    stage.push_sample("latest", "one", "healthy")?;
    say("a blank instance boots with our user data");
    let ours = boot::ours(&mut stage)?;
    let mut table = Table(ours.rows());
    say("100 x agentctl status, docker ps, systemctl status; then among two hundred clients");
    table.add("agentctl status", status::rows(&stage));
    table.add("agentctl status among clients", status::crowded_rows(&stage));
    say("an idle node with one service, 60 s");
    table.add("agent, one service", idle::rows(&stage, 1, idle::LOGGING));
    say("nine more services, and 60 s of those: silent, then with a line of log every second");
    table.add("agent, ten services", ten_idle(&stage));
    say("crashes: each of ten containers twice, three ways of bringing it back");
    table.add("container crash to running again", crash::rows(&stage));
    say("a blank instance boots with a shell script");
    table.add("start of user data to the service's first answer", boot::beside_shell(&mut stage, &ours));
    table.add("static bootstrap, size", size());
    say(
        "ten more blank instances: five with a cloud that answers at once, five with one that takes its time",
    );
    table.add("bootstrap, many first boots", delays::rows(&mut stage));
    say("a hundred services: a loop of docker run, eight at once, and the agent");
    table.add("a hundred services", hundred::rows(&mut stage));
    drop(stage);
    say("the layers of a model from a slow volume: read ahead, and by cat");
    table.add("a cold layer of a model", prewarm::rows(&dist().join("node-agent")));
    say("logs: a gigabyte from one container, from twenty, and live");
    table.add("shipping logs", logs::rows());
    samples::print(&table.0);
    for note in NOTES {
        println!("{note}");
    }
    println!("{}", logs::NOTE);
    println!("\nload of this host: {before} before, {} after", load());
    Ok(())
}

/// What the numbers hold and what they do not.
const NOTES: [&str; 6] = [
    "\nThe chain is bootstrap's own report; its waits are metadata, secrets, volumes, Docker, the agent's download and its \
     start; unpacking is in the download, systemd's reload is not in a wait.",
    "Many first boots: the wall is user data's clock around the program, its start and end included. With delays: 2 ms at \
     the metadata service, 40 ms at Secrets Manager, 50 MB/s for the agent, the volume attached 300 ms after the start.",
    "The shell script fetches no secret and no ECR token (there is no `aws` on the instance), installs no agent, and \
     boots second, with warm caches: all three favour it.",
    "Two hundred clients: a quarter ask and are answered, the others read slowly or nothing, say half of it, send a \
     header of 1 MiB or nonsense, or hang up; each rests a second between two acts. The engine's are root, ours nobody.",
    "A first crash is measured. Each has its back-off for more: ours 1, 2, 4 s … up to 1 min, Docker 0.1 s doubling, \
     systemd five starts in 10 s.",
    "Logging services write a line every second, which is read and shipped; silent ones write nothing. CPU is the \
     kernel's count of nanoseconds, which neighbours on this host do not change much.",
];

/// Ten services, nine of them silent, then all of them with lines of log.
fn ten_idle(stage: &Stage) -> Result<Vec<Row>, Box<dyn Error>> {
    let mut rows = Vec::new();
    for (image, what) in [(small::push(stage)?, idle::SILENT), (image(), idle::LOGGING)] {
        ten_services(stage, &image)?;
        rows.extend(idle::rows(stage, SERVICES, what)?);
    }
    Ok(rows)
}

/// Adds what makes them ten, as a drop-in.
fn ten_services(stage: &Stage, image: &str) -> Result<(), Box<dyn Error>> {
    let services = (1..SERVICES).map(|number| {
        format!(
            "[services.s{number}]\nimage = \"{image}\"\nstop_timeout = \"1s\"\n\
             [services.s{number}.health]\nhttp = \"8000/health\"\n"
        )
    });
    let write = "mkdir -p /etc/node-agent/node.d && cat > /etc/node-agent/node.d/ten.toml && systemctl restart node-agent";
    let text: String = services.collect();
    stage.instance().run_with_input(["sh", "-c", write], text.as_bytes()).expect_success();
    stage.wait_for_status("ten services", DEADLINE, |status| {
        let services = status["services"].as_array().cloned().unwrap_or_default();
        let passing = services.iter().filter(|service| service["health"] == "passing").count();
        let wanted = services.iter().filter(|service| service["name"] != "web");
        let wanted = wanted.filter(|service| service["image"] == image).count() == SERVICES - 1;
        status["node"]["state"] == "ready" && passing == SERVICES && wanted
    })?;
    Ok(())
}

/// A loaded host measures its neighbours too.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(1).collect()
}

fn size() -> Result<Vec<Row>, Box<dyn Error>> {
    let bytes = std::fs::metadata(dist().join("node-bootstrap"))?.len();
    Ok(vec![Row::alone("static bootstrap, size", "6 MB", samples::megabytes(bytes))])
}
