//! Transactions that are lent to application code.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, params};

use crate::store::sqlite::tx::Tx;
use crate::store::sqlite::writer::{COMMIT_MARK, Writer, not_saved};
use crate::{Error, Result};

/// The error or panic of a body.
enum Left<E> {
    Error(E),
    Panic(Box<dyn Any + Send>),
}

impl Writer {
    /// Runs `body` once, as one transaction on the calling thread. If it fails or panics, nothing is changed; a
    /// panic continues. The outer error is the transaction's own.
    pub(crate) fn run_user_code<T, E>(
        &mut self,
        body: impl FnOnce(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<Result<T, E>> {
        let (write_lock, slot) = (Arc::clone(&self.write_lock), self.mark.slot);
        let mut body = Some(body);
        let (mut left, mut ended) = (None, false);
        let written = self.transact(&mut Vec::new(), &mut |tx| {
            let body = body.take().ok_or_else(not_saved)?;
            let schema = schema_version(tx.conn)?;
            let lent = write_lock.run_user_code();
            let ran = catch_unwind(AssertUnwindSafe(|| body(tx)));
            drop(lent);
            match ran {
                Ok(Ok(answer)) => {
                    // Tables that were made count as no change of rows, and a commit without its
                    // mark could not be told from one that did not land.
                    if schema_version(tx.conn)? != schema {
                        tx.conn
                            .prepare_cached(COMMIT_MARK)?
                            .execute(params![slot, fastrand::i64(..)])?;
                    }
                    return Ok(answer);
                }
                Ok(Err(error)) => left = Some(Left::Error(error)),
                Err(panic) => left = Some(Left::Panic(panic)),
            }
            ended = tx.conn.is_autocommit();
            Err(Error::invalid(
                "what was to be written failed; nothing was changed",
            ))
        });
        if ended {
            // The error that did it may have been one of the disk. Nothing was to be committed, so
            // nothing has to be found out.
            self.conn = None;
        }
        match (left, written) {
            (Some(Left::Panic(panic)), _) => resume_unwind(panic),
            (Some(Left::Error(error)), _) => Ok(Err(error)),
            (None, written) => written.map(Ok),
        }
    }

    /// Refuses an application its own COMMIT and ROLLBACK: what jobq holds back until the end of the
    /// transaction would be missing from what it commits.
    pub(super) fn keep_open_while_lent(&self, conn: &Connection) -> Result<()> {
        let write_lock = Arc::clone(&self.write_lock);
        conn.authorizer(Some(move |asked: AuthContext<'_>| {
            if matches!(asked.action, AuthAction::Transaction { .. }) && write_lock.is_user_code_here() {
                log::error!(
                    "refused to begin or end a transaction inside of one that jobq ends: return Ok to commit, an error to roll back"
                );
                return Authorization::Deny;
            }
            Authorization::Allow
        }))?;
        Ok(())
    }
}

fn schema_version(conn: &Connection) -> Result<i64> {
    let mut statement = conn.prepare_cached("PRAGMA schema_version")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use rusqlite::OptionalExtension;

    use super::*;
    use crate::store::sqlite::writer::COMMIT_MARKED;
    use crate::store::sqlite::writer::tests::writer;

    fn mark(writer: &mut Writer) -> Option<i64> {
        let slot = writer.mark.slot;
        let conn = writer.conn().unwrap();
        conn.query_row(COMMIT_MARKED, [slot], |row| row.get(0))
            .optional()
            .unwrap()
    }

    #[test]
    fn a_commit_of_tables_alone_is_marked_and_an_empty_one_is_not() {
        let (_folder, mut writer) = writer();
        let run = |writer: &mut Writer, sql: &str| {
            let ran = writer.run_user_code(|tx| -> Result<()> { Ok(tx.conn.execute_batch(sql)?) });
            ran.unwrap().unwrap();
            mark(writer)
        };
        let first = run(&mut writer, "CREATE TABLE orders (id INTEGER PRIMARY KEY)");
        assert_eq!(first, writer.mark.pending);
        assert!(first.is_some());
        assert_eq!(run(&mut writer, "SELECT count(*) FROM orders"), first);
        let second = run(&mut writer, "DROP TABLE orders");
        assert_ne!(second, first);
        assert_eq!(second, writer.mark.pending);
    }
}
