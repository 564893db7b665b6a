//! The only place that knows SQLite: connections, the one writer, the read pool, and one file per
//! noun with its SQL as named constants.

use std::path::{Path, PathBuf};

use crate::Result;

pub(crate) mod attempt_writes;
pub(crate) mod attempts;
pub(crate) mod batches;
pub(crate) mod change;
pub(crate) mod claim;
pub(crate) mod command;
pub(crate) mod connection;
pub(crate) mod counts;
pub(crate) mod drain;
pub(crate) mod due;
pub(crate) mod edit;
pub(crate) mod last_ended;
pub(crate) mod enqueue;
pub(crate) mod events;
pub(crate) mod file;
#[cfg(feature = "cli")]
pub(crate) mod floor;
pub(crate) mod names;
pub(crate) mod prune;
pub(crate) mod queues;
pub(crate) mod rate;
pub(crate) mod reader;
pub(crate) mod records;
pub(crate) mod room;
pub(crate) mod runners;
pub(crate) mod schema;
pub(crate) mod seat;
pub(crate) mod settle;
pub(crate) mod shares;
mod sqlite_error;
pub(crate) mod statement;
#[cfg(feature = "cli")]
pub(crate) mod steps;
#[cfg(test)]
mod tests;
pub(crate) mod tx;
pub(crate) mod upkeep;
pub(crate) mod why;
pub(crate) mod writer;

use connection::{Access, OpenConfig};
use reader::{ReadPool, Reader};
use seat::WriterSeat;
use tx::Tx;
use writer::Writer;

/// An open file: its one writer and its readers.
pub(crate) struct Store {
    pub(crate) config: OpenConfig,
    pub(crate) access: Access,
    /// Closed before the writer, which looks after the log.
    readers: ReadPool,
    pub(crate) seat: WriterSeat,
}

impl Store {
    pub(crate) fn open(mut config: OpenConfig) -> Result<Store> {
        config.path = file::prepare_folder(&config.path)?;
        let (conn, access) = connection::open(&config)?;
        let writer = (access == Access::ReadWrite).then(|| Writer::new(conn, config.clone()));
        Ok(Store {
            access,
            seat: WriterSeat::new(writer)?,
            readers: ReadPool::new(config.path.clone(), access),
            config,
        })
    }

    /// Runs `body` in the next transaction and waits for its COMMIT. It may run twice.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        body: impl FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.seat.write(body)
    }

    pub(crate) fn reader(&self) -> Result<Reader> {
        self.readers.get()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.config.path
    }

    pub(crate) fn runners_folder(&self) -> PathBuf {
        file::runners_folder(&self.config.path)
    }
}
