//! A config file that changes while a runner runs: what can be taken on without a restart is.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jobq::{Queue, Reloader};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use super::builder;
use super::output::Sink;
use crate::cli::args::Run;
use crate::cli::config::{Config, Stamp, stamp_of};
use crate::cli::exit::CliResult;
use crate::cli::limits;
use crate::cli::schedule;
use crate::cli::screen::Screen;
use crate::cli::session::Session;

/// The file is looked at this often where nothing tells of its changes.
const LOOK: Duration = Duration::from_secs(10);
/// A file that stays as it is for so long has been written.
const SETTLED: Duration = Duration::from_millis(200);

/// A thread that waits for the config file to change.
pub(super) struct Watched(Option<(JoinHandle<()>, OwnedFd)>);

struct Watcher {
    args: Run,
    config: Arc<Config>,
    queue: Queue,
    reloader: Reloader,
    sink: Option<Arc<Sink>>,
    screen: Screen,
    /// The state of the file that was read last, used or not.
    seen: Stamp,
    changes: Option<OwnedFd>,
    ended: OwnedFd,
}

impl Watched {
    /// Where there is a config file, watches it until it is ended.
    pub(super) fn start(
        args: &Run,
        queue: &Queue,
        reloader: Reloader,
        sink: Option<Arc<Sink>>,
        session: &Session,
    ) -> CliResult<Watched> {
        let config = &session.config;
        let Some(canonical) = &config.canonical else {
            return Ok(Watched(None));
        };
        let (ended, ender) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        let watcher = Watcher {
            args: args.clone(),
            config: Arc::clone(config),
            queue: queue.clone(),
            reloader,
            sink,
            screen: session.screen.clone(),
            seen: config.stamp,
            changes: changes(&[config.path.clone(), canonical.clone()]),
            ended,
        };
        let thread = thread::Builder::new()
            .name("jobq-config".to_owned())
            .spawn(move || watcher.watch())
            .map_err(|error| jobq::Error::no_thread("config", error))?;
        Ok(Watched(Some((thread, ender))))
    }

    pub(super) fn end(self) {
        if let Some((thread, ender)) = self.0 {
            drop(ender);
            let _ = thread.join();
        }
    }
}

impl Watcher {
    fn watch(mut self) {
        loop {
            let mut stamp = stamp_of(&self.config.path);
            while stamp != self.seen {
                if !self.pause(SETTLED) {
                    return;
                }
                let before = std::mem::replace(&mut stamp, stamp_of(&self.config.path));
                if before == stamp {
                    self.seen = stamp;
                    self.take_on();
                }
            }
            if !self.pause(LOOK) {
                return;
            }
        }
    }

    /// Waits for news, or so long; false at the end.
    fn pause(&self, most: Duration) -> bool {
        let mut fds = vec![PollFd::new(&self.ended, PollFlags::IN)];
        let is_look = most == LOOK;
        fds.extend(
            self.changes
                .iter()
                .filter(|_| is_look)
                .map(|fd| PollFd::new(fd, PollFlags::IN)),
        );
        let most = Timespec::try_from(most).ok();
        let polled = poll(&mut fds, most.as_ref());
        let has_ended = !fds[0].revents().is_empty();
        if let Some(changes) = &self.changes {
            // What they say does not matter: the file is looked at.
            let mut news = [0; 4096];
            while rustix::io::read(changes, &mut news).is_ok_and(|read| read > 0) {}
        }
        !(polled.is_ok() && has_ended)
    }

    /// Uses what the file says now. One that has a mistake, or is gone, changes nothing.
    fn take_on(&mut self) {
        let path = self.config.path.display().to_string();
        let new = match self.config.read_again() {
            Ok(Some(new)) => Arc::new(new),
            Ok(None) => {
                return self.screen.say(format_args!(
                    "{path} is gone: what it said goes on until this runner ends"
                ));
            }
            Err(error) => return self.refuse(&path, &error.message()),
        };
        if let Err(error) = self.apply(&new) {
            return self.refuse(&path, &error.message());
        }
        self.screen
            .say(format_args!("{path} has changed and is in use"));
        let later = self.config.needs_restart(&new);
        if !later.is_empty() {
            self.screen.say(format_args!(
                "{} will be used once this runner is started again",
                later.join(", ")
            ));
        }
        self.config = new;
    }

    fn refuse(&self, path: &str, why: &str) {
        self.screen.say(format_args!(
            "{path} has changed and is not used: {why}; what it said before goes on"
        ));
    }

    /// Everything is checked before anything is changed.
    fn apply(&self, new: &Arc<Config>) -> CliResult<()> {
        schedule::declared::check(&self.queue, new)?;
        let builder = builder(&self.args, new, &self.queue, self.sink.clone())?;
        limits::sync_with(&self.queue, &new.queues)?;
        if !self.args.drain {
            schedule::declared::sync(&self.queue, new, &self.screen)?;
        }
        Ok(self.reloader.reload(builder)?)
    }
}

/// News of the folders in which these files lie: a file that is replaced is another one.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn changes(files: &[PathBuf]) -> Option<OwnedFd> {
    use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};

    let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
    let news = WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVED_TO
        | WatchFlags::CREATE
        | WatchFlags::MOVED_FROM
        | WatchFlags::DELETE;
    for file in files {
        let folder = file
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        add_watch(inotify.as_fd(), folder, news | WatchFlags::ONLYDIR).ok()?;
    }
    Some(inotify)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn changes(_files: &[PathBuf]) -> Option<OwnedFd> {
    None
}
