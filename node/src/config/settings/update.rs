//! `[services.NAME.update]`, validated.

use schemars::JsonSchema;
use serde::Serialize;
use std::time::Duration;

/// `[services.NAME.update]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Update {
    /// How often the registry is asked; absent means never.
    pub every: Option<Duration>,
    /// From container start to a passed gate.
    pub deadline: Duration,
    /// How long it must have been healthy to pass the gate.
    pub min_healthy: Duration,
    /// How the new container takes over.
    pub strategy: Strategy,
    /// How old an image has to be, by the registry's word or since it was first seen, before it is taken by itself.
    pub min_age: Duration,
    /// When images are taken by themselves; empty means always.
    pub windows: Vec<Window>,
    /// How long connections to the old container may live on.
    pub drain: Duration,
    /// Run inside the container that is to be replaced; exits with 0 when that may happen now. Empty: nobody is asked.
    pub before: Vec<String>,
    /// Run inside the new container once it is healthy; exits with 0 when it may take over. Empty: nobody is asked.
    pub after: Vec<String>,
}

/// How a new container takes over from the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// It runs beside the old one until it is healthy; then new connections go to it.
    BlueGreen,
    /// The old one stops before it starts.
    Recreate,
}

/// A window of every week, in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Window {
    /// On which days it opens, Monday first.
    pub days: [bool; 7],
    /// When it opens, in minutes after midnight.
    pub opens_at_minute: u16,
    /// How long it is open, in minutes; it may reach into the next day.
    pub open_for_minutes: u16,
}
