//! Files that handlers read, and the files of the queue, which they leave alone.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::runner::context::Context;

/// Opens a file to read it, without waiting for whoever writes to a pipe.
///
/// # Errors
/// It cannot be opened; [`io::ErrorKind::InvalidInput`] if it is no file, or the queue's.
pub(crate) fn open_input(ctx: &Context, path: &Path) -> io::Result<File> {
    QueueFiles::of(ctx).open_other(path)
}

/// The files of the attempt's queue. Nothing but SQLite opens them in this process: SQLite's locks on a file go with
/// the first descriptor of it that is closed. And nothing takes their names.
#[derive(Clone, Debug, Default)]
pub(crate) struct QueueFiles(Vec<(u64, u64)>);

impl QueueFiles {
    pub(crate) fn of(ctx: &Context) -> QueueFiles {
        QueueFiles::at(&ctx.queue().path())
    }

    fn at(database: &Path) -> QueueFiles {
        let ends = ["", "-wal", "-shm", "-journal"];
        let files = ends.iter().filter_map(|end| {
            let mut path = database.as_os_str().to_owned();
            path.push(end);
            let found = std::fs::metadata(path).ok()?;
            Some((found.dev(), found.ino()))
        });
        QueueFiles(files.collect())
    }

    /// As [`open_input`], for code without a context.
    pub(crate) fn open_other(&self, path: &Path) -> io::Result<File> {
        self.refuse(path)?;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path)?;
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a file",
            )),
        }
    }

    /// Whether a file that was found is one of them.
    pub(crate) fn has(&self, found: &Metadata) -> bool {
        self.0.contains(&(found.dev(), found.ino()))
    }

    /// Refuses a path that leads to one of them; there may be nothing at it.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`].
    pub(crate) fn refuse(&self, path: &Path) -> io::Result<()> {
        match std::fs::metadata(path).is_ok_and(|found| self.has(&found)) {
            true => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is the queue's own file",
            )),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_queue_are_known_by_every_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["jobs.db", "jobs.db-wal", "other.db"] {
            std::fs::write(path(name), "x").unwrap();
        }
        std::os::unix::fs::symlink(path("jobs.db-wal"), path("link")).unwrap();
        let files = QueueFiles::at(&path("jobs.db"));
        for name in ["jobs.db", "jobs.db-wal", "link"] {
            let refused = files.refuse(&path(name)).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{name}");
        }
        for name in ["other.db", "none"] {
            assert!(files.refuse(&path(name)).is_ok(), "{name}");
        }
    }

    #[test]
    fn only_a_file_is_opened_and_a_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let cwd = rustix::fs::CWD;
        rustix::fs::mknodat(cwd, path("pipe"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        std::fs::write(path("file"), "x").unwrap();
        let files = QueueFiles::at(&path("jobs.db"));
        assert!(files.open_other(&path("file")).is_ok());
        for name in ["pipe", "."] {
            let refused = files.open_other(&path(name)).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{name}");
        }
    }
}
