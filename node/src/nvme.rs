//! NVMe controllers: what they are asked, and the names of those of EC2.
//!
//! In: an open device. Out: the bytes that it answers with; what they mean is said by who asked. Each call hands the
//! kernel one structure of ours of exactly the size that its request number says, and has a time limit that the kernel
//! keeps. Not its job: finding devices.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Model of an EBS controller; only its vendor area holds an attach name, only it keeps the log page of EBS.
pub const EBS_MODEL: &str = "Amazon Elastic Block Store";
/// Model of an instance store controller: lost with the instance, never a volume of node.toml.
pub const INSTANCE_STORE_MODEL: &str = "Amazon EC2 NVMe Instance Storage";

/// Size of what both questions are answered with.
pub const PAGE_BYTES: usize = 4096;

/// For one answer. The kernel's own limit is meant for disks that rotate.
const TIMEOUT_MS: u32 = 2000;

/// `struct nvme_admin_cmd`, linux/nvme_ioctl.h
#[repr(C)]
#[derive(Default)]
struct AdminCommand {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    dword_2: u32,
    dword_3: u32,
    metadata: u64,
    address: u64,
    metadata_bytes: u32,
    data_bytes: u32,
    dword_10: u32,
    dwords_11_to_15: [u32; 5],
    timeout_ms: u32,
    result: u32,
}

mod request {
    // The function that this macro makes is documented by the kernel's name.
    nix::ioctl_readwrite!(admin_command, b'N', 0x41, super::AdminCommand);
}

/// Identify Controller: opcode 6, controller data structure.
pub fn identify_controller(device: &File) -> io::Result<Vec<u8>> {
    const IDENTIFY: u8 = 6;
    const CONTROLLER: u32 = 1;
    ask(device, AdminCommand { opcode: IDENTIFY, dword_10: CONTROLLER, ..AdminCommand::default() })
}

/// Get Log Page: opcode 2, of namespace 1, the first 4096 bytes.
pub fn log_page(device: &File, page: u8) -> io::Result<Vec<u8>> {
    const GET_LOG_PAGE: u8 = 2;
    // Number of dwords to return, counted from 0, in the upper half.
    const DWORDS: u32 = 4096 / 4 - 1;
    let dword_10 = u32::from(page) | DWORDS << 16;
    ask(device, AdminCommand { opcode: GET_LOG_PAGE, namespace: 1, dword_10, ..AdminCommand::default() })
}

fn ask(device: &File, mut command: AdminCommand) -> io::Result<Vec<u8>> {
    let mut data = vec![0_u8; PAGE_BYTES];
    command.address = data.as_mut_ptr() as u64;
    command.data_bytes = 4096;
    command.timeout_ms = TIMEOUT_MS;
    // SAFETY: `command` is the structure of this request, and `data` has the 4096 bytes that it announces; both live
    // until the call returns.
    let status = unsafe { request::admin_command(device.as_raw_fd(), &raw mut command) }?;
    match status {
        0 => Ok(data),
        // Above zero it is the controller's word, not the kernel's.
        status => Err(io::Error::other(format!("the controller answers with status {status:#x}"))),
    }
}

/// `vol-0123…` from an NVMe serial number, which has no dash.
pub fn volume_id(serial: &str) -> Option<String> {
    let digits = serial.trim().strip_prefix("vol")?;
    let digits = digits.strip_prefix('-').unwrap_or(digits);
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let valid = (8..=17).contains(&digits.len()) && digits.bytes().all(hexadecimal);
    valid.then(|| format!("vol-{digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_has_the_size_that_the_kernel_expects() {
        assert_eq!(size_of::<AdminCommand>(), 72);
    }

    #[test]
    fn what_is_no_controller_is_an_error() {
        let file = File::open("/dev/null").unwrap();
        assert!(identify_controller(&file).is_err());
        assert!(log_page(&file, 0xD0).is_err());
    }

    #[test]
    fn a_serial_becomes_a_volume_id_with_its_dash() {
        assert_eq!(volume_id("vol0a1b2c3d4e5f60718 ").as_deref(), Some("vol-0a1b2c3d4e5f60718"));
        assert_eq!(volume_id("vol-0a1b2c3d").as_deref(), Some("vol-0a1b2c3d"));
        assert_eq!(volume_id("AWS22222222222222222"), None);
        assert_eq!(volume_id("vol0a1b"), None);
    }
}
