//! Opening a file, and what it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::Clock;
use crate::model::file_options::{Durability, InUse, LogAtClose, NetworkFs, OpenMode, Restored};
use crate::model::limits::EnqueueLimits;
use crate::store::{Access, OpenConfig, Schema, Store};
use crate::{Result, store};

/// How a queue's file is opened. Start from [`Queue::options`].
#[derive(Clone, Debug, Default)]
pub struct QueueOptions {
    durability: Durability,
    network_fs: NetworkFs,
    log_at_close: LogAtClose,
    mode: OpenMode,
    clock: Clock,
    limits: EnqueueLimits,
}

impl QueueOptions {
    /// What a reply means for power cuts; [`Durability::Full`] unless set.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> QueueOptions {
        self.durability = durability;
        self
    }

    /// Whether network file systems are accepted; refused unless set.
    #[must_use]
    pub fn network_fs(mut self, network_fs: NetworkFs) -> QueueOptions {
        self.network_fs = network_fs;
        self
    }

    /// What becomes of the file's log when the last process closes it; removed unless set.
    #[must_use]
    pub fn log_at_close(mut self, log_at_close: LogAtClose) -> QueueOptions {
        self.log_at_close = log_at_close;
        self
    }

    /// What opening the file may do to it; [`OpenMode::Create`] unless set.
    #[must_use]
    pub fn mode(mut self, mode: OpenMode) -> QueueOptions {
        self.mode = mode;
        self
    }

    /// Another clock, for tests: a [`ManualClock`](crate::ManualClock).
    #[must_use]
    pub fn clock(mut self, clock: impl Into<Clock>) -> QueueOptions {
        self.clock = clock.into();
        self
    }

    /// What new jobs are held to, and their defaults.
    #[must_use]
    pub fn limits(mut self, limits: EnqueueLimits) -> QueueOptions {
        self.limits = limits;
        self
    }

    /// Opens the file; makes it, with its folder, where there is none, and upgrades an older one, unless
    /// [`QueueOptions::mode`] says otherwise.
    ///
    /// # Errors
    /// The file is no database, is damaged, is of a newer jobq, lies on a network file system, or
    /// cannot be made.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Queue> {
        let limits = Arc::new(self.limits.clone());
        Ok(Queue {
            store: Arc::new(Store::open(self.config(path.as_ref()))?),
            limits,
        })
    }

    /// Puts a copy of a backup in the place of `path`, or makes that file of it. The backup is checked
    /// before anything is changed, and stays as it is. A crash at any moment leaves the old file whole,
    /// or the new one. The old one is kept beside it, and [`Restored`] tells where.
    ///
    /// # Errors
    /// The backup is damaged, no file of jobq's, or of a newer one; the file in the place is in use
    /// ([`Error::is_wrong_state`] where a runner lives, else [`Error::is_busy`]), or is an application's.
    pub fn restore(
        self,
        backup: impl AsRef<Path>,
        path: impl AsRef<Path>,
        in_use: InUse,
    ) -> Result<Restored> {
        store::restore(&self.config(path.as_ref()), backup.as_ref(), in_use)
    }

    fn config(self, path: &Path) -> OpenConfig {
        OpenConfig {
            path: path.to_owned(),
            durability: self.durability,
            network_fs: self.network_fs,
            log_at_close: self.log_at_close,
            mode: self.mode,
            clock: self.clock,
            opened: None,
        }
    }
}

/// A job queue in one file. Cheap to clone; all clones share one writer.
///
/// ```
/// use jobq::{NewJob, Queue, State};
///
/// # let folder = tempfile::tempdir()?;
/// let queue = Queue::open(folder.path().join("jobs.db"))?;
/// let job = queue.enqueue(NewJob::new("resize").payload(&"cat.jpg"))?;
/// assert_eq!(queue.counts()?.get(State::Pending), 1);
/// assert_eq!(queue.get(job.id)?.unwrap().kind, "resize");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Queue {
    pub(crate) store: Arc<Store>,
    pub(crate) limits: Arc<EnqueueLimits>,
}

impl Queue {
    /// Opens the file with the defaults; makes it where there is none.
    ///
    /// # Errors
    /// See [`QueueOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Queue> {
        Queue::options().open(path)
    }

    /// The options to open a file with.
    pub fn options() -> QueueOptions {
        QueueOptions::default()
    }

    /// The file's absolute path.
    pub fn path(&self) -> PathBuf {
        self.store.path().to_owned()
    }

    /// The version of the schema that the file had before it was upgraded by being opened here.
    pub fn upgraded_from(&self) -> Option<i64> {
        match self.store.schema {
            Schema::UpgradedFrom(found) => Some(found),
            Schema::Current | Schema::Older(_) => None,
        }
    }

    /// Whether the file could be opened only for reading.
    pub fn is_read_only(&self) -> bool {
        self.store.access != Access::ReadWrite
    }

    /// Where the log lies that was found beside the file when it was opened, and belonged to another: a
    /// copy had been put in that file's place. What was in it alone is not in this file.
    pub fn foreign_log(&self) -> Option<&Path> {
        self.store.foreign_log.as_deref()
    }
}
