//! The pool of connections for reading.

use std::sync::{Arc, OnceLock};
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
    pool: OnceLock<Pool<Manager>>,
}

/// A connection out of the pool.
pub(crate) type Reader = PooledConnection<Manager>;

impl ReadPool {
    pub(crate) fn new(file: Arc<OpenFile>, access: Access) -> ReadPool {
        ReadPool {
            file,
            access,
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

/// r2d2_sqlite's manager says of no connection that it is broken, so that one which was returned
/// inside a transaction would be handed out in it. This one looks.
pub(crate) struct Manager {
    inner: SqliteConnectionManager,
    file: Arc<OpenFile>,
    access: Access,
}

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = Error;

    fn connect(&self) -> Result<Connection> {
        connection::open_reader(&self.file, self.access)
    }

    fn is_valid(&self, conn: &mut Connection) -> Result<()> {
        Ok(self.inner.is_valid(conn)?)
    }

    fn has_broken(&self, conn: &mut Connection) -> bool {
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
