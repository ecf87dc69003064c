//! The release binaries on a whole disposable instance, with moto as Secrets Manager, ECR and CloudWatch Logs: what we
//! read out of the AWS protocols, held against somebody else's reading of them.
//!
//! The metadata service, the file server and the registry are the local cloud's, because moto has none of them.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use harness::images::Recipe;
use harness::instance::OUTSIDE_ADDRESS;
use harness::moto::{Moto, REGISTRY_PASSWORD};
use harness::registry::RegistryBackend;
use harness::requirements::{is_root, skipped};
use harness::stage::{MARKED_VALUE, REPOSITORY, SECRET, Stage, dist};
use harness::wait::wait_for;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const PORT: u16 = 5000;
const REGION: &str = "eu-north-1";
const GROUP: &str = "/moto/local-node";
const RETENTION_DAYS: u64 = 14;
const BOOTSTRAP_DEADLINE: Duration = Duration::from_secs(120);
const DEADLINE: Duration = Duration::from_secs(60);
/// Long enough for the lines that a batch waits for.
const LOGS_DEADLINE: Duration = Duration::from_secs(30);
/// How often the node may ask for an ECR token in this suite, which is shorter than the least life of a token: once,
/// and once more after the agent was restarted with a new configuration. One at each poll would be some dozens.
const TOKENS: u64 = 2;

/// What an application may write. Docker splits the long line into parts of 16 KiB. Empty lines are written too, and
/// left out: CloudWatch Logs takes no empty message.
const SCRIPT: &str = r#"
trap 'exit 0' TERM
echo 'plain'
echo '  spaces before and after  '
printf 'tab\there, a bell \007 and \033[31mred\033[0m\n'
echo
echo 'žluťoučký kůň 日本語 🚀 "quoted" \backslash'
printf '%040000d\n' 7
echo 'to the other output' >&2
i=0; while [ $i -lt 2500 ]; do i=$((i+1)); echo "line $i of a burst"; done
echo 'the last line'
/bin/busybox sleep 3600 & wait
"#;
const LAST_LINE: &str = "the last line";

fn can_run() -> bool {
    let missing = if !is_root() {
        "not root"
    } else if !dist().join("node-bootstrap").is_file() {
        "no release binaries (make dist)"
    } else if !RegistryBackend::is_installed() {
        "no docker-registry"
    } else if !Moto::is_installed() {
        "no moto in target/moto (tests/prepare.sh test installs it where PyPI can be reached)"
    } else {
        return true;
    };
    skipped(missing);
    false
}

fn node_toml(stage: &Stage, more: &str) -> String {
    let agent = stage.agent_section();
    let image = format!("${{account}}.dkr.ecr.${{region}}.amazonaws.com/{REPOSITORY}");
    format!(
        r#"{agent}
[volumes.models]
device = "/dev/sdf"
mount = "/mnt/models"

[secrets.app]
id = "{SECRET}"
require = ["SECRET_KEY"]

[services.web]
image = "{image}:latest"
ports = ["80:8000"]
environment_from = ["app"]
health = {{ http = "/health", interval = "1s", start_period = "2s" }}
update = {{ every = "1s", min_healthy = "2s", deadline = "20s" }}

[services.chatty]
image = "{image}:chatty"
update = {{ every = "1s", min_healthy = "1s", deadline = "20s" }}

[logs]
group = "/moto/${{node.name}}"
retention_days = {RETENTION_DAYS}
{more}"#
    )
}

/// Pushes to the registry, then tells moto's ECR, as a push to ECR does both.
fn publish(stage: &Stage, moto: &Moto, tag: &str, digest: &str) -> Result<(), Box<dyn Error>> {
    moto.put_image(REPOSITORY, tag, digest, &stage.manifest(digest)?)
}

fn push_chatty(stage: &Stage) -> Result<String, Box<dyn Error>> {
    let busybox = std::fs::read("/bin/busybox")?;
    let mut recipe = Recipe::of_program("/bin/busybox", busybox);
    recipe.command = ["sh", "-c", SCRIPT].map(str::to_owned).into();
    stage.push(&recipe.build()?, "chatty")
}

fn seed(stage: &Stage, moto: &Moto) -> Result<String, Box<dyn Error>> {
    let text = json!({"SECRET_KEY": MARKED_VALUE}).to_string();
    moto.call("secretsmanager.CreateSecret", &json!({"Name": SECRET, "SecretString": text}))?;
    for name in ["removed", "scheduled"] {
        moto.call("secretsmanager.CreateSecret", &json!({"Name": name, "SecretString": "{}"}))?;
    }
    let removed = json!({"SecretId": "removed", "ForceDeleteWithoutRecovery": true});
    moto.call("secretsmanager.DeleteSecret", &removed)?;
    let scheduled = json!({"SecretId": "scheduled", "RecoveryWindowInDays": 7});
    moto.call("secretsmanager.DeleteSecret", &scheduled)?;
    let repository = json!({"repositoryName": REPOSITORY});
    moto.call("AmazonEC2ContainerRegistry_V20150921.CreateRepository", &repository)?;
    publish(stage, moto, "chatty", &push_chatty(stage)?)?;
    let digest = stage.push_sample("latest", "one", "healthy")?;
    publish(stage, moto, "latest", &digest)?;
    stage.cloud.state().registry_tokens.accept(REGISTRY_PASSWORD, jiff::Timestamp::MAX);
    Ok(digest)
}

fn is_ready(status: &Value) -> bool {
    status["node"]["state"] == "ready"
}

fn service<'a>(status: &'a Value, name: &str) -> &'a Value {
    let mut services = status["services"].as_array().into_iter().flatten();
    services.find(|service| service["name"] == name).unwrap_or(&Value::Null)
}

/// The lines that a container wrote, as the engine kept them, without the empty ones.
fn written(stage: &Stage, container: &str) -> Vec<String> {
    // Both outputs in the order in which the engine got them, which two pipes of `docker logs` would lose.
    let file = format!("/var/lib/docker/containers/{container}/{container}-json.log");
    let text = stage.instance().run(["cat", &file]).expect_success();
    let (mut lines, mut begun) = (Vec::new(), std::collections::BTreeMap::<String, String>::new());
    for entry in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let (Some(part), Some(output)) = (entry["log"].as_str(), entry["stream"].as_str()) else { continue };
        // A long line comes in parts, with lines of the other output between them.
        let line = begun.entry(output.to_owned()).or_default();
        line.push_str(part);
        if let Some(whole) = line.strip_suffix('\n') {
            lines.extend(whole.lines().filter(|line| !line.is_empty()).map(str::to_owned));
            line.clear();
        }
    }
    lines.extend(begun.into_values().filter(|line| !line.is_empty()));
    lines
}

fn stream(stage: &Stage, service: &str) -> String {
    format!("{}/{service}", stage.cloud.state().instance.id)
}

/// Waits until moto has what `container` of `name` wrote until now, and compares it.
fn logs_arrive(stage: &Stage, moto: &Moto, name: &str, status: &Value) -> Result<usize, Box<dyn Error>> {
    let container = service(status, name)["container_id"].as_str().ok_or("no container id")?;
    let stream = stream(stage, name);
    let (written, arrived) = wait_for(&format!("the lines of {name} in moto"), LOGS_DEADLINE, || {
        // A service that is asked how it is may write at any moment: what is compared was read between two equal looks.
        let (before, arrived, after) =
            (written(stage, container), moto.messages(GROUP, &stream), written(stage, container));
        let (there, all) = (arrived.len(), after.len());
        if before == after && there == all { Ok((after, arrived)) } else { Err(format!("{there} of {all}")) }
    })?;
    // The engine stamps the lines of both outputs before they meet, and they are sent in the order of their stamps.
    let sorted = |lines: &[String]| lines.iter().cloned().collect::<std::collections::BTreeSet<_>>();
    let (wanted, there) = (sorted(&written), sorted(&arrived));
    let missing: Vec<_> = wanted.difference(&there).collect();
    assert!(missing.is_empty(), "lines of {name} that did not arrive as they were written: {missing:#?}");
    Ok(written.len())
}

/// The agent has been restarted by now; the container that it had has written nothing since.
fn nothing_came_twice(
    stage: &Stage,
    moto: &Moto,
    before: &Value,
    lines: usize,
) -> Result<(), Box<dyn Error>> {
    let after = stage.status().map_err(|answer| answer.to_string())?;
    let container = |status: &Value| service(status, "chatty")["container_id"].clone();
    assert_eq!(container(before), container(&after), "the container was adopted");
    assert_eq!(logs_arrive(stage, moto, "chatty", &after)?, lines);
    let arrived = moto.messages(GROUP, &stream(stage, "chatty"));
    assert_eq!(arrived.len(), lines, "lines came twice");
    assert_eq!(arrived.last().map(String::as_str), Some(LAST_LINE));
    Ok(())
}

fn secret_arrived(stage: &Stage) -> Result<(), Box<dyn Error>> {
    let expected = format!("{:x}", Sha256::digest(MARKED_VALUE));
    let answer = stage.get("/env-sha?SECRET_KEY")?;
    assert!(answer.1.contains(&expected), "{answer:?} has not the sha256 {expected}");
    Ok(())
}

fn retention_is_set(moto: &Moto) -> Result<(), Box<dyn Error>> {
    let answer = moto.call("Logs_20140328.DescribeLogGroups", &json!({"logGroupNamePrefix": GROUP}))?;
    assert_eq!(answer["logGroups"][0]["retentionInDays"], RETENTION_DAYS, "{answer}");
    Ok(())
}

fn moves_to_second_image(stage: &Stage, moto: &Moto) -> Result<(), Box<dyn Error>> {
    let second = stage.push_sample("latest", "two", "healthy")?;
    publish(stage, moto, "latest", &second)?;
    stage.wait_for_status("the node to move to the second image", DEADLINE, |status| {
        let web = service(status, "web");
        is_ready(status) && web["digest"] == second.as_str() && web["update"]["state"] == "current"
    })?;
    let body = stage.get("/")?.1;
    assert!(body.contains("two"), "{body}");
    Ok(())
}

/// A new configuration names what is not there: two secrets and a repository.
fn problems_are_named(stage: &Stage, moto: &Moto) -> Result<Vec<String>, Box<dyn Error>> {
    let more = r#"
[secrets.removed]
id = "removed"
[secrets.scheduled]
id = "scheduled"
[services.nowhere]
image = "${account}.dkr.ecr.${region}.amazonaws.com/no-such-repository:latest"
[services.untagged]
image = "${account}.dkr.ecr.${region}.amazonaws.com/sample:no-such-tag"
"#;
    let text = node_toml(stage, more);
    let endpoint = format!("AWS_ENDPOINT_URL={}", moto.url());
    let run = ["env", &endpoint, "node-bootstrap", "run", "--config", "-"];
    let answer = stage.instance().run_with_input(run, text.as_bytes());
    for words in
        ["secret removed (removed) does not exist", "secret scheduled (scheduled) is scheduled for deletion"]
    {
        assert!(answer.stdout.contains(words) || answer.stderr.contains(words), "{words}: {answer}");
    }
    assert_eq!(answer.code(), 1, "two secrets are missing: {answer}");
    let wanted = [
        ("secret_missing", "removed"),
        ("secret_deleted", "scheduled"),
        ("repository_not_found", "no-such-repository"),
        ("image_not_found", "no-such-tag"),
    ];
    let has = |status: &Value, code: &str, name: &str| {
        let mut problems = status["problems"].as_array().into_iter().flatten();
        problems.any(|problem| {
            problem["code"] == code && problem["message"].as_str().is_some_and(|text| text.contains(name))
        })
    };
    let status = stage.wait_for_status("four problems", DEADLINE, |status| {
        let running = service(status, "web")["state"] == "running";
        running && wanted.iter().all(|(code, name)| has(status, code, name))
    })?;
    assert_eq!(stage.get("/health").map(|answer| answer.0), Ok(200), "the good service goes on");
    let problems = status["problems"].as_array().into_iter().flatten();
    Ok(problems.map(|problem| format!("{}: {}", problem["code"], problem["message"])).collect())
}

#[test]
fn user_data_to_ready_update_logs_and_problems_against_moto() -> Result<(), Box<dyn Error>> {
    if !can_run() {
        return Ok(());
    }
    let mut stage = Stage::set(|progress| println!("{progress} …"))?;
    let moto = Moto::start(SocketAddr::new(OUTSIDE_ADDRESS.parse()?, PORT), REGION)?;
    stage.point_aws_at(moto.url());
    let first = seed(&stage, &moto)?;
    let config = node_toml(&stage, "");
    stage.boot(&config)?;
    let (code, output) = stage.wait_for_user_data(BOOTSTRAP_DEADLINE)?;
    assert_eq!(code, 0, "{output}");
    let status = stage.wait_for_status("the node to be ready", DEADLINE, |status| {
        is_ready(status) && service(status, "chatty")["state"] == "running"
    })?;
    assert_eq!(service(&status, "web")["digest"], first.as_str(), "the digest that moto names");
    secret_arrived(&stage)?;
    println!("ready from user data; the secret is in the container; the image is {first}, as moto names it");

    let chatty = logs_arrive(&stage, &moto, "chatty", &status)?;
    let web = logs_arrive(&stage, &moto, "web", &status)?;
    retention_is_set(&moto)?;
    println!(
        "byte for byte in moto: {chatty} lines of chatty, {web} of web; retention {RETENTION_DAYS} days"
    );

    moves_to_second_image(&stage, &moto)?;
    println!("a second image under the same tag: the node moved to it");
    let problems = problems_are_named(&stage, &moto)?;
    println!("problems after a configuration that names what is not there:\n  {}", problems.join("\n  "));

    nothing_came_twice(&stage, &moto, &status, chatty)?;
    println!(
        "after the agent's restart: the container of chatty is the same, and none of its lines came twice"
    );

    let requests = moto.requests();
    println!("calls that moto got from the node: {requests:#?}");
    let count = |name: &str| requests.get(name).copied().unwrap_or_default();
    let tokens = count("AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken");
    let polls = count("AmazonEC2ContainerRegistry_V20150921.DescribeImages");
    assert!((1..=TOKENS).contains(&tokens), "{tokens} tokens were asked for in {polls} polls");
    assert_eq!(stage.cloud.requests("ecr", "GetAuthorizationToken"), 0, "all AWS calls went to moto");
    Ok(())
}
