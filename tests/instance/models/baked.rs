//! An image that was baked with its models: an instance of it asks nobody for them.

use super::node::{Node, node_toml};
use super::scene::Scene;
use harness::model_registry::Model;

const NAME: &str = "baked:1b";
/// On the root disk, which is the image's.
const PLACE: &str = "/var/lib/ollama";
const MODELS: &str = "[models]\nevery = \"never\"\n[models.pull.\"baked:1b\"]\nkeep_loaded = true\n";

#[test]
fn an_instance_of_an_image_that_was_baked_with_its_models_fetches_nothing() {
    let Some(mut scene) = Scene::beside() else { return };
    let digest = scene.stage.models().push(NAME, &Model::new(1, 2 << 20));
    scene.stage.push_model_server("0.5.4", &[]).unwrap();
    let node_toml = node_toml(&scene, ("", PLACE), "", MODELS);
    // Made by whoever bakes: the agent makes no folder on the root disk.
    scene.stage.description().files.push((format!("{PLACE}/README"), b"models\n".to_vec(), 0o644));
    scene.stage.bake_with_models(&node_toml).unwrap_or_else(|error| panic!("{error}\n{}", scene.story()));
    let asked = scene.stage.models().served();
    assert!(asked.iter().any(|served| served.path.contains("/blobs/")), "the bake has fetched it: {asked:?}");

    scene.stage.boot_baked(None).unwrap();
    let node = Node { scene };
    node.until_model(NAME, "loaded", &digest);
    let asked_since = node.scene.stage.models().served().split_off(asked.len());
    assert_eq!(asked_since, [], "the image has all that it needs");
}
