//! One session on a node: what a person sees on a terminal of 80 by 24, what the doctor finds, what a bundle holds, and
//! who may do what from inside a container.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(clippy::print_stdout, reason = "a suite prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "a suite measures, and looks at the host")]

#[path = "session/bundle.rs"]
mod bundle;
#[path = "session/container.rs"]
mod container;
#[path = "session/doctor.rs"]
mod doctor;
#[path = "session/recording.rs"]
mod recording;
mod scene;
#[path = "session/terminal.rs"]
mod terminal;
