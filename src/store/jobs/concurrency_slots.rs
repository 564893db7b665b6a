//! Concurrency keys: the jobs that hold a slot under a key, and those that wait for one.
//!
//! A pending or running job with a key holds a slot. It takes the slot before it becomes pending, and gives
//! it back when it becomes final, waits for a retry, or waits for its children. A job that finds no free
//! slot is blocked, and follows by priority and age. Slots are rows, one for each job: there is no counter
//! that a crash could leave wrong.

use crate::Result;
use crate::error::Of;
use crate::model::id::JobId;
use crate::model::part::Part;
use crate::store::jobs::job_row;
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::sqlite::tx::Tx;
use crate::store::sqlite::{Connection, params};

statements! {
    /// Keys without a row have one slot.
    hot KEY_NUMBER = "SELECT slots FROM jobq_key WHERE name = ?1";
    hot KEY_SET = "INSERT INTO jobq_key (name, slots) VALUES (?1, ?2)
        ON CONFLICT (name) DO UPDATE SET slots = excluded.slots WHERE slots <> excluded.slots";
    /// A range of the primary key, with as many entries as the key has slots: see
    /// [`MAX_KEY_LIMIT`](crate::model::job::options::MAX_KEY_LIMIT).
    hot SLOTS_HELD = "SELECT count(*) FROM jobq_concurrency_slot WHERE key = ?1 AND held = 1";
    hot SLOT_NEXT = "SELECT job_id, urgency FROM jobq_concurrency_slot WHERE key = ?1 AND held = 0 ORDER BY urgency, job_id LIMIT 1";
    hot SLOT_INSERT = "INSERT INTO jobq_concurrency_slot (key, held, urgency, job_id) VALUES (?1, ?2, ?3, ?4)";
    hot SLOT_DELETE = "DELETE FROM jobq_concurrency_slot WHERE job_id = ?1 RETURNING key, held";
    hot JOB_KEY = "SELECT key, priority FROM jobq_job WHERE id = ?1 AND key IS NOT NULL";
    hot SLOT_HOLDERS = "SELECT job_id FROM jobq_concurrency_slot WHERE key = ?1 AND held = 1 ORDER BY urgency, job_id LIMIT ?2";
    hot SLOT_OF = "SELECT held FROM jobq_concurrency_slot WHERE job_id = ?1";
}

/// The order of waiting jobs of a key: the highest priority first.
pub(crate) const fn urgency(priority: i64) -> i64 {
    3 - priority
}

/// Sets how many jobs of the key run at once; new slots go to waiting jobs.
pub(crate) fn set_number(tx: &mut Tx<'_>, key: &str, number: u32) -> Result<()> {
    let before = self::number(tx.conn, key)?;
    if before == i64::from(number) {
        return Ok(());
    }
    tx.run(KEY_SET, params![key, number])?;
    grant(tx, key)
}

pub(crate) fn number(conn: &Connection, key: &str) -> Result<i64> {
    let found = conn.optional(KEY_NUMBER, [key], |row| row.get(0))?;
    Ok(found.unwrap_or(1))
}

/// Whether a slot is free. While a job waits none is: whatever frees or adds a slot gives it to the first
/// waiting job in the same transaction. So no job is passed over, and the slots of a key with waiting jobs
/// need not be counted.
pub(crate) fn is_free(tx: &Tx<'_>, key: &str) -> Result<bool> {
    Ok(next(tx, key)?.is_none() && free(tx, key)? > 0)
}

/// The first waiting job, and its priority.
fn next(tx: &Tx<'_>, key: &str) -> Result<Option<(i64, i64)>> {
    tx.optional(SLOT_NEXT, [key], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// The number of free slots; 0 if more are held than the limit.
fn free(tx: &Tx<'_>, key: &str) -> Result<i64> {
    let number = number(tx.conn, key)?;
    let held: i64 = tx.one(SLOTS_HELD, [key], |row| row.get(0))?;
    Ok((number - held).max(0))
}

/// Records a job that holds a slot or waits for one.
pub(crate) fn add(tx: &Tx<'_>, key: &str, (held, urgency): (bool, i64), job: JobId) -> Result<()> {
    tx.run(SLOT_INSERT, params![key, held, urgency, job.0])?;
    Ok(())
}

/// Takes a slot for a job that could be pending, if it has a key; returns whether it may be pending.
/// Otherwise it waits.
pub(crate) fn take(tx: &Tx<'_>, job: JobId) -> Result<bool> {
    let Some((key, priority)) = key_of(tx.conn, job)? else {
        return Ok(true);
    };
    let free = is_free(tx, &key)?;
    add(tx, &key, (free, urgency(priority)), job)?;
    Ok(free)
}

pub(crate) fn key_of(conn: &Connection, job: JobId) -> Result<Option<(String, i64)>> {
    conn.optional(JOB_KEY, [job.0], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// A job gives back its slot or stops waiting; the next waiting job gets a free slot.
pub(crate) fn leave(tx: &mut Tx<'_>, job: JobId) -> Result<()> {
    let left: Option<(String, bool)> =
        tx.optional(SLOT_DELETE, [job.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    match left {
        Some((key, true)) => grant(tx, &key),
        _ => Ok(()),
    }
}

/// Updates the position of a waiting job after its priority has changed.
pub(crate) fn reorder(tx: &Tx<'_>, job: JobId) -> Result<()> {
    let held: Option<bool> = tx.optional(SLOT_OF, [job.0], |row| row.get(0))?;
    let (Some(held), Some((key, priority))) = (held, key_of(tx.conn, job)?) else {
        return Ok(());
    };
    tx.one(SLOT_DELETE, [job.0], |_| Ok(()))?;
    add(tx, &key, (held, urgency(priority)), job)
}

/// Restores the slot of a job that is running or pending.
pub(crate) fn hold(tx: &Tx<'_>, job: JobId) -> Result<()> {
    let Some((key, priority)) = key_of(tx.conn, job)? else {
        return Ok(());
    };
    tx.optional(SLOT_DELETE, [job.0], |_| Ok(()))?;
    add(tx, &key, (true, urgency(priority)), job)
}

/// Gives free slots to waiting jobs, in order. Slots are counted once, as many may be free, and only if a job
/// waits.
pub(crate) fn grant(tx: &mut Tx<'_>, key: &str) -> Result<()> {
    if next(tx, key)?.is_none() {
        return Ok(());
    }
    for _ in 0..free(tx, key)? {
        let Some((job, urgency)) = next(tx, key)? else {
            return Ok(());
        };
        let job = JobId(job);
        if tx.is_aside(Part::Job(job)) {
            // No job is passed over.
            return Ok(());
        }
        grant_to(tx, (key, urgency), job).of(Part::Job(job))?;
    }
    Ok(())
}

fn grant_to(tx: &mut Tx<'_>, (key, urgency): (&str, i64), job: JobId) -> Result<()> {
    tx.one(SLOT_DELETE, [job.0], |_| Ok(()))?;
    add(tx, key, (true, urgency), job)?;
    job_row::granted(tx, job)
}

/// The jobs that hold a slot, up to a limit.
pub(crate) fn holders(conn: &Connection, key: &str, limit: usize) -> Result<Vec<JobId>> {
    conn.all(SLOT_HOLDERS, params![key, limit as i64], |row| {
        row.get(0).map(JobId)
    })
}
