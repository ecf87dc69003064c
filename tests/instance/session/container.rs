//! Who may do what from inside a real container into which somebody has mounted the socket.
//!
//! The programs are those of the instance, run by its own loader: an image needs nothing for that.

use super::scene::{PATIENCE, Scene};
use harness::instance::Answer;
use harness::stage::{REGISTRY, REPOSITORY};

/// `agentctl` in a container of this user, with the socket mounted.
fn inside(scene: &Scene, user: &str, command: &str) -> Answer {
    let image = format!("{REGISTRY}/{REPOSITORY}@{}", scene.only().digest.unwrap());
    let line = format!(
        "exec docker run --rm --user {user} --volume /run/node-agent:/run/node-agent --volume /:/host:ro \
         --entrypoint /host/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 {image} --library-path /host/usr/lib/x86_64-linux-gnu \
         /host/usr/bin/agentctl {command}"
    );
    scene.stage.instance().shell(&line)
}

#[test]
fn another_user_of_a_container_with_the_socket_may_look_and_not_change() {
    let Some(scene) = Scene::serving() else { return };
    scene.settled(&scene.only().digest.unwrap(), &["current"]);
    let group = scene.stage.instance().shell("getent group node-agent | cut -d: -f3").expect_success();
    let before = scene.only();

    let looks = inside(&scene, "1000:1000", "status --json");
    assert_eq!(looks.code(), 0, "{looks}");
    assert!(looks.stdout.contains("\"services\""), "{looks}");
    let refused = inside(&scene, "1000:1000", "restart web");
    assert_eq!(refused.code(), 1, "{refused}");
    assert!(refused.stderr.contains("user 1000 may read but not change anything"), "{refused}");
    let journal =
        scene.stage.instance().run(["journalctl", "--no-pager", "-u", "node-agent"]).expect_success();
    assert!(journal.contains("refused a command: uid 1000 (pid "), "{journal}");
    assert_eq!(scene.only(), before, "nothing was changed");

    // The number of the group counts, wherever it comes from; and root without a user namespace is the node's root.
    for user in [format!("1000:{}", group.trim()), "0:0".to_owned()] {
        let taken = inside(&scene, &user, "hold web");
        assert_eq!(taken.code(), 0, "{user}: {taken}");
        inside(&scene, &user, "release web").expect_success();
    }
    let ready = |status: &serde_json::Value| status["node"]["state"] == "ready";
    scene.stage.wait_for_status("the node to be ready", PATIENCE, ready).unwrap();
}
