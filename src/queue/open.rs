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
    /// What acknowledged writes survive; default: [`Durability::Full`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> QueueOptions {
        self.durability = durability;
        self
    }

    /// Whether network file systems are accepted; default: refused.
    #[must_use]
    pub fn network_fs(mut self, network_fs: NetworkFs) -> QueueOptions {
        self.network_fs = network_fs;
        self
    }

    /// What becomes of the file's log when the last process closes it; default: removed.
    #[must_use]
    pub fn log_at_close(mut self, log_at_close: LogAtClose) -> QueueOptions {
        self.log_at_close = log_at_close;
        self
    }

    /// What opening may do to the file; default: [`OpenMode::Create`].
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

    /// Limits and defaults for new jobs.
    #[must_use]
    pub fn limits(mut self, limits: EnqueueLimits) -> QueueOptions {
        self.limits = limits;
        self
    }

    /// Opens the file; creates a missing one, with its folder, and upgrades an older one, unless
    /// [`QueueOptions::mode`] says otherwise.
    ///
    /// # Errors
    /// The file is not a database, is damaged, comes from a newer jobq, is on a network file system, or
    /// cannot be created.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Queue> {
        let limits = Arc::new(self.limits.clone());
        Ok(Queue {
            store: Arc::new(Store::open(self.config(path.as_ref()))?),
            limits,
            by: None,
        })
    }

    /// Replaces the file at `path` by a copy of a backup, or creates it. The backup is checked before
    /// anything is changed, and stays as it is. A crash at any moment leaves the old file or the new one
    /// whole. The old file is kept beside the new one; see [`Restored`].
    ///
    /// # Errors
    /// The backup is damaged, is not a jobq file, or comes from a newer jobq; the file to replace is in use
    /// ([`Error::is_wrong_state`](crate::Error::is_wrong_state) if a runner is alive, else
    /// [`Error::is_busy`](crate::Error::is_busy)), or belongs to an
    /// application.
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
    /// Who makes the changes.
    pub(super) by: Option<Arc<str>>,
}

impl Queue {
    /// Opens the file with the defaults; creates a missing one.
    ///
    /// # Errors
    /// See [`QueueOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Queue> {
        Queue::options().open(path)
    }

    /// Options for opening a file.
    pub fn options() -> QueueOptions {
        QueueOptions::default()
    }

    /// The file's absolute path.
    pub fn path(&self) -> PathBuf {
        self.store.path().to_owned()
    }

    /// The version of the schema that this library writes.
    #[doc(hidden)]
    #[cfg(feature = "web")]
    pub const fn schema_version() -> i64 {
        store::SCHEMA_VERSION
    }

    /// The version of the file's schema before this process upgraded it; none if it did not.
    pub fn upgraded_from(&self) -> Option<i64> {
        match self.store.schema {
            Schema::UpgradedFrom(found) => Some(found),
            Schema::Current | Schema::Older(_) => None,
        }
    }

    /// Whether the file is open only for reading.
    pub fn is_read_only(&self) -> bool {
        self.store.access != Access::ReadWrite
    }

    /// Where a log was put aside that lay beside the file and belonged to another one, because a copy had
    /// replaced that file. Writes that were only in that log are not in this file.
    pub fn foreign_log(&self) -> Option<&Path> {
        self.store.foreign_log.as_deref()
    }
}
