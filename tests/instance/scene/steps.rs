//! The steps at which an agent can be killed, each at its exact moment: before a call of the engine that changes something
//! is passed on, after its answer has come but before the agent hears it, before and after a replacement of the firewall's
//! rules, and while and after the history file is replaced.
//!
//! In: a stage that has not booted. Out: an instance whose agent speaks to the engine through a proxy and to the firewall
//! through a program that tells its steps; and a wish at which step to kill.
//! The history is watched from beside: a kill while it is replaced comes between the making of the new file and its taking
//! the place of the old one where the disk is slower than a signal, which it is for a file that is synced.

use super::{PATIENCE, Scene, catch, process_inside};
use harness::engine_proxy::{EngineProxy, Verdict};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

const SOCKET: &str = "/run/steps.sock";
/// So that a suite of many kills waits for what it tests.
const UNIT: &str = "[Service]\nEnvironment=DOCKER_HOST=unix:///run/steps.sock\nRestartSec=100ms\n";
/// Comes before the real one in the unit's PATH.
const NFT: &str = r#"#!/bin/sh
case " $* " in
*" list "*|*" monitor "*|*" --check "*|*" --version "*) exec /usr/sbin/nft "$@" ;;
esac
step() {
    answer=$(curl --silent --output /dev/null --write-out '%{http_code}' --unix-socket /run/steps.sock \
        "http://steps/step/$1" </dev/null)
    [ "$answer" != 409 ] || exit 1
}
step before-rules
/usr/sbin/nft "$@"
code=$?
step after-rules
exit $code
"#;
/// For a process that was sent SIGKILL to be gone.
const GONE: Duration = Duration::from_secs(5);

/// One step of what is watched.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// From 1.
    pub(crate) number: usize,
    /// E.g. `before POST /containers/ID/start`, `after-rules`.
    pub(crate) name: String,
}

/// Says whether to kill at a step.
type Wish = Box<dyn FnMut(&Step) -> bool + Send>;

/// What was seen while it was watched.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// All steps, in their order.
    pub(crate) steps: Vec<String>,
    /// At which the agent was killed.
    pub(crate) struck: Option<Step>,
}

#[derive(Default)]
struct State {
    wish: Option<Wish>,
    watched: bool,
    seen: Seen,
}

struct Shared {
    leader: u32,
    state: Mutex<State>,
}

/// The steps of one instance's agent.
pub(crate) struct Steps {
    shared: Arc<Shared>,
    _proxy: EngineProxy,
    _history: HistoryWatch,
}

impl Steps {
    /// Boots the scene's instance so that the steps of its agent are seen.
    pub(crate) fn boot(scene: &mut Scene, node_toml: &str) -> Steps {
        let file = |path: &str, text: &str, mode| (path.to_owned(), text.as_bytes().to_vec(), mode);
        scene.stage.description().files.extend([
            file("/etc/systemd/system/node-agent.service.d/steps.conf", UNIT, 0o644),
            file("/usr/local/sbin/nft", NFT, 0o755),
            // The directory is there before the agent is, so that it can be watched.
            file("/var/lib/node-agent/.watched", "", 0o644),
        ]);
        scene.stage.boot(node_toml).unwrap_or_else(|error| panic!("boot: {error}"));
        let leader = scene.stage.instance().leader();
        let shared = Arc::new(Shared { leader, state: Mutex::default() });
        let root = PathBuf::from(format!("/proc/{leader}/root"));
        let (told, at, engine) = (Arc::clone(&shared), root.join(&SOCKET[1..]), root.join("run/docker.sock"));
        let proxy = EngineProxy::start(&at, &engine, Arc::new(move |moment| told.step(moment)));
        let proxy = proxy.unwrap_or_else(|error| panic!("the proxy at {}: {error}", at.display()));
        let history = HistoryWatch::start(&root.join("var/lib/node-agent"), Arc::clone(&shared));
        let (code, output) = scene.stage.wait_for_user_data(PATIENCE).unwrap();
        assert_eq!(code, 0, "{output}");
        Steps { shared, _proxy: proxy, _history: history }
    }

    /// Counts steps from now on, and kills at the first one that is wished for.
    pub(crate) fn watch(&self, wish: impl FnMut(&Step) -> bool + Send + 'static) {
        let mut state = self.shared.state();
        *state = State { wish: Some(Box::new(wish)), watched: true, seen: Seen::default() };
    }

    /// Step at which the agent was killed since, if it was.
    pub(crate) fn struck(&self) -> Option<Step> {
        self.shared.state().seen.struck.clone()
    }

    /// Ends counting.
    pub(crate) fn end(&self) -> Seen {
        std::mem::take(&mut *self.shared.state()).seen
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One step at a time: whoever comes while the agent is being killed comes after that.
    fn step(&self, name: &str) -> Verdict {
        let mut state = self.state();
        if !state.watched {
            return Verdict::GoOn;
        }
        state.seen.steps.push(name.to_owned());
        let step = Step { number: state.seen.steps.len(), name: name.to_owned() };
        if !state.wish.as_mut().is_some_and(|wish| wish(&step)) {
            return Verdict::GoOn;
        }
        state.wish = None;
        state.seen.struck = Some(step);
        let Some(pid) = process_inside(self.leader, "node-agent") else { return Verdict::Cut };
        kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        let stat = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let gone = catch(GONE, || {
            let stat = stat();
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        });
        assert!(gone.is_some(), "the agent survived SIGKILL: {}", stat());
        Verdict::Cut
    }
}

/// Sees when the history file is replaced.
struct HistoryWatch {
    inotify: Arc<Inotify>,
    watch: WatchDescriptor,
    thread: Option<JoinHandle<()>>,
}

impl HistoryWatch {
    fn start(directory: &Path, shared: Arc<Shared>) -> HistoryWatch {
        let inotify = Arc::new(Inotify::init(InitFlags::IN_CLOEXEC).unwrap());
        let flags = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        let watch = inotify.add_watch(directory, flags).unwrap();
        let reader = Arc::clone(&inotify);
        let thread = std::thread::spawn(move || {
            while let Ok(events) = reader.read_events() {
                for event in events {
                    let name = event.name.unwrap_or_default().to_string_lossy().into_owned();
                    let (made, moved) = (event.mask & AddWatchFlags::IN_CREATE, event.mask & flags);
                    if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                        return;
                    } else if !made.is_empty() && name.starts_with(".history.json.") {
                        shared.step("while the history is replaced");
                    } else if !moved.is_empty() && name == "history.json" {
                        shared.step("after the history was replaced");
                    }
                }
            }
        });
        HistoryWatch { inotify, watch, thread: Some(thread) }
    }
}

impl Drop for HistoryWatch {
    fn drop(&mut self) {
        // The reader's last event tells it that nothing is watched any more.
        self.inotify.rm_watch(self.watch).ok();
        self.thread.take().map(JoinHandle::join);
    }
}
