//! What a stage's instance is asked from outside: the end of user data, the agent's status, its services.

use super::Stage;
use crate::instance::{Answer, INSTANCE_ADDRESS};
use crate::wait::{TimedOut, wait_for};
use std::fs;
use std::time::Duration;

impl Stage {
    /// Waits until user data has run to its end and returns its exit status and output.
    ///
    /// # Errors
    /// What was last seen.
    pub fn wait_for_user_data(&self, deadline: Duration) -> Result<(i32, String), TimedOut> {
        let root = self.instance().root();
        let code = wait_for("user data to end", deadline, || {
            let text = fs::read_to_string(root.join("var/lib/cloud/user-data.exit"));
            text.ok().and_then(|text| text.trim().parse().ok()).ok_or_else(|| self.instance().console())
        })?;
        let output = fs::read(root.join("var/log/cloud-init-output.log")).unwrap_or_default();
        Ok((code, String::from_utf8_lossy(&output).into_owned()))
    }

    /// `agentctl status --json`, parsed; the answer of the command where that is no JSON.
    ///
    /// # Errors
    /// The command's story.
    pub fn status(&self) -> Result<serde_json::Value, Answer> {
        let answer = self.instance().run(["agentctl", "status", "--json"]);
        serde_json::from_str(&answer.stdout).map_err(|_| answer)
    }

    /// Waits until the status is as `wanted` and returns it.
    ///
    /// # Errors
    /// The status last seen.
    pub fn wait_for_status(
        &self,
        what: &str,
        deadline: Duration,
        wanted: impl Fn(&serde_json::Value) -> bool,
    ) -> Result<serde_json::Value, TimedOut> {
        wait_for(what, deadline, || match self.status() {
            Ok(status) if wanted(&status) => Ok(status),
            Ok(status) => Err(serde_json::to_string_pretty(&status).unwrap_or_default()),
            Err(answer) => Err(answer.to_string()),
        })
    }

    /// GET of a path of the service on the instance's port 80, from outside: status and body.
    ///
    /// # Errors
    /// Why there was no answer.
    pub fn get(&self, path: &str) -> Result<(u16, String), String> {
        self.get_at(80, path)
    }

    /// The same on another port.
    ///
    /// # Errors
    /// Why there was no answer.
    pub fn get_at(&self, port: u16, path: &str) -> Result<(u16, String), String> {
        let client = crate::http::HttpClient::default();
        let url = format!("http://{INSTANCE_ADDRESS}:{port}{path}");
        let answer = self.runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(2), client.send("GET", &url, &[], "")).await
        });
        match answer {
            Ok(Ok(answer)) => Ok((answer.status.as_u16(), answer.text())),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("{url}: no answer within 2 s")),
        }
    }
}
