//! fastapi: one container of ECR on port 80, limited and confined, with one key of its secret; deploys by command.

use super::deployment::{Deployment, push};
use serde_json::json;

#[test]
fn fastapi_runs_within_its_limits_and_deploys_by_command() {
    let Some(mut deployment) = Deployment::of("fastapi") else { return };
    deployment.secret("fastapi/production", &["DATABASE_URL", "NOT_ASKED_FOR"]);
    deployment.image("fastapi-app-repo", "latest", &[("VERSION", "one")]);
    let node = deployment.start();

    node.answers(80, "/health");
    node.has_keys("api", &["DATABASE_URL"]);
    assert_eq!(node.stage.get("/env-sha?NOT_ASKED_FOR").unwrap().0, 404, "only the key that is named");
    let host = &node.container("api")["HostConfig"];
    assert_eq!((&host["Memory"], &host["NanoCpus"]), (&json!(512 << 20), &json!(500_000_000)));
    assert_eq!(host["ReadonlyRootfs"], true);
    assert_eq!(node.user("api"), ("1000".to_owned(), "1000".to_owned()));
    node.is_confined("api");
    node.ships("/aws/ec2/fastapi", 14, &["api"]);

    // The example's own words for a deploy over SSM Run Command; nothing moves before.
    assert!(node.answers(80, "/").contains("one"));
    push(&node.stage, "fastapi-app-repo", "latest", &[("VERSION", "two")]);
    let update = node.stage.instance().run(["agentctl", "update", "api", "--wait"]);
    assert_eq!(update.code(), 0, "{update}");
    assert!(node.answers(80, "/").contains("two"));
    node.keeps_secrets();
}
