//! Reloading: applies a config file that appears or changes while a runner runs, as far as that is possible
//! without a restart.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jobq::{Queue, Reloader};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cli::exit::CliResult;
use crate::cli::input::config::source::ConfigSources;
use crate::cli::input::config::{Config, Stamp, tables};
use crate::cli::input::declared;
use crate::cli::render::screen::Screen;
use crate::cli::session::Session;
use crate::cli::verbs::run::output::Sink;
use crate::cli::verbs::run::settings::{RunArgs, builder};

/// The file is looked at this often where nothing tells of its changes.
const LOOK: Duration = Duration::from_secs(10);
/// And this often where something does, in case an event is lost.
const LOOK_WATCHED: Duration = Duration::from_secs(600);
/// A file that stays as it is for so long has been written.
const SETTLED: Duration = Duration::from_millis(200);

/// A thread that waits for the config file to change.
pub(super) struct Watched(JoinHandle<()>, Arc<WatchState>);

/// Shared by the watching thread and the one that ends it.
#[derive(Default)]
struct WatchState {
    has_ended: AtomicBool,
    /// Tells of changes; none where there is nothing that does.
    changes: Mutex<Option<Arc<OwnedFd>>>,
}

struct ConfigWatcher {
    args: RunArgs,
    config: Arc<Config>,
    sources: ConfigSources,
    queue: Queue,
    reloader: Reloader,
    sink: Option<Arc<Sink>>,
    screen: Screen,
    /// The file that was read last, used or not, and its state. None: there was none.
    seen: Option<(usize, Stamp)>,
    shared: Arc<WatchState>,
}

impl Watched {
    /// Watches the config file, or the places where there may be one, until it is ended.
    pub(super) fn start(
        args: &RunArgs,
        queue: &Queue,
        reloader: Reloader,
        sink: Option<Arc<Sink>>,
        session: &Session,
    ) -> CliResult<Watched> {
        let config = &session.config;
        let sources = session.config_sources().up_to(config);
        let shared = Arc::new(WatchState::default());
        shared.follow(changes(&sources, config));
        let watcher = ConfigWatcher {
            args: args.clone(),
            seen: sources.state_of(config),
            config: Arc::clone(config),
            sources,
            queue: queue.clone(),
            reloader,
            sink,
            screen: session.screen.clone(),
            shared: Arc::clone(&shared),
        };
        let thread = thread::Builder::new()
            .name("jobq-config".to_owned())
            .spawn(move || watcher.watch())
            .map_err(|error| jobq::Error::no_thread("config", error))?;
        Ok(Watched(thread, shared))
    }

    pub(super) fn end(self) {
        let Watched(thread, shared) = self;
        shared.has_ended.store(true, Ordering::SeqCst);
        if let Some(changes) = shared.changes() {
            wake(&changes);
        }
        thread.thread().unpark();
        let _ = thread.join();
    }
}

impl WatchState {
    fn changes(&self) -> Option<Arc<OwnedFd>> {
        let changes = self.changes.lock();
        changes.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn follow(&self, new: Option<OwnedFd>) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        *changes = new.map(Arc::new);
    }
}

impl ConfigWatcher {
    fn watch(mut self) {
        loop {
            let mut state = self.sources.state();
            while state != self.seen {
                if !self.settle() {
                    return;
                }
                let before = std::mem::replace(&mut state, self.sources.state());
                if before == state {
                    self.seen = state;
                    self.take_on();
                }
            }
            if !self.wait_for_changes() {
                return;
            }
        }
    }

    /// Lets whoever writes the file finish; false at the end.
    fn settle(&self) -> bool {
        if !self.has_ended() {
            thread::park_timeout(SETTLED);
        }
        !self.has_ended()
    }

    /// Waits until the file may have changed; false at the end.
    fn wait_for_changes(&self) -> bool {
        // Taken first: whoever ends this wakes what is waited for then.
        let changes = self.shared.changes();
        if self.has_ended() {
            return false;
        }
        let Some(changes) = changes else {
            thread::park_timeout(LOOK);
            return !self.has_ended();
        };
        let timeout = Timespec::try_from(LOOK_WATCHED).ok();
        let changed = poll(
            &mut [PollFd::new(&changes, PollFlags::IN)],
            timeout.as_ref(),
        );
        if changed != Ok(0) {
            // A folder may be new, or gone.
            self.follow_changes();
        }
        !self.has_ended()
    }

    fn follow_changes(&self) {
        self.shared.follow(changes(&self.sources, &self.config));
    }

    fn has_ended(&self) -> bool {
        self.shared.has_ended.load(Ordering::SeqCst)
    }

    /// Applies the file. A file with a mistake, or a missing one, changes nothing.
    fn take_on(&mut self) {
        let new = match self.sources.read() {
            Ok(Some(new)) => Arc::new(new),
            Ok(None) if self.config.canonical.is_none() => return,
            Ok(None) => {
                return self.screen.say(format_args!(
                    "{} is missing: its settings stay until this runner ends",
                    self.config.path.display()
                ));
            }
            Err(error) => return self.refuse(&error.message()),
        };
        if let Err(error) = self.apply(&new) {
            return self.refuse(&error.message());
        }
        self.screen
            .say(format_args!("{} and is in use", self.news()));
        let later = self.config.needs_restart(&new);
        if !later.is_empty() {
            self.screen.say(format_args!(
                "{} will be used once this runner is started again",
                later.join(", ")
            ));
        }
        let is_another = self.config.path != new.path;
        self.config = new;
        if is_another {
            self.sources = self.sources.clone().up_to(&self.config);
            self.follow_changes();
        }
    }

    /// `jobq.toml has changed`.
    fn news(&self) -> String {
        let path = self.seen.and_then(|(at, _)| self.sources.paths().nth(at));
        match path {
            Some(path) if path != self.config.path => format!("{} is new", path.display()),
            _ => format!("{} has changed", self.config.path.display()),
        }
    }

    fn refuse(&self, why: &str) {
        let news = self.news();
        self.screen.say(format_args!(
            "{news} and is not used: {why}; the runner goes on as before"
        ));
    }

    /// Everything is checked before anything is changed.
    fn apply(&self, new: &Arc<Config>) -> CliResult<()> {
        declared::check(&self.queue, new)?;
        let builder = builder(&self.args, new, &self.queue, self.sink.clone())?;
        tables::sync_limits(&self.queue, &new.queues)?;
        if !self.args.drain {
            declared::sync(&self.queue, new, &self.screen)?;
        }
        Ok(self.reloader.reload(builder)?)
    }
}

/// News of the folders in which these files lie, or will lie: a file that is replaced is another one.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn changes(sources: &ConfigSources, config: &Config) -> Option<OwnedFd> {
    use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};

    let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
    let news = WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVED_TO
        | WatchFlags::CREATE
        | WatchFlags::MOVED_FROM
        | WatchFlags::DELETE;
    for file in sources.paths().chain(config.canonical.as_deref()) {
        // A folder that is not there yet is created in another.
        let mut folders = file.ancestors().skip(1);
        let folder = folders.find(|folder| folder.is_dir());
        let folder = folder.unwrap_or(Path::new("."));
        let watched = add_watch(inotify.as_fd(), folder, news | WatchFlags::ONLYDIR);
        if let Err(error) = watched {
            log::debug!("{} is not watched: {error}", folder.display());
        }
    }
    Some(inotify)
}

/// Ends a wait for them: a watch that is removed is a change.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn wake(changes: &OwnedFd) {
    use rustix::fs::inotify::{WatchFlags, add_watch, remove_watch};

    let watch = add_watch(changes, "/", WatchFlags::DELETE_SELF);
    let _is_woken = watch.and_then(|watch| remove_watch(changes, watch));
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn wake(_: &OwnedFd) {}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn changes(_: &ConfigSources, _: &Config) -> Option<OwnedFd> {
    None
}
