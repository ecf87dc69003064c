//! What the three boots share: the cloud, the machine and its volumes, checks with a word for each, and the story.

use crate::{Checked, target};
use harness::instance::{Answer, Base, is_gone, next_name, sweep};
use harness::machine::{Disk, Image, Machine};
use harness::stage::{REPOSITORY, Stage};
use harness::wait::wait_for;
use serde_json::Value;
use std::fmt::Display;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// For all boots together. A wait takes what is left of it: how long a step takes on a translated machine depends on
/// what else the host does.
const PATIENCE: Duration = Duration::from_secs(1200);
pub(crate) const MODELS_BYTES: u64 = 20 << 30;
const FOREIGN_BYTES: u64 = 64 << 20;
const MODELS: &str = "vol-0a1b2c3d4e5f60718";
const FOREIGN: &str = "vol-0f0e19a11d15c0de5";
/// A file of the foreign volume, which nobody may lose.
const KEPT: &str = "the only copy of something\n";

pub(crate) struct Scene {
    pub(crate) stage: Stage,
    pub(crate) machine: Machine,
    pub(crate) models: Disk,
    pub(crate) foreign: Disk,
    foreign_sum: String,
    directory: PathBuf,
    started: Instant,
    boot_started: Instant,
}

impl Scene {
    pub(crate) fn set() -> Checked<Scene> {
        let started = Instant::now();
        let progress = |stage: &str| println!("   {stage} …");
        // Both download, so they come before the move into the cloud's network.
        let base = Base::prepare(&target().join("instance"), progress)?;
        sweep(&base.runs(), is_gone);
        let image = Image::prepare(&target().join("vm"), &base, progress)?;
        let mut stage = Stage::set(progress)?;
        stage.push_sample("latest", "one", "healthy")?;
        let directory = base.runs().join(next_name("machine"));
        fs::create_dir_all(&directory)?;
        let mac = stage.cloud.state().instance.mac.clone();
        let machine = Machine::new(&image, &directory, stage.description(), &mac)?;
        println!("   a machine by {}", machine.acceleration());
        let models = Disk::blank(&directory, MODELS, MODELS_BYTES)?;
        let foreign = Disk::blank(&directory, FOREIGN, FOREIGN_BYTES)?;
        fill(&foreign, &directory)?;
        let foreign_sum = foreign.sum()?;
        let scene = Scene {
            stage,
            machine,
            models,
            foreign,
            foreign_sum,
            directory,
            started: Instant::now(),
            boot_started: started,
        };
        scene.took("image, cloud and registry");
        Ok(scene)
    }

    /// The node's configuration: one volume that comes late, one that is somebody else's, and a service for each and
    /// for none.
    pub(crate) fn node_toml(&self) -> String {
        let volume = |name: &str, id: &str, wait: &str| {
            format!("[volumes.{name}]\nvolume_id = \"{id}\"\nmount = \"/mnt/{name}\"\nwait = \"{wait}\"\n")
        };
        [
            self.stage.agent_section(),
            volume("models", MODELS, "10m"),
            volume("foreign", FOREIGN, "10m"),
            service("plain", 80, ""),
            service("reader", 81, "mounts = [\"/mnt/models:/models\"]"),
            service("stranger", 82, "mounts = [\"/mnt/foreign:/data\"]"),
        ]
        .concat()
    }

    /// How long a wait may still take.
    pub(crate) fn patience(&self) -> Duration {
        PATIENCE.saturating_sub(self.started.elapsed())
    }

    pub(crate) fn begin(&mut self, boot: &str) {
        println!("\n== {boot}");
        self.boot_started = Instant::now();
    }

    /// Notes how long after the beginning of the boot this has come.
    pub(crate) fn took(&self, what: &str) {
        let took = self.boot_started.elapsed();
        println!("   {:>6.1} s  {what}", took.as_secs_f64());
    }

    pub(crate) fn summary(&self) {
        println!(
            "\nall held, by {}, in {:.0} s",
            self.machine.acceleration(),
            self.started.elapsed().as_secs_f64()
        );
    }

    /// Runs a script inside that must succeed, and returns what it printed.
    pub(crate) fn inside(&mut self, script: &str) -> Checked<String> {
        let answer = self.machine.run(script)?;
        if answer.code() == 0 { Ok(answer.stdout.trim().to_owned()) } else { Err(answer.to_string().into()) }
    }

    /// Waits until a script succeeds inside, and returns what it printed then.
    pub(crate) fn wait_inside(&mut self, what: &str, script: &str) -> Checked<String> {
        let patience = self.patience();
        let machine = &mut self.machine;
        let waited = wait_for(what, patience, || match machine.run(script) {
            Ok(answer) if answer.code() == 0 => Ok(Ok(answer.stdout.trim().to_owned())),
            Ok(answer) => Err(answer.to_string()),
            Err(error) => Ok(Err(error)),
        });
        waited?
    }

    pub(crate) fn handoff(&mut self) -> Checked<Value> {
        Ok(serde_json::from_str(&self.inside("cat /run/node-agent/handoff.json")?)?)
    }

    /// Waits until the agent says `wanted`, and returns its status.
    pub(crate) fn wait_for_status(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Checked<Value> {
        let patience = self.patience();
        let machine = &mut self.machine;
        Ok(wait_for(what, patience, || {
            let answer = machine.run("agentctl status --json").map_err(|error| error.to_string())?;
            match serde_json::from_str(&answer.stdout) {
                Ok(status) if wanted(&status) => Ok(status),
                _ => Err(answer.to_string()),
            }
        })?)
    }

    /// The services that need nothing foreign are healthy inside and answer outside; the foreign volume is refused, its
    /// service waits, and the node says so everywhere. Returns the status.
    pub(crate) fn degraded_but_serving(&mut self) -> Checked<Value> {
        let status =
            self.wait_for_status("both services to be healthy, and the node degraded", |status| {
                let healthy = ["plain", "reader"].iter().all(|name| is_healthy(status, name));
                healthy && status["node"]["state"] == "degraded"
            })?;
        self.took("both services healthy");
        for port in [80, 81] {
            let answer =
                wait_for("an answer from outside", self.patience(), || self.stage.get_at(port, "/health"))?;
            check(&format!("the service on port {port} answers from outside"), answer.0 == 200, &answer.1)?;
        }
        let problems = status["problems"].as_array().into_iter().flatten();
        let refusal = problems.into_iter().find(|problem| problem["code"] == "volume_foreign");
        let message = refusal.and_then(|problem| problem["message"].as_str()).unwrap_or_default().to_owned();
        let says = ["volume foreign", "ext4", "xfs"].iter().all(|word| message.contains(word));
        check("the status says why the foreign volume is refused", says, &status["problems"])?;
        check("its service waits", named(&status, "stranger")["state"] == "waiting", &status)?;
        let code = self.machine.run("agentctl status")?;
        check("`agentctl status` ends with 1 on a degraded node", code.code() == 1, &code)?;
        let console = self.machine.console();
        let begin = console.rfind("Linux version").unwrap_or(0);
        // Other writers may break a line; the volume is named in two.
        let names = |line: &str| line.contains("volume foreign") && line.contains("ext4");
        check("so does the serial console of this boot", console[begin..].lines().any(names), &console)?;
        let sum = self.foreign.sum()?;
        check("the foreign volume is as it was, byte for byte", sum == self.foreign_sum, &sum)?;
        Ok(status)
    }

    /// What is to be read when a check has failed.
    pub(crate) fn story(&mut self) -> String {
        let mut story = format!("--- serial console\n{}", tail(&self.machine.console()));
        for script in [
            "tail -n 60 /var/log/node-bootstrap.log",
            "cat /run/node-agent/handoff.json",
            "agentctl status --json",
            "cat /run/cloud-init/result.json; tail -n 40 /var/log/cloud-init.log",
            "tail -n 40 /var/log/cloud-init-output.log",
            "lsblk -o NAME,SERIAL,SIZE,FSTYPE,UUID,MOUNTPOINTS; systemctl --failed --no-pager --no-legend; \
             systemctl list-jobs --no-pager",
            "journalctl --boot --no-pager --lines 60 --unit node-bootstrap --unit node-agent --unit docker",
        ] {
            match self.machine.run(script) {
                Ok(answer) => story.push_str(&format!("{answer}\n")),
                Err(error) => return format!("{story}the machine does not answer any more: {error}"),
            }
        }
        story
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // The next run sweeps what could not be removed.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A promise, kept or not; what was seen instead is told only then.
pub(crate) fn check(promise: &str, kept: bool, seen: impl Display) -> Checked {
    if kept {
        println!("          {promise}");
        return Ok(());
    }
    Err(format!("not so: {promise}; seen: {}", tail(&seen.to_string())).into())
}

/// The service of that name, `null` where there is none.
pub(crate) fn named<'a>(status: &'a Value, name: &str) -> &'a Value {
    let services = status["services"].as_array().into_iter().flatten();
    services.into_iter().find(|service| service["name"] == name).unwrap_or(&Value::Null)
}

/// The volume of that name in a handoff.
pub(crate) fn volume<'a>(handoff: &'a Value, name: &str) -> &'a Value {
    let volumes = handoff["volumes"].as_array().into_iter().flatten();
    volumes.into_iter().find(|volume| volume["name"] == name).unwrap_or(&Value::Null)
}

/// Outcome of the step of that name in a handoff.
pub(crate) fn outcome(handoff: &Value, step: &str) -> String {
    let mut steps = handoff["steps"].as_array().into_iter().flatten();
    let found = steps.find(|found| found["name"] == step);
    found.and_then(|step| step["outcome"].as_str()).unwrap_or("none").to_owned()
}

fn is_healthy(status: &Value, name: &str) -> bool {
    let service = named(status, name);
    service["state"] == "running" && service["health"] == "passing"
}

/// `[services.NAME]` of the sample application.
fn service(name: &str, port: u16, rest: &str) -> String {
    format!(
        "[services.{name}]\nimage = \"${{account}}.dkr.ecr.${{region}}.amazonaws.com/{REPOSITORY}:latest\"\n\
         ports = [\"{port}:8000\"]\n{rest}\nhealth = {{ http = \"/health\", interval = \"2s\" }}\n\
         update = {{ min_healthy = \"2s\" }}\n"
    )
}

/// Makes the foreign volume a file system with data in it.
fn fill(foreign: &Disk, directory: &std::path::Path) -> Checked {
    let data = directory.join("data");
    fs::create_dir_all(&data)?;
    fs::write(data.join("kept"), KEPT)?;
    let made = Command::new("mkfs.ext4").arg("-q").arg("-d").arg(&data).arg(foreign.file()).output()?;
    if made.status.success() { Ok(()) } else { Err(format!("{made:?}").into()) }
}

/// The last lines, without those in which systemd counts the seconds.
fn tail(text: &str) -> String {
    let counts = |line: &&str| line.contains("Job ") && line.contains(" running (");
    let lines: Vec<&str> = text.lines().filter(|line| !counts(line)).collect();
    lines[lines.len().saturating_sub(120)..].join("\n")
}

/// Its code and whether it was silent are not of interest where only its words are.
pub(crate) fn words(answer: &Answer) -> String {
    format!("{}{}", answer.stdout, answer.stderr)
}
