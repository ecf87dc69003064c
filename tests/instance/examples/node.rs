//! A node that has come up from an example, and what is looked at on it.

use super::deployment::value;
use harness::instance::Answer;
use harness::stage::Stage;
use harness::wait::wait_for;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Until the service that is healthy answers from outside, and a line that was written is in CloudWatch Logs.
const SOON: Duration = Duration::from_secs(30);

/// What the first line of a service says: of the sample application, and of the model server's stand-in.
const FIRST: [&str; 2] = ["start", "listening"];

/// A ready node.
pub(super) struct Node {
    pub(super) stage: Stage,
    /// `agentctl status --json` when it became ready.
    pub(super) status: Value,
}

impl Node {
    pub(super) fn new(stage: Stage, status: Value) -> Node {
        Node { stage, status }
    }

    /// Runs a shell line inside.
    pub(super) fn shell(&self, line: &str) -> Answer {
        self.stage.instance().shell(line)
    }

    /// Waits for a 200 from outside the instance, and returns the body.
    #[track_caller]
    pub(super) fn answers(&self, port: u16, path: &str) -> String {
        let what = format!("port {port} to answer {path} from outside");
        wait_for(&what, SOON, || match self.stage.get_at(port, path) {
            Ok((200, body)) => Ok(body),
            other => Err(format!("{other:?}")),
        })
        .unwrap()
    }

    /// What the engine knows of the service's only container. Its environment is taken out: a failing assert prints.
    #[track_caller]
    pub(super) fn container(&self, service: &str) -> Value {
        let list = format!("docker ps -q --no-trunc --filter label=node-agent.service={service}");
        let ids = self.shell(&list).expect_success();
        assert_eq!(ids.lines().count(), 1, "containers of {service}:\n{ids}");
        let text = self.stage.instance().run(["docker", "inspect", ids.trim()]).expect_success();
        let mut inspected: Value = serde_json::from_str(&text).unwrap();
        let mut container = inspected[0].take();
        container["Config"]["Env"].take();
        container
    }

    /// The user and the group that the service's process really has.
    #[track_caller]
    pub(super) fn user(&self, service: &str) -> (String, String) {
        let pid = &self.container(service)["State"]["Pid"];
        let text =
            self.shell(&format!("awk '/^[UG]id:/ {{ print $3 }}' /proc/{pid}/status")).expect_success();
        let (user, group) = text.trim().split_once('\n').unwrap();
        (user.to_owned(), group.to_owned())
    }

    /// The service's process has these keys of a secret in its environment, by their sums: no value leaves the node.
    #[track_caller]
    pub(super) fn has_keys(&self, service: &str, keys: &[&str]) {
        let pid = &self.container(service)["State"]["Pid"];
        for key in keys {
            let line = format!(
                "tr '\\0' '\\n' < /proc/{pid}/environ | sed -n 's/^{key}=//p' | tr -d '\\n' | sha256sum"
            );
            let found = self.shell(&line).expect_success();
            let wanted = Sha256::digest(value(key));
            let wanted: String = wanted.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found.split_whitespace().next(), Some(wanted.as_str()), "{key} in {service}");
        }
    }

    /// The log stream of the service's lines, as every seed document's group is divided.
    fn stream(&self, service: &str) -> String {
        format!("{}/{service}", self.stage.cloud.state().instance.id)
    }

    /// What CloudWatch Logs has of the service.
    pub(super) fn shipped(&self, group: &str, service: &str) -> Vec<Value> {
        let stream = self.stream(service);
        let lines = self.stage.cloud.state().logs.messages(group, &stream);
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until lines of these services are in `group`, and checks that it holds nothing else, for so many days.
    #[track_caller]
    pub(super) fn ships(&self, group: &str, retention_days: i64, services: &[&str]) {
        for service in services {
            wait_for(&format!("lines of {service} in {group}"), SOON, || {
                let lines = self.shipped(group, service);
                match lines.iter().find(|line| FIRST.iter().any(|event| line["event"] == *event)) {
                    Some(_) => Ok(()),
                    None => Err(format!("{:?}", self.streams())),
                }
            })
            .unwrap();
        }
        let mut wanted: Vec<String> = services.iter().map(|service| self.stream(service)).collect();
        wanted.sort();
        assert_eq!(self.streams(), vec![(group.to_owned(), Some(retention_days), wanted)]);
    }

    fn streams(&self) -> Vec<(String, Option<i64>, Vec<String>)> {
        let state = self.stage.cloud.state();
        let groups = state.logs.groups.iter();
        let streams = groups.map(|(name, group)| {
            (name.clone(), group.retention_days, group.streams.keys().cloned().collect())
        });
        streams.collect()
    }

    /// What the agent made of node.toml is in force for every service: no capability, no new privileges, no restart
    /// by the engine.
    #[track_caller]
    pub(super) fn is_confined(&self, service: &str) {
        let host = &self.container(service)["HostConfig"];
        assert_eq!(host["CapDrop"], serde_json::json!(["ALL"]), "{service}");
        assert_eq!(host["SecurityOpt"], serde_json::json!(["no-new-privileges:true"]), "{service}");
        assert_eq!(host["RestartPolicy"]["Name"], "no", "{service}");
    }

    /// No marked value of a secret is in anything that was written: logs, status, configuration, log lines shipped.
    #[track_caller]
    pub(super) fn keeps_secrets(&self) {
        let mark = value("");
        let written = self.shell(&format!(
            "agentctl status --json | grep -c {mark}; agentctl config show | grep -c {mark}; \
             journalctl --no-pager | grep -c {mark}; \
             grep -rIlE {mark} /var/log /etc /var/lib/node-agent /usr /run/node-agent/handoff.json | head -c 2000"
        ));
        assert_eq!(written.stdout, "0\n0\n0\n");
        let state = self.stage.cloud.state();
        let streams = state.logs.groups.values().flat_map(|group| group.streams.values());
        assert!(!streams.flat_map(|stream| &stream.events).any(|event| event.message.contains(&mark)));
    }
}
