//! Who lives: the runner's own lock file, and what it sees of the others.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::fault::Fault;
use crate::store::{Alive, Beats, Loss};
use crate::{Error, Result, fault, store};

/// A runner beats this often.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(10);
/// A runner whose beat has stood still for this long hangs.
pub(crate) const HUNG_AFTER: Duration = Duration::from_secs(30);
/// An observer judges only if it has itself beaten so often in that time.
const OWN_BEATS: u64 = 2;

/// What a lock file says: when its runner's process was started, in clock ticks since the machine was.
const STARTED: &str = "started ";

/// The lock that shows that this runner's process lives. It is free as soon as the process is gone,
/// however it went. The descriptor is close-on-exec, so no command of ours keeps it.
#[derive(Debug)]
pub(crate) struct Lock {
    /// ClaimToken open: the lock goes with it.
    _held: File,
    path: PathBuf,
}

impl Lock {
    /// Makes and locks a file of a name that was never used before.
    pub(crate) fn create(folder: &Path) -> Result<(Lock, String)> {
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
        // Without it those who take over look at more processes: on a full disk a runner starts all the same.
        let _unknown_then = note_start(&file);
        Ok((Lock { _held: file, path }, name))
    }

    /// After a clean end nobody needs to look at the file again.
    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// For those who take over: what was started before this process is none of its commands. In the page
/// cache it survives the runner, and after a power cut there is nothing to look for.
fn note_start(file: &File) -> std::io::Result<()> {
    match own_start_time() {
        Some(started) => file.write_all_at(format!("{STARTED}{started}\n").as_bytes(), 0),
        None => Ok(()),
    }
}

#[cfg(feature = "exec")]
use crate::runner::processes::own_start_time;

/// Without commands nobody asks.
#[cfg(not(feature = "exec"))]
fn own_start_time() -> Option<u64> {
    None
}

/// The lock that a runner holds. It changes to another one when it was taken for lost.
#[derive(Debug, Default)]
pub(crate) struct OwnLock(Mutex<Option<Lock>>);

impl OwnLock {
    /// Changes to another lock, or to none. The one before is given back.
    pub(crate) fn change(&self, lock: Option<Lock>) -> Option<Lock> {
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *own, lock)
    }
}

/// The lock of a runner that is gone, held by whoever takes over, so that it is one.
#[derive(Debug)]
pub(crate) struct DeadLock {
    /// ClaimToken open: the lock goes with it. None: there was no file any more.
    file: Option<File>,
    path: Option<PathBuf>,
}

impl DeadLock {
    /// Tries a runner's lock. None where it lives, and where there is no file: that proves nothing.
    ///
    /// But of a runner that never beats nothing else ever tells, and its file is missing where the
    /// folder was lost or the database is a copy: then it is gone. If somebody has removed the file by
    /// hand it may live, and the fence keeps what it reports from changing anything.
    pub(crate) fn probe(folder: &Path, runner: &Alive) -> Option<DeadLock> {
        let path = store::lock_file(folder, &runner.name);
        // Opened for reading only: closing it is no news to those who watch for closed writers.
        let opened = path.as_deref().map_or_else(
            || Err(ErrorKind::NotFound.into()),
            |path| store::open_lock_file(path, OpenOptions::new().read(true)),
        );
        let file = match opened {
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
                log::warn!("the lock of runner {} cannot be tried: {error}", runner.id);
                None
            }
        }
    }

    /// When the runner's process was started, if it has said so.
    pub(crate) fn started_at(&self) -> Option<u64> {
        self.file.as_ref().and_then(read_start)
    }

    pub(crate) fn remove(self) {
        let _ = self.path.map(std::fs::remove_file);
    }
}

/// When the process of a runner was started, dead or hung, as its lock file says.
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

    const NAME: &str = "0123456789abcdef0123456789abcdef";

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
        for beat in [5, -1] {
            let runner = named(&name, beat);
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
    fn a_missing_file_proves_nothing_of_a_runner_that_beats_and_is_all_there_is_of_another() {
        let folder = tempfile::tempdir().unwrap();
        assert!(DeadLock::probe(folder.path(), &named(NAME, 5)).is_none());
        let dead = DeadLock::probe(folder.path(), &named(NAME, -1)).unwrap();
        assert_eq!(dead.started_at(), None);
        // What cannot be looked at is not missing.
        let no_folder = folder.path().join("file");
        std::fs::write(&no_folder, "").unwrap();
        assert!(DeadLock::probe(&no_folder, &named(NAME, -1)).is_none());
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
