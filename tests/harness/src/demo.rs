//! The story that `make demo` tells: from user data to a healthy service, to a second image, and back from a broken one.
//!
//! Each chapter waits for what it announces and is timed; the summary says what ran, how long it took, where to look.

#![expect(clippy::print_stdout, reason = "the demo's product is what it prints")]
#![expect(clippy::disallowed_methods, reason = "chapters are timed")]

use crate::stage::{REGISTRY, REPOSITORY, SECRET, Stage};
use crate::wait::wait_for;
use serde_json::Value;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

/// From first download to READY; a cold engine and a slow host included.
const BOOTSTRAP_DEADLINE: Duration = Duration::from_secs(120);
/// From a pushed image to the node having taken or refused it.
const UPDATE_DEADLINE: Duration = Duration::from_secs(90);
const LOGS_DEADLINE: Duration = Duration::from_secs(30);
const GROUP: &str = "/demo/local-node";

/// The demo's node.toml: small numbers, so that nobody has to wait.
pub fn node_toml(stage: &Stage) -> String {
    let agent = stage.agent_section();
    format!(
        r#"{agent}
[volumes.models]
device = "/dev/sdf"
mount = "/mnt/models"

[secrets.app]
id = "{SECRET}"
require = ["SECRET_KEY", "GOOGLE_CLIENT_ID"]

[services.web]
image = "${{account}}.dkr.ecr.${{region}}.amazonaws.com/{REPOSITORY}:latest"
ports = ["80:8000"]
environment_from = ["app"]
mounts = ["/mnt/models:/models"]
memory = "128m"
read_only = true

[services.web.health]
http = "/health"
interval = "1s"
retries = 3
start_period = "2s"

[services.web.update]
every = "2s"
min_healthy = "2s"
deadline = "20s"

[logs]
group = "/demo/${{node.name}}"
"#
    )
}

/// The chapters and how long each took.
struct Story {
    started: Instant,
    chapter: Instant,
    chapters: Vec<(String, Duration)>,
}

impl Story {
    fn begin() -> Story {
        let now = Instant::now();
        Story { started: now, chapter: now, chapters: Vec::new() }
    }

    fn chapter(&mut self, title: &str) {
        println!("\n== {title}");
        self.chapter = Instant::now();
    }

    fn done(&mut self, what: &str) {
        let took = self.chapter.elapsed();
        println!("   {what} ({:.1} s)", took.as_secs_f64());
        self.chapters.push((what.to_owned(), took));
        self.chapter = Instant::now();
    }

    fn summary(&self) {
        println!("\n== Summary");
        for (what, took) in &self.chapters {
            println!("   {:>6.1} s  {what}", took.as_secs_f64());
        }
        println!("   {:>6.1} s  in all", self.started.elapsed().as_secs_f64());
    }
}

fn indent(text: &str) {
    for line in text.lines() {
        println!("   | {line}");
    }
}

/// Tells the story. With `keep`, writes the process id to that file when all is told, and does not return.
///
/// # Errors
/// The chapter that did not come to its end, with what was last seen.
pub fn run(keep: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let mut story = Story::begin();
    story.chapter("A cloud: metadata service, Secrets Manager, ECR with a real registry, CloudWatch Logs");
    let mut stage = Stage::set(|stage| println!("   {stage} …"))?;
    stage.push_sample("latest", "one", "healthy")?;
    story.done("the cloud answers; image `one` is pushed as sample:latest");

    boot(&mut stage, &mut story)?;
    healthy(&stage, &mut story)?;
    second_image(&stage, &mut story)?;
    broken_image(&stage, &mut story)?;
    story.summary();
    if let Some(file) = keep {
        return kept(&stage, file);
    }
    where_to_look(&stage);
    drop(stage);
    println!("   nothing of it is left on this host");
    Ok(())
}

fn boot(stage: &mut Stage, story: &mut Story) -> Result<(), Box<dyn Error>> {
    story.chapter("An instance boots and runs its user data");
    let node_toml = node_toml(stage);
    indent(&stage.user_data(&node_toml));
    stage.boot(&node_toml)?;
    story.done("systemd is up");
    let (code, output) = stage.wait_for_user_data(BOOTSTRAP_DEADLINE)?;
    indent(&output);
    if code != 0 {
        return Err(format!("node-bootstrap ended with {code}").into());
    }
    story.done("bootstrap took the blank instance to a running agent");
    Ok(())
}

fn healthy(stage: &Stage, story: &mut Story) -> Result<(), Box<dyn Error>> {
    story.chapter("The agent pulls, starts and checks the service");
    stage.wait_for_status("the node to be ready", UPDATE_DEADLINE, is_ready)?;
    serves(stage, "one")?;
    story.done("the node is ready and serves image `one` on port 80");
    let (volume, secret) =
        (stage.instance().shell("findmnt -n /mnt/models"), stage.get("/env-sha?SECRET_KEY"));
    println!("   the model volume: {}", volume.expect_success().trim());
    println!("   sha256 of SECRET_KEY as the container has it: {}", secret?.1.trim());
    let lines = wait_for("log lines in CloudWatch Logs", LOGS_DEADLINE, || {
        let lines = shipped(stage);
        if lines.is_empty() { Err("none yet".to_owned()) } else { Ok(lines) }
    })?;
    println!("   {} log lines in {GROUP}, the first: {}", lines.len(), lines[0]);
    story.done("its log lines arrive in CloudWatch Logs");
    show_status(stage);
    Ok(())
}

fn second_image(stage: &Stage, story: &mut Story) -> Result<(), Box<dyn Error>> {
    story.chapter("A second image is pushed under the same tag");
    let digest = stage.push_sample("latest", "two", "healthy")?;
    stage.wait_for_status("the node to run the second image", UPDATE_DEADLINE, |status| {
        let web = &status["services"][0];
        is_ready(status) && web["digest"] == digest.as_str() && web["update"]["state"] == "current"
    })?;
    serves(stage, "two")?;
    story.done("the node moved to image `two`");
    show_status(stage);
    Ok(())
}

fn broken_image(stage: &Stage, story: &mut Story) -> Result<(), Box<dyn Error>> {
    story.chapter("A broken image is pushed under the same tag");
    stage.push_sample("latest", "three", "unhealthy")?;
    stage.wait_for_status("the node to go back to the second image", UPDATE_DEADLINE, |status| {
        let update = &status["services"][0]["update"]["state"];
        is_ready(status) && (*update == "rolled_back" || *update == "quarantined")
    })?;
    serves(stage, "two")?;
    story.done("the node tried image `three`, found it unhealthy and serves `two` again");
    show_status(stage);
    println!("   $ agentctl explain web");
    indent(&stage.instance().run(["agentctl", "explain", "web"]).expect_success());
    Ok(())
}

fn is_ready(status: &Value) -> bool {
    status["node"]["state"] == "ready"
}

fn serves(stage: &Stage, version: &str) -> Result<(), Box<dyn Error>> {
    let body =
        wait_for("the service to answer from outside", Duration::from_secs(10), || match stage.get("/") {
            Ok((200, body)) if body.contains(version) => Ok(body),
            other => Err(format!("{other:?}")),
        })?;
    println!("   GET / from outside: {}", body.trim());
    Ok(())
}

fn shipped(stage: &Stage) -> Vec<String> {
    let state = stage.cloud.state();
    let stream = format!("{}/web", state.instance.id);
    state.logs.messages(GROUP, &stream)
}

fn show_status(stage: &Stage) {
    println!("   $ agentctl status");
    indent(&stage.instance().run(["agentctl", "status"]).stdout);
}

fn where_to_look(stage: &Stage) {
    println!("\n   {} log lines were shipped; on a node of yours, look here:", shipped(stage).len());
    println!("     agentctl status | explain | logs web -f      what it does, and why not");
    println!("     /var/log/node-bootstrap.log                  what happened at boot");
    println!("     journalctl -u node-agent                     what the agent did since");
    println!("     https://{REGISTRY} stood behind the image name; packaging/ has the examples");
}

/// Says how to get in and how to take it down, then waits for the signal that does.
fn kept(stage: &Stage, kept: &Path) -> Result<(), Box<dyn Error>> {
    println!("\n   the instance is kept; a shell in it:");
    println!("     {}", stage.instance().shell_command());
    println!("   try: agentctl status; agentctl logs web -f; docker ps; systemctl status node-agent");
    println!("   to take it all down: kill {}", std::process::id());
    std::fs::write(kept, std::process::id().to_string())?;
    loop {
        std::thread::park();
    }
}
