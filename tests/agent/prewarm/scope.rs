//! A unit with the limits and the sandbox of node-agent.service, in an instance with a real systemd: what it has read ahead
//! is in memory when it is gone, although it is more than the unit may have.

use agent::models::files::Warmed;
use harness::instance::{Base, Description, Instance, enter_own_network};
use harness::requirements::{is_on_path, is_root};
use harness::stage::workspace;
use harness::wait::wait_for;
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;

pub(super) const NAME: &str = "in_a_scope_of_systemd_the_pages_outlive_the_unit_that_asked";

/// More than the unit's MemoryMax.
const MEBIBYTES: u64 = 300;
const PROGRAM: &str = "/usr/local/bin/prewarm";
const UNIT: &str = "prewarm-test.service";
const SOON: Duration = Duration::from_secs(30);

pub(super) fn is_missing() -> Option<&'static str> {
    if !is_root() {
        return Some("it takes root");
    }
    (!is_on_path("systemd-nspawn")).then_some("there is no systemd-nspawn")
}

pub(super) fn as_json(warmed: &Warmed) -> Value {
    json!({ "progress": warmed.progress, "not_kept": warmed.kept.as_ref().err() })
}

/// The agent's unit, but for what it starts and for how long.
fn unit(digest: &str) -> String {
    let text = fs::read_to_string(workspace().join("systemd/node-agent.service")).expect("the unit");
    let of_a_service_that_stays =
        ["ExecStart=", "EnvironmentFile=", "Type=", "Restart", "WatchdogS", "Wants=", "After="];
    let lines =
        text.lines().filter(|line| !of_a_service_that_stays.iter().any(|word| line.starts_with(word)));
    let mut unit: String = lines.flat_map(|line| [line, "\n"]).collect();
    let own = format!(
        "\n[Service]\nType=oneshot\nExecStart={PROGRAM} ask /models {digest}\nStandardOutput=truncate:/run/prewarm.json\n"
    );
    unit.push_str(&own);
    unit
}

pub(super) fn situation() {
    let base = Base::prepare(&workspace().join("target/instance"), |what| println!("{what} …"));
    let base = base.expect("a base image");
    enter_own_network().expect("a network");
    let own = std::env::current_exe().and_then(fs::read).expect("this program");
    let description = Description {
        files: vec![(PROGRAM.to_owned(), own, 0o755)],
        without_docker: true,
        ..Description::default()
    };
    let instance = Instance::boot(&base, &description).expect("an instance");
    let make = format!(
        "mkdir -p /models/blobs && cd /models/blobs && head -c {MEBIBYTES}M /dev/urandom > new && sync new && \
         s=$(sha256sum new | cut -d' ' -f1) && mv new sha256-$s && printf %s $s"
    );
    let digits = instance.shell(&make).expect_success();
    let layer = format!("/models/blobs/sha256-{digits}");
    let write = format!("cat > /run/systemd/system/{UNIT} && systemctl daemon-reload");
    let unit = unit(&format!("sha256:{digits}"));
    instance.run_with_input(["sh", "-c", &write], unit.as_bytes()).expect_success();
    let ask = || -> Value {
        let started = instance.run(["systemctl", "start", UNIT]);
        let journal = instance.run(["journalctl", "--no-pager", "-n", "50"]).stdout;
        assert!(started.status.success(), "{started}\n{journal}");
        let text = fs::read_to_string(instance.root().join("run/prewarm.json"));
        let text = text.unwrap_or_else(|_| instance.run(["cat", "/run/prewarm.json"]).expect_success());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}\n{journal}"))
    };
    // Out of memory, by asking the kernel to let go of this one file.
    instance.run(["dd", &format!("if={layer}"), "iflag=nocache", "count=0", "status=none"]).expect_success();
    let first = ask();
    println!("{first}");
    assert_eq!(first["not_kept"], Value::Null, "{first}");
    let bytes = MEBIBYTES << 20;
    let from_device = first["progress"]["from_device_bytes"].as_u64().expect("a number");
    assert!(from_device > bytes / 10 * 9, "nearly nothing of it was in memory: {first}");
    // systemd hears of the end of a process after its parent does.
    wait_for("the scope to go with its process", SOON, || {
        let list = "systemctl list-units --all --plain --no-legend 'run-*.scope'";
        let scopes = instance.shell(list).expect_success();
        if scopes.is_empty() { Ok(()) } else { Err(scopes) }
    })
    .unwrap_or_else(|story| panic!("{story}"));
    let second = ask();
    let again = second["progress"]["from_device_bytes"].as_u64().expect("a number");
    assert!(again < bytes / 20, "what was read stayed: {second}");
}
