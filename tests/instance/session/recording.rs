//! A session as it is seen at 80 by 24, kept as golden texts: nothing wraps, and what changes from run to run (times,
//! sizes, digests) is written as what it is.
//!
//! `GOLDEN=write` writes them anew.

use super::scene::web::{BLUE_GREEN, Web};
use super::scene::{PATIENCE, Scene};
use super::terminal::{COLUMNS, LINES, Screen, Terminal};
use harness::requirements::{is_on_path, skipped};
use regex_lite::{Captures, Regex};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For an update that waits for its gate and goes back.
const UPDATE: Duration = Duration::from_secs(90);

/// Digests in the order in which they were seen: the same one has the same name on every screen.
#[derive(Default)]
struct Names(RefCell<Vec<String>>);

impl Names {
    fn of(&self, digest: &str) -> String {
        let mut seen = self.0.borrow_mut();
        let at = seen.iter().position(|known| known == digest).unwrap_or_else(|| {
            seen.push(digest.to_owned());
            seen.len() - 1
        });
        format!("DIGEST-{}", at + 1)
    }
}

/// The screen without what differs from run to run; runs of spaces, which come from the widths of such things, as two.
fn steady(screen: &Screen, names: &Names) -> String {
    let rules: [(&str, &str); 11] = [
        (r"^    \| .*", "    | (a line of the image)"),
        (r"\b172\.18\.0\.[0-9]+\b", "ADDRESS"),
        (r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:]{8}(\.[0-9]+)?( UTC|Z)", "TIME"),
        (r"\b[0-9]+(\.[0-9]+)? ([KMGT]iB|B|bytes)\b", "SIZE"),
        (r"\b[0-9]+(d|h|m|s|ms)( [0-9]+(h|m|s))?\b", "AGE"),
        (r"\b[0-9]+ (ms|s|min)\b", "AGE"),
        (r"\b[0-9]+%", "PART"),
        (r"\b[0-9,]+ events shipped", "SOME events shipped"),
        (r"/dev/loop[0-9]+", "/dev/loopN"),
        (r"Docker [0-9][^,]*", "Docker VERSION"),
        (r"version [0-9a-f-]{8,}…", "version V…"),
    ];
    let digest = Regex::new(r"\b[0-9a-f]{12}\b").unwrap();
    let spaces = Regex::new(r" {2,}").unwrap();
    let mut text = String::new();
    for line in &screen.lines {
        let mut line = digest.replace_all(line, |found: &Captures| names.of(&found[0])).into_owned();
        for (pattern, name) in rules {
            line = Regex::new(pattern).unwrap().replace_all(&line, name).into_owned();
        }
        let indent = line.len() - line.trim_start().len();
        let inner = spaces.replace_all(line.trim(), "  ").into_owned();
        text.push_str(&format!("{}{inner}\n", " ".repeat(indent)));
    }
    format!("{text}[{}]#\n", screen.code)
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../instance/session/golden").join(format!("{name}.txt"))
}

/// Compares a screen with what is kept of it.
#[track_caller]
fn assert_screen(name: &str, screen: &Screen, names: &Names) {
    let shown = screen.lines.join("\n");
    assert_eq!(screen.wrapped, 0, "{name}: lines wrap:\n{shown}");
    assert!(screen.lines.iter().all(|line| line.chars().count() <= COLUMNS), "{name}:\n{shown}");
    let (path, text) = (golden(name), steady(screen, names));
    if std::env::var_os("GOLDEN").is_some_and(|word| word == "write") {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, kept, "{name} differs (GOLDEN=write keeps it); the screen:\n{shown}");
}

#[test]
fn a_session_at_80_by_24_reads_as_it_is_kept_and_nothing_wraps() {
    if !is_on_path("tmux") {
        return skipped("no tmux on this host");
    }
    let Some(mut scene) = Scene::set() else { return };
    scene.push("one", "healthy");
    // As it should be where no container needs the metadata service.
    scene.stage.cloud.state().hop_limit = Some(1);
    let sections = "[volumes.models]\ndevice = \"/dev/sdf\"\nmount = \"/mnt/models\"\nfilesystem = \"ext4\"\n\
                    [secrets.app]\nid = \"stage-secrets\"\n";
    let more = "environment_from = [\"app\"]";
    let web = Web { more, update: BLUE_GREEN, sections, ..Web::default() };
    let node_toml = web.node_toml(&scene.stage);
    scene.boot(&node_toml);
    scene.serves("one");
    let good = scene.only().digest.unwrap();
    scene.settled(&good, &["current"]);
    passed(&scene);
    let terminal = Terminal::inside(scene.stage.instance());
    let names = Names::default();
    let fits = |name: &str, screen: &Screen| {
        assert!(screen.lines.len() < LINES, "{name} does not fit a screen:\n{}", screen.lines.join("\n"));
    };

    let status = terminal.run("agentctl status", PATIENCE);
    fits("status", &status);
    assert_screen("status", &status, &names);
    let explain = terminal.run("agentctl explain web", PATIENCE);
    fits("explain", &explain);
    assert_screen("explain", &explain, &names);

    scene.stage.push_sample("bad", "two", "unhealthy").unwrap();
    let update = terminal.run("agentctl update web --to bad --wait", UPDATE);
    assert_eq!(update.code, 1, "{}", update.lines.join("\n"));
    assert_screen("update", &last_words(update), &names);
    // What the planner says in between depends on the moment.
    scene.settled(&good, &["rolled_back", "current", "held", "quarantined"]);
    let explain = terminal.run("agentctl explain web", PATIENCE);
    fits("explain_rolled_back", &explain);
    assert_screen("explain_rolled_back", &explain, &names);

    // What an application writes is as wide as it is.
    let logs = terminal.run("agentctl logs web -n 1000 | grep -m1 listening | cut -c1-45", PATIENCE);
    assert_screen("logs", &logs, &names);
    let failed = terminal.run("agentctl logs web --failed --tail 0", PATIENCE);
    assert_screen("logs_failed", &failed, &names);
    let doctor = terminal.run("agentctl doctor", PATIENCE);
    assert_screen("doctor", &doctor, &names);
    fits("doctor", &doctor);
    watched(&terminal);
}

/// Waits until the first update has passed its gate, and a line was shipped: what is seen until then depends on the moment.
fn passed(scene: &Scene) {
    let explained = || {
        let answer = scene.stage.instance().run(["agentctl", "explain", "web", "--json"]);
        let told: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap_or_default();
        let passed = told[0]["updates"][0]["state"] == "passed" && !scene.shipped().is_empty();
        if passed { Ok(()) } else { Err(answer.to_string()) }
    };
    harness::wait::wait_for("the first update to pass", PATIENCE, explained).unwrap();
}

/// Progress lines depend on how fast the host is: the first says what was asked, the last what became of it.
fn last_words(mut screen: Screen) -> Screen {
    let begin = screen.lines.iter().position(|line| line.starts_with("the last lines of")).unwrap_or(1);
    let end = screen.lines.iter().rposition(|line| line.starts_with("  | ")).map_or(begin, |at| at + 1);
    let taken = screen.lines.iter().position(|line| line.ends_with("update web`")).unwrap_or(0);
    let mut lines = screen.lines[..=taken].to_vec();
    lines.push("(what it waits for, and the last lines of the image)".to_owned());
    lines.extend(screen.lines.split_off(end));
    screen.lines = lines;
    screen
}

/// `--watch` shows one screen again and again, and gives the terminal back.
fn watched(terminal: &Terminal) {
    terminal.begin("agentctl status --watch");
    let seen = harness::wait::wait_for("the node on the screen", PATIENCE, || {
        let shown = terminal.now();
        let titles = shown.iter().filter(|line| line.starts_with("SERVICE")).count();
        if titles == 1 { Ok(shown) } else { Err(shown.join("\n")) }
    });
    assert!(seen.unwrap().len() <= LINES);
    terminal.press("C-c");
    terminal.ended(PATIENCE);
}
