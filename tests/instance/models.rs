//! Models on whole disposable instances: a volume that does not hold all of them, versions that move and go back, boots
//! without their volume, reading ahead, GPUs that are lost.
//!
//! In: the programs of `make dist`, the stand-in for the model server as the image of a service, and a registry of models.
//! What is checked is what an operator sees, by `agentctl`, beside what is on the volume and what the registry was asked.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "models/baked.rs"]
mod baked;
#[path = "models/boots.rs"]
mod boots;
#[path = "models/gpus.rs"]
mod gpus;
#[path = "models/moves.rs"]
mod moves;
#[path = "models/node.rs"]
mod node;
#[path = "models/room.rs"]
mod room;
#[path = "scene/mod.rs"]
mod scene;

/// One instance for all that a volume, versions and boots bring: each step begins where the one before ended.
#[test]
fn a_volume_that_holds_one_of_two_models_through_moves_kills_and_boots() {
    let Some(mut node) = room::serving_one_of_two() else { return };
    room::the_second_is_refused_with_numbers_and_leaves_nothing_behind(&node);
    room::pulling_all_fails_with_the_cause_and_pulling_the_first_succeeds(&node);
    moves::a_server_that_was_killed_has_its_model_in_memory_again(&node);
    moves::a_tag_that_moved_is_taken_a_bad_version_is_not_and_the_way_back_needs_no_registry(&node);
    boots::the_agent_costs_little_while_a_model_is_served(&node);
    boots::without_its_volume_the_server_is_not_started_and_models_say_why(&mut node);
    boots::after_a_boot_a_model_is_read_ahead_outside_the_agents_group(&mut node);
}
