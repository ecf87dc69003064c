//! A whole machine: a real kernel under QEMU, its root and its volumes behind real NVMe controllers, with cloud-init and
//! the Ec2 data source, in front of the same cloud as the disposable instance.
//!
//! In: a cached image, what the cloud wants to be called, and volumes. Out: commands inside, the serial console, and what
//! only a machine can do: attach a volume while it runs, reboot, power off and come back. QEMU, DHCP server and tap
//! device go when the value is dropped, when its thread ends, and when the process is killed.
//! Not its job: the cloud around it (`stage`) and what is asserted (`tests/machine`).

#![expect(clippy::disallowed_methods, reason = "the harness drives the host: commands, files")]

mod acceleration;
mod disk;
mod image;
mod network;
mod qmp;
mod shell;

pub use acceleration::Acceleration;
pub use disk::Disk;
pub use image::Image;

use crate::instance::{Answer, Description, OUTSIDE_ADDRESS};
use crate::processes::Process;
use crate::wait::wait_for;
use network::Network;
use qmp::Qmp;
use serde_json::json;
use shell::Shell;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// From power on to a shell; translated and on two busy cores about 15 s.
const BOOT_DEADLINE: Duration = Duration::from_secs(180);
/// From the request to the end; Docker and the agent have their own deadlines inside.
const POWER_OFF_DEADLINE: Duration = Duration::from_secs(120);
const SOCKET_DEADLINE: Duration = Duration::from_secs(20);
/// Places for volumes, which can be attached while the machine runs.
const SLOTS: usize = 3;
const ROOT_SERIAL: &str = "vol0aaaaaaaaaaaaaaaa";
const MEMORY_MIB: &str = "2048";
/// By this cloud-init knows that it is on EC2 before it asks anybody.
const FIRMWARE: &str = "type=1,manufacturer=Amazon EC2,product=t3.small,version=,\
                        uuid=ec2e1916-9099-7caf-fd21-012345abcdef,serial=ec2e1916-9099-7caf-fd21-012345abcdef";

/// A machine, on or off.
pub struct Machine {
    power: Option<Power>,
    /// Held for as long as the machine is.
    _network: Network,
    acceleration: Acceleration,
    kernel: PathBuf,
    directory: PathBuf,
    mac: String,
}

/// What a machine that is on consists of.
struct Power {
    /// First: QEMU ends before what talks to it.
    process: Process,
    qmp: Qmp,
    shell: Shell,
    boot: String,
}

impl Machine {
    /// A machine that is off, with a root disk of its own in `directory`, which is the caller's to remove. The calling
    /// thread must be in the cloud's network and live as long as the machine.
    ///
    /// # Errors
    /// What the host lacks or refused.
    pub fn new(
        image: &Image,
        directory: &Path,
        description: &Description,
        mac: &str,
    ) -> Result<Machine, Box<dyn Error>> {
        fs::create_dir_all(directory)?;
        image.copy(&directory.join("root.img"), &files(description))?;
        let acceleration = Acceleration::probe(&image.kernel(), directory)?;
        Ok(Machine {
            power: None,
            _network: Network::create(directory)?,
            acceleration,
            kernel: image.kernel(),
            directory: directory.to_owned(),
            mac: mac.to_owned(),
        })
    }

    /// How it runs.
    #[must_use]
    pub fn acceleration(&self) -> Acceleration {
        self.acceleration
    }

    /// Powers on with these volumes attached, and waits until a shell answers.
    ///
    /// # Errors
    /// Why it did not boot, with its console.
    pub fn power_on(&mut self, volumes: &[Option<&Disk>]) -> Result<(), Box<dyn Error>> {
        let sockets = ["qmp", "shell"].map(|name| self.directory.join(name));
        for socket in &sockets {
            let _ = fs::remove_file(socket);
        }
        let mut process = Process::start("QEMU", self.command(volumes))?;
        wait_for("QEMU to listen", SOCKET_DEADLINE, || {
            // One that ended is told of by the connection that fails.
            let ended = process.wait_for_exit(Duration::ZERO).is_ok();
            let listens = sockets.iter().all(|socket| socket.exists());
            if listens || ended { Ok(()) } else { Err(process.output()) }
        })?;
        let connected = Qmp::connect(&sockets[0]).and_then(|qmp| Ok((qmp, Shell::connect(&sockets[1])?)));
        let (qmp, shell) = connected.map_err(|error| format!("{error}; QEMU said: {}", process.output()))?;
        self.power = Some(Power { process, qmp, shell, boot: String::new() });
        self.wait_for_boot()
    }

    fn wait_for_boot(&mut self) -> Result<(), Box<dyn Error>> {
        let console = self.directory.join("console.log");
        let power = self.power.as_mut().ok_or("the machine is off")?;
        let before = Some(power.boot.as_str()).filter(|boot| !boot.is_empty());
        let booted = power.shell.wait_for_boot(before, BOOT_DEADLINE, || {
            power.process.wait_for_exit(Duration::ZERO).ok().map(|status| format!("QEMU ended: {status}"))
        });
        match booted {
            Ok(Ok(boot)) => power.boot = boot,
            Ok(Err(ended)) => return Err(format!("{ended}: {}", power.process.output()).into()),
            Err(late) => return Err(format!("{late}\n--- console\n{}", read(&console)).into()),
        }
        Ok(())
    }

    /// The kernel's random id of the boot that answers.
    #[must_use]
    pub fn boot_id(&self) -> &str {
        self.power.as_ref().map_or("", |power| &power.boot)
    }

    /// Attaches a volume to a slot while the machine runs.
    ///
    /// # Errors
    /// What QEMU refused.
    pub fn attach(&mut self, slot: usize, volume: &Disk) -> Result<(), Box<dyn Error>> {
        let power = self.power.as_mut().ok_or("the machine is off")?;
        let node = volume.serial();
        let file = json!({"driver": "file", "filename": volume.file(), "discard": "unmap"});
        let block = json!({"driver": "raw", "node-name": node, "file": file, "discard": "unmap"});
        power.qmp.execute("blockdev-add", &block)?;
        let device = json!({"driver": "nvme", "id": format!("device-{node}"), "drive": node,
            "serial": node, "bus": format!("slot{slot}")});
        power.qmp.execute("device_add", &device)?;
        Ok(())
    }

    /// Runs a script inside and waits for its end.
    ///
    /// # Errors
    /// When the machine is off or does not answer.
    pub fn run(&mut self, script: &str) -> Result<Answer, Box<dyn Error>> {
        let power = self.power.as_mut().ok_or("the machine is off")?;
        Ok(power.shell.run(script)?)
    }

    /// Reboots as a user does, and waits until a shell answers.
    ///
    /// # Errors
    /// Why it did not come up, with its console.
    pub fn reboot(&mut self) -> Result<(), Box<dyn Error>> {
        self.run("systemctl --no-block reboot")?;
        self.wait_for_boot()
    }

    /// Shuts down and powers off.
    ///
    /// # Errors
    /// When it does not end.
    pub fn power_off(&mut self) -> Result<(), Box<dyn Error>> {
        self.run("systemctl --no-block poweroff")?;
        let mut power = self.power.take().ok_or("the machine is off")?;
        let ended = power.process.wait_for_exit(POWER_OFF_DEADLINE);
        ended.map_err(|late| format!("{late}\n--- console\n{}", self.console()))?;
        Ok(())
    }

    /// Everything that was printed on the serial console, all boots.
    #[must_use]
    pub fn console(&self) -> String {
        read(&self.directory.join("console.log"))
    }

    fn command(&self, volumes: &[Option<&Disk>]) -> Command {
        let within = |name: &str| self.directory.join(name).display().to_string();
        let mut command = mortal("qemu-system-x86_64");
        command
            .args(self.acceleration.arguments())
            .args(["-machine", "q35", "-smp", "2", "-m", MEMORY_MIB])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-smbios", FIRMWARE])
            .args(["-chardev", &format!("file,id=console,append=on,path={}", within("console.log"))])
            .args(["-serial", "chardev:console"])
            .args(["-serial", &format!("unix:{},server=on,wait=off", within("shell"))])
            .args(["-qmp", &format!("unix:{},server=on,wait=off", within("qmp"))])
            .arg("-kernel")
            .arg(&self.kernel)
            .args(["-append", &kernel_line()])
            .args(["-netdev", &format!("tap,id=net,ifname={},script=no,downscript=no", network::TAP)])
            .args(["-device", &format!("virtio-net-pci,netdev=net,mac={},romfile=", self.mac)])
            .args(["-blockdev", &block("root", &within("root.img"))])
            .args(["-device", &format!("nvme,drive=root,serial={ROOT_SERIAL}")]);
        for slot in 0..SLOTS {
            command.args(["-device", &format!("pcie-root-port,id=slot{slot},chassis={}", slot + 1)]);
        }
        for (slot, volume) in volumes.iter().enumerate() {
            let Some(volume) = volume else { continue };
            let (node, file) = (volume.serial(), volume.file().display().to_string());
            command.args(["-blockdev", &block(&node, &file)]).args([
                "-device",
                &format!("nvme,id=device-{node},drive={node},serial={node},bus=slot{slot}"),
            ]);
        }
        command
    }
}

fn block(node: &str, file: &str) -> String {
    format!(
        "driver=raw,node-name={node},discard=unmap,file.driver=file,file.discard=unmap,file.filename={file}"
    )
}

/// Without mitigations: every indirect jump of the kernel would be a detour, which is slow to translate.
fn kernel_line() -> String {
    let root = image::ROOT;
    format!(
        "root=PARTUUID={root} rootwait rw console=ttyS0 net.ifnames=0 panic=-1 mitigations=off systemd.show_status=1"
    )
}

/// What differs from run to run on the root disk, as the AMI of an account would have it.
fn files(description: &Description) -> Vec<(String, Vec<u8>)> {
    let hosts =
        description.hosts.iter().map(|name| format!("{OUTSIDE_ADDRESS} {name}\n")).collect::<String>();
    let pairs = description.environment.iter().map(|(name, value)| format!("\"{name}={value}\" "));
    let endpoints = format!("[Manager]\nDefaultEnvironment={}\n", pairs.collect::<String>());
    let mut files = vec![
        ("/etc/hosts".to_owned(), format!("127.0.0.1 localhost\n{hosts}").into_bytes()),
        ("/etc/systemd/system.conf.d/endpoints.conf".to_owned(), endpoints.into_bytes()),
    ];
    files.extend(description.files.iter().map(|(path, content, _)| (path.clone(), content.clone())));
    files
}

/// A command that the kernel kills when the thread that started it ends, however that came; it leaves no core.
fn mortal(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "prlimit", "--core=0", program]);
    command
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
