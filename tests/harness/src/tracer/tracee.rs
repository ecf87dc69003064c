//! One stopped thread of a traced program: what it is about to call, on which object, and how that call is bent.

use super::calls::{self, Kind, Object, Row};
use super::{Call, Decision};
use nix::libc;
use nix::sys::ptrace;
use nix::unistd::Pid;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};

/// Registers of a thread at the entry of a call.
pub(super) struct Entry {
    thread: Pid,
    registers: libc::user_regs_struct,
}

impl Entry {
    /// `None` when the thread has died meanwhile.
    pub(super) fn of(thread: Pid) -> Option<Entry> {
        Some(Entry { thread, registers: ptrace::getregs(thread).ok()? })
    }

    fn arguments(&self) -> [u64; 6] {
        let registers = &self.registers;
        [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9]
    }

    /// What it is about to do; `None` for what touches nothing outside: pipes, sockets, terminals, `ignored` files.
    pub(super) fn call(&self, ignored: &[(u64, u64)]) -> Option<Call> {
        let row = calls::find(self.registers.orig_rax)?;
        let arguments = self.arguments();
        let kind = calls::kind(row, &arguments);
        let (object, metadata) = self.object(row, &arguments);
        if let Object::Descriptor(_) = row.object {
            let metadata = metadata.as_ref()?;
            let file = metadata.file_type();
            let counts = match kind {
                Kind::Read => file.is_block_device(),
                Kind::Change => file.is_block_device() || file.is_file() || file.is_dir(),
                Kind::Look => file.is_block_device(),
            };
            if !counts || ignored.contains(&(metadata.dev(), metadata.ino())) {
                return None;
            }
        }
        let device = metadata.filter(|metadata| metadata.file_type().is_block_device());
        Some(Call {
            number: 0,
            program: String::new(),
            is_main: false,
            name: row.name,
            kind,
            object,
            device: device.map(|metadata| metadata.rdev()),
            bytes: arguments[2],
            offset: arguments[3],
        })
    }

    fn object(&self, row: &Row, arguments: &[u64; 6]) -> (String, Option<Metadata>) {
        match row.object {
            Object::Path(index) => (self.text(arguments[index]), None),
            Object::Descriptor(index) => {
                let link = format!("/proc/{}/fd/{}", self.thread, arguments[index]);
                let shown = fs::read_link(&link).map(|path| path.display().to_string());
                (shown.unwrap_or_default(), fs::metadata(&link).ok())
            }
            Object::None => (String::new(), None),
        }
    }

    /// Text that ends in NUL, in the memory of the thread. Read page by page: the next one may not be there.
    fn text(&self, mut address: u64) -> String {
        const PAGE: u64 = 4096;
        const LONGEST: usize = 1024;
        let Ok(memory) = File::open(format!("/proc/{}/mem", self.thread)) else { return String::new() };
        let mut bytes = Vec::new();
        while bytes.len() < LONGEST {
            let mut piece = vec![0; usize::try_from(PAGE - address % PAGE).unwrap_or_default().min(LONGEST)];
            let Ok(read @ 1..) = memory.read_at(&mut piece, address) else { break };
            let end = piece[..read].iter().position(|byte| *byte == 0);
            bytes.extend_from_slice(&piece[..end.unwrap_or(read)]);
            if end.is_some() {
                break;
            }
            address += read as u64;
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Makes the call be what was decided, for the decisions that let the program live.
    pub(super) fn bend(mut self, decision: Decision) {
        match decision {
            Decision::Fail(errno) => self.answer(-i64::from(errno as i32)),
            Decision::Return(value) => self.answer(value),
            Decision::Shorten(bytes) => self.registers.rdx = bytes.min(self.registers.rdx),
            Decision::GoOn | Decision::KillAll | Decision::KillMain => return,
        }
        // A thread that was killed meanwhile needs no registers.
        let _ = ptrace::setregs(self.thread, self.registers);
    }

    /// The call is left out, and this is what it gives back.
    fn answer(&mut self, value: i64) {
        self.registers.orig_rax = u64::MAX;
        self.registers.rax = value.cast_unsigned();
    }
}
