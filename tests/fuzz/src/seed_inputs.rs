//! The seeds: real file systems and tables where their tools are installed, our marks, recorded names, and the example
//! nodes.

use super::encode_device;
use bootstrap::volumes::mark::Mark;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Target and input.
pub(crate) fn all() -> Vec<(&'static str, Vec<u8>)> {
    let devices = devices()
        .into_iter()
        .flat_map(|device| [("signatures", device.clone()), ("partition_table", device)]);
    let names = ["/dev/sdf", "xvdba", "sda1", "vol0a1b2c3d4e5f60718", "vol-0a1b2c3d"].map(str::to_owned);
    let names = names.into_iter().map(|name| ("identify", name.into_bytes()));
    let nodes = examples(&workspace().join("packaging/examples")).into_iter().map(|text| ("node_toml", text));
    let supervised = [("node_toml", SUPERVISED.as_bytes().to_vec())];
    devices.chain(marks().map(|mark| ("mark", mark))).chain(names).chain(nodes).chain(supervised).collect()
}

/// The keys that no example needs.
const SUPERVISED: &str = r#"
[images]
reclaim = "all"
unused_for = "24h"
min_free = "5%"
[services.api]
image = "api@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
ports = ["80:8000", "53:53/udp"]
gpus = 2
imds = true
health.exec = ["true"]
[services.api.update]
strategy = "blue-green"
min_age = "24h"
window = ["Mon-Fri 02:00-04:00 UTC", "Sat,Sun 22:00-24:00 UTC", "00:00-01:30 UTC"]
drain = "5m"
before = ["sh", "-c", "exit 0"]
after = ["curl", "-f", "http://localhost:8000/${region}"]
[services.served]
image = "ollama/ollama"
environment = { OLLAMA_HOST = "http://0.0.0.0:8080", OLLAMA_MODELS = "/data/models" }
mounts = ["/mnt/models:/data", "/mnt/other:/data/other:ro"]
[models]
server = "served"
every = "12h"
reserve = "10g"
reclaim = "all"
unused_for = "24h"
prewarm = "100m"
load_deadline = "1h"
[models.pull."http://models.internal:5000/team/tuned:v2"]
digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
keep_loaded = true
required = false
smoke = { prompt = "2 + 2?", expect = "4", within = "1m" }
[services.api.logs]
include = ["ERROR|WARN", "(?i)^traceback"]
exclude = ['GET /health\b', "[가-힣]"]
multiline = "python"
sample = [{ pattern = "cache (hit|miss)", one_in = 100 }, { pattern = "", one_in = 2 }]
repeat = 10
max_rate = "1m"
daily = "5g"
fields = ["service", "image_digest", "instance_id"]
[logs]
group = "/aws/ec2/${node.name}"
retention_days = 30
tags = { team = "x", "Cost Center" = "" }
stream = "{node}/{instance_id}/{service}"
files = ["/var/log/a.log", { path = "/srv/*/log/app-?.log", stream = "{instance_id}{service}", multiline = { start = '^\d{4}-' }, daily = "1g" }]
journal = ["node-agent.service", "app@1.service"]
kernel = false
queue = "16m"
max_event = "1m"
"#;

fn marks() -> impl Iterator<Item = Vec<u8>> {
    let mark = |filesystem, serial: &str| Mark {
        filesystem,
        uuid: "0b6f5a0e-7a3c-4f52-9f1e-2f6c3b8d9a10".to_owned(),
        size_bytes: 20 << 30,
        serial: serial.to_owned(),
    };
    let marks = [mark("xfs", "vol0a1b2c3d4e5f60718"), mark("ext4", "")];
    marks.into_iter().filter_map(|mark| Some(mark.encode()?.to_vec()))
}

/// The folder of the whole workspace, for whichever of the two crates this is compiled in.
fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().find(|folder| folder.join("packaging").is_dir()).unwrap_or(here).to_owned()
}

fn examples(folder: &Path) -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            texts.extend(examples(&path));
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            texts.extend(fs::read(path));
        }
    }
    texts
}

/// What the real tools write on an empty file: its sectors that are not zero, at most 40 of them.
fn devices() -> Vec<Vec<u8>> {
    let table = [
        "mkfs.ext4 -q -F -U 00112233-4455-6677-8899-aabbccddeeff IMAGE",
        "mkfs.xfs -q -f -m uuid=00112233-4455-6677-8899-aabbccddeeff IMAGE",
        "mkfs.btrfs -q -f IMAGE",
        "mkfs.vfat IMAGE",
        "mkswap -q IMAGE",
        "printf 'label: gpt\\n,8M\\n' | sfdisk -q IMAGE",
        "printf 'label: dos\\n,8M\\n' | sfdisk -q IMAGE",
    ];
    const SIZE: u64 = 320 << 20;
    let mut devices = vec![encode_device(SIZE, &[])];
    for line in table {
        let image = tempfile();
        let Ok(file) = fs::OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&image)
        else {
            continue;
        };
        let line = line.replace("IMAGE", &image.display().to_string());
        let made = file.set_len(SIZE).and_then(|()| Command::new("sh").args(["-c", &line]).output());
        if made.is_ok_and(|output| output.status.success()) {
            devices.push(encode_device(SIZE, &sectors(&file, SIZE)));
        }
        fs::remove_file(&image).ok();
    }
    devices
}

/// A new name at each call.
fn tempfile() -> PathBuf {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("fuzz-seed-{}-{call}", std::process::id()))
}

/// From both MiB and the quarters: where superblocks lie.
fn sectors(file: &fs::File, size: u64) -> Vec<(u64, Vec<u8>)> {
    const MIB: u64 = 1 << 20;
    let ranges = [(0, MIB), (size - MIB, size), (size / 4, size / 4 + 4096), (8 * MIB, 8 * MIB + 4096)];
    let all = ranges.into_iter().flat_map(|(from, until)| (from..until).step_by(512));
    let read = all.filter_map(|at| {
        let mut sector = vec![0; 512];
        file.read_exact_at(&mut sector, at).ok()?;
        sector.iter().any(|byte| *byte != 0).then_some((at, sector))
    });
    read.take(40).collect()
}
