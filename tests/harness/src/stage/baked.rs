//! An instance of a baked image: the release is in it, and its unit starts at boot.

use super::{Stage, tarball};
use crate::instance::Instance;
use std::error::Error;
use std::fs;

/// What puts the release into an image.
const BAKE: &[u8] = include_bytes!("../../../../packaging/ami/bake.sh");
/// Where it and the release lie.
const FOLDER: &str = "/root/image";

impl Stage {
    /// Boots an instance without user data and bakes the release into it as packaging/ami does, with a node.toml or
    /// without. Its next boot ([`Stage::boot_baked`]) is that of an instance of the image.
    ///
    /// # Errors
    /// Why it did not boot, or what the script said.
    pub fn bake(&mut self, node_toml: Option<&str>) -> Result<(), Box<dyn Error>> {
        self.bake_by("./bake.sh", node_toml)
    }

    /// The same with a node.toml whose models are in the image too.
    ///
    /// # Errors
    /// Why it did not boot, or what the script said.
    pub fn bake_with_models(&mut self, node_toml: &str) -> Result<(), Box<dyn Error>> {
        let command = format!("env {} ./bake.sh with-models", self.endpoint());
        self.bake_by(&command, Some(node_toml))
    }

    fn bake_by(&mut self, command: &str, node_toml: Option<&str>) -> Result<(), Box<dyn Error>> {
        let name = tarball(&self.dist);
        let mut files = vec![
            (name.clone(), fs::read(self.dist.join(&name))?, 0o644),
            ("bake.sh".to_owned(), BAKE.to_vec(), 0o755),
        ];
        files.extend(node_toml.map(|text| ("node.toml".to_owned(), text.as_bytes().to_vec(), 0o644)));
        let files =
            files.into_iter().map(|(name, content, mode)| (format!("{FOLDER}/{name}"), content, mode));
        self.description.files.extend(files);
        self.description.run_user_data = true;
        (self.instance, self.cloud.state().user_data) = (None, None);
        self.instance = Some(Instance::boot(&self.base, &self.description)?);
        let baked = self.instance().shell(&format!("cd {FOLDER} && {command}"));
        if baked.status.success() { Ok(()) } else { Err(baked.to_string().into()) }
    }

    /// Boots what [`Stage::bake`] has made, or boots it again, with this user data.
    ///
    /// # Errors
    /// Why it did not come up, with its console.
    pub fn boot_baked(&mut self, user_data: Option<&str>) -> Result<(), Box<dyn Error>> {
        self.cloud.state().user_data = user_data.map(str::to_owned);
        self.reboot()
    }
}
