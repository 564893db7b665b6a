//! Liveness: the runner's own lock file, and the heartbeats that it sees of the others.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::fault::Fault;
use crate::store::{Alive, HeartbeatMode, Loss};
use crate::{Error, Result, fault, store};

/// A monitor declares others hung only after it has itself written this many heartbeats meanwhile.
const OWN_HEARTBEATS: u64 = 2;

/// The content of a lock file: when its runner's process was started, in clock ticks since boot.
const STARTED: &str = "started ";

/// The lock that shows that this runner's process lives. It is free as soon as the process is dead, for
/// whatever reason. The descriptor is close-on-exec, so no command keeps it.
#[derive(Debug)]
pub(crate) struct RunnerLock {
    /// Held open: the lock goes with it.
    _held: File,
    path: PathBuf,
}

impl RunnerLock {
    /// Creates and locks a file with a name that was never used before.
    pub(crate) fn create(folder: &Path) -> Result<(RunnerLock, String)> {
        let failed = |error| {
            let action = format_args!("the lock file in {} cannot be made", folder.display());
            store::explain_denied(Error::io(action, error), folder)
        };
        store::make_runners_folder(folder).map_err(failed)?;
        let name = format!("{:032x}", fastrand::u128(..));
        let path = store::lock_file(folder, &name)
            .ok_or_else(|| failed(ErrorKind::InvalidInput.into()))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = store::open_lock_file(&path, &mut options).map_err(failed)?;
        store::give_lock_file(&file, folder).map_err(failed)?;
        file.lock().map_err(failed)?;
        // Without the start time a takeover checks more processes; on a full disk a runner starts all
        // the same.
        let _unknown_then = note_start(&file);
        Ok((RunnerLock { _held: file, path }, name))
    }

    /// After a clean end no other runner needs to look at the file.
    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// For takeovers: a process that was started before this one is none of its commands. In the page cache
/// the start time survives the runner, and after a power cut there is nothing to look for.
fn note_start(file: &File) -> std::io::Result<()> {
    match own_start_time() {
        Some(started) => file.write_all_at(format!("{STARTED}{started}\n").as_bytes(), 0),
        None => Ok(()),
    }
}

#[cfg(feature = "exec")]
use crate::runner::processes::own_start_time;

/// Without commands the start time is not needed.
#[cfg(not(feature = "exec"))]
fn own_start_time() -> Option<u64> {
    None
}

/// The lock that a runner holds. It changes to another one after the runner was declared lost.
#[derive(Debug, Default)]
pub(crate) struct OwnLock(Mutex<Option<RunnerLock>>);

impl OwnLock {
    /// Changes to another lock, or to none, and returns the one before.
    pub(crate) fn change(&self, lock: Option<RunnerLock>) -> Option<RunnerLock> {
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *own, lock)
    }
}

/// The lock of a dead runner, held by the runner that takes over, so that only one does.
#[derive(Debug)]
pub(crate) struct DeadLock {
    /// Held open: the lock goes with it. None: the file no longer existed.
    file: Option<File>,
    path: Option<PathBuf>,
}

impl DeadLock {
    /// Tries a runner's lock. None if the runner lives, or if there is no file, which proves nothing.
    ///
    /// A runner without heartbeats is an exception: nothing else shows whether it lives, and its file
    /// is missing if the folder was lost or the database is a copy. It counts as dead then. If somebody
    /// has removed the file by hand it may live, and the fence refuses its reports.
    pub(crate) fn probe(folder: &Path, runner: &Alive) -> Option<DeadLock> {
        let path = store::lock_file(folder, &runner.name);
        // Opened for reading only: closing it does not wake runners, which watch for closed writers.
        let opened = path.as_deref().map_or_else(
            || Err(ErrorKind::NotFound.into()),
            |path| store::open_lock_file(path, OpenOptions::new().read(true)),
        );
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                let is_dead = error.kind() == ErrorKind::NotFound
                    && runner.heartbeat_mode() == HeartbeatMode::None;
                return is_dead.then_some(DeadLock { file: None, path });
            }
        };
        let free = |file| {
            Some(DeadLock {
                file: Some(file),
                path: path.clone(),
            })
        };
        match file.try_lock() {
            Ok(()) => free(file),
            Err(TryLockError::WouldBlock) if fault::is_on(Fault::NoLock) => free(file),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(error)) => {
                log::warn!("the lock of runner {} cannot be tried: {error}", runner.id);
                None
            }
        }
    }

    /// When the runner's process was started, if the file says so.
    pub(crate) fn started_at(&self) -> Option<u64> {
        self.file.as_ref().and_then(read_start)
    }

    pub(crate) fn remove(self) {
        let _ = self.path.map(std::fs::remove_file);
    }
}

/// When the process of a runner, dead or hung, was started, according to its lock file.
pub(crate) fn started_at(folder: &Path, name: &str) -> Option<u64> {
    let path = store::lock_file(folder, name)?;
    read_start(&store::open_lock_file(&path, OpenOptions::new().read(true)).ok()?)
}

fn read_start(file: &File) -> Option<u64> {
    let mut bytes = [0; 64];
    let count = file.read_at(&mut bytes, 0).ok()?;
    let text = std::str::from_utf8(&bytes[..count]).ok()?;
    text.lines().next()?.strip_prefix(STARTED)?.parse().ok()
}

/// The heartbeats of other runners as this one has seen them, by its own monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct LivenessMonitor {
    seen: HashMap<i64, ObservedRunner>,
    own_heartbeats: u64,
    looked_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct ObservedRunner {
    heartbeat: i64,
    since: Instant,
    own_heartbeats: u64,
    has_changed: bool,
}

impl LivenessMonitor {
    /// This runner has committed a heartbeat, so the database can be written.
    pub(crate) fn heartbeat_written(&mut self) {
        self.own_heartbeats += 1;
    }

    /// Whether a new heartbeat of this runner was seen: then it lives.
    pub(crate) fn has_seen_heartbeat(&self, runner: i64) -> bool {
        self.seen.get(&runner).is_some_and(|seen| seen.has_changed)
    }

    /// The hung runners: their heartbeat is the same as `limit` ago, while this runner has written its
    /// own.
    pub(crate) fn hung(
        &mut self,
        alive: &[Alive],
        now: Instant,
        limit: Duration,
    ) -> Vec<(i64, Loss)> {
        let stood_still = |at: Instant| now.duration_since(at) > limit / 2;
        if self.looked_at.replace(now).is_some_and(stood_still) {
            // What delayed this runner may have delayed the others as well.
            self.seen.clear();
        }
        self.seen
            .retain(|id, _| alive.iter().any(|runner| runner.id == *id));
        let own_heartbeats = self.own_heartbeats;
        let mut hung = Vec::new();
        for runner in alive
            .iter()
            .filter(|runner| runner.heartbeat_mode() == HeartbeatMode::Regular)
        {
            let fresh = ObservedRunner {
                heartbeat: runner.heartbeat,
                since: now,
                own_heartbeats,
                has_changed: false,
            };
            let seen = self.seen.entry(runner.id).or_insert(fresh);
            if seen.heartbeat != runner.heartbeat {
                *seen = ObservedRunner {
                    has_changed: true,
                    ..fresh
                };
            } else if now.duration_since(seen.since) >= limit
                && own_heartbeats >= seen.own_heartbeats + OWN_HEARTBEATS
            {
                hung.push((
                    runner.id,
                    Loss::Hung {
                        heartbeat: runner.heartbeat,
                    },
                ));
            }
        }
        hung
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "0123456789abcdef0123456789abcdef";

    fn named(name: &str, heartbeat: i64) -> Alive {
        Alive {
            id: 7,
            name: name.to_owned(),
            heartbeat,
        }
    }

    fn other(heartbeat: i64) -> Vec<Alive> {
        vec![named("x", heartbeat)]
    }

    #[test]
    fn a_lock_is_free_when_its_holder_is_dead_and_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let (lock, name) = RunnerLock::create(folder.path()).unwrap();
        for heartbeat in [5, -1] {
            let runner = named(&name, heartbeat);
            assert!(
                DeadLock::probe(folder.path(), &runner).is_none(),
                "it is held"
            );
        }
        drop(lock);
        let dead = DeadLock::probe(folder.path(), &named(&name, 5)).unwrap();
        assert_eq!(dead.started_at(), own_start_time());
        assert_eq!(started_at(folder.path(), &name), own_start_time());
        assert!(
            DeadLock::probe(folder.path(), &named(&name, -1)).is_none(),
            "only one takes over"
        );
    }

    #[test]
    fn a_missing_file_is_proof_only_of_a_runner_without_heartbeats() {
        let folder = tempfile::tempdir().unwrap();
        assert!(DeadLock::probe(folder.path(), &named(NAME, 5)).is_none());
        let dead = DeadLock::probe(folder.path(), &named(NAME, -1)).unwrap();
        assert_eq!(dead.started_at(), None);
        // A file that cannot be looked at is not missing.
        let no_folder = folder.path().join("file");
        std::fs::write(&no_folder, "").unwrap();
        assert!(DeadLock::probe(&no_folder, &named(NAME, -1)).is_none());
    }

    #[test]
    fn a_runner_without_heartbeats_hangs_if_the_monitor_has_its_own() {
        let mut monitor = LivenessMonitor::default();
        let start = Instant::now();
        let limit = Duration::from_secs(30);
        assert!(monitor.hung(&other(5), start, limit).is_empty());
        monitor.heartbeat_written();
        monitor.heartbeat_written();
        assert!(
            monitor.hung(&other(5), start + limit / 2, limit).is_empty(),
            "too early"
        );
        assert_eq!(
            monitor.hung(&other(5), start + limit, limit),
            [(7, Loss::Hung { heartbeat: 5 })]
        );
        assert!(
            monitor.hung(&other(6), start + limit * 2, limit).is_empty(),
            "it has a new heartbeat"
        );
    }

    #[test]
    fn a_runner_without_heartbeats_is_never_taken_for_hung() {
        let mut monitor = LivenessMonitor::default();
        let start = Instant::now();
        let limit = Duration::from_secs(30);
        for third in 0..9 {
            let hung = monitor.hung(&other(-1), start + limit / 3 * third, limit);
            assert!(hung.is_empty());
            monitor.heartbeat_written();
        }
    }

    #[test]
    fn a_monitor_that_stood_still_itself_judges_nobody() {
        let mut monitor = LivenessMonitor::default();
        let start = Instant::now();
        let limit = Duration::from_secs(30);
        for third in 0..2 {
            let now = start + limit / 3 * third;
            assert!(monitor.hung(&other(5), now, limit).is_empty());
            monitor.heartbeat_written();
        }
        let after = start + limit * 2;
        assert!(monitor.hung(&other(5), after, limit).is_empty());
        for third in 1..=3 {
            monitor.heartbeat_written();
            let hung = monitor.hung(&other(5), after + limit / 3 * third, limit);
            assert_eq!(hung.is_empty(), third < 3, "from then on it counts");
        }
    }

    #[test]
    fn a_monitor_that_could_not_write_itself_judges_nobody() {
        let mut monitor = LivenessMonitor::default();
        let start = Instant::now();
        let limit = Duration::from_secs(30);
        monitor.hung(&other(5), start, limit);
        assert!(
            monitor
                .hung(&other(5), start + limit * 10, limit)
                .is_empty()
        );
    }
}
