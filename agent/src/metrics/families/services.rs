//! Services with their containers, and models.

use super::{Family, truth};
use crate::metrics::collection::ContainerUse;
use crate::status::{
    HealthState, Model, ModelServerState, ModelState, Service, ServiceState, Status, UpdateState,
};

/// What containers use.
pub(super) fn containers(all: &[ContainerUse]) -> Vec<Family> {
    let fill = |family: Family, value: fn(&ContainerUse) -> Option<f64>| {
        family.each(all, |it| vec![("service", it.service.as_str()), ("container", it.name.as_str())], value)
    };
    let cpu = Family::counter("node_agent_container_cpu_seconds_total", "Processor time of the container.");
    let working_set = Family::gauge(
        "node_agent_container_memory_working_set_bytes",
        "Memory of the container, without pages of files that were not needed lately.",
    );
    let help = "Memory that the container may use; absent without a limit.";
    let limit = Family::gauge("node_agent_container_memory_limit_bytes", help);
    vec![
        fill(cpu, |it| it.cpu_seconds),
        fill(working_set, |it| Some(it.memory?.working_set_bytes as f64)),
        fill(limit, |it| Some(it.memory?.limit_bytes? as f64)),
    ]
}

/// Where services are.
pub(super) fn services(all: &[Service]) -> Vec<Family> {
    const STATES: [(&str, ServiceState); 9] = [
        ("waiting", ServiceState::Waiting),
        ("pulling", ServiceState::Pulling),
        ("starting", ServiceState::Starting),
        ("running", ServiceState::Running),
        ("unhealthy", ServiceState::Unhealthy),
        ("restarting", ServiceState::Restarting),
        ("updating", ServiceState::Updating),
        ("stopped", ServiceState::Stopped),
        ("failed", ServiceState::Failed),
    ];
    const HEALTH: [(&str, HealthState); 4] = [
        ("passing", HealthState::Passing),
        ("failing", HealthState::Failing),
        ("unknown", HealthState::Unknown),
        ("none", HealthState::None),
    ];
    const UPDATES: [(&str, UpdateState); 7] = [
        ("current", UpdateState::Current),
        ("available", UpdateState::Available),
        ("waiting", UpdateState::Waiting),
        ("updating", UpdateState::Updating),
        ("rolled_back", UpdateState::RolledBack),
        ("quarantined", UpdateState::Quarantined),
        ("held", UpdateState::Held),
    ];
    let mut info = Family::gauge("node_agent_service_info", "Always 1; what the service runs.");
    let mut state = Family::gauge(
        "node_agent_service_state",
        "1 for the state that the service is in, 0 for the others.",
    );
    let mut health = Family::gauge("node_agent_service_health", "1 for what its gate says, 0 for the rest.");
    let mut update = Family::gauge(
        "node_agent_service_update_state",
        "1 for where it stands with updates, 0 for the others.",
    );
    for service in all {
        let name = service.name.as_str();
        let digest = service.digest.as_deref().unwrap_or_default();
        info.add(&[("service", name), ("image", &service.image), ("digest", digest)], 1.0);
        set(&mut state, ("service", name), &STATES, service.state);
        set(&mut health, ("service", name), &HEALTH, service.health);
        set(&mut update, ("service", name), &UPDATES, service.update.state);
    }
    let help = "Restarts of the service by the agent.";
    let restarts = Family::counter("node_agent_service_restarts_total", help).each(
        all,
        |service| vec![("service", service.name.as_str())],
        |service| Some(f64::from(service.restarts)),
    );
    let help = "When the registry last said what the service's reference names, in Unix time.";
    let polled = Family::gauge("node_agent_last_poll_success_timestamp_seconds", help).each(
        all,
        |service| vec![("service", service.name.as_str())],
        |service| service.update.checked_at.map(|at| at.as_second() as f64),
    );
    vec![info, state, health, update, restarts, polled]
}

/// Where models are, and what they take.
pub(super) fn models(status: &Status) -> Vec<Family> {
    const STATES: [(&str, ModelState); 5] = [
        ("absent", ModelState::Absent),
        ("pulling", ModelState::Pulling),
        ("present", ModelState::Present),
        ("loaded", ModelState::Loaded),
        ("failed", ModelState::Failed),
    ];
    let models = status.models.as_slice();
    let mut state =
        Family::gauge("node_agent_model_state", "1 for the state that the model is in, 0 for the others.");
    for model in models {
        set(&mut state, ("model", &model.name), &STATES, model.state);
    }
    let gauge = |name, help, value: fn(&Model) -> Option<u64>| {
        Family::gauge(name, help).each(
            models,
            |model| vec![("model", model.name.as_str())],
            |model| value(model).map(|value| value as f64),
        )
    };
    let mut server = Family::gauge("node_agent_model_server_up", "1 while the model server answers, else 0.");
    let mut restarts = Family::counter(
        "node_agent_model_server_gpu_restarts_total",
        "Restarts of the model server because its GPU was gone.",
    );
    if let Some(it) = &status.model_server {
        server.add(&[], truth(it.state == ModelServerState::Up));
        restarts.add(&[], f64::from(it.gpu_restarts));
    }
    let (memory, gpu) =
        ("Memory that the model takes, GPUs included.", "Memory of GPUs that the model takes.");
    vec![
        state,
        gauge("node_agent_model_size_bytes", "Size of the model on its volume.", |it| it.size_bytes),
        gauge("node_agent_model_memory_bytes", memory, |it| it.memory_bytes),
        gauge("node_agent_model_gpu_memory_bytes", gpu, |it| it.gpu_memory_bytes),
        server,
        restarts,
    ]
}

/// One sample for each state that a thing can be in.
fn set<S: PartialEq + Copy>(family: &mut Family, label: (&'static str, &str), states: &[(&str, S)], is: S) {
    for (name, state) in states {
        family.add(&[label, ("state", name)], truth(*state == is));
    }
}
