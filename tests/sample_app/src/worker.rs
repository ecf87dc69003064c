//! A task worker, as Celery's is: no port, one task after the other, and a task
//! that has begun is finished whatever signal comes.

use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::Signal;

use crate::service::log;

/// Works until it is asked to stop and the task under way is done.
pub(crate) async fn run(terminated: &mut Signal, task: Duration) {
    let mut told = false;
    let mut number = 0_u64;
    while !told {
        number += 1;
        log(&json!({"event": "task", "number": number, "state": "begun"}));
        let work = tokio::time::sleep(task);
        tokio::pin!(work);
        tokio::select! {
            () = &mut work => {}
            _ = terminated.recv() => {
                log(&json!({"event": "sigterm"}));
                told = true;
                work.await;
            }
        }
        log(&json!({"event": "task", "number": number, "state": "done"}));
    }
    log(&json!({"event": "stop", "clean": true}));
}
