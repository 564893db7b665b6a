//! Unique keys: each is taken by at most one job that is not final, or for a while after its end. One more
//! job may wait for the end of a job that has begun, and then gets the key.

use crate::error::Kind;
use crate::model::family::Stage;
use crate::model::id::JobId;
use crate::model::job::derived_key;
use crate::model::job::{Due, Enqueued, OnDuplicate};
use crate::model::remedy::Remedy;
use crate::model::state::State;
use crate::store::jobs::job_row::JobRow;
use crate::store::jobs::validate::UniqueRule;
use crate::store::jobs::{families, job_row};
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::sqlite::tx::Tx;
use crate::store::sqlite::{Connection, params};
use crate::{Error, Result};

statements! {
    /// The primary key: a second job finds the first, in whatever process.
    hot UNIQUE_GET = "SELECT job_id, until, rerun_id FROM jobq_unique WHERE key = ?1";
    hot UNIQUE_TAKE = "INSERT INTO jobq_unique (key, job_id) VALUES (?1, ?2)
        ON CONFLICT (key) DO UPDATE SET job_id = excluded.job_id, until = NULL, rerun_id = NULL";
    hot UNIQUE_SET_RERUN = "UPDATE jobq_unique SET rerun_id = ?2 WHERE key = ?1";
    hot UNIQUE_PASS_ON = "UPDATE jobq_unique SET job_id = rerun_id, rerun_id = NULL, until = NULL
        WHERE key = ?1 AND job_id = ?2 AND rerun_id IS NOT NULL";
    hot UNIQUE_KEEP_UNTIL = "UPDATE jobq_unique SET until = ?3 WHERE key = ?1 AND job_id = ?2";
    /// Rare, after a step of the clock. No window becomes longer than requested, even if it began by a clock
    /// that was years ahead. The length of a removed job's window is unknown: it stays where it is.
    cold UNIQUES_FOLLOW = "UPDATE jobq_unique
        SET until = coalesce(min(until + ?1, ?2 + (SELECT unique_for_ms FROM jobq_job WHERE id = job_id)), until)
        WHERE until IS NOT NULL";
    hot UNIQUE_RELEASE = "DELETE FROM jobq_unique WHERE key = ?1 AND job_id = ?2";
    hot JOB_UNIQUE = "SELECT unique_key, unique_for_ms FROM jobq_job WHERE id = ?1 AND unique_key IS NOT NULL";
    hot JOB_KIND_NAME = "SELECT k.name FROM jobq_job j JOIN jobq_kind k ON k.id = j.kind_id WHERE j.id = ?1";
}

/// Whether a unique key is free.
pub(crate) enum Taken {
    Free,
    /// By this job, whose id is returned.
    By(Enqueued),
    /// By this job, which has begun: the new job runs after it.
    ByRunning(JobId),
    /// By this job, whose payload and options are replaced.
    ByReplaceable(Replaceable),
}

/// A job that has not begun and takes the payload and options of a new one.
pub(crate) struct Replaceable {
    pub(crate) job: JobId,
    pub(crate) row: JobRow,
    /// The job that has begun, if this one runs after it.
    pub(crate) rerun_of: Option<JobId>,
}

/// Whether a new job gets the key, by its policy for duplicates.
pub(crate) fn look_up(tx: &Tx<'_>, unique: &UniqueRule) -> Result<Taken> {
    let Some(holder) = holder(tx, &unique.key)? else {
        return Ok(Taken::Free);
    };
    let takes_over = matches!(
        unique.on_duplicate,
        OnDuplicate::Replace | OnDuplicate::Rerun
    );
    // The job that waits for its end has the latest payload.
    let candidates = [holder.rerun, Some(holder.job)];
    for candidate in candidates.into_iter().flatten().filter(|_| takes_over) {
        if holder.until.is_none()
            && let Some(row) = job_row::find(tx.conn, candidate)?
            && can_be_replaced(tx, (candidate, &row))?
        {
            return Ok(Taken::ByReplaceable(Replaceable {
                job: candidate,
                row,
                rerun_of: (candidate != holder.job).then_some(holder.job),
            }));
        }
    }
    let Some(row) = job_row::find(tx.conn, holder.job)? else {
        // The job was removed and its key kept for a while: only its id is known.
        return taken_by(unique, (holder.job, State::Completed));
    };
    if unique.on_duplicate == OnDuplicate::Rerun && holder.until.is_none() {
        return Ok(Taken::ByRunning(holder.job));
    }
    taken_by(unique, (holder.job, row.state))
}

/// False once it has begun; also for a parent before its finalize phase.
fn can_be_replaced(tx: &Tx<'_>, (job, row): (JobId, &JobRow)) -> Result<bool> {
    let waits = matches!(
        row.state,
        State::Scheduled | State::Blocked | State::Pending
    );
    Ok(waits && families::stage(tx.conn, job, row.flags)? != Stage::Finalize)
}

fn taken_by(unique: &UniqueRule, (holder, state): (JobId, State)) -> Result<Taken> {
    if unique.on_duplicate == OnDuplicate::Reject {
        let has = format!(" already has the unique key '{}' ({state})", unique.key);
        return Err(Error::because_of(Kind::Duplicate, ("", holder, &has))
            .with_remedy(Remedy::ShowJob(holder)));
    }
    Ok(Taken::By(Enqueued {
        id: holder,
        state,
        duplicate: true,
        replaced: false,
        rerun_of: None,
    }))
}

/// The job that has the key, and until when if the job has ended.
fn holder(tx: &Tx<'_>, key: &str) -> Result<Option<KeyHolder>> {
    let is_over = |found: &KeyHolder| found.until.is_some_and(|until| until <= tx.now_ms);
    Ok(find(tx, key)?.filter(|found| !is_over(found)))
}

#[derive(Clone, Copy)]
struct KeyHolder {
    job: JobId,
    /// Until when it keeps the key, if it has ended.
    until: Option<i64>,
    /// The job that runs after it and then has the key.
    rerun: Option<JobId>,
}

fn find(tx: &Tx<'_>, key: &str) -> Result<Option<KeyHolder>> {
    tx.optional(UNIQUE_GET, [key], |row| {
        Ok(KeyHolder {
            job: JobId(row.get(0)?),
            until: row.get(1)?,
            rerun: row.get::<_, Option<i64>>(2)?.map(JobId),
        })
    })
}

/// The job has the key once the one that has it now has ended.
pub(crate) fn take_after(tx: &Tx<'_>, key: &str, job: JobId) -> Result<()> {
    tx.run(UNIQUE_SET_RERUN, params![key, job.0])?;
    Ok(())
}

/// A job that has ended no longer waits for its key; a job that waits for the end of this one gets the key.
/// Returns whether there was one.
fn pass_on(tx: &Tx<'_>, key: &str, job: JobId) -> Result<bool> {
    let Some(holder) = find(tx, key)? else {
        return Ok(false);
    };
    if holder.rerun == Some(job) {
        tx.run(UNIQUE_SET_RERUN, params![key, None::<i64>])?;
        return Ok(true);
    }
    Ok(holder.job == job && tx.run(UNIQUE_PASS_ON, params![key, job.0])? == 1)
}

pub(crate) fn take(tx: &Tx<'_>, key: &str, job: JobId) -> Result<()> {
    tx.run(UNIQUE_TAKE, params![key, job.0])?;
    Ok(())
}

/// A final job is requeued: it needs its key again.
pub(crate) fn take_again(tx: &mut Tx<'_>, job: JobId) -> Result<()> {
    let Some((key, _)) = of_job(tx, job)? else {
        return Ok(());
    };
    match holder(tx, &key)? {
        Some(KeyHolder { job: other, .. }) if other != job => Err(Error::new(
            Kind::Duplicate,
            format!("job {job} cannot be retried: job {other} has its unique key '{key}' now"),
        )),
        _ => take(tx, &key, job),
    }
}

/// The cancel of a job is undone: it needs its key again, or waits for the job that has it as before.
pub(crate) fn take_back(tx: &Tx<'_>, job: JobId, waits_for: impl Fn(JobId) -> bool) -> Result<()> {
    let Some((key, _)) = of_job(tx, job)? else {
        return Ok(());
    };
    match holder(tx, &key)? {
        Some(KeyHolder {
            job: other,
            until: None,
            rerun: None,
        }) if other != job && waits_for(other) => take_after(tx, &key, job),
        Some(KeyHolder { job: other, .. }) if other != job => Err(Error::wrong_state(format!(
            "the cancel of job {job} cannot be undone: job {other} has its unique key '{key}' now"
        ))
        .with_remedy(Remedy::ShowJob(other))),
        _ => take(tx, &key, job),
    }
}

/// The job has ended: the key becomes free, now or after its window.
pub(crate) fn release(tx: &mut Tx<'_>, job: JobId) -> Result<()> {
    let Some((key, for_ms)) = of_job(tx, job)? else {
        return Ok(());
    };
    if pass_on(tx, &key, job)? {
        return Ok(());
    }
    match for_ms {
        Some(for_ms) => {
            let until = Due::after(for_ms, tx.now_ms);
            tx.run(UNIQUE_KEEP_UNTIL, params![key, job.0, until])?
        }
        None => tx.run(UNIQUE_RELEASE, params![key, job.0])?,
    };
    Ok(())
}

/// After a step of the wall clock or a restart: each window keeps its remaining time.
pub(crate) fn follow_clock(conn: &Connection, step_ms: i64, now_ms: i64) -> Result<()> {
    conn.run(UNIQUES_FOLLOW, [step_ms, now_ms])?;
    Ok(())
}

/// The job was discarded: its key is free, whatever its window.
pub(crate) fn forget(tx: &Tx<'_>, job: JobId) -> Result<()> {
    let Some((key, _)) = of_job(tx, job)? else {
        return Ok(());
    };
    if pass_on(tx, &key, job)? {
        return Ok(());
    }
    tx.run(UNIQUE_RELEASE, params![key, job.0])?;
    Ok(())
}

/// Changes or removes the key of a job that is not final; a taken key is an error. A job that another waits
/// for by its key, or that itself waits for one, keeps its key.
pub(crate) fn exchange(tx: &mut Tx<'_>, job: JobId, key: Option<&str>) -> Result<()> {
    let old = of_job(tx, job)?.map(|(key, _)| key);
    if old.as_deref() == key {
        return Ok(());
    }
    if let Some(old) = &old
        && let Some(KeyHolder {
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
        && let Some(KeyHolder { job: holder, .. }) = holder(tx, key)?
    {
        let has = format!(" already has the unique key '{key}'");
        return Err(Error::because_of(Kind::Duplicate, ("", holder, &has)));
    }
    if let Some(old) = old {
        tx.run(UNIQUE_RELEASE, params![old, job.0])?;
    }
    match key {
        Some(key) => take(tx, key, job),
        None => Ok(()),
    }
}

pub(crate) fn has_key(tx: &Tx<'_>, job: JobId) -> Result<bool> {
    Ok(of_job(tx, job)?.is_some())
}

/// The kind of a job whose unique key was derived from this payload.
pub(crate) fn derived_from(tx: &Tx<'_>, job: JobId, payload: &str) -> Result<Option<String>> {
    let Some((key, _)) = of_job(tx, job)? else {
        return Ok(None);
    };
    let kind: String = tx.one(JOB_KIND_NAME, [job.0], |row| row.get(0))?;
    Ok((key == derived_key(&kind, payload)).then_some(kind))
}

fn of_job(tx: &Tx<'_>, job: JobId) -> Result<Option<(String, Option<i64>)>> {
    tx.optional(JOB_UNIQUE, [job.0], |row| Ok((row.get(0)?, row.get(1)?)))
}
