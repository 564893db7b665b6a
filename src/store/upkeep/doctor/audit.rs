//! The audit: compares the rows of rules between jobs with the jobs, and repairs them.

use crate::Result;
use crate::model::family::PrerequisiteRule;
use crate::model::id::JobId;
use crate::model::remedy::Severity;
use crate::store::jobs::{concurrency_slots, release};
use crate::store::sqlite::blocks::BLOCKS_MISSING;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::tx::Tx;
use crate::store::sqlite::{Connection, RowResult, blocks};
use crate::store::upkeep::runners;

statements! {
    /// Pending and running jobs with a key hold a slot; a blocked job whose prerequisites are met, or a parent
    /// before its finalize phase, waits for one; no other job does.
    cold SLOTS_MISSING = "SELECT j.id FROM jobq_job j WHERE j.key IS NOT NULL AND j.state IN (2, 3)
        AND NOT EXISTS (SELECT 1 FROM jobq_concurrency_slot p WHERE p.job_id = j.id AND p.held = 1 AND p.key = j.key)";
    cold LINE_MISSING = "SELECT j.id FROM jobq_job j WHERE j.key IS NOT NULL AND j.state = 1 AND j.unmet = 0
        AND NOT EXISTS (SELECT 1 FROM jobq_concurrency_slot p WHERE p.job_id = j.id AND p.held = 0 AND p.key = j.key)";
    /// A job without a key is blocked by nothing.
    cold FINAL_STEPS_MISSED = "SELECT j.id FROM jobq_family f JOIN jobq_job j ON j.id = f.job_id
        WHERE f.stage = 2 AND j.state = 4
        AND NOT EXISTS (SELECT 1 FROM jobq_concurrency_slot p WHERE p.job_id = j.id AND p.held = 0 AND p.key = j.key)";
    cold SLOTS_LEAKED = "SELECT p.job_id FROM jobq_concurrency_slot p LEFT JOIN jobq_job j ON j.id = p.job_id
        LEFT JOIN jobq_family f ON f.job_id = p.job_id
        WHERE j.id IS NULL OR j.key IS NOT p.key OR (p.held = 1 AND j.state NOT IN (2, 3))
            OR (p.held = 0 AND j.state <> 1 AND (j.state <> 4 OR f.stage IS NOT 2))";
    cold KEYS_CROWDED = "SELECT p.key, count(*), coalesce(k.slots, 1) AS number FROM jobq_concurrency_slot p
        LEFT JOIN jobq_key k ON k.name = p.key WHERE p.held = 1 GROUP BY p.key HAVING count(*) > number";
    cold KEYS_IDLE = "SELECT p.key, sum(p.held) AS taken, coalesce(k.slots, 1) AS number FROM jobq_concurrency_slot p
        LEFT JOIN jobq_key k ON k.name = p.key GROUP BY p.key HAVING taken < count(*) AND taken < number";
    /// Children may have been removed since: the stored counts may be larger, never smaller.
    cold FAMILIES_WRONG = "SELECT f.job_id FROM jobq_family f WHERE f.total < f.done + f.failed
        OR f.total - f.done - f.failed <>
            (SELECT count(*) FROM jobq_job c WHERE c.parent_id = f.job_id AND c.state < 5)";
    cold FAMILY_RECOUNT = "UPDATE jobq_family SET
            done = max(done, n.completed), failed = max(failed, n.lost),
            total = max(done, n.completed) + max(failed, n.lost) + n.live
        FROM (SELECT count(*) FILTER (WHERE state = 5) AS completed, count(*) FILTER (WHERE state > 5) AS lost,
            count(*) FILTER (WHERE state < 5) AS live FROM jobq_job WHERE parent_id = ?1) n
        WHERE job_id = ?1";
    cold UNMET_WRONG = "SELECT j.id FROM jobq_job j WHERE j.state = 1 AND j.unmet <>
        (SELECT count(*) FROM jobq_prerequisite n WHERE n.job_id = j.id AND n.met = 0)";
    cold UNMET_RECOUNT = "UPDATE jobq_job SET unmet =
            (SELECT count(*) FROM jobq_prerequisite n WHERE n.job_id = jobq_job.id AND n.met = 0)
        WHERE id = ?1";
    /// What a prerequisite has not released that is final or gone, or of which the attempt or the run phase
    /// is over that is waited for.
    cold BLOCKED_BY_NOTHING = "SELECT n.needs_id, n.rule, n.job_id, coalesce(j.state >= 5, 1) AS ended
        FROM jobq_prerequisite n JOIN jobq_job w ON w.id = n.job_id
        LEFT JOIN jobq_job j ON j.id = n.needs_id LEFT JOIN jobq_family f ON f.job_id = n.needs_id
        WHERE n.met = 0 AND w.state = 1 AND (ended OR (n.rule = 2 AND (j.state <> 3 OR j.attempt IS NOT n.attempt))
            OR (n.rule = 3 AND f.stage > 0))";
    cold UNIQUES_WRONG = "SELECT j.id FROM jobq_job j WHERE j.unique_key IS NOT NULL AND j.state < 5
        AND NOT EXISTS (SELECT 1 FROM jobq_unique u WHERE u.key = j.unique_key AND j.id IN (u.job_id, u.rerun_id))
        UNION ALL SELECT u.rerun_id FROM jobq_unique u LEFT JOIN jobq_job j ON j.id = u.rerun_id
        WHERE u.rerun_id IS NOT NULL AND (j.id IS NULL OR j.unique_key IS NOT u.key OR j.state >= 5)
        UNION ALL SELECT u.job_id FROM jobq_unique u LEFT JOIN jobq_job j ON j.id = u.job_id
        WHERE u.until IS NULL AND (j.id IS NULL OR j.unique_key IS NOT u.key OR j.state >= 5)";
    cold UNIQUES_FORGET_RERUNS = "UPDATE jobq_unique SET rerun_id = NULL WHERE rerun_id IS NOT NULL AND NOT EXISTS
        (SELECT 1 FROM jobq_job j WHERE j.id = rerun_id AND j.unique_key = jobq_unique.key AND j.state < 5)";
    cold UNIQUES_PASS_ON = "UPDATE jobq_unique SET job_id = rerun_id, rerun_id = NULL, until = NULL
        WHERE rerun_id IS NOT NULL AND NOT EXISTS
        (SELECT 1 FROM jobq_job j WHERE j.id = jobq_unique.job_id AND j.unique_key = jobq_unique.key AND j.state < 5)";
    /// The oldest unfinished job of a key has it, the next one waits for its end.
    cold UNIQUES_SET_RERUNS = "UPDATE jobq_unique SET rerun_id = (SELECT min(j.id) FROM jobq_job j
            WHERE j.unique_key = jobq_unique.key AND j.state < 5 AND j.id <> jobq_unique.job_id)
        WHERE rerun_id IS NULL AND until IS NULL";
    cold UNIQUES_FREE = "DELETE FROM jobq_unique WHERE until IS NULL
        AND NOT EXISTS (SELECT 1 FROM jobq_job j WHERE j.id = jobq_unique.job_id AND j.unique_key = key AND j.state < 5)";
    cold UNIQUES_TAKE = "INSERT OR IGNORE INTO jobq_unique (key, job_id)
        SELECT unique_key, id FROM jobq_job WHERE unique_key IS NOT NULL AND state < 5 ORDER BY id";
    cold SLOT_FREE = "DELETE FROM jobq_concurrency_slot WHERE job_id = ?1";
    cold EDGE_FORGET = "UPDATE jobq_prerequisite SET met = 1 WHERE needs_id = ?1 AND rule = ?2 AND job_id = ?3";
}

/// The violations, in words; empty if there are none.
pub(crate) fn faults(conn: &Connection) -> Result<Vec<(Severity, String)>> {
    let mut faults = Vec::new();
    for (sql, what) in [
        (
            SLOTS_MISSING,
            "runs or may run without a slot of its concurrency key",
        ),
        (
            LINE_MISSING,
            "is blocked by its concurrency key and not in its line",
        ),
        (
            FINAL_STEPS_MISSED,
            "is due for its finalize phase and in no line for it",
        ),
        (
            SLOTS_LEAKED,
            "has a slot of a concurrency key that it must not have",
        ),
        (FAMILIES_WRONG, "has children that its counts do not tell"),
        (UNMET_WRONG, "has a wrong number of unmet prerequisites"),
        (UNIQUES_WRONG, "has or lacks a unique key wrongly"),
        (
            BLOCKS_MISSING,
            "is in a block that is not noted for its kind or its queue: lists leave it out",
        ),
        (
            runners::JOBS_UNOWNED,
            "is running, and its runner has ended",
        ),
    ] {
        let ids = ids(conn, sql)?;
        if let Some(first) = ids.first() {
            let message = match ids.len() {
                1 => format!("job {first} {what}"),
                jobs => format!("{jobs} jobs, the first {first}: each {what}"),
            };
            faults.push((Severity::Error, message));
        }
    }
    for edge in blocked_by_nothing(conn)? {
        faults.push((Severity::Error, edge.fault()));
    }
    for key in names(conn, KEYS_IDLE)? {
        let message = format!("key '{key}' has a free slot, and jobs wait for one");
        faults.push((Severity::Error, message));
    }
    for key in names(conn, KEYS_CROWDED)? {
        let message = format!(
            "more jobs hold a slot under key '{key}' than its limit: so it is for a while after the limit was lowered"
        );
        faults.push((Severity::Warning, message));
    }
    Ok(faults)
}

/// What keeps a job from being released, and is over.
struct Stale {
    needs: i64,
    rule: i64,
    job: i64,
    has_ended: bool,
}

impl Stale {
    fn fault(&self) -> String {
        let (job, needs) = (self.job, self.needs);
        match PrerequisiteRule::from_code(self.rule) {
            _ if self.has_ended => format!("job {job} waits for job {needs}, which has ended"),
            Some(PrerequisiteRule::Spawned) => {
                format!("job {job} waits for an attempt of job {needs} that is over")
            }
            _ => format!("job {job} waits for job {needs}'s run phase, which is done"),
        }
    }
}

fn blocked_by_nothing(conn: &Connection) -> Result<Vec<Stale>> {
    let mut statement = conn.prepare(BLOCKED_BY_NOTHING)?;
    let rows = statement.query_map([], |row| {
        Ok(Stale {
            needs: row.get(0)?,
            rule: row.get(1)?,
            job: row.get(2)?,
            has_ended: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<RowResult<_>>()?)
}

fn ids(conn: &Connection, sql: &str) -> Result<Vec<i64>> {
    let mut statement = conn.prepare(sql)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<RowResult<_>>()?)
}

fn names(conn: &Connection, sql: &str) -> Result<Vec<String>> {
    let mut statement = conn.prepare(sql)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<RowResult<_>>()?)
}

/// Rewrites the rows of rules from the jobs, and releases jobs that nothing blocks any more.
pub(crate) fn repair(tx: &mut Tx<'_>) -> Result<()> {
    for sql in [
        UNIQUES_FORGET_RERUNS,
        UNIQUES_PASS_ON,
        UNIQUES_FREE,
        UNIQUES_TAKE,
        UNIQUES_SET_RERUNS,
    ] {
        tx.conn.execute(sql, [])?;
    }
    blocks::add_missing(tx.conn)?;
    for id in ids(tx.conn, FAMILIES_WRONG)? {
        tx.conn.execute(FAMILY_RECOUNT, [id])?;
        tx.pending.family(JobId(id));
    }
    let mut blocked = ids(tx.conn, UNMET_WRONG)?;
    for edge in blocked_by_nothing(tx.conn)? {
        tx.conn
            .execute(EDGE_FORGET, [edge.needs, edge.rule, edge.job])?;
        blocked.push(edge.job);
    }
    for id in &blocked {
        tx.conn.execute(UNMET_RECOUNT, [id])?;
    }
    for id in ids(tx.conn, SLOTS_LEAKED)? {
        tx.conn.execute(SLOT_FREE, [id])?;
    }
    for id in ids(tx.conn, SLOTS_MISSING)? {
        concurrency_slots::hold(tx, JobId(id))?;
    }
    blocked.extend(ids(tx.conn, LINE_MISSING)?);
    for id in blocked {
        release::release_if_met(tx, JobId(id))?;
    }
    for id in ids(tx.conn, FINAL_STEPS_MISSED)? {
        release::finalize(tx, JobId(id))?;
    }
    for job in runners::find_unowned(tx.conn)? {
        match tx.savepoint(|tx| runners::take_over_unowned(tx, job)) {
            // Its row is still damaged.
            Err(error) if error.blames_data() && !tx.conn.is_autocommit() => {}
            taken => _ = taken?,
        }
    }
    for key in names(tx.conn, KEYS_IDLE)? {
        concurrency_slots::grant(tx, &key)?;
    }
    Ok(())
}
