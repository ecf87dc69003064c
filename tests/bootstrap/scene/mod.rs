//! A scene: a world with a disk in it and everything that a node may be configured with, in which node-bootstrap runs
//! under the tracer; and what such a run has left, in a form in which two runs can be compared.
//!
//! What differs from run to run (times, the UUID of a new file system, device nodes, which run did a step) is not in
//! that form, everything else is.

pub(crate) mod disk;
mod points;
mod state;
mod turns;

pub(crate) use disk::{Disk, MIB, Template, filled, hexadecimal, smallest};
pub(crate) use points::{Counter, Point, Seed, sample};
pub(crate) use state::State;
pub(crate) use turns::{Extent, WORKERS, side_by_side, turn};

use crate::world::World;
use flate2::Compression;
use flate2::write::GzEncoder;
use harness::tracer::{Call, Decision, Ended, Program, run};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::time::Duration;

/// Far more than the slowest run needs; what needs it hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// A systemctl with a memory, which also keeps what the agent has read when it was started.
const SYSTEMCTL: &str = r#"#!/bin/sh
case "$1" in
show)
    starts=$(cat /run/agent-starts 2>/dev/null || echo 0)
    if [ "$starts" = 0 ]; then echo ActiveState=inactive; else echo ActiveState=active; fi
    echo LoadState=loaded
    echo "InvocationID=$starts";;
start|restart)
    cat /etc/node-agent/node.toml /run/node-agent/environment /usr/bin/node-agent > /run/new-agent-read
    readlink /run/node-agent/secrets/*/current >> /run/new-agent-read
    mv /run/new-agent-read /run/agent-read
    echo $(($(cat /run/agent-starts 2>/dev/null || echo 0) + 1)) > /run/new-agent-starts
    mv /run/new-agent-starts /run/agent-starts;;
enable) touch /etc/systemd/enabled;;
is-enabled) test -e /etc/systemd/enabled;;
esac
"#;

pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) disk: Disk,
    pub(crate) configuration: String,
    /// Of the file system that the disk held at first.
    first_uuid: Vec<u8>,
}

impl Scene {
    pub(crate) fn new(filesystem: &str, disk: Disk) -> Scene {
        let world = World::with_everything();
        world.write_file("usr/local/sbin/systemctl", SYSTEMCTL, 0o755);
        disk.attach(&world, "xvdf");
        let configuration = provide(&world, filesystem, "1");
        let first_uuid = disk.superblock().uuid;
        Scene { world, disk, configuration, first_uuid }
    }

    /// The next version of everything that comes from outside.
    pub(crate) fn update(&mut self, filesystem: &str) {
        self.configuration = provide(&self.world, filesystem, "2");
    }

    /// Nothing but the volume is wanted.
    pub(crate) fn of_volume(filesystem: &str, disk: Disk) -> Scene {
        let mut scene = Scene::new(filesystem, disk);
        scene.configuration = format!("{}[services.web]\nimage = \"nginx:1\"\n", volume(filesystem));
        scene
    }

    pub(crate) fn program(&self) -> Program {
        let environment = self.world.environment().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Program {
            path: PathBuf::from(env!("CARGO_BIN_EXE_node-bootstrap")),
            arguments: ["run", "--config", "-"].map(str::to_owned).to_vec(),
            environment: environment.to_vec(),
            input: self.configuration.clone().into_bytes(),
            namespace: Some(self.world.namespace()),
            with_reads: false,
            // Not ours; a half-started agent is systemd's to tell.
            ignored: vec!["systemctl".to_owned()],
            deadline: DEADLINE,
        }
    }

    /// Runs bootstrap; `decide` is asked at every change.
    pub(crate) fn run(&self, decide: &mut (dyn FnMut(&Call) -> Decision + Send)) -> Ended {
        run(&self.program(), decide).unwrap()
    }

    /// As the next boot finds it: no mount, nothing in /run, and what is on disks as it was.
    pub(crate) fn reboot(&self) {
        for mount in ["/mnt/models", "/run/node-agent/secrets"] {
            if self.world.mounts().contains(&format!(" {mount} ")) {
                let output = self.world.inside("umount", &[mount]);
                assert!(output.status.success(), "{output:?}");
            }
        }
        let _ = std::fs::remove_dir_all(self.world.seen("/run/node-agent"));
        for file in ["agent-starts", "agent-read"] {
            let _ = std::fs::remove_file(self.world.seen(&format!("/run/{file}")));
        }
    }

    /// Runs bootstrap and lets it.
    pub(crate) fn undisturbed(&self) -> Ended {
        self.run(&mut |_| Decision::GoOn)
    }
}

/// Puts one version of a secret and of a release into the cloud; the configuration that wants them.
fn provide(world: &World, filesystem: &str, version: &str) -> String {
    let tarball = release(version);
    let sha256 = hexadecimal(&Sha256::digest(&tarball));
    let mut answers = world.cloud.answers.lock().unwrap();
    let value = format!("{{\"SECRET_KEY\":\"value of version {version}\",\"OTHER\":\"other\"}}");
    answers.secrets.insert("app-secrets".to_owned(), (format!("version-{version}"), value));
    answers.files.insert("/agent.tar.gz".to_owned(), tarball);
    let (endpoint, volume) = (&world.cloud.endpoint, volume(filesystem));
    format!(
        "[agent]\nurl = \"{endpoint}/agent.tar.gz\"\nsha256 = \"{sha256}\"\n\
         [secrets.app]\nid = \"app-secrets\"\nrequire = [\"SECRET_KEY\"]\n\
         {volume}[services.web]\nimage = \"nginx:{version}\"\n"
    )
}

fn volume(filesystem: &str) -> String {
    format!(
        "[volumes.models]\ndevice = \"/dev/sdf\"\nmount = \"/mnt/models\"\nfilesystem = \"{filesystem}\"\nwait = \"1s\"\n"
    )
}

fn release(version: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let files = [
        ("bin/node-agent", 0o755),
        ("bin/agentctl", 0o755),
        ("systemd/node-agent.service", 0o644),
        ("systemd/node-bootstrap.service", 0o644),
    ];
    for (path, mode) in files {
        let content = format!("{path} {version}\n");
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        let name = format!("node-agent-{version}-x86_64/{path}");
        builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}
