//! The node.toml of the one service that these suites move; each says what it has of its own.

use harness::stage::{REGISTRY, REPOSITORY, Stage};

/// The old container stops, the new one starts.
pub(crate) const RECREATE: &str = "strategy = \"recreate\"";
/// What a service with ports and a health check has by itself; connections that are kept are cut after 2 s.
pub(crate) const BLUE_GREEN: &str = "drain = \"2s\"";

pub(crate) struct Web<'a> {
    /// Of the image.
    pub(crate) tag: &'a str,
    /// Added to the service's section.
    pub(crate) more: &'a str,
    /// Added to the section that says how it is moved.
    pub(crate) update: &'a str,
    /// Between two questions after its health, and before an unhealthy answer counts.
    pub(crate) asked_every: &'a str,
    pub(crate) min_healthy: &'a str,
    /// At the end.
    pub(crate) sections: &'a str,
}

impl Default for Web<'_> {
    fn default() -> Self {
        let (tag, update, second) = ("latest", RECREATE, "1s");
        Web { tag, more: "", update, asked_every: second, min_healthy: second, sections: "" }
    }
}

impl Web<'_> {
    pub(crate) fn node_toml(&self, stage: &Stage) -> String {
        let agent = stage.agent_section();
        let Web { tag, more, update, asked_every, min_healthy, sections } = self;
        format!(
            r#"{agent}
[services.web]
image = "{REGISTRY}/{REPOSITORY}:{tag}"
ports = ["80:8000"]
stop_timeout = "5s"
{more}

[services.web.health]
http = "/health"
interval = "{asked_every}"
retries = 2
start_period = "{asked_every}"

[services.web.update]
every = "1s"
{update}
min_healthy = "{min_healthy}"
deadline = "20s"

[logs]
group = "/suite/${{node.name}}"

{sections}
"#
        )
    }
}
