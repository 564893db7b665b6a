//! Notices changes of the file without polling.

#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::store::sqlite::connection::Access;
use crate::store::sqlite::file_identity::OpenFile;
use crate::store::sqlite::{connection, file};
use crate::{Error, Result, clock};

/// Delays after which to check again following an event. Nearly half the time the event on the log comes
/// before the other process's commit is visible. The last delays are for a disk with slow syncs.
pub(crate) const LOOK_AGAIN: [Duration; 14] = {
    let tenths_of_ms = [
        1, 2, 4, 8, 16, 32, 64, 128, 256, 500, 1000, 2000, 4000, 8000,
    ];
    let mut waits = [Duration::ZERO; 14];
    let mut at = 0;
    while at < waits.len() {
        waits[at] = Duration::from_micros(tenths_of_ms[at] * 100);
        at += 1;
    }
    waits
};

/// Interval of checks without an event, in case one was lost or the system has none.
pub(crate) const SAFETY_POLL: Duration = if cfg!(target_os = "linux") {
    Duration::from_secs(2)
} else {
    Duration::from_millis(50)
};

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
            happened.lock_closed |= events.contains(ReadFlags::CLOSE_WRITE);
            happened.log_written |= events.contains(ReadFlags::MODIFY);
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
    version: i64,
}

impl Changes {
    /// Changes after this call will be noticed.
    pub(crate) fn new(file: &Arc<OpenFile>, access: Access) -> Result<Changes> {
        let conn = connection::open_reader(file, access)?;
        let version = data_version(&conn)?;
        // If the file cannot be watched, only the safety poll notices.
        let watch = FileWatch::new(file.path()).ok();
        Ok(Changes {
            conn,
            file: Arc::clone(file),
            watch,
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
        let deadline = clock::after(clock::instant(), timeout);
        let mut looks = LOOK_AGAIN.iter();
        self.file.check()?;
        loop {
            let version = data_version(&self.conn)?;
            if version != self.version {
                self.version = version;
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(clock::instant());
            if left.is_zero() {
                return Ok(false);
            }
            let happened = self.watch.as_ref().map(FileWatch::drain);
            let happened = happened.unwrap_or_default();
            if happened.log_written {
                looks = LOOK_AGAIN.iter();
            }
            let wait = looks.next().copied().unwrap_or(SAFETY_POLL).min(left);
            if happened.file_gone || wait == SAFETY_POLL {
                self.file.check()?;
            }
            let watched: Vec<_> = self.watch.iter().map(AsFd::as_fd).collect();
            sleep_on(&watched, wait);
        }
    }
}
