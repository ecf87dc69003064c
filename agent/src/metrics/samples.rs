//! A node with everything that is measured, for the tests of what it is shown as; and a source that is scripted.

use super::Source;
use super::collection::{
    Collection, ContainerMemory, ContainerUse, Cpu, EbsCounters, EbsVolume, FileSystem, Interface, Kernel,
    Load, Memory, Process, Traffic,
};
use crate::board::Board;
use crate::observed::Container;
use crate::status::{
    Dropped, HealthState, Logs, Model, ModelServer, ModelServerState, ModelState, Node, NodeState, Service,
    ServiceState, Status, UpdateState, UpdateStatus, Volume,
};
use jiff::Timestamp;
use node::problem::Problem;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

pub(super) fn node() -> Node {
    Node {
        name: "test-node".to_owned(),
        instance_id: "i-0123456789abcdef0".to_owned(),
        instance_type: "t3.small".to_owned(),
        region: "eu-north-1".to_owned(),
        availability_zone: "eu-north-1a".to_owned(),
        state: NodeState::Ready,
        since: at(0),
        version: "0.1.0".to_owned(),
        boot: "boot".to_owned(),
    }
}

fn update() -> UpdateStatus {
    UpdateStatus { state: UpdateState::Held, candidate: None, reason: None, checked_at: None }
}

pub(super) fn service(name: &str) -> Service {
    Service {
        name: name.to_owned(),
        state: ServiceState::Running,
        health: HealthState::Passing,
        image: "localhost:5000/api:latest".to_owned(),
        digest: Some("sha256:ab".to_owned()),
        container_id: None,
        since: at(0),
        restarts: 2,
        update: update(),
    }
}

fn model() -> Model {
    Model {
        name: "llama3.2:3b".to_owned(),
        digest: None,
        size_bytes: Some(2_000_000_000),
        state: ModelState::Loaded,
        progress: None,
        on_gpu: Some(false),
        memory_bytes: Some(3_000_000_000),
        gpu_memory_bytes: Some(1_000_000_000),
        required: true,
        keep_loaded: true,
        reason: None,
        since: None,
        pinned: None,
        previous: None,
        update: update(),
    }
}

pub(super) fn volume(name: &str, volume_id: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        volume_id: Some(volume_id.to_owned()),
        device: None,
        mount: format!("/mnt/{name}"),
        filesystem: None,
        size_bytes: None,
        used_bytes: None,
    }
}

pub(super) fn file_system(volume: &str, mount: &str) -> FileSystem {
    FileSystem {
        volume: volume.to_owned(),
        mount: mount.to_owned(),
        size_bytes: 1_000,
        free_bytes: 400,
        available_bytes: 200,
        inodes: 100,
        inodes_free: 75,
    }
}

pub(super) fn container(id: &str, cpu_seconds: f64) -> ContainerUse {
    ContainerUse {
        id: id.to_owned(),
        name: format!("api-{id}"),
        service: "api".to_owned(),
        cpu_seconds: Some(cpu_seconds),
        memory: Some(ContainerMemory { working_set_bytes: 100, limit_bytes: Some(400) }),
    }
}

pub(super) fn ebs(volume_id: &str, is_root: bool, count: u64) -> EbsVolume {
    let counters = EbsCounters {
        read_bytes: count,
        volume_iops_exceeded_microseconds: count * 1_000_000,
        queue_length: 3,
        ..EbsCounters::default()
    };
    EbsVolume { volume_id: volume_id.to_owned(), is_root, counters }
}

/// What the kernel says after `seconds` in which one of two processors worked.
pub(super) fn kernel(whole_seconds: u32) -> Kernel {
    let seconds = f64::from(whole_seconds);
    let modes = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
    let share = |mode: &str| match mode {
        "user" | "idle" => seconds,
        _ => 0.0,
    };
    let count = u64::from(whole_seconds) * 1000;
    let traffic = Traffic { bytes: count, packets: count / 10, errors: 1, dropped: 2 };
    Kernel {
        memory: Some(Memory {
            total_bytes: 1000,
            free_bytes: 100,
            available_bytes: 250,
            cached_bytes: 200,
            buffers_bytes: 10,
            swap_total_bytes: 0,
            swap_free_bytes: 0,
        }),
        load: Some(Load { one: 0.5, five: 0.25, fifteen: 0.125 }),
        cpu: Some(Cpu { seconds: modes.map(|mode| (mode, share(mode))).to_vec(), count: 2 }),
        interfaces: vec![Interface { name: "ens5".to_owned(), received: traffic, sent: traffic }],
        containers: vec![container("3", seconds)],
        agent: Some(Process { cpu_seconds: seconds / 10.0, resident_bytes: 16 << 20 }),
    }
}

/// A node that has worked for so many seconds.
pub(super) fn collection(seconds: u32) -> Collection {
    let problem = |code: &str, message: &str| Problem {
        code: code.to_owned(),
        message: message.to_owned(),
        hint: None,
        since: at(0),
    };
    let count = u64::from(seconds);
    Collection {
        at: at(i64::from(seconds)),
        took_seconds: 0.004,
        status: Status {
            node: node(),
            services: vec![service("api"), service("web")],
            models: vec![model()],
            model_server: None,
            volumes: vec![volume("models", "vol-0a"), volume("spare", "vol-0b")],
            logs: Logs {
                group: Some("/aws/ec2/api".to_owned()),
                events_shipped: count * 10,
                events_dropped: count,
                dropped: Dropped { over_the_queue: count, ..Dropped::default() },
                bytes_shipped: count * 100,
                backlog_bytes: 55,
                oldest_unshipped_seconds: 7,
                behind: Vec::new(),
                budgets: Vec::new(),
            },
            secrets: Vec::new(),
            problems: vec![problem("x", "one"), problem("x", "two"), problem("y", "three")],
        },
        kernel: Some(kernel(seconds)),
        file_systems: Some(vec![file_system("models", "/mnt/models"), file_system("/", "/")]),
        ebs: Some(vec![ebs("vol-0a", false, count), ebs("vol-0c", true, 1), ebs("vol-0d", false, 1)]),
        lines_dropped: 0,
    }
}

/// The same with a model server and a registry that has answered: every family that there can be has a sample.
pub(super) fn whole(seconds: u32) -> Collection {
    let mut whole = collection(seconds);
    whole.status.model_server = Some(ModelServer {
        service: Some("ollama".to_owned()),
        endpoint: None,
        version: None,
        state: ModelServerState::Up,
        reason: None,
        gpus: Some(1),
        gpu_restarts: 1,
        directory: None,
        free_bytes: None,
        prewarm: None,
    });
    for service in &mut whole.status.services {
        service.update.checked_at = Some(at(0));
    }
    whole
}

/// Counts how often it is asked, and hangs where it is told to.
#[derive(Default)]
pub(super) struct Scripted {
    pub(super) looks: AtomicU32,
    pub(super) file_systems_under_way: AtomicU64,
    pub(super) most_under_way: AtomicU64,
    /// File systems do not answer while this is held.
    pub(super) device: Mutex<()>,
}

impl Source for Scripted {
    fn kernel(&self, _: &[Container]) -> Kernel {
        let look = self.looks.fetch_add(1, Ordering::SeqCst) + 1;
        kernel(look)
    }

    fn file_systems(&self, _: &[Volume]) -> Vec<FileSystem> {
        let under_way = self.file_systems_under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        drop(self.device.lock().unwrap());
        self.file_systems_under_way.fetch_sub(1, Ordering::SeqCst);
        vec![file_system("/", "/")]
    }

    fn ebs(&self) -> Vec<EbsVolume> {
        Vec::new()
    }
}

pub(super) fn board() -> Board {
    Board::new(node())
}
