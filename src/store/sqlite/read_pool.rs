//! The pool of connections for reading.

use std::ops::Deref;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use r2d2::{ManageConnection, Pool, PooledConnection};
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::Connection;
use rustix::io::Errno;
use scheduled_thread_pool::ScheduledThreadPool;

use crate::error::Kind;
use crate::store::sqlite::connection;
use crate::store::sqlite::connection::Access;
use crate::store::sqlite::file_identity::OpenFile;
use crate::store::sqlite::writer::checkpoint_passively;
use crate::{Error, Result, clock};

const READERS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(20);
/// How long to retry when connections cannot be opened.
const OPEN_AGAIN: Duration = Duration::from_millis(500);

/// Connections are opened at the first read.
pub(crate) struct ReadPool {
    file: Arc<OpenFile>,
    access: Access,
    open: Arc<Open>,
    started: Mutex<Option<OpenPool>>,
}

/// The connections, and the one thread that opens them.
#[derive(Clone)]
struct OpenPool {
    pool: Pool<Manager>,
    thread: Arc<ScheduledThreadPool>,
}

/// A connection from the pool.
pub(crate) type ReadConnection = PooledConnection<Manager>;

impl ReadPool {
    pub(crate) fn new(file: Arc<OpenFile>, access: Access) -> ReadPool {
        ReadPool {
            file,
            access,
            open: Arc::default(),
            started: Mutex::default(),
        }
    }

    pub(crate) fn get(&self) -> Result<ReadConnection> {
        self.file.check_lately()?;
        let pool = self.started()?.pool;
        let began = clock::instant();
        loop {
            if let Ok(reader) = pool.get_timeout(OPEN_AGAIN) {
                return Ok(reader);
            }
            self.file.check()?;
            if let Some(error) = self.open.take_error() {
                return Err(error);
            }
            if began.elapsed() >= PATIENCE {
                let error = "all connections for reading are in use";
                return Err(Error::new(Kind::Busy, error).with_hint("try again"));
            }
        }
    }

    /// Begins to copy the log into the file, on the pool's thread and a connection of its own; the answer
    /// becomes true at its end. Errors are left to the writer, which meets them too. It counts as open from
    /// now on: whoever closes the pool waits for it.
    pub(crate) fn copy_log(&self) -> Result<Arc<AtomicBool>> {
        let started = self.started()?;
        let ended = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&ended);
        let (file, access, one) = (Arc::clone(&self.file), self.access, One::more(&self.open));
        started.thread.execute(move || {
            let reader = Counted::open(&file, access, one);
            let copied = reader.and_then(|reader| Ok(checkpoint_passively(&reader)?));
            if let Err(error) = copied {
                log::debug!("the log could not be checkpointed by a reader: {error}");
            }
            tell.store(true, Ordering::Release);
        });
        Ok(ended)
    }

    /// Closes all idle connections now, and the others when they are returned.
    pub(crate) fn close(&self) {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if started.take().is_some() {
            self.open.wait_until_none();
        }
    }

    #[cfg(test)]
    pub(crate) fn is_open(&self) -> bool {
        self.started.lock().unwrap().is_some()
    }

    fn started(&self) -> Result<OpenPool> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(started) = &*started {
            return Ok(started.clone());
        }
        Ok(started.insert(self.start()?).clone())
    }

    /// Starts the pool's one thread, which opens connections.
    fn start(&self) -> Result<OpenPool> {
        // The pool panics if its thread cannot be started.
        let probe = thread::Builder::new().spawn(|| {});
        let probe = probe.map_err(|error| Error::no_thread("reading", error))?;
        let _ended = probe.join();
        // It may still count for a moment after it was joined.
        let threads = catch_unwind(|| {
            ScheduledThreadPool::builder()
                .num_threads(1)
                .thread_name_pattern("jobq-readers")
                .build()
        });
        let refused = |_| Error::no_thread("reading", Errno::AGAIN.into());
        let thread = Arc::new(threads.map_err(refused)?);
        let manager = Manager {
            inner: SqliteConnectionManager::file(self.file.path()),
            file: Arc::clone(&self.file),
            access: self.access,
            open: Arc::clone(&self.open),
        };
        // Without idle and life times the pool has nothing to do in the background.
        let pool = Pool::builder()
            .max_size(READERS)
            .min_idle(Some(0))
            .idle_timeout(None)
            .max_lifetime(None)
            .thread_pool(Arc::clone(&thread))
            .error_handler(Box::new(r2d2::NopErrorHandler))
            .build_unchecked(manager);
        Ok(OpenPool { pool, thread })
    }
}

impl Drop for ReadPool {
    /// Returns when the connections are closed: a thread of the pool may hold on to them for a moment,
    /// and the writer, which comes after, removes the log only where it is the last.
    fn drop(&mut self) {
        self.close();
    }
}

/// How many connections of a pool are open.
#[derive(Default)]
struct Open {
    connections: Mutex<usize>,
    closed: Condvar,
    /// Why the last one could not be opened.
    error: Mutex<Option<Error>>,
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

    fn take_error(&self) -> Option<Error> {
        let mut error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        error.take()
    }

    fn note(&self, error: &Error) {
        let mut noted = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        *noted = Some(error.duplicate());
    }

    /// Does not wait for a connection that is not returned.
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

impl Counted {
    fn open(file: &OpenFile, access: Access, one: One) -> Result<Counted> {
        let conn = connection::open_reader(file, access)?;
        Ok(Counted { conn, _one: one })
    }
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

/// r2d2_sqlite's manager reports no connection as broken, so one that was returned inside a transaction would
/// be handed out in it. This one checks.
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
        let opened = Counted::open(&self.file, self.access, One::more(&self.open));
        opened.inspect_err(|error| self.open.note(error))
    }

    fn is_valid(&self, counted: &mut Counted) -> Result<()> {
        // SQLite opens the log with the first statement.
        let is_valid = self.inner.is_valid(&mut counted.conn).map_err(Error::from);
        is_valid.inspect_err(|error| self.open.note(error))
    }

    fn has_broken(&self, conn: &mut Counted) -> bool {
        !conn.is_autocommit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::file_identity::FoundFile;

    #[test]
    fn a_connection_returned_inside_a_transaction_is_not_reused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pool.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE t (x)")
            .unwrap();
        let file = OpenFile::just_opened(&path, FoundFile::at(&path)).unwrap();
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

    #[test]
    fn closing_waits_for_a_copy_of_the_log_that_has_not_begun() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.db");
        let writer = Connection::open(&path).unwrap();
        writer
            .execute_batch(
                "PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(1000000))",
            )
            .unwrap();
        let size = || std::fs::metadata(&path).unwrap().len();
        assert!(size() < 1_000_000);
        let file = OpenFile::just_opened(&path, FoundFile::at(&path)).unwrap();
        let pool = ReadPool::new(Arc::new(file), Access::ReadWrite);
        let begin = Arc::new(std::sync::Barrier::new(2));
        let held = Arc::clone(&begin);
        let thread = pool.started().unwrap().thread;
        thread.execute(move || {
            held.wait();
        });
        pool.copy_log().unwrap();
        drop(thread);
        std::thread::scope(|scope| {
            scope.spawn(|| begin.wait());
            pool.close();
        });
        assert!(size() > 1_000_000, "it was still to come");
    }
}
