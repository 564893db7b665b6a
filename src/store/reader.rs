//! The pool of connections for reading.

use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use r2d2::{ManageConnection, Pool, PooledConnection};
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::Connection;

use super::connection::{self, Access};
use super::identity::OpenFile;
use crate::error::Kind;
use crate::{Error, Result};

const READERS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(20);

/// Connections are opened when somebody first reads.
pub(crate) struct ReadPool {
    file: Arc<OpenFile>,
    access: Access,
    open: Arc<Open>,
    pool: OnceLock<Pool<Manager>>,
}

/// A connection out of the pool.
pub(crate) type Reader = PooledConnection<Manager>;

impl ReadPool {
    pub(crate) fn new(file: Arc<OpenFile>, access: Access) -> ReadPool {
        ReadPool {
            file,
            access,
            open: Arc::default(),
            pool: OnceLock::new(),
        }
    }

    pub(crate) fn get(&self) -> Result<Reader> {
        self.file.check_lately()?;
        let pool = self.pool.get_or_init(|| {
            let manager = Manager {
                inner: SqliteConnectionManager::file(self.file.path()),
                file: Arc::clone(&self.file),
                access: self.access,
                open: Arc::clone(&self.open),
            };
            // Without idle and life times the pool has nothing to do in the background.
            Pool::builder()
                .max_size(READERS)
                .min_idle(Some(0))
                .idle_timeout(None)
                .max_lifetime(None)
                .connection_timeout(PATIENCE)
                .error_handler(Box::new(r2d2::NopErrorHandler))
                .build_unchecked(manager)
        });
        pool.get().map_err(|error| {
            if let Err(replaced) = self.file.check() {
                return replaced;
            }
            Error::new(Kind::Busy, format!("no connection for reading: {error}")).hint("try again")
        })
    }
}

impl Drop for ReadPool {
    /// Returns when the connections are closed: a thread of the pool may hold on to them for a moment,
    /// and the writer, which comes after, removes the log only where it is the last.
    fn drop(&mut self) {
        if self.pool.take().is_some() {
            self.open.wait_until_none();
        }
    }
}

/// How many connections of a pool are open.
#[derive(Default)]
struct Open {
    connections: Mutex<usize>,
    closed: Condvar,
}

impl Open {
    fn change(&self, by: isize) {
        let mut open = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *open = open.saturating_add_signed(by);
        self.closed.notify_all();
    }

    /// One that is lent to somebody who does not return it is not waited for.
    fn wait_until_none(&self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        let open = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let _ = self
            .closed
            .wait_timeout_while(open, PATIENCE, |open| *open > 0);
    }
}

/// A connection that is counted as long as it is open: of the fields, the connection goes first.
pub(crate) struct Counted {
    conn: Connection,
    _one: One,
}

impl Deref for Counted {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.conn
    }
}

struct One(Arc<Open>);

impl One {
    fn more(open: &Arc<Open>) -> One {
        open.change(1);
        One(Arc::clone(open))
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.change(-1);
    }
}

/// r2d2_sqlite's manager says of no connection that it is broken, so that one which was returned
/// inside a transaction would be handed out in it. This one looks.
pub(crate) struct Manager {
    inner: SqliteConnectionManager,
    file: Arc<OpenFile>,
    access: Access,
    open: Arc<Open>,
}

impl ManageConnection for Manager {
    type Connection = Counted;
    type Error = Error;

    fn connect(&self) -> Result<Counted> {
        let one = One::more(&self.open);
        let conn = connection::open_reader(&self.file, self.access)?;
        Ok(Counted { conn, _one: one })
    }

    fn is_valid(&self, counted: &mut Counted) -> Result<()> {
        Ok(self.inner.is_valid(&mut counted.conn)?)
    }

    fn has_broken(&self, conn: &mut Counted) -> bool {
        !conn.is_autocommit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::identity::Found;

    #[test]
    fn a_connection_returned_inside_a_transaction_is_not_handed_out_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pool.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE t (x)")
            .unwrap();
        let file = OpenFile::just_opened(&path, Found::at(&path)).unwrap();
        let pool = ReadPool::new(Arc::new(file), Access::ReadWrite);
        let taken: Vec<_> = (0..READERS).map(|_| pool.get().unwrap()).collect();
        for conn in &taken {
            conn.execute_batch("BEGIN; SELECT * FROM t").unwrap();
        }
        drop(taken);
        for _ in 0..READERS {
            assert!(pool.get().unwrap().is_autocommit());
        }
    }
}
