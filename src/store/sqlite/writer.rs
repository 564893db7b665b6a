//! The writer of a process: it commits all queued commands as one transaction.

mod group;
mod user_code;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Kind;
use crate::model::file_options::LogAtClose;
use crate::model::remedy::Remedy;
use crate::store::sqlite::command::{Command, not_saved};
use crate::store::sqlite::connection::OpenConfig;
use crate::store::sqlite::error::breaks_connection;
use crate::store::sqlite::names::Names;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::tx::{JobRules, Tx, UnfollowedStep};
use crate::store::sqlite::write_lock::WriteLock;
use crate::store::sqlite::{connection, file, stuck_lock};
use crate::{Error, Result};

statements! {
    /// Tells after a failed COMMIT whether it landed: see [`Writer::commit`].
    hot COMMIT_MARK = "INSERT OR REPLACE INTO jobq_number (what, id, value) VALUES (-1, ?1, ?2)";
    hot COMMIT_MARKED = "SELECT value FROM jobq_number WHERE what = -1 AND id = ?1";
}

/// The result of a COMMIT that reported an error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Landed {
    Yes,
    No,
    Unknown,
}

/// The write connection and what it knows.
pub(crate) struct Writer {
    config: OpenConfig,
    rules: JobRules,
    /// Shared with the other writers of this process: held while a transaction is open.
    write_lock: Arc<WriteLock>,
    /// None before the first use, and after an error that makes the connection untrustworthy, until
    /// it is open again.
    conn: Option<Connection>,
    names: Names,
    mark: CommitMark,
    unfollowed: Option<UnfollowedStep>,
    /// Whether the connection is lent to application code.
    use_for: UseFor,
    /// The number of pages in the log at which it is checkpointed.
    checkpoint_at_pages: i32,
    /// After a lost connection nothing is acknowledged before a checkpoint has succeeded.
    needs_checkpoint: bool,
}

/// What a writer's connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UseFor {
    /// Only jobq's own statements.
    Own,
    /// Also an application's: its schema may have views and triggers.
    Lending,
}

/// Number of pages in the log at which a runner checkpoints it: 8 MB. At SQLite's default of 1,000 every
/// fortieth job of a busy runner meets a checkpoint; with many more, a checkpoint takes noticeable time.
pub(crate) const RUNNER_CHECKPOINT_PAGES: i32 = 2000;

/// Other processes leave it to a runner, if there is one.
pub(crate) const OTHERS_CHECKPOINT_PAGES: i32 = 2 * RUNNER_CHECKPOINT_PAGES;

thread_local! {
    /// How many pages the log had after this thread's last commit.
    static LOG_PAGES: Cell<i32> = const { Cell::new(0) };
}

/// How many pages the log had after this thread's last commit.
pub(crate) fn log_pages() -> i32 {
    LOG_PAGES.get()
}

fn note_log_pages(_: &Wal, pages: i32) -> rusqlite::Result<()> {
    LOG_PAGES.set(pages);
    Ok(())
}

/// The slot of a transaction that an application begins and commits itself: it needs no mark.
pub(crate) const NO_WRITER: i64 = 64;

/// This writer's mark in `jobq_number`.
struct CommitMark {
    slot: i64,
    /// The slot's value before the current transaction.
    last: Option<i64>,
    /// The slot's value by the current transaction.
    pending: Option<i64>,
}

/// Copies what no reader still needs of the log into the file, unless another connection is at it.
pub(crate) fn checkpoint_passively(conn: &Connection) -> rusqlite::Result<()> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

impl Writer {
    pub(crate) fn new(
        conn: Connection,
        (config, rules): (OpenConfig, JobRules),
        write_lock: Arc<WriteLock>,
    ) -> Writer {
        conn.wal_hook(Some(note_log_pages));
        let mut writer = Writer::unopened(config, rules, write_lock);
        writer.conn = Some(conn);
        writer
    }

    /// A writer for user transactions, which opens its connection at first use.
    pub(crate) fn for_user_code(
        (config, rules): (OpenConfig, JobRules),
        write_lock: Arc<WriteLock>,
    ) -> Writer {
        let mut writer = Writer::unopened(config, rules, write_lock);
        writer.use_for = UseFor::Lending;
        writer
    }

    fn unopened(config: OpenConfig, rules: JobRules, write_lock: Arc<WriteLock>) -> Writer {
        let mark = CommitMark {
            slot: fastrand::i64(0..NO_WRITER),
            last: None,
            pending: None,
        };
        Writer {
            config,
            rules,
            write_lock,
            conn: None,
            names: Names::default(),
            mark,
            unfollowed: None,
            use_for: UseFor::Own,
            checkpoint_at_pages: RUNNER_CHECKPOINT_PAGES,
            needs_checkpoint: false,
        }
    }

    /// Checkpoints a log that has grown: after all replies and after claimed jobs are sent, not inside COMMIT
    /// as SQLite would. A checkpoint that a reader holds back is tried again when the log has grown as much
    /// again.
    pub(crate) fn tidy_log(&mut self, at_pages: i32) {
        let pages = log_pages();
        if pages < at_pages {
            self.checkpoint_at_pages = at_pages;
        }
        if pages >= self.checkpoint_at_pages.max(at_pages) {
            self.checkpoint_at_pages = pages + at_pages;
            self.checkpoint_passively();
        }
    }

    /// Copies what no reader still needs of the log into the file.
    pub(crate) fn checkpoint_passively(&mut self) {
        let Some(conn) = self.conn.as_ref() else {
            return;
        };
        if let Err(error) = checkpoint_passively(conn) {
            log::error!("the log could not be checkpointed: {error}");
            self.drop_connection();
        }
    }

    /// The connection, for reading without a transaction; opened anew if it was lost.
    pub(crate) fn conn(&mut self) -> Result<&Connection> {
        self.reopen()?;
        self.conn.as_ref().ok_or_else(not_saved)
    }

    pub(crate) fn split(&mut self) -> Result<(&Connection, &mut Names)> {
        self.reopen()?;
        let Writer { conn, names, .. } = self;
        Ok((conn.as_ref().ok_or_else(not_saved)?, names))
    }

    fn group<T>(
        &mut self,
        commands: &mut [Box<dyn Command>],
        body: &mut dyn FnMut(&mut Tx<'_>) -> Result<T>,
    ) -> Group<T> {
        let single = commands.is_empty();
        // Held until after COMMIT or ROLLBACK, and until its result is known.
        let write_lock = Arc::clone(&self.write_lock);
        let _pass = write_lock.enter();
        let (outcomes, answer) = match self.run(commands, body) {
            Ok(ran) => ran,
            Err(error) => {
                self.abandon(&error);
                return Group::Lost(error);
            }
        };
        let ended = self.conn.as_ref().is_none_or(Connection::is_autocommit);
        if ended {
            let error = outcomes
                .into_iter()
                .chain([answer.map(|_| ())])
                .find_map(Result::err);
            let error = error.unwrap_or_else(not_saved);
            self.abandon(&error);
            return if single {
                Group::Lost(error)
            } else {
                Group::Ended
            };
        }
        match self.commit() {
            Ok(()) => Group::Committed {
                outcomes,
                body: answer,
            },
            Err(error) => Group::Lost(error),
        }
    }

    /// Everything between BEGIN and COMMIT. The error is one of the transaction itself.
    #[allow(
        clippy::type_complexity,
        reason = "private, and taken apart by the one caller"
    )]
    fn run<T>(
        &mut self,
        commands: &mut [Box<dyn Command>],
        body: &mut dyn FnMut(&mut Tx<'_>) -> Result<T>,
    ) -> Result<(Vec<Result<()>>, Result<T>)> {
        self.reopen()?;
        let token = fastrand::i64(..);
        let Writer {
            conn,
            names,
            mark,
            config,
            rules,
            unfollowed,
            ..
        } = self;
        let conn = conn.as_ref().ok_or_else(not_saved)?;
        if let Some(file) = &config.opened {
            file.check_lately()?;
        }
        stuck_lock::begin(conn, &config.path)?;
        let before = conn.total_changes();
        let begun = (mark.slot, *rules);
        let mut tx = Tx::begin((conn, names), &config.clock, begun, unfollowed)?;
        mark.last = tx.mark;

        let mut outcomes = Vec::with_capacity(commands.len());
        for command in commands {
            outcomes.push(tx.savepoint(|tx| command.apply(tx)));
            if conn.is_autocommit() {
                return Ok((outcomes, Err(not_saved())));
            }
        }
        let answer = if outcomes.is_empty() {
            body(&mut tx)
        } else {
            tx.savepoint(body)
        };
        if conn.is_autocommit() || (outcomes.is_empty() && answer.is_err()) {
            if !conn.is_autocommit() {
                conn.execute_batch("ROLLBACK")?;
            }
            return Ok((outcomes, answer));
        }
        if let Err(error) = tx.finish() {
            // One command may be the cause: run the commands of the group one by one.
            if !conn.is_autocommit() {
                conn.execute_batch("ROLLBACK")?;
            }
            return Ok((outcomes, Err(error)));
        }
        if conn.total_changes() == before {
            // Nothing to commit: the log stays as it is, and no other process wakes.
            return Ok((outcomes, answer));
        }
        tx.write_numbers(mark.slot, token)?;
        mark.pending = Some(token);
        Ok((outcomes, answer))
    }

    fn commit(&mut self) -> Result<()> {
        let Some(conn) = self.conn.as_ref() else {
            return Err(not_saved());
        };
        let committed = conn
            .prepare_cached("COMMIT")
            .and_then(|mut commit| commit.execute([]));
        let error = match committed {
            Ok(_) => return Ok(()),
            Err(error) => Error::from(error),
        };
        if !breaks_connection(&error) {
            // As on a full disk: the frame that makes it a commit is written last.
            self.abandon(&error);
            return Err(error);
        }
        log::error!("a commit failed: {error}; opening the database anew to see whether it landed");
        self.drop_connection();
        match self.look_for_mark() {
            Landed::Yes => Ok(()),
            Landed::No => match self.bury() {
                Ok(()) => Err(error),
                Err(_) => Err(unknown(&error)),
            },
            Landed::Unknown => Err(unknown(&error)),
        }
    }

    /// Makes it final that a commit has not landed: its frames may lie in the log behind the last
    /// valid one, where a later recovery would find them, until something is written over them.
    fn bury(&mut self) -> Result<()> {
        let Some(conn) = self.conn.as_ref() else {
            return Err(not_saved());
        };
        conn.execute_batch("BEGIN IMMEDIATE")?;
        let marked = conn
            .execute(COMMIT_MARK, params![self.mark.slot, fastrand::i64(..)])
            .and_then(|_| conn.execute_batch("COMMIT"));
        if marked.is_err() {
            self.drop_connection();
        }
        Ok(marked?)
    }

    fn look_for_mark(&mut self) -> Landed {
        // A disk that has failed may need a moment; a longer wait would hold up all writers.
        for tries in 0..5 {
            match self.reopen() {
                Ok(()) => break,
                Err(error) if tries == 4 => {
                    log::error!("the database cannot be opened again: {error}");
                    return Landed::Unknown;
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20 << tries)),
            }
        }
        let Some(conn) = self.conn.as_ref() else {
            return Landed::Unknown;
        };
        let found = conn
            .query_row(COMMIT_MARKED, [self.mark.slot], |row| row.get(0))
            .optional();
        match found {
            Ok(found) if found.is_some() && found == self.mark.pending => Landed::Yes,
            Ok(found) if found == self.mark.last => Landed::No,
            _ => Landed::Unknown,
        }
    }

    /// Rolls back what is left of a transaction after an error.
    fn abandon(&mut self, error: &Error) {
        self.names.forget();
        let Some(conn) = self.conn.as_ref() else {
            return;
        };
        let rolled_back = conn.is_autocommit() || conn.execute_batch("ROLLBACK").is_ok();
        if !rolled_back || breaks_connection(error) {
            self.drop_connection();
        }
    }

    fn drop_connection(&mut self) {
        self.names.forget();
        self.conn = None;
        self.needs_checkpoint = true;
    }

    fn reopen(&mut self) -> Result<()> {
        if self.conn.is_none() {
            let file = self.config.opened.as_deref();
            if let Some(file) = file.filter(|_| !self.needs_checkpoint) {
                file.check()?;
            }
            let (conn, access) = connection::open(&self.config)?;
            if access != connection::Access::ReadWrite {
                return Err(Error::new(
                    Kind::ReadOnly,
                    "the database has become read-only",
                ));
            }
            conn.wal_hook(Some(note_log_pages));
            if self.use_for == UseFor::Lending {
                connection::unbound(&conn)?;
                self.keep_open_while_lent(&conn)?;
            }
            if let Some(file) = file.filter(|_| self.needs_checkpoint) {
                file.reopened();
            }
            self.conn = Some(conn);
        }
        if self.needs_checkpoint {
            self.checkpoint()?;
            self.needs_checkpoint = false;
        }
        Ok(())
    }

    /// After a panic a transaction may be open: it would hold the lock that all other writers need.
    pub(crate) fn roll_back_rest(&mut self) {
        let open = self.conn.as_ref().filter(|conn| !conn.is_autocommit());
        if open.is_some_and(|conn| conn.execute_batch("ROLLBACK").is_err()) {
            self.drop_connection();
        }
    }

    /// Moves the log's content into the database file, and syncs it.
    fn checkpoint(&self) -> Result<()> {
        let Some(conn) = self.conn.as_ref() else {
            return Ok(());
        };
        let busy: i64 = conn.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| row.get(0))?;
        if busy == 0 {
            return Ok(());
        }
        Err(Error::new(
            Kind::Busy,
            "the log could not be checkpointed: a reader holds it",
        ))
    }
}

/// Maximum size of a log that is left behind. Reading a shorter one costs the next process less than removing
/// it would cost this one.
const LONGEST_KEPT_LOG_BYTES: u64 = 512 * 1024;

impl Drop for Writer {
    /// Lets SQLite move the log into the file and remove it, if no other process has the file open. SQLite
    /// removes it by name: if another file has replaced this one, the log is that file's.
    fn drop(&mut self) {
        let Some(conn) = self.conn.as_ref() else {
            return;
        };
        let file = self.config.opened.as_ref();
        let is_in_place = file.is_none_or(|file| file.check().is_ok());
        let log = file::with_suffix(&self.config.path, "-wal");
        let log_bytes = || std::fs::metadata(log).map_or(0, |log| log.len());
        let is_kept = self.config.log_at_close == LogAtClose::KeepShort
            && log_bytes() <= LONGEST_KEPT_LOG_BYTES;
        if is_in_place && !is_kept {
            let _ = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
        }
    }
}

fn unknown(error: &Error) -> Error {
    Error::new(
        Kind::UnknownOutcome,
        format!("the commit failed and it cannot be told whether it landed: {error}"),
    )
    .with_hint("look before trying again")
    .with_remedy(Remedy::Check)
}

enum Group<T> {
    /// The transaction is in the file; each command has its own outcome.
    Committed {
        outcomes: Vec<Result<()>>,
        body: Result<T>,
    },
    /// Nothing was changed, or the result is unknown, for one reason.
    Lost(Error),
    /// An error inside a savepoint ended the transaction: nothing was changed.
    Ended,
}

#[cfg(test)]
mod tests;
