//! The agent's rules of the firewall as `nft` of the instance lists them, held against the containers that run.

use super::{PATIENCE, Scene};
use harness::wait::wait_for;
use serde_json::{Value, json};
use std::collections::BTreeSet;

impl Scene {
    /// Elements of a set or map of the agent's table; none where it does not exist.
    fn elements(&self, kind: &str, name: &str) -> Vec<Value> {
        let command = ["/usr/sbin/nft", "--json", "list", kind, "inet", "node-agent", name];
        let answer = self.stage.instance().run(command);
        let listing: Value = serde_json::from_str(&answer.stdout).unwrap_or_default();
        let items = listing["nftables"].as_array().cloned().unwrap_or_default();
        items.iter().flat_map(|item| item[kind]["elem"].as_array().cloned().unwrap_or_default()).collect()
    }

    /// Port 80 leads to the one container of ours where it is `routed`, and no rule is of a container that is gone.
    #[track_caller]
    pub(crate) fn rules_are_of_what_runs(&self, routed: bool) {
        let right = wait_for("the rules to be those of what runs", PATIENCE, || {
            let engine = self.engine();
            let ours = self.only_or_none().ok_or("not exactly one container of ours runs")?;
            let addresses = engine.addresses(&ours.id);
            let routes = self.elements("map", "tcp-routes");
            let wanted = addresses.iter().map(|address| json!([80, {"concat": [address, 8000]}]));
            let wanted: Vec<Value> = if routed { wanted.collect() } else { Vec::new() };
            let sets = ["without-metadata", "with-metadata"].into_iter();
            let named: BTreeSet<String> = sets
                .flat_map(|set| self.elements("set", set))
                .filter_map(|address| address.as_str().map(str::to_owned))
                .collect();
            let strange = named.iter().any(|address| !addresses.contains(address));
            if routes == wanted && !strange {
                return Ok(());
            }
            Err(format!("routes {routes:?} for {addresses:?}, with metadata rules for {named:?}"))
        });
        right.unwrap_or_else(|error| panic!("{error}\n{}", self.story()));
    }
}
