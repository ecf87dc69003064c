//! inference: a Node.js server that runs as the image's user `node` and follows its tag.

use super::deployment::Deployment;

#[test]
fn inference_serves_as_the_images_user_with_a_read_only_root() {
    let Some(deployment) = Deployment::of("inference") else { return };
    deployment.image("inference-app", "latest", &[("PORT", "8000")]);
    let node = deployment.start();

    node.answers(80, "/health");
    let container = node.container("infer");
    assert_eq!(container["HostConfig"]["ReadonlyRootfs"], true);
    assert_eq!(container["Config"]["User"], "node");
    assert_eq!(node.user("infer"), ("1000".to_owned(), "1000".to_owned()));
    node.is_confined("infer");
    node.ships("/aws/ec2/inference", 30, &["infer"]);
    let lines = node.shipped("/aws/ec2/inference", "infer");
    let listening = lines.iter().find(|line| line["event"] == "listening").unwrap();
    assert_eq!(listening["address"], "0.0.0.0:3000", "the example's PORT is stronger than the image's");
    let update = &node.status["services"][0]["update"];
    assert_eq!(update["state"], "current", "{update:#}");
}
