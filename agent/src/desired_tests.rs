//! Order, hashes and obstacles.

use super::*;
use crate::simulation::samples;
use node::config::settings::{
    Docker, EnvironmentValue, Filesystem, ImageVersion, Images, Mount, Secret, Volume, VolumeIdentity,
};
use std::time::Duration;

fn settings(services: &[(&str, &[&str])]) -> Settings {
    let services = services.iter().map(|(name, depends_on)| {
        let mut service = samples::settings(name);
        service.depends_on = depends_on.iter().map(|name| (*name).to_owned()).collect();
        ((*name).to_owned(), service)
    });
    Settings {
        node_name: "node".to_owned(),
        docker: Docker { install: false },
        images: Images::default(),
        agent: None,
        volumes: BTreeMap::new(),
        secrets: BTreeMap::new(),
        services: services.collect(),
        logs: None,
        models: None,
        registries: BTreeMap::new(),
    }
}

fn versions(versions: &[(&str, &str)]) -> BTreeMap<String, String> {
    versions.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect()
}

fn secret(restart_on_change: bool) -> Secret {
    Secret { id: "id".to_owned(), require: Vec::new(), restart_on_change }
}

#[test]
fn dependencies_come_first_whatever_the_names() {
    let settings = settings(&[
        ("api", &["worker", "db"]),
        ("db", &[]),
        ("other", &[]),
        ("worker", &["zoo"]),
        ("zoo", &[]),
    ]);
    let desired = Desired::new(&settings, &[], &BTreeMap::new());
    let names: Vec<_> = desired.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["zoo", "worker", "db", "api", "other"]);
}

#[test]
fn the_hash_changes_with_the_container_and_with_nothing_else() {
    let base = samples::settings("api");
    let hash = |change: fn(&mut settings::Service)| {
        let mut service = base.clone();
        change(&mut service);
        spec_hash(&service, &BTreeMap::new())
    };
    let same: [fn(&mut settings::Service); 5] = [
        |service| service.image.version = ImageVersion::Tag("v2".to_owned()),
        |service| service.update.every = None,
        |service| service.health.retries = 9,
        |service| service.stop_timeout = Duration::from_secs(1),
        |service| service.depends_on = vec!["db".to_owned()],
    ];
    let other: [fn(&mut settings::Service); 5] = [
        |service| service.image.repository = "other".to_owned(),
        |service| service.memory_bytes = Some(1),
        |service| service.command = vec!["serve".to_owned()],
        |service| drop(service.environment.insert("A".to_owned(), EnvironmentValue::Literal("1".to_owned()))),
        |service| service.read_only = true,
    ];
    let unchanged = hash(|_| {});
    assert_eq!(unchanged.len(), 64);
    for (index, change) in same.into_iter().enumerate() {
        assert_eq!(hash(change), unchanged, "case {index}");
    }
    for (index, change) in other.into_iter().enumerate() {
        assert_ne!(hash(change), unchanged, "case {index}");
    }
}

#[test]
fn a_new_version_of_a_secret_changes_the_hash_of_its_users_where_it_should() {
    let mut settings = settings(&[("api", &[]), ("web", &[])]);
    settings.secrets = [("app".to_owned(), secret(true)), ("quiet".to_owned(), secret(false))].into();
    if let Some(api) = settings.services.get_mut("api") {
        api.environment_from = vec!["app".to_owned()];
        api.secret_files = vec!["quiet".to_owned()];
    }
    let hashes = |secrets: &[(&str, &str)]| {
        let desired = Desired::new(&settings, &[], &versions(secrets));
        desired.services.iter().map(|service| service.spec_hash.clone()).collect::<Vec<_>>()
    };
    let before = hashes(&[("app", "1"), ("quiet", "1")]);
    assert_eq!(hashes(&[("app", "1"), ("quiet", "2")]), before);
    let after = hashes(&[("app", "2"), ("quiet", "1")]);
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1], before[1]);
}

#[test]
fn a_missing_volume_or_secret_keeps_only_its_users_from_starting() {
    let mut settings = settings(&[("api", &[]), ("ollama", &[]), ("web", &[])]);
    let volume = |optional| Volume {
        identity: VolumeIdentity::AttachName("sdf".to_owned()),
        mount: "/mnt/models".to_owned(),
        filesystem: Filesystem::Xfs,
        format_if_blank: true,
        wait: Duration::from_secs(300),
        optional,
        owner: None,
        mode: None,
    };
    settings.volumes.insert("models".to_owned(), volume(false));
    settings.secrets.insert("app".to_owned(), secret(true));
    let mounted =
        |host: &str| Mount { host: host.to_owned(), container: "/data".to_owned(), read_only: false };
    for (name, host) in [("ollama", "/mnt/models/ollama"), ("web", "/mnt/models-other")] {
        if let Some(service) = settings.services.get_mut(name) {
            service.mounts = vec![mounted(host)];
        }
    }
    if let Some(api) = settings.services.get_mut("api") {
        api.environment = [(
            "KEY".to_owned(),
            EnvironmentValue::FromSecret { secret: "app".to_owned(), key: "KEY".to_owned() },
        )]
        .into();
    }
    let reported = |mounted| handoff::Volume {
        name: "models".to_owned(),
        volume_id: None,
        device: None,
        mount: "/mnt/models".to_owned(),
        mounted,
        filesystem: None,
        uuid: None,
        label: None,
        size_bytes: None,
        optional: false,
        reason: "the device did not come within 5m".to_owned(),
    };
    let obstacles = |settings: &Settings, volumes: &[handoff::Volume], secrets: &[(&str, &str)]| {
        let desired = Desired::new(settings, volumes, &versions(secrets));
        let texts = desired.services.iter().flat_map(|service| {
            service.obstacles.iter().map(|obstacle| format!("{}: {obstacle}", service.name))
        });
        texts.collect::<Vec<_>>()
    };
    let both = [
        "api: secret app is not there yet",
        "ollama: volume models is not mounted (the device did not come within 5m)",
    ];
    assert_eq!(obstacles(&settings, &[reported(false)], &[]), both);
    assert_eq!(obstacles(&settings, &[reported(true)], &[("app", "1")]), [""; 0]);
    let unreported = ["ollama: volume models is not mounted (bootstrap has not reported on it on this boot)"];
    assert_eq!(obstacles(&settings, &[], &[("app", "1")]), unreported);
    settings.volumes.insert("models".to_owned(), volume(true));
    assert_eq!(obstacles(&settings, &[reported(false)], &[("app", "1")]), [""; 0]);
}
