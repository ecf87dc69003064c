//! The one log of bootstrap: every line goes to standard error, to the log file, to the console and to the journal.
//!
//! Each line reaches each place once: where standard error already is the journal or the console, that one is not
//! written again. A place that cannot be written is left out: the log never stops the boot. `plan` logs to standard
//! error only. Not its job: deciding what is worth a line.

#![expect(
    clippy::disallowed_methods,
    reason = "the log stamps its lines, and finds out where its own output goes"
)]

use jiff::Timestamp;
use nix::sys::stat::{fstat, stat};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

const CONSOLE: &str = "/dev/console";
const JOURNAL: &str = "/run/systemd/journal/socket";
const IDENTIFIER: &str = "node-bootstrap";
/// Ours in full; of the libraries only what is wrong. `RUST_LOG` replaces it.
const DEFAULT_FILTER: &str = "warn,bootstrap=info,node=info";

/// A handle; clones write to the same places.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    places: Arc<Mutex<Places>>,
}

#[derive(Debug)]
struct Places {
    /// systemd stamps the lines of a unit itself.
    stamp_stderr: bool,
    file: Option<File>,
    console: Option<File>,
    journal: Option<UnixDatagram>,
}

impl Log {
    /// Logs to standard error only, from now on and for the whole process.
    pub(crate) fn to_stderr(filter: Option<&str>) -> Log {
        let places = Places { stamp_stderr: !stderr_is_journal(), file: None, console: None, journal: None };
        Log::install(places, filter)
    }

    /// Logs to standard error, console and journal; the file follows with [`Log::open_file`], once something may be
    /// changed.
    pub(crate) fn everywhere(filter: Option<&str>) -> Log {
        let to_journal = stderr_is_journal();
        let places = Places {
            stamp_stderr: !to_journal,
            file: None,
            console: open_console(),
            journal: if to_journal { None } else { open_journal() },
        };
        Log::install(places, filter)
    }

    fn install(places: Places, filter: Option<&str>) -> Log {
        let log = Log { places: Arc::new(Mutex::new(places)) };
        let targets = filter.unwrap_or(DEFAULT_FILTER).parse::<Targets>();
        let wrong = targets.is_err();
        let targets = targets.unwrap_or_else(|_| Targets::new().with_default(Level::INFO));
        // Only tests install twice in one process, and they do not read the log.
        let _ = tracing_subscriber::registry().with(Lines(log.clone()).with_filter(targets)).try_init();
        if wrong {
            tracing::warn!("RUST_LOG is not understood and is taken as `info`");
        }
        log
    }

    /// Adds the log file, appended to, readable by its group.
    pub(crate) fn open_file(&self, path: &Path) {
        let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        match folder.and_then(|()| open_for_appending(path)) {
            Ok(file) => self.places.lock().unwrap_or_else(PoisonError::into_inner).file = Some(file),
            Err(error) => tracing::warn!("goes on without the log file {}: {error}", path.display()),
        }
    }

    /// Lines that a person reads as they are: mistakes in the configuration, the report.
    pub(crate) fn plain(&self, level: Level, lines: &[String]) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        for line in lines {
            places.write(level, line, line);
        }
    }
}

impl Places {
    fn write(&mut self, level: Level, stamped: &str, line: &str) {
        // Each line in one write: a kill between two would leave a torn one, and the next run would write on behind it.
        let stderr = if self.stamp_stderr { stamped } else { line };
        let _ = std::io::stderr().write_all(format!("{stderr}\n").as_bytes());
        if let Some(file) = &mut self.file {
            let _ = file.write_all(format!("{stamped}\n").as_bytes());
        }
        if let Some(console) = &mut self.console {
            let _ = console.write_all(format!("{IDENTIFIER}: {line}\r\n").as_bytes());
        }
        if let Some(journal) = &self.journal {
            let _ = journal.send(&journal_record(level, line));
        }
    }
}

/// One record of the journal's native protocol. The length form is used for the message, which may hold any byte.
/// <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>
fn journal_record(level: Level, line: &str) -> Vec<u8> {
    let priority = match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    };
    let mut record = format!("SYSLOG_IDENTIFIER={IDENTIFIER}\nPRIORITY={priority}\nMESSAGE\n").into_bytes();
    record.extend((line.len() as u64).to_le_bytes());
    record.extend(line.as_bytes());
    record.push(b'\n');
    record
}

fn open_for_appending(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

fn open_console() -> Option<File> {
    let console = stat(CONSOLE).ok()?;
    let stderr = fstat(std::io::stderr().as_fd()).ok()?;
    if console.st_rdev == stderr.st_rdev {
        return None;
    }
    // Not blocking: a serial console that nobody reads must not stop the boot.
    let flags = nix::libc::O_NOCTTY | nix::libc::O_NONBLOCK;
    OpenOptions::new().write(true).custom_flags(flags).open(CONSOLE).ok()
}

fn open_journal() -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect(JOURNAL).ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}

/// systemd says in `JOURNAL_STREAM` which file is its own (sd_journal_stream(3)); it is inherited by programs whose
/// output goes elsewhere, hence the comparison.
fn stderr_is_journal() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else { return false };
    let Ok(stderr) = std::fs::metadata("/proc/self/fd/2") else { return false };
    stream.to_str() == Some(&format!("{}:{}", stderr.dev(), stderr.ino()))
}

/// Turns events into lines.
struct Lines(Log);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = *event.metadata().level();
        let line = line.finish(level);
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        let mut places = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.write(level, &format!("{now} {line}"), &line);
    }
}

/// The message and the fields of one event.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn finish(self, level: Level) -> String {
        let word = match level {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            Level::INFO => "",
            _ => "debug: ",
        };
        format!("{word}{}{}", self.message, self.fields).replace(['\n', '\r'], " ")
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.fields.push_str(&format!(" {}={value:?}", field.name()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_record_carries_priority_identifier_and_length() {
        let record = journal_record(Level::WARN, "no disk");
        let expected = b"SYSLOG_IDENTIFIER=node-bootstrap\nPRIORITY=4\nMESSAGE\n\x07\0\0\0\0\0\0\0no disk\n";
        assert_eq!(record, expected);
    }
}
