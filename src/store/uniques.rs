//! Unique keys: each is taken by at most one live job, or for a while after it has ended. One more may
//! wait for the end of a job that has begun, and gets the key with it.

use rusqlite::{Connection, OptionalExtension, params};

use super::checked::{CheckedJob, Rules, Unique, derived_key};
use super::enqueue::{self, Due, PAYLOAD_INSERT, TAG_INSERT};
use super::events::NewEvent;
use super::head::{self, Head};
use super::statement::statements;
use super::tx::Tx;
use super::{deadlines, edit, ended, families, places, records, room};
use crate::clock::millis;
use crate::error::Kind;
use crate::event::EventKind;
use crate::family::Stage;
use crate::job::{Enqueued, JobId, OnDuplicate};
use crate::retry::Jitter;
use crate::state::State;
use crate::{Error, Result};

statements! {
    /// The primary key: whoever comes second finds the first, in whatever process.
    hot UNIQUE_GET = "SELECT job_id, until, rerun_id FROM jobq_unique WHERE key = ?1";
    hot UNIQUE_TAKE = "INSERT INTO jobq_unique (key, job_id) VALUES (?1, ?2)
        ON CONFLICT (key) DO UPDATE SET job_id = excluded.job_id, until = NULL, rerun_id = NULL";
    hot UNIQUE_SET_RERUN = "UPDATE jobq_unique SET rerun_id = ?2 WHERE key = ?1";
    hot UNIQUE_PASS_ON = "UPDATE jobq_unique SET job_id = rerun_id, rerun_id = NULL, until = NULL
        WHERE key = ?1 AND job_id = ?2 AND rerun_id IS NOT NULL";
    hot UNIQUE_KEEP_UNTIL = "UPDATE jobq_unique SET until = ?3 WHERE key = ?1 AND job_id = ?2";
    /// Rare, when the clock stands differently. No window becomes longer than it was asked for, though it
    /// may have been begun by a clock that was years ahead. How long that of a removed job is nobody knows:
    /// it stays where it is.
    cold UNIQUES_FOLLOW = "UPDATE jobq_unique
        SET until = coalesce(min(until + ?1, ?2 + (SELECT unique_for_ms FROM jobq_job WHERE id = job_id)), until)
        WHERE until IS NOT NULL";
    hot UNIQUE_RELEASE = "DELETE FROM jobq_unique WHERE key = ?1 AND job_id = ?2";
    hot JOB_UNIQUE = "SELECT unique_key, unique_for_ms FROM jobq_job WHERE id = ?1 AND unique_key IS NOT NULL";
    hot JOB_REPLACE_IF_NOT_BEGUN = "UPDATE jobq_job SET queue_id = ?2, kind_id = ?3, priority = ?4, max_retries = ?5,
            backoff = ?6, retry_delay_ms = ?7, jitter = ?8, timeout_ms = ?9, unique_for_ms = ?10, tenant = ?11,
            deadline = ?12, links = (links & ~352) | ?13, updated_at = ?14
        WHERE id = ?1 AND state IN (0, 1, 2)";
    hot JOB_RESCHEDULE_DELAY = "UPDATE jobq_job SET run_at = ?2, wait_fixed = ?3 WHERE id = ?1 AND state IN (0, 1)
        AND (state = 1 OR ?2 IS NOT NULL)";
    hot JOB_KIND_NAME = "SELECT k.name FROM jobq_job j JOIN jobq_kind k ON k.id = j.kind_id WHERE j.id = ?1";
    hot PAYLOAD_DELETE = "DELETE FROM jobq_payload WHERE job_id = ?1";
    hot TAGS_DELETE = "DELETE FROM jobq_tag WHERE job_id = ?1";
}

/// Whether a unique key can be had.
pub(crate) enum Taken {
    Free,
    /// By this job, whose number is the answer.
    By(Enqueued),
    /// By this one, which has begun: the new job runs once more after it.
    ByRunning(JobId),
}

/// Looks who has the key, and does what is wanted with a duplicate.
pub(crate) fn claim(tx: &mut Tx<'_>, job: &CheckedJob, unique: &Unique) -> Result<Taken> {
    let Some(holder) = holder(tx, &unique.key)? else {
        return Ok(Taken::Free);
    };
    let takes_over = matches!(
        unique.on_duplicate,
        OnDuplicate::Replace | OnDuplicate::Rerun
    );
    // The one that waits for its end has the latest word.
    let candidates = [holder.rerun, Some(holder.job)];
    for candidate in candidates.into_iter().flatten().filter(|_| takes_over) {
        if holder.until.is_none()
            && let Some(head) = head::find(tx.conn, candidate)?
            && can_be_replaced(tx, (candidate, &head))?
        {
            replace(tx, job, (candidate, &head))?;
            return Ok(Taken::By(Enqueued {
                id: candidate,
                state: head::get(tx.conn, candidate)?.state,
                duplicate: true,
                replaced: true,
                rerun_of: (candidate != holder.job).then_some(holder.job),
            }));
        }
    }
    let Some(state) = records::state(tx.conn, holder.job)? else {
        // Removed, and the key kept for a while: nothing can be told of the job but its number.
        return taken_by(unique, (holder.job, State::Completed));
    };
    if unique.on_duplicate == OnDuplicate::Rerun && holder.until.is_none() {
        return Ok(Taken::ByRunning(holder.job));
    }
    taken_by(unique, (holder.job, state))
}

/// Not once it has begun: nor a parent whose finalize phase is ahead.
fn can_be_replaced(tx: &Tx<'_>, (job, head): (JobId, &Head)) -> Result<bool> {
    let waits = matches!(
        head.state,
        State::Scheduled | State::Blocked | State::Pending
    );
    Ok(waits && families::stage(tx.conn, job, head.links)? != Stage::Finalize)
}

fn taken_by(unique: &Unique, (holder, state): (JobId, State)) -> Result<Taken> {
    if unique.on_duplicate == OnDuplicate::Reject {
        let has = format!(" already has the unique key '{}' ({state})", unique.key);
        return Err(Error::because_of(Kind::Duplicate, ("", holder, &has))
            .with_hint(format!("`jobq status {holder}` shows it")));
    }
    Ok(Taken::By(Enqueued {
        id: holder,
        state,
        duplicate: true,
        replaced: false,
        rerun_of: None,
    }))
}

/// Who has the key, and until when where the job has ended.
fn holder(tx: &mut Tx<'_>, key: &str) -> Result<Option<Holder>> {
    let is_over = |found: &Holder, now_ms| found.until.is_some_and(|until| until <= now_ms);
    let mut found = find(tx, key)?;
    if found.is_some_and(|found| is_over(&found, tx.now_ms)) {
        // By a clock that has just stepped, perhaps.
        tx.follow_clock()?;
        found = find(tx, key)?;
    }
    Ok(found.filter(|found| !is_over(found, tx.now_ms)))
}

#[derive(Clone, Copy)]
struct Holder {
    job: JobId,
    /// The key is its own until then, where it has ended.
    until: Option<i64>,
    /// The job that runs once more after it, and then has the key.
    rerun: Option<JobId>,
}

fn find(tx: &Tx<'_>, key: &str) -> Result<Option<Holder>> {
    Ok(tx
        .conn
        .prepare_cached(UNIQUE_GET)?
        .query_row([key], |row| {
            Ok(Holder {
                job: JobId(row.get(0)?),
                until: row.get(1)?,
                rerun: row.get::<_, Option<i64>>(2)?.map(JobId),
            })
        })
        .optional()?)
}

/// The job has the key once the one that has it now has ended.
pub(crate) fn take_after(tx: &Tx<'_>, key: &str, job: JobId) -> Result<()> {
    tx.conn
        .prepare_cached(UNIQUE_SET_RERUN)?
        .execute(params![key, job.0])?;
    Ok(())
}

/// A job that has ended no longer waits for its key; where another waits for the end of this one, that
/// has the key now. Whether there was such a one.
fn pass_on(tx: &Tx<'_>, key: &str, job: JobId) -> Result<bool> {
    let Some(holder) = find(tx, key)? else {
        return Ok(false);
    };
    if holder.rerun == Some(job) {
        tx.conn
            .prepare_cached(UNIQUE_SET_RERUN)?
            .execute(params![key, None::<i64>])?;
        return Ok(true);
    }
    Ok(holder.job == job
        && tx
            .conn
            .prepare_cached(UNIQUE_PASS_ON)?
            .execute(params![key, job.0])?
            == 1)
}

pub(crate) fn take(tx: &Tx<'_>, key: &str, job: JobId) -> Result<()> {
    tx.conn
        .prepare_cached(UNIQUE_TAKE)?
        .execute(params![key, job.0])?;
    Ok(())
}

/// A final job is put back: it needs its key again.
pub(crate) fn take_again(tx: &mut Tx<'_>, job: JobId) -> Result<()> {
    let Some((key, _)) = of_job(tx, job)? else {
        return Ok(());
    };
    match holder(tx, &key)? {
        Some(Holder { job: other, .. }) if other != job => Err(Error::new(
            Kind::Duplicate,
            format!("job {job} cannot be retried: job {other} has its unique key '{key}' now"),
        )),
        _ => take(tx, &key, job),
    }
}

/// The job has ended: the key is free, now or when the time has passed for which it stays taken.
pub(crate) fn release(tx: &mut Tx<'_>, job: JobId) -> Result<()> {
    let Some((key, for_ms)) = of_job(tx, job)? else {
        return Ok(());
    };
    if pass_on(tx, &key, job)? {
        return Ok(());
    }
    match for_ms {
        Some(for_ms) => {
            tx.follow_clock()?;
            let until = enqueue::after(for_ms, tx.now_ms);
            tx.conn
                .prepare_cached(UNIQUE_KEEP_UNTIL)?
                .execute(params![key, job.0, until])?
        }
        None => tx
            .conn
            .prepare_cached(UNIQUE_RELEASE)?
            .execute(params![key, job.0])?,
    };
    Ok(())
}

/// The wall clock has stepped by so much, or is another one: what is left of each window stays.
pub(crate) fn follow_clock(conn: &Connection, step_ms: i64, now_ms: i64) -> Result<()> {
    conn.prepare_cached(UNIQUES_FOLLOW)?
        .execute([step_ms, now_ms])?;
    Ok(())
}

/// The job was never there: its key is free, whatever window it asked for.
pub(crate) fn forget(tx: &Tx<'_>, job: JobId) -> Result<()> {
    let Some((key, _)) = of_job(tx, job)? else {
        return Ok(());
    };
    if pass_on(tx, &key, job)? {
        return Ok(());
    }
    tx.conn
        .prepare_cached(UNIQUE_RELEASE)?
        .execute(params![key, job.0])?;
    Ok(())
}

/// A live job gets another key, or none; a key that is taken is an error. A job that another waits for by
/// its key, or that waits so itself, keeps its own.
pub(crate) fn exchange(tx: &mut Tx<'_>, job: JobId, key: Option<&str>) -> Result<()> {
    let old = of_job(tx, job)?.map(|(key, _)| key);
    if old.as_deref() == key {
        return Ok(());
    }
    if let Some(old) = &old
        && let Some(Holder {
            job: holder,
            rerun: Some(rerun),
            ..
        }) = find(tx, old)?
        && (holder == job || rerun == job)
    {
        return Err(Error::wrong_state(format!(
            "job {rerun} runs once more after job {holder} by their unique key '{old}': it cannot be changed now"
        )));
    }
    if let Some(key) = key
        && let Some(Holder { job: holder, .. }) = holder(tx, key)?
    {
        let has = format!(" already has the unique key '{key}'");
        return Err(Error::because_of(Kind::Duplicate, ("", holder, &has)));
    }
    if let Some(old) = old {
        tx.conn
            .prepare_cached(UNIQUE_RELEASE)?
            .execute(params![old, job.0])?;
    }
    match key {
        Some(key) => take(tx, key, job),
        None => Ok(()),
    }
}

pub(crate) fn has_key(tx: &Tx<'_>, job: JobId) -> Result<bool> {
    Ok(of_job(tx, job)?.is_some())
}

/// The kind of a job whose unique key is the one of this payload.
pub(crate) fn derived_from(tx: &Tx<'_>, job: JobId, payload: &str) -> Result<Option<String>> {
    let Some((key, _)) = of_job(tx, job)? else {
        return Ok(None);
    };
    let kind: String = tx
        .conn
        .prepare_cached(JOB_KIND_NAME)?
        .query_row([job.0], |row| row.get(0))?;
    Ok((key == derived_key(&kind, payload)).then_some(kind))
}

fn of_job(tx: &Tx<'_>, job: JobId) -> Result<Option<(String, Option<i64>)>> {
    Ok(tx
        .conn
        .prepare_cached(JOB_UNIQUE)?
        .query_row([job.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?)
}

/// Payload and options of the new job take the place of the old one's. What ties it to other jobs
/// stays, and so does its concurrency key.
fn replace(tx: &mut Tx<'_>, job: &CheckedJob, (id, head): (JobId, &Head)) -> Result<()> {
    let none = Rules::default();
    let rules = job.rules.as_deref().unwrap_or(&none);
    let ids = enqueue::ids(tx, job)?;
    if ids.0 != head.queue {
        room::check(tx, ids.0, job.bounds.as_ref())?;
    }
    let deadline = rules.deadline_ms(tx.now_ms);
    let unique = rules.unique.as_ref();
    tx.conn
        .prepare_cached(JOB_REPLACE_IF_NOT_BEGUN)?
        .execute(params![
            id.0,
            ids.0,
            ids.1,
            job.priority.code(),
            job.retry.max_retries,
            job.retry.backoff.code(),
            millis(job.retry.delay),
            job.retry.jitter == Jitter::Tenth,
            job.timeout_ms,
            unique.and_then(|unique| unique.for_ms),
            rules.tenant,
            deadline,
            rules.options_bits(),
            tx.now_ms
        ])?;
    tx.counts.add(head.queue, head.state, -1);
    tx.counts.add(ids.0, head.state, 1);
    tx.conn.prepare_cached(PAYLOAD_DELETE)?.execute([id.0])?;
    tx.conn
        .prepare_cached(PAYLOAD_INSERT)?
        .execute(params![id.0, job.payload])?;
    tx.conn.prepare_cached(TAGS_DELETE)?.execute([id.0])?;
    for (name, value) in &rules.tags {
        tx.conn
            .prepare_cached(TAG_INSERT)?
            .execute(params![name, value, id.0])?;
    }
    deadlines::disarm(tx, id)?;
    if let Some(deadline) = deadline {
        deadlines::arm(tx, id, deadline)?;
    }
    places::reorder(tx, id)?;
    families::set_rules(tx, (id, head), rules.family)?;
    tx.append(NewEvent::job(EventKind::Edited, id))?;
    delay_anew(tx, job, (id, head.state))
}

/// A job that waits for its time waits for the new one's, and so does one that is in line for a place;
/// one that may run stays so.
fn delay_anew(tx: &mut Tx<'_>, job: &CheckedJob, (id, state): (JobId, State)) -> Result<()> {
    if state == State::Scheduled && Due::of(job.when, tx.now_ms).is_none() {
        return edit::reschedule(tx, id, job.when);
    }
    let due = Due::of(job.when, tx.now_ms);
    tx.conn
        .prepare_cached(JOB_RESCHEDULE_DELAY)?
        .execute(params![
            id.0,
            due.as_ref().map(|due| due.run_at_ms),
            due.as_ref().map(|due| due.fixed)
        ])?;
    if state == State::Blocked && due.is_some() {
        places::leave(tx, id)?;
        ended::release_if_met(tx, id)?;
    }
    Ok(())
}
