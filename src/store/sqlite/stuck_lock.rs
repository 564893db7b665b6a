//! Finds the process that holds the write lock.
//!
//! It reads `/proc/locks`, as text: opening and closing a file of the database itself would release all locks
//! that this process has on it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rusqlite::Connection;

use crate::error::Kind;
use crate::store::sqlite::file::with_suffix;
use crate::{Error, Result};

/// The byte of the `-shm` file that a writer locks (SQLite's `WAL_WRITE_LOCK`).
const WRITE_LOCK_BYTE: u64 = 120;

/// Begins a write transaction. If the lock is not available, the error names its holder.
pub(crate) fn begin(conn: &Connection, path: &Path) -> Result<()> {
    let begun = conn
        .prepare_cached("BEGIN IMMEDIATE")
        .and_then(|mut begin| begin.execute([]));
    match begun.map_err(Error::from) {
        Ok(_) => Ok(()),
        Err(error) if error.is_busy() => Err(match holder(path) {
            Some(LockHolder::Other(other)) => {
                error.with_hint(format!("{other} holds it; end that, or try again"))
            }
            Some(LockHolder::ThisProcess) => stuck(),
            None => error,
        }),
        Err(error) => Err(error),
    }
}

/// Another thread has a transaction open, or the system has refused to release a lock: SQLite does not report
/// that, and such a lock stays until all connections of the process are closed.
fn stuck() -> Error {
    let message = "the database is busy: this process kept it locked itself";
    Error::new(Kind::Stuck, message)
        .with_hint("another thread of this process holds it; end that, or try again")
}

enum LockHolder {
    ThisProcess,
    /// `process 4711 (python3)`
    Other(String),
}

/// None where the system does not tell.
fn holder(path: &Path) -> Option<LockHolder> {
    let index = std::fs::metadata(with_suffix(path, "-shm")).ok()?;
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let pid = writer_in(&locks, index.ino())?;
    if i64::from(pid) == i64::from(std::process::id()) {
        return Some(LockHolder::ThisProcess);
    }
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name: String = name
        .trim_end()
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    Some(LockHolder::Other(match name.is_empty() {
        true => format!("process {pid}"),
        false => format!("process {pid} ({name})"),
    }))
}

/// The process with the write lock, in lines like `1: POSIX ADVISORY WRITE 4711 fe:00:10313747 120 120`.
/// One of another container is 0 or -1.
fn writer_in(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, "POSIX", _, "WRITE", pid, file, first, last] = fields[..] else {
            return None;
        };
        let is_file = file.rsplit(':').next()?.parse() == Ok(inode);
        let range = first.parse().ok()?..=last.parse().ok()?;
        let pid = pid.parse().ok().filter(|pid| *pid > 0);
        pid.filter(|_| is_file && range.contains(&WRITE_LOCK_BYTE))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_write_that_finds_the_lock_taken_says_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db");
        let [holder, waiter] = [(); 2].map(|()| {
            let conn = Connection::open(&path).unwrap();
            conn.pragma_update(None, "journal_mode", "wal").unwrap();
            conn.busy_timeout(Duration::ZERO).unwrap();
            conn
        });
        holder.execute_batch("BEGIN IMMEDIATE").unwrap();
        let error = begin(&waiter, &path).unwrap_err();
        assert!(error.is_busy(), "{error}");
        let hint = error.hint().unwrap();
        if cfg!(target_os = "linux") {
            assert_eq!(
                hint,
                "another thread of this process holds it; end that, or try again"
            );
        }
        holder.execute_batch("ROLLBACK").unwrap();
        begin(&waiter, &path).unwrap();
    }

    #[test]
    fn lock_holder_is_distinguished_from_readers_and_waiters() {
        let locks = "\
1: FLOCK  ADVISORY  WRITE 7 fe:00:10 0 EOF
2: POSIX  ADVISORY  WRITE 8 fe:00:99 120 120
3: POSIX  ADVISORY  READ 9 fe:00:10 123 123
4: POSIX  ADVISORY  WRITE 11 fe:00:10 124 127
5: POSIX  ADVISORY  WRITE 12 fe:00:10 120 121
5: -> POSIX  ADVISORY  WRITE 13 fe:00:10 120 120
";
        assert_eq!(writer_in(locks, 10), Some(12));
        assert_eq!(writer_in(locks, 11), None);
        assert_eq!(
            writer_in("1: POSIX ADVISORY WRITE -1 fe:00:10 120 120", 10),
            None
        );
    }
}
