//! What the suites and the demo need to drive whole programs from outside: a disposable instance, a whole machine, a
//! local cloud, a registry, images made on the spot, namespaces, processes and waiting.
//!
//! It knows nothing of `node`, `agent` or `bootstrap`: its reading of the AWS protocols is its own, so that the
//! programs are not checked against themselves.

pub mod bench;
pub mod crowd;
pub mod demo;
pub mod docker_daemon;
pub mod engine_proxy;
pub mod http;
pub mod images;
pub mod instance;
pub mod load;
pub mod local_cloud;
pub mod log_node;
pub mod loop_device;
pub mod machine;
pub mod model_registry;
pub mod moto;
pub mod netns;
pub mod processes;
pub mod registry;
pub mod requirements;
pub mod slow_disk;
pub mod stage;
pub mod tracer;
pub mod wait;
