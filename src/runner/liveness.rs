//! Who lives: the runner's own lock file, and what it sees of the others.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::fault::{self, Fault};
use crate::store::file::lock_file;
use crate::store::runners::{Alive, Beats, Loss};
use crate::{Error, Result};

/// A runner beats this often.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(10);
/// A runner whose beat has stood still for this long hangs.
pub(crate) const HUNG_AFTER: Duration = Duration::from_secs(30);
/// An observer judges only if it has itself beaten so often in that time.
const OWN_BEATS: u64 = 2;

/// A line of the lock file for each worker's process, of this many bytes.
const MARK_BYTES: usize = 256;

/// The lock that shows that this runner's process lives. It is free as soon as the process is gone,
/// however it went. The descriptor is close-on-exec, so no command of ours keeps it.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Makes and locks a file of a name that was never used before.
    pub(crate) fn create(folder: &Path) -> Result<(Lock, String)> {
        let failed = |error| {
            Error::io(
                format_args!("the lock file in {} cannot be made", folder.display()),
                error,
            )
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed)?;
        let name = format!("{:032x}", fastrand::u128(..));
        let path = lock_file(folder, &name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok((Lock { file, path }, name))
    }

    fn set_mark(&self, worker: u32, mark: Option<&str>) -> std::io::Result<()> {
        let mut line = [b' '; MARK_BYTES];
        line[MARK_BYTES - 1] = b'\n';
        if let Some(mark) = mark.filter(|mark| mark.len() < MARK_BYTES) {
            line[..mark.len()].copy_from_slice(mark.as_bytes());
        }
        self.file.write_all_at(
            &line,
            u64::from(worker.saturating_sub(1)) * MARK_BYTES as u64,
        )
    }

    /// After a clean end nobody needs to look at the file again.
    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Where workers note which process they run. In the page cache of the lock file: it survives the
/// runner, and after a power cut there is no process to end.
#[derive(Debug, Default)]
pub(crate) struct Marks(Mutex<Option<Lock>>);

impl Marks {
    /// Changes to another lock, as a runner does that was taken for lost. The old one is released.
    pub(crate) fn use_lock(&self, lock: Option<Lock>) -> Option<Lock> {
        std::mem::replace(
            &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner),
            lock,
        )
    }

    pub(crate) fn set(&self, worker: u32, mark: Option<&str>) {
        let lock = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Err(error)) = lock.as_ref().map(|lock| lock.set_mark(worker, mark)) {
            log::warn!("the process of worker {worker} could not be noted: {error}");
        }
    }
}

/// The lock of a runner that is gone, held by whoever takes over, so that it is one.
#[derive(Debug)]
pub(crate) struct DeadLock {
    /// Held open: the lock goes with it. None: there was no file any more.
    file: Option<File>,
    path: PathBuf,
}

impl DeadLock {
    /// Tries a runner's lock. None where it lives, and where there is no file: that proves nothing.
    ///
    /// But of a runner that never beats nothing else ever tells, and its file is missing where the
    /// folder was lost or the database is a copy: then it is gone. If somebody has removed the file by
    /// hand it may live, and the fence keeps what it reports from changing anything.
    pub(crate) fn probe(folder: &Path, runner: &Alive) -> Option<DeadLock> {
        let path = lock_file(folder, &runner.name);
        // Opened for reading only: closing it is no news to those who watch for closed writers.
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) => {
                let is_gone = error.kind() == ErrorKind::NotFound && runner.beats() == Beats::Never;
                return is_gone.then_some(DeadLock { file: None, path });
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
                log::warn!("{} cannot be tried: {error}", path.display());
                None
            }
        }
    }

    /// What the runner's workers had noted of their processes.
    pub(crate) fn marks(&self) -> Vec<String> {
        match self.file {
            Some(_) => read_marks(&self.path),
            None => Vec::new(),
        }
    }

    pub(crate) fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What the workers of a runner have noted of their processes, dead or hung.
pub(crate) fn marks_of(folder: &Path, name: &str) -> Vec<String> {
    read_marks(&lock_file(folder, name))
}

fn read_marks(path: &Path) -> Vec<String> {
    let text = std::fs::read(path).unwrap_or_else(|error| {
        log::warn!("{} cannot be read: {error}", path.display());
        Vec::new()
    });
    let text = String::from_utf8_lossy(&text).replace('\0', " ");
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

/// What this runner has seen of the others' heartbeats, on its own monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    seen: HashMap<i64, Seen>,
    own_beats: u64,
    looked_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    beat: i64,
    since: Instant,
    own_beats: u64,
    has_beaten: bool,
}

impl Observer {
    /// This runner has committed a beat: so it is not the database that stands still.
    pub(crate) fn beaten(&mut self) {
        self.own_beats += 1;
    }

    /// Whether this runner was seen to beat: so it lives.
    pub(crate) fn has_seen_beat(&self, runner: i64) -> bool {
        self.seen.get(&runner).is_some_and(|seen| seen.has_beaten)
    }

    /// The runners that hang: their beat is the same as `limit` ago, while this one has beaten.
    pub(crate) fn hung(
        &mut self,
        alive: &[Alive],
        now: Instant,
        limit: Duration,
    ) -> Vec<(i64, Loss)> {
        let stood_still = |at: Instant| now.duration_since(at) > limit / 2;
        if self.looked_at.replace(now).is_some_and(stood_still) {
            // Whatever held this one up may have held up the others as well.
            self.seen.clear();
        }
        self.seen
            .retain(|id, _| alive.iter().any(|runner| runner.id == *id));
        let own_beats = self.own_beats;
        let mut hung = Vec::new();
        for runner in alive
            .iter()
            .filter(|runner| runner.beats() == Beats::Regularly)
        {
            let fresh = Seen {
                beat: runner.beat,
                since: now,
                own_beats,
                has_beaten: false,
            };
            let seen = self.seen.entry(runner.id).or_insert(fresh);
            if seen.beat != runner.beat {
                *seen = Seen {
                    has_beaten: true,
                    ..fresh
                };
            } else if now.duration_since(seen.since) >= limit
                && own_beats >= seen.own_beats + OWN_BEATS
            {
                hung.push((runner.id, Loss::Hung { beat: runner.beat }));
            }
        }
        hung
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, beat: i64) -> Alive {
        Alive {
            id: 7,
            name: name.to_owned(),
            beat,
        }
    }

    fn other(beat: i64) -> Vec<Alive> {
        vec![named("x", beat)]
    }

    #[test]
    fn a_lock_is_free_when_its_holder_is_gone_and_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let (lock, name) = Lock::create(folder.path()).unwrap();
        lock.set_mark(2, Some("123 456")).unwrap();
        for beat in [5, -1] {
            let runner = named(&name, beat);
            assert!(
                DeadLock::probe(folder.path(), &runner).is_none(),
                "it is held"
            );
        }
        drop(lock);
        let dead = DeadLock::probe(folder.path(), &named(&name, 5)).unwrap();
        assert_eq!(dead.marks(), ["123 456"]);
        assert!(
            DeadLock::probe(folder.path(), &named(&name, -1)).is_none(),
            "only one takes over"
        );
    }

    #[test]
    fn a_missing_file_proves_nothing_of_a_runner_that_beats_and_is_all_there_is_of_another() {
        let folder = tempfile::tempdir().unwrap();
        assert!(DeadLock::probe(folder.path(), &named("x", 5)).is_none());
        let dead = DeadLock::probe(folder.path(), &named("x", -1)).unwrap();
        assert_eq!(dead.marks(), Vec::<String>::new());
        // What cannot be looked at is not missing.
        let no_folder = folder.path().join("file");
        std::fs::write(&no_folder, "").unwrap();
        assert!(DeadLock::probe(&no_folder, &named("x", -1)).is_none());
    }

    #[test]
    fn a_runner_hangs_when_its_beat_stands_still_while_the_observer_beats() {
        let mut observer = Observer::default();
        let start = Instant::now();
        let limit = Duration::from_secs(30);
        assert!(observer.hung(&other(5), start, limit).is_empty());
        observer.beaten();
        observer.beaten();
        assert!(
            observer
                .hung(&other(5), start + limit / 2, limit)
                .is_empty(),
            "too early"
        );
        assert_eq!(
            observer.hung(&other(5), start + limit, limit),
            [(7, Loss::Hung { beat: 5 })]
        );
        assert!(
            observer
                .hung(&other(6), start + limit * 2, limit)
                .is_empty(),
            "it beats again"
        );
    }

    #[test]
    fn a_runner_that_never_beats_is_never_taken_for_hung() {
        let mut observer = Observer::default();
        let start = Instant::now();
        let limit = Duration::from_secs(30);
        for third in 0..9 {
            let hung = observer.hung(&other(-1), start + limit / 3 * third, limit);
            assert!(hung.is_empty());
            observer.beaten();
        }
    }

    #[test]
    fn an_observer_that_stood_still_itself_judges_nobody() {
        let mut observer = Observer::default();
        let start = Instant::now();
        let limit = Duration::from_secs(30);
        for beats in 0..2 {
            let now = start + limit / 3 * beats;
            assert!(observer.hung(&other(5), now, limit).is_empty());
            observer.beaten();
        }
        let after = start + limit * 2;
        assert!(observer.hung(&other(5), after, limit).is_empty());
        for third in 1..=3 {
            observer.beaten();
            let hung = observer.hung(&other(5), after + limit / 3 * third, limit);
            assert_eq!(hung.is_empty(), third < 3, "from then on it counts");
        }
    }

    #[test]
    fn an_observer_that_could_not_write_itself_judges_nobody() {
        let mut observer = Observer::default();
        let start = Instant::now();
        let limit = Duration::from_secs(30);
        observer.hung(&other(5), start, limit);
        assert!(
            observer
                .hung(&other(5), start + limit * 10, limit)
                .is_empty()
        );
    }
}
