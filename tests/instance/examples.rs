//! Every example of packaging/examples on a whole disposable instance, its node.toml as it is in the repository.
//!
//! In: the programs of `make dist`, and stand-ins for the deployments' images: the sample application under the
//! repositories, tags, ports, users and paths that the example names. A drop-in gives the `[agent]` section, and
//! shortens what waits for long. What is checked: that the deployment's document is fulfilled, as far as it is
//! promised in this version. The other files of packaging/ are held against the programs in `packaging`.

#![expect(clippy::unwrap_used, reason = "a failed step of a test ends it")]

#[path = "examples/algoitny.rs"]
mod algoitny;
#[path = "examples/deployment.rs"]
mod deployment;
#[path = "examples/deploys.rs"]
mod deploys;
#[path = "examples/fastapi.rs"]
mod fastapi;
#[path = "examples/inference.rs"]
mod inference;
#[path = "examples/node.rs"]
mod node;
#[path = "examples/ollama.rs"]
mod ollama;
#[path = "examples/packaging.rs"]
mod packaging;
#[path = "examples/real_ollama.rs"]
mod real_ollama;
