//! Notices changes of the file without polling.

#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::doorbell::Wake;
use crate::store::sqlite::connection::{Access, wait_while_busy};
use crate::store::sqlite::file_identity::OpenFile;
use crate::store::sqlite::{connection, file};
use crate::{Error, Result, clock};

/// Interval of checks without an event, in case one was lost or the system has none.
pub(crate) const fn safety_poll(watch: Option<&FileWatch>) -> Duration {
    match watch {
        Some(_) if cfg!(target_os = "linux") => Duration::from_secs(15),
        None if cfg!(target_os = "linux") => Duration::from_secs(1),
        _ => Duration::from_millis(50),
    }
}

/// Number of checks after an event where nothing else says that they can end.
pub(crate) const CHECKS: u32 = 28;

/// The time from an event, or the last check after it, to the next check: 0.05 ms, and twice as much after each two
/// checks, up to 0.4 s.
pub(crate) fn check_delay(checks: u32) -> Duration {
    Duration::from_micros(50 << (checks.min(CHECKS - 1) / 2))
}

/// Whether a commit that an event has announced may not be visible yet.
///
/// Nearly half the time the event on the log comes before the other process's commit is visible. So the file is
/// checked again until the write lock is free: then everything that was announced is visible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AnnouncedCommits {
    /// Number of checks since the last event; none: all commits are visible.
    checks: Option<u32>,
}

/// The write lock is tried from this check on, about 3 ms after the last event: where others write all the time, it
/// would be in their way.
const CHECKS_WITHOUT_LOCK: u32 = 10;

impl AnnouncedCommits {
    /// After an event on the log.
    pub(crate) fn announced(&mut self) {
        self.checks = Some(0);
    }

    /// After a commit of this connection, whose events cannot be told from another's.
    pub(crate) fn written(&mut self) {
        self.checks = Some(CHECKS_WITHOUT_LOCK);
    }

    /// The time until the next check, if one is needed.
    pub(crate) fn next_check(&self) -> Option<Duration> {
        self.checks.map(check_delay)
    }

    /// Checks the file: its version, which changes with every commit of another connection.
    pub(crate) fn version(&mut self, conn: &Connection) -> Result<i64> {
        if let Some(checks) = self.checks {
            // Before the version is read: a commit may become visible in between.
            let is_visible = checks >= CHECKS_WITHOUT_LOCK
                && is_write_lock_free(conn)?.unwrap_or(checks + 1 >= CHECKS);
            self.checks = (!is_visible).then_some(checks + 1);
        }
        data_version(conn)
    }
}

/// Tries the write lock without waiting; none where this connection may not take it.
fn is_write_lock_free(conn: &Connection) -> Result<Option<bool>> {
    conn.busy_handler(None)?;
    let begun = conn
        .prepare_cached("BEGIN IMMEDIATE")
        .and_then(|mut begin| begin.execute([]));
    conn.busy_handler(Some(wait_while_busy))?;
    match begun.map_err(Error::from) {
        Ok(_) => {
            conn.prepare_cached("ROLLBACK")?.execute([])?;
            Ok(Some(true))
        }
        Err(error) if error.is_busy() => Ok(Some(false)),
        Err(_) => Ok(None),
    }
}

/// The file's version as one connection sees it: it changes with every commit of another connection.
pub(crate) fn data_version(conn: &Connection) -> Result<i64> {
    Ok(conn
        .prepare_cached("PRAGMA data_version")?
        .query_row([], |row| row.get(0))?)
}

/// Watches the write-ahead log, and a folder of lock files, through inotify.
#[derive(Debug)]
pub(crate) struct FileWatch {
    #[cfg(target_os = "linux")]
    inotify: OwnedFd,
    /// Never readable, as its other end stays open and silent.
    #[cfg(not(target_os = "linux"))]
    never: (std::io::PipeReader, std::io::PipeWriter),
}

/// What a file sees that is removed or moved away, or that another one takes the name of: the number of
/// its names changes.
#[cfg(target_os = "linux")]
const GOING: rustix::fs::inotify::WatchFlags = {
    use rustix::fs::inotify::WatchFlags;
    WatchFlags::ATTRIB
        .union(WatchFlags::DELETE_SELF)
        .union(WatchFlags::MOVE_SELF)
};

#[cfg(target_os = "linux")]
impl FileWatch {
    /// The log must exist: it does as long as a connection is open and has read.
    pub(crate) fn new(database: &Path) -> Result<FileWatch> {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let log = file::with_suffix(database, "-wal");
        let failed = |error: rustix::io::Errno| {
            Error::io(
                format_args!("{} cannot be watched", log.display()),
                error.into(),
            )
        };
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(failed)?;
        add_watch(&inotify, &log, WatchFlags::MODIFY | GOING).map_err(failed)?;
        add_watch(&inotify, database, GOING).map_err(failed)?;
        Ok(FileWatch { inotify })
    }

    /// Also wakes when a file of the folder that was open for writing is closed: a runner has ended.
    pub(crate) fn add_folder(&self, folder: &Path) -> Result<()> {
        use rustix::fs::inotify::{WatchFlags, add_watch};
        add_watch(&self.inotify, folder, WatchFlags::CLOSE_WRITE)
            .map(|_| ())
            .map_err(|error| {
                Error::io(
                    format_args!("{} cannot be watched", folder.display()),
                    error.into(),
                )
            })
    }

    /// Takes the events since the last call.
    pub(crate) fn drain(&self) -> Happened {
        use std::mem::MaybeUninit;

        use rustix::fs::inotify::{ReadFlags, Reader};
        let mut happened = Happened::default();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            let events = event.events();
            let is_anything = events.contains(ReadFlags::QUEUE_OVERFLOW);
            happened.lock_closed |= is_anything || events.contains(ReadFlags::CLOSE_WRITE);
            happened.log_written |= is_anything || events.contains(ReadFlags::MODIFY);
            happened.file_gone |= events
                .intersects(ReadFlags::ATTRIB | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF);
        }
        happened
    }
}

#[cfg(not(target_os = "linux"))]
impl FileWatch {
    pub(crate) fn new(_: &Path) -> Result<FileWatch> {
        let never = std::io::pipe().map_err(|error| Error::io("a pipe cannot be made", error))?;
        Ok(FileWatch { never })
    }

    pub(crate) fn add_folder(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    pub(crate) fn drain(&self) -> Happened {
        Happened::default()
    }
}

impl AsFd for FileWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        #[cfg(target_os = "linux")]
        return self.inotify.as_fd();
        #[cfg(not(target_os = "linux"))]
        return self.never.0.as_fd();
    }
}

/// The events of a watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Happened {
    /// A process, perhaps this one, has written to the log.
    pub(crate) log_written: bool,
    /// A runner's lock file was closed.
    pub(crate) lock_closed: bool,
    /// The database or its log may have been removed or replaced.
    pub(crate) file_gone: bool,
}

/// Sleeps until one of the descriptors is readable or the time has passed.
pub(crate) fn sleep_on(descriptors: &[BorrowedFd<'_>], timeout: Duration) {
    let mut polled: Vec<_> = descriptors
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    let timeout = Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // An interrupted sleep is a short one; the caller checks and sleeps again.
    let _ = poll(&mut polled, Some(&timeout));
}

/// Waits for changes of the file by any process, including this one.
pub struct Changes {
    /// Not from the pool: a long wait would keep others from reading.
    conn: Connection,
    file: Arc<OpenFile>,
    watch: Option<FileWatch>,
    commits: AnnouncedCommits,
    version: i64,
}

impl Changes {
    /// Changes after this call will be noticed.
    pub(crate) fn new(file: &Arc<OpenFile>, access: Access) -> Result<Changes> {
        let conn = connection::open_watcher(file, access)?;
        let version = data_version(&conn)?;
        // If the file cannot be watched, only the safety poll notices.
        let watch = FileWatch::new(file.path()).ok();
        Ok(Changes {
            conn,
            file: Arc::clone(file),
            watch,
            commits: AnnouncedCommits::default(),
            version,
        })
    }

    /// The watching connection, for reading what has changed.
    pub(crate) fn conn(&self) -> &Connection {
        &self.conn
    }

    /// Waits at most `timeout`; returns true if the file has changed since it last returned true.
    ///
    /// # Errors
    /// The file can no longer be read, or it was replaced ([`Error::is_replaced`]).
    pub fn wait(&mut self, timeout: Duration) -> Result<bool> {
        self.wait_beside(timeout, None)
    }

    /// The same, and ends as soon as the bell is rung.
    #[cfg(feature = "web")]
    pub(crate) fn wait_or_rung(&mut self, timeout: Duration, bell: &Wake) -> Result<bool> {
        self.wait_beside(timeout, Some(bell))
    }

    fn wait_beside(&mut self, timeout: Duration, bell: Option<&Wake>) -> Result<bool> {
        let deadline = clock::after(clock::instant(), timeout);
        self.file.check()?;
        loop {
            let happened = self.watch.as_ref().map(FileWatch::drain);
            let happened = happened.unwrap_or_default();
            if happened.log_written {
                self.commits.announced();
            }
            let version = self.commits.version(&self.conn)?;
            if version != self.version {
                self.version = version;
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(clock::instant());
            // The version first: a bell that is rung all the time must not hide changes.
            if left.is_zero() || bell.is_some_and(Wake::reset) {
                return Ok(false);
            }
            let next_check = self.commits.next_check();
            if happened.file_gone || next_check.is_none() {
                self.file.check()?;
            }
            let wait = next_check.unwrap_or(safety_poll(self.watch.as_ref()));
            let watch = self.watch.iter().map(AsFd::as_fd);
            let watched: Vec<_> = watch.chain(bell.map(AsFd::as_fd)).collect();
            sleep_on(&watched, wait.min(left));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections() -> (tempfile::TempDir, [Connection; 2]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db");
        let conns = [(); 2].map(|()| {
            let conn = Connection::open(&path).unwrap();
            conn.pragma_update(None, "journal_mode", "wal").unwrap();
            conn
        });
        conns[0].execute_batch("CREATE TABLE t (x)").unwrap();
        (folder, conns)
    }

    #[test]
    fn checks_go_on_while_somebody_writes_and_then_end() {
        let (_folder, [writer, watcher]) = connections();
        let mut commits = AnnouncedCommits::default();
        assert_eq!(commits.next_check(), None);
        let before = commits.version(&watcher).unwrap();
        writer
            .execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)")
            .unwrap();
        commits.announced();
        assert_eq!(commits.next_check(), Some(Duration::from_micros(50)));
        for _ in 0..100 {
            assert_eq!(commits.version(&watcher).unwrap(), before);
            assert!(commits.next_check().is_some());
        }
        writer.execute_batch("COMMIT").unwrap();
        assert_ne!(commits.version(&watcher).unwrap(), before);
        assert_eq!(commits.next_check(), None);
    }

    #[test]
    fn a_commit_of_ones_own_needs_one_check() {
        let (_folder, [writer, _]) = connections();
        let mut commits = AnnouncedCommits::default();
        writer.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        commits.written();
        commits.version(&writer).unwrap();
        assert_eq!(commits.next_check(), None);
    }

    #[test]
    fn who_may_not_take_the_lock_checks_for_a_while() {
        let (_folder, [_, watcher]) = connections();
        watcher.pragma_update(None, "query_only", true).unwrap();
        let mut commits = AnnouncedCommits::default();
        commits.announced();
        let mut checked = Duration::ZERO;
        while let Some(delay) = commits.next_check() {
            checked += delay;
            commits.version(&watcher).unwrap();
        }
        assert!(checked > Duration::from_secs(1), "{checked:?}");
    }
}
