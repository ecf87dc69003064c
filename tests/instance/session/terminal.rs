//! A terminal of 80 by 24 with a shell inside an instance, by tmux.
//!
//! What always holds: the server of tmux has a socket of its own and ends with the terminal.

use harness::instance::Instance;
use harness::wait::wait_for;
use regex_lite::Regex;
use std::process::{Command, Output};
use std::time::Duration;

pub(crate) const COLUMNS: usize = 80;
pub(crate) const LINES: usize = 24;

pub(crate) struct Terminal {
    socket: String,
}

/// What was on it when a command had ended.
pub(crate) struct Screen {
    /// Lines as they were shown, those that were scrolled out included.
    pub(crate) lines: Vec<String>,
    /// Lines that were wider than the terminal.
    pub(crate) wrapped: usize,
    pub(crate) code: i32,
}

impl Terminal {
    /// Opens one; the prompt is the last exit code.
    pub(crate) fn inside(instance: &Instance) -> Terminal {
        let terminal = Terminal { socket: harness::instance::next_name("tmux") };
        let enter = instance.shell_command().replace(
            "/bin/bash",
            "/usr/bin/env -i HOME=/root TERM=screen PATH=/usr/sbin:/usr/bin:/sbin:/bin 'PS1=[$?]# ' \
             /bin/bash --norc --noprofile",
        );
        let (columns, lines) = (COLUMNS.to_string(), LINES.to_string());
        let opened =
            terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &lines, &enter]);
        assert!(opened.status.success(), "{opened:?}");
        terminal.idle("[0]#", Duration::from_secs(10));
        terminal
    }

    /// Types a command, and waits for its end.
    pub(crate) fn run(&self, command: &str, patience: Duration) -> Screen {
        self.begin(command);
        self.ended(patience)
    }

    /// Types a command on an empty screen.
    pub(crate) fn begin(&self, command: &str) {
        assert!(command.len() + "[0]# ".len() < COLUMNS, "too long to be typed: {command}");
        self.tmux(&["send-keys", "clear", "Enter"]);
        self.idle("[0]#", Duration::from_secs(10));
        self.tmux(&["clear-history"]);
        self.tmux(&["send-keys", "-l", command]);
        self.tmux(&["send-keys", "Enter"]);
        // Echoed, or the screen is the command's own already.
        wait_for("the command to be taken", Duration::from_secs(10), || {
            let shown = self.shown(&[]);
            let taken = shown.len() > 1 || shown.iter().any(|line| line.contains(command));
            if taken { Ok(()) } else { Err(shown.join("\n")) }
        })
        .unwrap();
    }

    /// Presses a key.
    pub(crate) fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// Waits until the command has ended.
    pub(crate) fn ended(&self, patience: Duration) -> Screen {
        let prompt = Regex::new(r"^\[([0-9]+)\]#$").unwrap();
        let code = wait_for("the prompt", patience, || {
            let shown = self.shown(&[]);
            let last = shown.last().map(|line| line.trim_end().to_owned()).unwrap_or_default();
            let code = prompt.captures(&last).and_then(|found| found[1].parse().ok());
            code.filter(|_| shown.len() > 1).ok_or_else(|| shown.join("\n"))
        })
        .unwrap();
        let mut lines = self.shown(&["-S", "-"]);
        let wrapped = lines.len() - self.shown(&["-S", "-", "-J"]).len();
        lines.pop();
        Screen { lines, wrapped, code }
    }

    /// What is on it now.
    pub(crate) fn now(&self) -> Vec<String> {
        self.shown(&[])
    }

    fn idle(&self, prompt: &str, patience: Duration) {
        wait_for("an empty prompt", patience, || {
            let shown = self.shown(&[]);
            if shown.len() == 1 && shown[0].starts_with('[') && shown[0].ends_with("]#") {
                return Ok(());
            }
            Err(format!("{prompt}: {shown:?}"))
        })
        .unwrap();
    }

    /// Lines without the empty ones at the end.
    fn shown(&self, options: &[&str]) -> Vec<String> {
        let mut arguments = vec!["capture-pane", "-p"];
        arguments.extend(options);
        let output = self.tmux(&arguments);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.trim_end().lines().map(|line| line.trim_end().to_owned()).collect()
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        // The suites' own environment says nothing of a terminal.
        let mut command = Command::new("tmux");
        command.args(["-L", &self.socket]).args(arguments).env("TERM", "screen").env("LC_ALL", "C.UTF-8");
        command.output().unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}
