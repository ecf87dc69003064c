//! Order, hashes and obstacles.

use super::*;
use crate::simulation::samples;
use node::config::settings::{
    Docker, EnvironmentValue, Filesystem, ImageVersion, Images, Models, Mount, Prewarm, Reclaim, Secret,
    Volume, VolumeIdentity,
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
        metrics: None,
        registries: BTreeMap::new(),
    }
}

fn versions(versions: &[(&str, &str)]) -> BTreeMap<String, String> {
    versions.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect()
}

fn secret(restart_on_change: bool) -> Secret {
    Secret { id: "id".to_owned(), require: Vec::new(), restart_on_change }
}

/// `[models]` of which the service `ollama` has the folder.
fn models() -> Models {
    Models {
        server: ModelServer::Service { name: "ollama".to_owned(), port: 11434 },
        directory: Some("/mnt/models/ollama/models".to_owned()),
        pull: BTreeMap::new(),
        every: None,
        reserve_bytes: 0,
        reclaim: Reclaim::Ours,
        unused_for: Duration::ZERO,
        prewarm: Prewarm::Off,
        load_deadline: Duration::from_secs(60),
    }
}

fn volume(optional: bool) -> Volume {
    Volume {
        identity: VolumeIdentity::AttachName("sdf".to_owned()),
        mount: "/mnt/models".to_owned(),
        filesystem: Filesystem::Xfs,
        format_if_blank: true,
        wait: Duration::from_secs(300),
        optional,
        owner: None,
        mode: None,
    }
}

/// What bootstrap says of the volume `models`.
fn reported(mounted: bool) -> handoff::Volume {
    handoff::Volume {
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
    }
}

fn mounted(host: &str) -> Mount {
    Mount { host: host.to_owned(), container: "/data".to_owned(), read_only: false }
}

fn obstacles_of(settings: &Settings, volumes: &[handoff::Volume], secrets: &[(&str, &str)]) -> Vec<String> {
    let desired = Desired::new(settings, volumes, &versions(secrets));
    let texts = desired
        .services
        .iter()
        .flat_map(|service| service.obstacles.iter().map(|obstacle| format!("{}: {obstacle}", service.name)));
    texts.collect()
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
    settings.volumes.insert("models".to_owned(), volume(false));
    settings.secrets.insert("app".to_owned(), secret(true));
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
    let both = [
        "api: secret app is not there yet",
        "ollama: volume models is not mounted (the device did not come within 5m)",
    ];
    assert_eq!(obstacles_of(&settings, &[reported(false)], &[]), both);
    assert_eq!(obstacles_of(&settings, &[reported(true)], &[("app", "1")]), [""; 0]);
    let unreported = ["ollama: volume models is not mounted (bootstrap has not reported on it on this boot)"];
    assert_eq!(obstacles_of(&settings, &[], &[("app", "1")]), unreported);
    settings.volumes.insert("models".to_owned(), volume(true));
    assert_eq!(obstacles_of(&settings, &[reported(false)], &[("app", "1")]), [""; 0]);
}

#[test]
fn a_server_of_models_waits_for_their_volume_even_if_the_node_could_do_without() {
    let mut settings = settings(&[("ollama", &[]), ("web", &[])]);
    settings.models = Some(models());
    for (name, host) in [("ollama", "/mnt/models/ollama"), ("web", "/mnt/models/pages")] {
        if let Some(service) = settings.services.get_mut(name) {
            service.mounts = vec![mounted(host)];
        }
    }
    let waits = "ollama: volume models is not mounted (the device did not come within 5m)";
    for (optional, wanted) in [(false, vec![waits, &waits.replace("ollama", "web")]), (true, vec![waits])] {
        settings.volumes.insert("models".to_owned(), volume(optional));
        assert_eq!(obstacles_of(&settings, &[reported(false)], &[]), wanted, "optional: {optional}");
        assert_eq!(obstacles_of(&settings, &[reported(true)], &[]), [""; 0], "optional: {optional}");
    }
    // The service has all of /mnt, and the volume is only where the models are.
    if let Some(ollama) = settings.services.get_mut("ollama") {
        ollama.mounts = vec![mounted("/mnt")];
    }
    assert_eq!(obstacles_of(&settings, &[reported(false)], &[]), [waits]);
    settings.models = Some(Models { server: ModelServer::Url("http://h".to_owned()), ..models() });
    assert_eq!(obstacles_of(&settings, &[reported(false)], &[]), [""; 0]);
}

#[test]
fn only_the_server_of_models_is_kept_from_cleaning_up_itself() {
    let mut settings = settings(&[("ollama", &[]), ("web", &[])]);
    let services = |settings: &Settings| {
        let desired = Desired::new(settings, &[], &BTreeMap::new());
        let [ollama, web] = desired.services.as_slice() else { panic!("{desired:?}") };
        (ollama.clone(), web.clone())
    };
    let literal = |text: &str| Some(EnvironmentValue::Literal(text.to_owned()));
    let variable = |service: &Service| service.settings.environment.get("OLLAMA_NOPRUNE").cloned();
    let (before, web_before) = services(&settings);
    assert_eq!(variable(&before), None, "it serves none");

    settings.models = Some(models());
    let (ollama, web) = services(&settings);
    assert_eq!((variable(&ollama), variable(&web)), (literal("1"), None));
    assert_ne!(ollama.spec_hash, before.spec_hash, "its container is another one");
    assert_eq!(web, web_before);

    let written = |name: &str| (name.to_owned(), EnvironmentValue::Literal("0".to_owned()));
    if let Some(ollama) = settings.services.get_mut("ollama") {
        ollama.environment = [written("OLLAMA_NOPRUNE")].into();
    }
    assert_eq!(variable(&services(&settings).0), literal("0"), "node.toml has the last word");

    settings.models = Some(Models { server: ModelServer::Url("http://h".to_owned()), ..models() });
    settings.services.insert("ollama".to_owned(), samples::settings("ollama"));
    assert_eq!(services(&settings).0, before, "another one serves them");
}

#[test]
fn containers_of_older_agents_are_still_the_same() {
    // What agents gave such a service before there were models: another hash would replace every container of every node.
    let known = "6eeb4c09fa686574a05534cd19d8b7304dbad8057e5fac0ee33a7ed2e4b45c18";
    let mut settings = settings(&[("web", &[])]);
    for models in [None, Some(models())] {
        settings.models = models;
        assert_eq!(Desired::new(&settings, &[], &BTreeMap::new()).services[0].spec_hash, known);
    }
}
