//! Containers of somebody else on the same engine: whatever is done to ours, they stay as they are.

use super::Scene;
use harness::stage::{REGISTRY, REPOSITORY};

/// Containers that are not ours, and what must stay as it is.
pub(crate) struct Foreign {
    /// Its id, and when it was started.
    pub(crate) running: (String, Option<String>),
    pub(crate) stopped: String,
}

impl Foreign {
    /// One that runs and one that never did, of the image that our service runs.
    pub(crate) fn plant(scene: &Scene) -> Foreign {
        let digest = scene.only().digest.unwrap();
        let image = format!("{REGISTRY}/{REPOSITORY}@{digest}");
        let instance = scene.stage.instance();
        let running =
            instance.run(["docker", "run", "--detach", "--name", "foreign", &image]).expect_success();
        let stopped = instance.run(["docker", "create", "--name", "foreign-2", &image]).expect_success();
        let running = running.trim().to_owned();
        let started_at = scene.engine().started_at(&running);
        Foreign { running: (running, started_at), stopped: stopped.trim().to_owned() }
    }

    #[track_caller]
    pub(crate) fn untouched(&self, scene: &Scene) {
        let all = scene.engine().containers().unwrap();
        let state =
            |id: &str| all.iter().find(|container| container.id == id).map(|found| found.state.as_str());
        assert_eq!(state(&self.running.0), Some("running"), "{all:#?}");
        assert_eq!(scene.engine().started_at(&self.running.0), self.running.1, "it was started anew");
        assert_eq!(state(&self.stopped), Some("created"), "{all:#?}");
    }
}
