//! What valid texts become.

use super::settings;
use crate::config::settings::{
    EnvironmentValue, Filesystem, ImageVersion, Network, Owner, Probe, RegistryAuth, VolumeIdentity,
};
use std::time::Duration;

#[test]
fn nothing_written_is_a_node_with_nothing_to_do() {
    let settings = settings("");
    assert!(settings.docker.install);
    assert!(settings.services.is_empty() && settings.logs.is_none() && settings.agent.is_none());
}

#[test]
fn a_service_with_only_an_image_has_every_default() {
    let settings = settings("[services.web]\nimage = \"nginx\"");
    let web = &settings.services["web"];
    assert_eq!(web.image.to_string(), "docker.io/library/nginx:latest");
    assert_eq!(web.stop_timeout, Duration::from_secs(30));
    assert_eq!(
        (web.network, web.read_only, web.memory_bytes, web.nano_cpus),
        (Network::Node, false, None, None)
    );
    assert_eq!(web.health.probe, Probe::ImageOrStayedUp);
    assert_eq!((web.health.interval, web.health.timeout), (Duration::from_secs(10), Duration::from_secs(5)));
    assert_eq!((web.health.retries, web.health.start_period), (3, Duration::from_secs(30)));
    assert_eq!(web.update.every, Some(Duration::from_secs(60)));
    assert_eq!(
        (web.update.deadline, web.update.min_healthy),
        (Duration::from_secs(300), Duration::from_secs(10))
    );
}

#[test]
fn a_volume_by_device_and_one_by_id() {
    let settings = settings(
        "[volumes.a]\ndevice = \"/dev/xvdf\"\nmount = \"/mnt/a/\"\n[volumes.b]\nvolume_id = \"vol-0123456789abcdef0\"\nmount = \"/mnt/b\"\nfilesystem = \"ext4\"\nformat = \"never\"\nwait = \"0s\"\noptional = true",
    );
    let (a, b) = (&settings.volumes["a"], &settings.volumes["b"]);
    assert_eq!((&a.identity, a.mount.as_str()), (&VolumeIdentity::AttachName("sdf".to_owned()), "/mnt/a"));
    assert_eq!((a.filesystem, a.format_if_blank, a.wait), (Filesystem::Xfs, true, Duration::from_secs(300)));
    assert_eq!(b.identity, VolumeIdentity::VolumeId("vol-0123456789abcdef0".to_owned()));
    assert_eq!((b.filesystem, b.format_if_blank, b.optional), (Filesystem::Ext4, false, true));
    assert_eq!((a.owner, a.mode), (None, None), "a root folder is left as it is");
}

#[test]
fn a_volume_has_an_owner_and_a_mode_if_they_are_written() {
    let settings = settings(
        "[volumes.a]\ndevice = \"/dev/sdf\"\nmount = \"/mnt/a\"\nowner = \"1000:100\"\nmode = \"0750\"\n",
    );
    let volume = &settings.volumes["a"];
    assert_eq!((volume.owner, volume.mode), (Some(Owner { uid: 1000, gid: Some(100) }), Some(0o750)));
}

#[test]
fn every_part_of_a_service() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let settings = settings(&format!(
        r#"
[secrets.app]
id = "app"
on_change = "ignore"
[services.db]
image = "postgres:17"
health.exec = ["pg_isready"]
[services.api]
image = "host.example:5000/api:v1@{digest}"
command = ["run", "$${{HOME}}"]
ports = ["53:5353/udp", "80:8000"]
environment = {{ A = "1", B = {{ secret = "app", key = "b" }} }}
environment_from = ["app"]
secret_files = ["app"]
mounts = ["/etc/ssl:/etc/ssl:ro"]
depends_on = ["db"]
memory = "512m"
cpus = 2
user = "app"
capabilities = ["net_raw", "CAP_NET_RAW", "CHOWN"]
health.http = "/health"
update = {{ every = "never", strategy = "recreate" }}
"#
    ));
    let api = &settings.services["api"];
    assert_eq!(api.image.version, ImageVersion::Digest(digest));
    assert_eq!(api.command, ["run", "${HOME}"]);
    let from_secret = EnvironmentValue::FromSecret { secret: "app".to_owned(), key: "b".to_owned() };
    assert_eq!(api.environment["B"], from_secret);
    assert!(api.mounts[0].read_only);
    assert_eq!((api.memory_bytes, api.nano_cpus), (Some(512 << 20), Some(2_000_000_000)));
    assert_eq!(api.capabilities, ["CHOWN", "NET_RAW"]);
    assert_eq!(api.health.probe, Probe::Http { port: 8000, path: "/health".to_owned() }, "first TCP port");
    assert_eq!(api.update.every, None);
    assert_eq!(settings.services["db"].health.probe, Probe::Exec(vec!["pg_isready".to_owned()]));
    assert!(!settings.secrets["app"].restart_on_change);
}

#[test]
fn metrics_are_shown_to_this_host_alone_and_go_nowhere_unless_it_is_written() {
    assert_eq!(settings("").metrics, None, "no listener that nobody asked for");
    let metrics = settings("[metrics]").metrics.unwrap();
    assert_eq!(metrics.listen.to_string(), "127.0.0.1:9464");
    assert!(!metrics.cloudwatch);
    assert_eq!((metrics.every, metrics.namespace.as_str()), (Duration::from_secs(60), "NodeAgent"));
    let metrics = settings(
        "[logs]\ngroup = \"g\"\n[metrics]\nlisten = \"[::]:80\"\ncloudwatch = true\nevery = \"10s\"\nnamespace = \"Mine/Nodes\"",
    );
    let metrics = metrics.metrics.unwrap();
    assert_eq!((metrics.listen.to_string().as_str(), metrics.cloudwatch), ("[::]:80", true));
    assert_eq!((metrics.every, metrics.namespace.as_str()), (Duration::from_secs(10), "Mine/Nodes"));
}

#[test]
fn the_agent_and_the_registries() {
    let sum = "AB".repeat(32);
    let settings = settings(&format!(
        "[agent]\nurl = \"https://example.com/a.tar.gz\"\nsha256 = \"{sum}\"\n[secrets.hub]\nid = \"hub\"\n[registries]\n\"localhost:5000\".auth = \"ecr\"\n\"ghcr.io\".auth = {{ secret = \"hub\" }}\n\"quay.io\" = {{ auth = \"none\" }}"
    ));
    assert_eq!(settings.agent.unwrap().sha256, sum.to_lowercase());
    assert_eq!(settings.registries["localhost:5000"], RegistryAuth::Ecr);
    assert_eq!(settings.registries["ghcr.io"], RegistryAuth::Secret("hub".to_owned()));
    assert_eq!(settings.registries["quay.io"], RegistryAuth::None);
}

#[test]
fn ports_of_health_checks_can_be_texts() {
    let text = "[var]\np = \"9000\"\n[services.a]\nimage = \"a\"\nhealth.tcp = \"${var.p}\"\n[services.b]\nimage = \"b\"\nhealth.tcp = 9000";
    let settings = settings(text);
    assert_eq!(settings.services["a"].health.probe, Probe::Tcp { port: 9000 });
    assert_eq!(settings.services["b"].health.probe, Probe::Tcp { port: 9000 });
}
