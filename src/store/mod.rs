//! The only place that knows SQLite: connections, the one writer, the read pool, and one file per
//! noun with its SQL as named constants.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Kind;
use crate::{Error, Result};

pub(crate) mod attempt_writes;
pub(crate) mod attempts;
mod audit;
pub(crate) mod backlog;
pub(crate) mod backup;
pub(crate) mod batches;
pub(crate) mod cancel;
pub(crate) mod change;
pub(crate) mod checked;
pub(crate) mod claim;
pub(crate) mod claimable;
pub(crate) mod clock_step;
pub(crate) mod command;
pub(crate) mod connection;
pub(crate) mod consequences;
pub(crate) mod counts;
mod damage;
pub(crate) mod deadlines;
pub(crate) mod dependents;
pub(crate) mod drain;
pub(crate) mod edit;
pub(crate) mod edit_rules;
pub(crate) mod effects;
pub(crate) mod enqueue;
pub(crate) mod events;
pub(crate) mod families;
pub(crate) mod file;
pub(crate) mod fire;
#[cfg(feature = "cli")]
pub(crate) mod floor;
mod foreign_log;
pub(crate) mod gate;
pub(crate) mod identity;
pub(crate) mod job_row;
pub(crate) mod last_ended;
pub(crate) mod lock_holder;
pub(crate) mod locks;
pub(crate) mod names;
pub(crate) mod new_file;
pub(crate) mod numbers;
pub(crate) mod ownership;
pub(crate) mod places;
pub(crate) mod prerequisites;
pub(crate) mod promote;
pub(crate) mod prune;
pub(crate) mod queues;
pub(crate) mod rate;
pub(crate) mod reader;
pub(crate) mod records;
pub(crate) mod release;
pub(crate) mod remove;
pub(crate) mod requeue;
pub(crate) mod restore;
pub(crate) mod room;
pub(crate) mod runner_records;
pub(crate) mod runners;
pub(crate) mod schedules;
pub(crate) mod schema;
pub(crate) mod seat;
pub(crate) mod settle;
pub(crate) mod shares;
pub(crate) mod spawned;
mod sqlite_error;
pub(crate) mod statement;
#[cfg(feature = "cli")]
pub(crate) mod steps;
pub(crate) mod tables;
#[cfg(test)]
mod tests;
pub(crate) mod transition;
pub(crate) mod tx;
pub(crate) mod uniques;
pub(crate) mod unowned;
pub(crate) mod upkeep;
pub(crate) mod why;
mod why_blocked;
pub(crate) mod writer;

use connection::{Access, OpenConfig, Opened};
use effects::Effects;
use identity::OpenFile;
use reader::{ReadPool, Reader};
use rusqlite::Connection;
use schema::Schema;
use seat::WriterSeat;
use tx::Tx;
use writer::Writer;

/// What the rules of jobs do at the two ends of each write transaction.
pub(crate) const HOOKS: tx::Hooks = tx::Hooks {
    follow_clock: clock_step::follow,
    consequences: consequences::follow,
};

/// An open file: its one writer, its readers, and the connection that is lent to applications.
pub(crate) struct Store {
    pub(crate) config: OpenConfig,
    pub(crate) access: Access,
    /// Which file it is.
    pub(crate) file: Arc<OpenFile>,
    pub(crate) schema: Schema,
    /// Closed before the writer, which looks after the log.
    readers: ReadPool,
    effects: Effects,
    pub(crate) seat: WriterSeat,
    /// Where a log that belonged to another file lies now.
    pub(crate) foreign_log: Option<PathBuf>,
}

impl Store {
    pub(crate) fn open(mut config: OpenConfig) -> Result<Store> {
        config.path = file::locate(&config.path)?;
        let Opened {
            conn,
            access,
            file,
            foreign_log,
            schema,
        } = connection::open_first(&config)?;
        config.opened = Some(Arc::clone(&file));
        let effects = Effects::new(config.clone(), HOOKS);
        let writer = (access == Access::ReadWrite)
            .then(|| Writer::new(conn, (config.clone(), HOOKS), effects.gate()));
        Ok(Store {
            access,
            seat: WriterSeat::new(&config.path, writer, effects.gate())?,
            effects,
            readers: ReadPool::new(Arc::clone(&file), access),
            file,
            schema,
            config,
            foreign_log,
        })
    }

    /// Runs `body` in the next transaction and waits for its COMMIT. It may run twice.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        body: impl FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.refuse_older()?;
        let written = self.seat.write(body);
        written.inspect_err(|error| self.let_go_after(error))
    }

    /// The same for a large write.
    pub(crate) fn write_large<T: Send + 'static>(
        &self,
        body: impl FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.refuse_older()?;
        let written = self.seat.write_by_thread(body);
        written.inspect_err(|error| self.let_go_after(error))
    }

    /// A lock that this process holds and does not use goes when all of its connections are closed. The
    /// writer has closed its own.
    pub(crate) fn let_go_after(&self, error: &Error) {
        if error.kind() == Kind::Stuck {
            self.readers.close();
        }
    }

    /// Runs an application's `body` as a transaction alone, on this thread, and once. On an error or
    /// a panic of the body nothing is changed.
    pub(crate) fn write_alone<T, E: From<Error>>(
        &self,
        body: impl FnOnce(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.refuse_older()?;
        if self.access != Access::ReadWrite {
            return Err(ownership::read_only(self.path()).into());
        }
        let done = self.effects.write(body)?;
        self.seat.ring();
        Ok(done)
    }

    /// Whether an application's code runs on this thread, inside of [`Store::write_alone`].
    pub(crate) fn is_lent_here(&self) -> bool {
        self.effects.is_lent_here()
    }

    pub(crate) fn reader(&self) -> Result<Reader> {
        self.refuse_older()?;
        self.readers.get()
    }

    /// Reads once by the writer's connection; by a reader's where that is in use.
    pub(crate) fn look<T>(&self, read: impl Fn(&Connection) -> Result<T>) -> Result<T> {
        self.refuse_older()?;
        let Ok(mut lease) = self.seat.lease() else {
            return read(&*self.reader()?);
        };
        let conn = self.file.check_lately().and_then(|()| lease.writer.conn());
        let found = conn.and_then(read);
        self.seat.give_back(lease);
        found
    }

    /// For a copy, which is of the schema that the file is of.
    pub(crate) fn reader_for_copy(&self) -> Result<Reader> {
        self.readers.get()
    }

    fn refuse_older(&self) -> Result<()> {
        match self.schema {
            Schema::Older(found) => Err(schema::older(found).context(self.path().display())),
            Schema::Current | Schema::UpgradedFrom(_) => Ok(()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.config.path
    }

    pub(crate) fn runners_folder(&self) -> PathBuf {
        file::runners_folder(&self.config.path)
    }
}
