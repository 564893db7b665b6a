//! The storage vocabulary on one page: what `queue` and `runner` may call, by subject. Only the store knows
//! SQLite; its SQL is in named constants.

mod jobs;
mod read;
mod sqlite;
#[cfg(feature = "cli")]
pub(crate) mod steps;
#[cfg(test)]
mod tests;
mod upkeep;

// Enqueuing and changing jobs.
pub(crate) use jobs::cancel::cancel as cancel_job;
pub(crate) use jobs::enqueue::{PLAIN_AT_ONCE, Spawned, enqueue, enqueue_plain_together};
pub(crate) use jobs::job_row::{get as job_row, state as job_state};
pub(crate) use jobs::quota::QuotaLimits;
pub(crate) use jobs::requeue::requeue as requeue_job;
pub(crate) use jobs::unique::forget as forget_unique_key;
pub(crate) use jobs::update::edit as update_job;
pub(crate) use jobs::validate::{FamilyRules, ValidatedJob, check_payload, hook_job};

// Claiming jobs, and the limits and deadlines that a claim observes.
pub(crate) use jobs::claim::{
    ClaimFor, ClaimRequest, ClaimedJob, KindCapacity, PREFETCH_BYTES, claim, claim_this,
    has_claimable, has_uncounted,
};
pub(crate) use jobs::claim_queues::has_capacity;
pub(crate) use jobs::deadlines::{cancel_late, is_any_late as has_late};
pub(crate) use jobs::fair_share::FairShares;

// Attempts: their reports and their end.
pub(crate) use jobs::attempt_reports::{
    log as write_log, output as write_output, progress as write_progress, result as write_result,
};
pub(crate) use jobs::finish_attempt::{
    AttemptMeasures, ClaimToken, PrefetchAgain, finish as finish_attempt,
    finish_with as finish_attempt_with, return_unbegun,
};
pub(crate) use jobs::snooze::ask as write_snooze;

// Queues and the state counters.
pub(crate) use jobs::queues::{
    all_paused_since, by_state as counts, list as list_queues, pause as pause_queue,
    resume as resume_queue, set_limits as set_queue_limits,
};

// Schedules, and promoting due jobs.
pub(crate) use upkeep::clock_step::{KnownClock, was_set_within as clock_was_set_within};
pub(crate) use upkeep::fire::{
    fire_due as fire_schedules, unreadable_here as unreadable_schedules,
};
pub(crate) use upkeep::promote::{Schedules, next_due, next_moment, promote_due};
pub(crate) use upkeep::schedules::{
    ValidatedSchedule, add as add_schedule, called as schedule_name, get as get_schedule,
    list as list_schedules, pause as pause_schedule, remove as remove_schedule,
    resume as resume_schedule, run_now as run_schedule, sync as sync_schedules,
};

// Runners: registration, liveness, takeover.
pub(crate) use sqlite::process_locks::{has_lock_file, lock_file, open as open_lock_file};
pub(crate) use upkeep::runners::{
    Alive, HeartbeatMode, Loss, Registration, alive as alive_runners,
    attempts_of as attempts_of_runner, claims_of as claims_of_runner, find_unowned,
    is_alive as is_runner_alive, note_worker, register as register_runner, remove_unused_locks,
    set_kinds as set_runner_kinds, set_short_of, set_unavailable as set_unavailable_kinds,
    stopped as mark_stopped, stopping as mark_stopping, take_over, take_over_unowned,
    to_cancel as attempts_to_cancel, write_heartbeat,
};

// Undoing changes by hand.
pub(crate) use upkeep::undo::{UNDOABLE, may_undo, undo as undo_change};

// Batches.
pub(crate) use upkeep::batches::{
    ended_badly as batch_ended_badly, find as find_batch, is_running as is_batch_running,
    remember as remember_batch, undone as batch_undone, unfinished as batch_unfinished,
};

// Removing old jobs.
pub(crate) use upkeep::prune::{
    Allowance, Keeps, PrunePass, Stepped, Sweep, count as count_prunable,
    end_of_step as end_of_prune_step, give_back_space, remove as remove_job, step as prune_step,
};

// The file: its health and its copies.
#[cfg(any(feature = "backup", feature = "data-processing", feature = "report"))]
pub(crate) use sqlite::database::Database;
#[cfg(any(feature = "data-processing", feature = "report"))]
pub(crate) use sqlite::{database::query::RowSink, types::Value as SqlValue};
#[cfg(feature = "backup")]
pub(crate) use upkeep::backup::copy_into;
pub(crate) use upkeep::backup::{backup, restore};
pub(crate) use upkeep::doctor::{examine, locks as examine_locks, recount as recount_jobs};

// Reading.
pub(crate) use jobs::dependencies::cancelled_because_of;
pub(crate) use read::attempts::of_job as attempts_of_job;
pub(crate) use read::drain::{
    holds_any as holds_any_job, left as jobs_left, nameless as job_without_name, retries_left,
};
#[cfg(feature = "web")]
pub(crate) use read::events::feed as read_feed;
pub(crate) use read::events::{
    find as find_event, last as last_event, latest as latest_events, read as read_events,
};
pub(crate) use read::graph::graph as read_graph;
pub(crate) use read::jobs::{between as jobs_between, get as get_job, last as last_job};
pub(crate) use read::listing::{list as list_jobs, page as page_of_jobs, page_of_records};
pub(crate) use read::matching::{error_groups, ids as matching_ids, preview as preview_of_change};
pub(crate) use read::metrics::snapshot::snapshot as metrics_snapshot;
pub(crate) use read::metrics::stats::{stats, totals_since};
pub(crate) use read::metrics::{between as metrics_between, enqueued as enqueued_totals};
pub(crate) use read::runners::list as list_runners;
pub(crate) use read::suggestions::names as suggested_names;
pub(crate) use read::why::why;
pub(crate) use read::why_queue::why_queue;
pub(crate) use sqlite::names::{
    Names, kind_ids, kinds_of as kind_ids_of, queue_called as queue_name,
};

// The write transaction and the writer.
pub(crate) use sqlite::backlog::{Backlog, Room};
pub(crate) use sqlite::command::{
    Command, Posted, lose as lose_commands, not_saved, refuse as refuse_commands,
};
pub(crate) use sqlite::log_copies::LogCopies;
pub(crate) use sqlite::tx::Tx;
pub(crate) use sqlite::writer::NO_WRITER;
pub(crate) use sqlite::writer_handle::{GROUP, WriterLease};

// Opening the file and watching it.
pub(crate) use sqlite::connection::{Access, OpenConfig};
pub use sqlite::file_watch::Changes;
pub(crate) use sqlite::file_watch::{
    AnnouncedCommits, CHECKS, FileWatch, check_delay, data_version, safety_poll, sleep_on,
};
pub(crate) use sqlite::new_file::remove_strays as remove_stray_files;
pub(crate) use sqlite::ownership::{
    explain as explain_denied, give_lock_file, make_runners_folder,
};
pub(crate) use sqlite::schema::Schema;
#[cfg(feature = "web")]
pub(crate) use sqlite::schema::VERSION as SCHEMA_VERSION;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::error::Kind;
use crate::store::jobs::consequences;
use crate::store::sqlite::connection::Opened;
use crate::store::sqlite::file_identity::OpenFile;
use crate::store::sqlite::read_pool::{ReadConnection, ReadPool};
use crate::store::sqlite::user_transactions::UserTransactions;
use crate::store::sqlite::writer::Writer;
use crate::store::sqlite::writer_handle::WriterHandle;
use crate::store::sqlite::{Connection, connection, file, ownership, schema, tx};
use crate::store::upkeep::clock_step;
use crate::{Error, Result};

/// What the rules of jobs do at the beginning and the end of each write transaction.
pub(crate) const JOB_RULES: tx::JobRules = tx::JobRules {
    follow_clock: clock_step::follow,
    consequences: consequences::follow,
};

/// An open file: its writer, its readers, and the connection for user transactions.
pub(crate) struct Store {
    pub(crate) config: OpenConfig,
    pub(crate) access: Access,
    /// The identity of the open file.
    pub(crate) file: Arc<OpenFile>,
    pub(crate) schema: Schema,
    /// Closed before the writer, which removes the log.
    pub(crate) readers: ReadPool,
    user_transactions: UserTransactions,
    pub(crate) writer: WriterHandle,
    /// Where a log of another file was put aside.
    pub(crate) foreign_log: Option<PathBuf>,
    file_id: OnceLock<String>,
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
        let user_transactions = UserTransactions::new(config.clone(), JOB_RULES);
        let writer = (access == Access::ReadWrite).then(|| {
            Writer::new(
                conn,
                (config.clone(), JOB_RULES),
                user_transactions.write_lock(),
            )
        });
        Ok(Store {
            access,
            writer: WriterHandle::new(&config.path, writer, user_transactions.write_lock())?,
            user_transactions,
            readers: ReadPool::new(Arc::clone(&file), access),
            file,
            schema,
            config,
            foreign_log,
            file_id: OnceLock::new(),
        })
    }

    /// Runs `body` in the next transaction and waits for its COMMIT. It may run twice.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        body: impl FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.refuse_older()?;
        (self.writer.write(body)).inspect_err(|error| self.let_go_after(error))
    }

    /// Closing all connections releases a lock that this process holds and does not use. The writer has
    /// closed its own.
    pub(crate) fn let_go_after(&self, error: &Error) {
        if error.kind() == Kind::Stuck {
            self.readers.close();
        }
    }

    /// Runs an application's `body` as a transaction of its own, on this thread, once. If it fails or
    /// panics, nothing is changed.
    pub(crate) fn write_alone<T, E: From<Error>>(
        &self,
        body: impl FnOnce(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.refuse_older()?;
        if self.access != Access::ReadWrite {
            return Err(ownership::read_only(self.path()).into());
        }
        let written = self.user_transactions.write(body);
        let done = written.inspect_err(|error| self.let_go_after(error))??;
        self.writer.ring();
        Ok(done)
    }

    /// Whether application code is running on this thread, inside [`Store::write_alone`].
    pub(crate) fn is_user_code_here(&self) -> bool {
        self.user_transactions.is_user_code_here()
    }

    /// Refuses what writes from inside [`Store::write_alone`], on its thread.
    pub(crate) fn refuse_inside(&self) -> Result<()> {
        self.user_transactions.refuse_inside()
    }

    pub(crate) fn reader(&self) -> Result<ReadConnection> {
        self.refuse_older()?;
        self.readers.get()
    }

    /// Reads through the writer's connection, or through a reader if that is in use.
    pub(crate) fn look<T>(&self, read: impl Fn(&Connection) -> Result<T>) -> Result<T> {
        self.refuse_older()?;
        let Ok(mut lease) = self.writer.lease() else {
            return read(&*self.reader()?);
        };
        let conn = self.file.check_lately().and_then(|()| lease.writer.conn());
        let found = conn.and_then(read);
        self.writer.give_back(lease);
        found
    }

    /// A reader for a copy, which keeps the file's schema.
    pub(crate) fn reader_for_copy(&self) -> Result<ReadConnection> {
        self.readers.get()
    }

    fn refuse_older(&self) -> Result<()> {
        match self.schema {
            Schema::Older(found) => Err(schema::older(found).context(self.path().display())),
            Schema::Current | Schema::UpgradedFrom(_) => Ok(()),
        }
    }

    /// The file's own id: a copy that is put in place has another.
    pub(crate) fn file_id(&self) -> Result<&str> {
        match self.file_id.get() {
            Some(id) => Ok(id),
            None => self.read_file_id(&*self.reader()?),
        }
    }

    /// The same through this connection. A runner does so before it starts: its workers would each open a
    /// reader for it at the same moment, and keep the descriptors.
    pub(crate) fn read_file_id(&self, conn: &Connection) -> Result<&str> {
        let id = schema::file_id(conn)?;
        Ok(self.file_id.get_or_init(|| id))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.config.path
    }

    pub(crate) fn runners_folder(&self) -> PathBuf {
        file::runners_folder(&self.config.path)
    }
}
