//! Pruning: removes old final jobs, in steps too small to hold up other writers.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::clock::millis;
use crate::model::id::JobId;
use crate::model::state::State;
use crate::store::jobs::{job_row, remove};
use crate::store::sqlite::names::Names;
use crate::store::sqlite::statement::{moment, statements};
use crate::store::sqlite::tx::Tx;
use crate::store::sqlite::{Connection, Row, RowResult, blocks, names, params};
use crate::store::upkeep::runners::RUNNERS_FORGET;
use crate::store::upkeep::{batches, rollup};
use crate::{Result, clock};

statements! {
    /// The index is read on from where the last step ended, so what had to be kept is not read again:
    /// first the others that ended in the same millisecond, a hundred thousand where a family was
    /// cancelled, and then those that ended later. In one term that would be read by the time alone.
    /// For the likelihood see [`JOBS_ENDED_LAST`](crate::store::read::listing::JOBS_ENDED_LAST).
    hot JOBS_FINAL_AT = "SELECT id, finished_at, parent_id, queue_id FROM jobq_job
        WHERE kind_id = ?1 AND likelihood(state = ?2, 0.0001) AND state >= 5 AND finished_at = ?3 AND id > ?4
        ORDER BY id LIMIT ?5";
    hot JOBS_FINAL_BETWEEN = "SELECT id, finished_at, parent_id, queue_id FROM jobq_job
        WHERE kind_id = ?1 AND likelihood(state = ?2, 0.0001) AND state >= 5 AND finished_at > ?3 AND finished_at < ?4
        ORDER BY finished_at, id LIMIT ?5";
    cold JOBS_FINAL_BEFORE_COUNT = "SELECT count(*) FROM jobq_job j
        WHERE j.kind_id = ?1 AND j.state = ?2 AND j.state >= 5 AND j.finished_at < ?3
            AND NOT EXISTS (SELECT 1 FROM jobq_job p WHERE p.id = j.parent_id AND p.state < 5)";
    hot FEED_UP_TO = "SELECT id, at FROM jobq_feed WHERE id <= ?1 ORDER BY id DESC LIMIT 1";
    hot FEED_FORGET = "DELETE FROM jobq_feed
        WHERE id IN (SELECT id FROM jobq_feed WHERE id <= ?1 ORDER BY id LIMIT ?2)";
    /// The entries of the log that are of no job, which lie together.
    hot LOG_UP_TO = "SELECT id, at FROM jobq_log WHERE job_id = 0 AND id <= ?1 ORDER BY id DESC LIMIT 1";
    hot LOG_FORGET = "DELETE FROM jobq_log WHERE job_id = 0
        AND id IN (SELECT id FROM jobq_log WHERE job_id = 0 AND id <= ?1 ORDER BY id LIMIT ?2)";
    /// Unique keys whose window has passed, by the index of those that have one.
    hot UNIQUE_KEYS_FORGET_EXPIRED = "DELETE FROM jobq_unique
        WHERE key IN (SELECT key FROM jobq_unique WHERE until IS NOT NULL AND until < ?1 ORDER BY until LIMIT ?2)";
}

/// Maximum number of jobs checked in one transaction.
pub(crate) const JOBS: usize = 1000;
/// Maximum number of jobs with consecutive ids that are removed by one statement.
const AT_ONCE: usize = 32;
/// Maximum number of sweeps that go on side by side.
const TOGETHER: usize = 16;
/// Maximum number of keys, of blocks and of batches checked in one transaction.
pub(crate) const STEP: usize = 200;
/// Maximum number of rows of the history of large jobs removed, and of pages freed, in one transaction: large
/// payloads, results and logs are many pages each.
pub(crate) const ROWS: usize = 1000;
const PAGES: i64 = 1000;
/// With more free pages in the file, a step gives back pages in place of removing jobs: to give back one, SQLite searches
/// the list of all.
const MANY_FREE_PAGES: i64 = 16 * 1024;
/// After this time a transaction removes no further jobs and moves no further pages. With its COMMIT it is to last no
/// longer than 20 ms, also on a slow machine.
const STEP_TIME: Duration = Duration::from_millis(5);

/// When a step that begins now has to end.
pub(crate) fn end_of_step() -> Instant {
    clock::instant() + STEP_TIME
}

/// For tests that count.
#[cfg(test)]
pub(crate) fn no_end() -> Instant {
    clock::after(clock::instant(), Duration::MAX)
}

/// The final jobs to remove, and the progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sweep {
    kind: i64,
    state: State,
    before_ms: i64,
    /// When the last checked job ended, and its id.
    seen: (i64, i64),
}

impl Sweep {
    pub(crate) fn new(kind: i64, state: State, before_ms: i64) -> Sweep {
        Sweep {
            kind,
            state,
            before_ms,
            seen: (i64::MIN, i64::MIN),
        }
    }
}

/// How long the final jobs of a kind are kept, by their state; none: forever.
pub(crate) type Keeps = [(State, Option<Duration>); 3];

/// One pass over everything that may be old.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PrunePass {
    pub(crate) sweeps: Vec<Sweep>,
    /// Runners that ended before this are forgotten.
    pub(crate) runners_before_ms: Option<i64>,
    /// Events without a job, such as those of runners and schedules, are removed from the log if they are older.
    pub(crate) log_before_ms: Option<i64>,
    /// Older rows of the feed are removed, whatever becomes of their jobs.
    pub(crate) feed_before_ms: Option<i64>,
    /// After the jobs, batches without remaining jobs, from this digest on; none: no batches.
    pub(crate) batches_from: Option<String>,
    /// After a failed step: one sweep at a time, so that a job that cannot be removed holds up no other.
    pub(crate) one_by_one: bool,
}

impl PrunePass {
    /// A pass over these jobs, and what is removed with the last of them.
    pub(crate) fn of(sweeps: Vec<Sweep>) -> PrunePass {
        PrunePass {
            sweeps,
            batches_from: Some(String::new()),
            ..PrunePass::default()
        }
    }

    /// A pass over all kinds, each kept as long as `keep` says: the feed as long as the completed jobs that are kept
    /// longest, events without a job as long as any job.
    pub(crate) fn over(
        conn: &Connection,
        names: &mut Names,
        now_ms: i64,
        keep: &dyn Fn(&str) -> Keeps,
    ) -> Result<PrunePass> {
        let mut pass = PrunePass::of(Vec::new());
        for kind in names::kind_ids(conn)? {
            for (state, keep) in keep(&names.kind_name(conn, kind)?) {
                let Some(keep) = keep else { continue };
                let before_ms = now_ms.saturating_sub(millis(keep));
                pass.sweeps.push(Sweep::new(kind, state, before_ms));
                pass.runners_before_ms = pass.runners_before_ms.max(Some(before_ms));
                let earlier = |other: Option<i64>| other.unwrap_or(before_ms).min(before_ms);
                pass.log_before_ms = Some(earlier(pass.log_before_ms));
                if state == State::Completed {
                    pass.feed_before_ms = Some(earlier(pass.feed_before_ms));
                }
            }
        }
        Ok(pass)
    }

    /// The rest of the pass after a failed step.
    pub(crate) fn after_failure(&self) -> Option<PrunePass> {
        let to_blame = usize::from(self.one_by_one || self.sweeps.len() == 1);
        let sweeps: Vec<Sweep> = self.sweeps.iter().copied().skip(to_blame).collect();
        // Where no job was left to remove, it was the batches.
        let batches_from = self.batches_from.clone();
        let batches_from = batches_from.filter(|_| !self.sweeps.is_empty());
        (!sweeps.is_empty() || batches_from.is_some()).then_some(PrunePass {
            sweeps,
            batches_from,
            one_by_one: true,
            ..PrunePass::default()
        })
    }
}

/// The amount that one transaction may still remove.
#[derive(Debug)]
pub(crate) struct Allowance {
    rows: usize,
    /// Maximum number of free pages in the file.
    free_pages: i64,
    until: Instant,
    /// Without it a slow machine would never get on.
    has_begun: bool,
}

impl Allowance {
    pub(crate) fn new(conn: &Connection, until: Instant) -> Result<Allowance> {
        Ok(Allowance {
            rows: ROWS,
            free_pages: free_pages(conn)? + PAGES,
            until,
            has_begun: false,
        })
    }

    pub(crate) fn is_spent(&self, conn: &Connection) -> Result<bool> {
        let is_late = || clock::instant() >= self.until;
        Ok(self.has_begun && (self.rows == 0 || is_late() || free_pages(conn)? >= self.free_pages))
    }
}

/// Removes a final job with its history, or as much of it as the transaction may. Returns whether it is
/// removed; otherwise another transaction must continue.
pub(crate) fn remove(tx: &mut Tx<'_>, id: JobId, allowance: &mut Allowance) -> Result<bool> {
    while !allowance.is_spent(tx.conn)? {
        let removed = remove::remove(tx, id)?;
        allowance.has_begun = true;
        allowance.rows = allowance.rows.saturating_sub(removed.rows);
        if removed.is_gone {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The result of a step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stepped {
    pub(crate) removed: u64,
    /// The rest of the pass; none: it is done.
    pub(crate) next: Option<PrunePass>,
}

/// Checks at most [`JOBS`] jobs and removes those that are old, as far as the transaction may `until` then. Children
/// of a parent that is not final stay: the parent may read their results.
pub(crate) fn step(tx: &mut Tx<'_>, pass: &PrunePass, until: Instant) -> Result<Stepped> {
    if free_pages(tx.conn)? > MANY_FREE_PAGES && give_back_space(tx.conn, until)? {
        return Ok(Stepped {
            removed: 0,
            next: Some(pass.clone()),
        });
    }
    if let Some(before_ms) = pass.runners_before_ms {
        tx.run(RUNNERS_FORGET, [before_ms])?;
    }
    let mut stepped = Stepped::default();
    let mut allowance = Allowance::new(tx.conn, until)?;
    let mut parents = HashMap::new();
    let mut unfinished = pass.sweeps.clone();
    let mut left = JOBS;
    while left > 0 && !unfinished.is_empty() {
        let together = match pass.one_by_one {
            true => 1,
            false => unfinished.len().min(TOGETHER),
        };
        let round = Round::look(tx.conn, &unfinished[..together], left)?;
        // A check that finds nothing counts too.
        left = left.saturating_sub(round.jobs.len().max(together));
        if !round.remove(tx, (&mut allowance, &mut parents), &mut stepped.removed)? {
            break;
        }
        unfinished.splice(..together, round.rest);
        if pass.one_by_one || clock::instant() >= until {
            break;
        }
    }
    let keys = tx.run(UNIQUE_KEYS_FORGET_EXPIRED, params![tx.now_ms, STEP as i64])?;
    let log_before_ms = forget_old(tx, (LOG_UP_TO, LOG_FORGET), pass.log_before_ms)?;
    let feed_before_ms = forget_old(tx, (FEED_UP_TO, FEED_FORGET), pass.feed_before_ms)?;
    let metrics_left = rollup::step(tx)?;
    let batches_from = match &pass.batches_from {
        Some(from) if unfinished.is_empty() => batches::forget_gone(tx, from, STEP)?,
        later => later.clone(),
    };
    // After the jobs: blocks that have lost theirs.
    let blocks_left = unfinished.is_empty() && blocks::forget_empty(tx.conn, tx.last_job(), STEP)?;
    let is_more = !unfinished.is_empty() || keys == STEP || blocks_left || metrics_left;
    let is_more = is_more || log_before_ms.is_some() || feed_before_ms.is_some();
    if is_more || batches_from.is_some() {
        stepped.next = Some(PrunePass {
            sweeps: unfinished,
            runners_before_ms: None,
            log_before_ms,
            feed_before_ms,
            batches_from,
            one_by_one: pass.one_by_one,
        });
    }
    Ok(stepped)
}

/// Removes the first rows up to the last that is old; returns `before_ms` if there may be more.
fn forget_old(
    tx: &Tx<'_>,
    (up_to, forget): (&str, &str),
    before_ms: Option<i64>,
) -> Result<Option<i64>> {
    let Some(before_ms) = before_ms else {
        return Ok(None);
    };
    let Some(last) = last_old(tx, up_to, before_ms)? else {
        return Ok(None);
    };
    let forgotten = tx.run(forget, params![last, ROWS as i64])?;
    Ok((forgotten == ROWS).then_some(before_ms))
}

/// The id of the last old row. Ids grow with time, so it halves the ids; where a clock was ahead for a while, rows
/// from the future lie between old ones, and a step that meets them finds an earlier row.
fn last_old(tx: &Tx<'_>, up_to: &str, before_ms: i64) -> Result<Option<i64>> {
    let row_at = |id: i64| {
        tx.optional(up_to, [id], |row| {
            Ok((row.get::<_, i64>(0)?, moment(row, 1)?))
        })
    };
    let mut end = row_at(i64::MAX)?.map_or(0, |(id, _)| id);
    let (mut start, mut found) = (0, None);
    while start <= end {
        let middle = start + (end - start) / 2;
        match row_at(middle)? {
            Some((id, at)) if at.is_none_or(|at| at >= before_ms) => end = id - 1,
            row => {
                found = row.map(|(id, _)| id).or(found);
                start = middle + 1;
            }
        }
    }
    Ok(found)
}

struct OldJob {
    id: i64,
    finished_at: i64,
    parent: Option<i64>,
    queue: i64,
    state: State,
}

/// The oldest jobs of some sweeps.
struct Round {
    /// In the order of their ids: neighbours lie on the same pages, of whatever kind they are.
    jobs: Vec<OldJob>,
    /// What is left of the sweeps after these jobs.
    rest: Vec<Sweep>,
}

impl Round {
    /// At most `jobs` of them. All that ended before the last of these are among them.
    fn look(conn: &Connection, sweeps: &[Sweep], jobs: usize) -> Result<Round> {
        let each = (jobs / sweeps.len()).max(1);
        let found = sweeps.iter().map(|sweep| look(conn, sweep, each));
        let found: Vec<Vec<OldJob>> = found.collect::<Result<_>>()?;
        let has_more = |found: &&Vec<OldJob>| found.len() == each;
        let ends = found
            .iter()
            .filter(has_more)
            .filter_map(|found| found.last());
        let end = ends.map(|old| old.finished_at).min().unwrap_or(i64::MAX);
        let mut round = Round {
            jobs: Vec::new(),
            rest: Vec::new(),
        };
        for (sweep, mut found) in sweeps.iter().zip(found) {
            let is_last =
                found.len() < each && found.last().is_none_or(|old| old.finished_at <= end);
            found.retain(|old| old.finished_at <= end);
            if !is_last {
                let seen = found.last().map(|old| (old.finished_at, old.id));
                round.rest.push(Sweep {
                    seen: seen.unwrap_or(sweep.seen),
                    ..*sweep
                });
            }
            round.jobs.append(&mut found);
        }
        round.jobs.sort_unstable_by_key(|old| old.id);
        Ok(round)
    }

    /// Removes the jobs that may go, as far as the transaction may. Returns whether that was all.
    fn remove(
        &self,
        tx: &mut Tx<'_>,
        (allowance, parents): (&mut Allowance, &mut HashMap<i64, bool>),
        removed: &mut u64,
    ) -> Result<bool> {
        let mut old_jobs = Vec::with_capacity(self.jobs.len());
        for old in &self.jobs {
            if may_go(tx.conn, old, parents)? {
                old_jobs.push(old);
            }
        }
        let is_next = |a: &&OldJob, b: &&OldJob| a.id + 1 == b.id;
        for run in old_jobs
            .chunk_by(is_next)
            .flat_map(|run| run.chunks(AT_ONCE))
        {
            if allowance.is_spent(tx.conn)? {
                return Ok(false);
            }
            let jobs = run.iter().map(|old| (old.queue, old.state));
            if remove::remove_light(tx, JobId(run[0].id), jobs)? {
                allowance.has_begun = true;
                *removed += run.len() as u64;
                continue;
            }
            for old in run {
                if !remove(tx, JobId(old.id), allowance)? {
                    return Ok(false);
                }
                *removed += 1;
            }
        }
        Ok(true)
    }
}

fn look(conn: &Connection, sweep: &Sweep, jobs: usize) -> Result<Vec<OldJob>> {
    let (at, id) = sweep.seen;
    let (kind, state) = (sweep.kind, sweep.state.code());
    let old = |row: &Row<'_>| {
        Ok(OldJob {
            id: row.get(0)?,
            finished_at: row.get(1)?,
            parent: row.get(2)?,
            queue: row.get(3)?,
            state: sweep.state,
        })
    };
    let mut found: Vec<OldJob> = conn
        .prepare_cached(JOBS_FINAL_AT)?
        .query_map(params![kind, state, at, id, jobs as i64], old)?
        .collect::<RowResult<_>>()?;
    let left = (jobs - found.len()) as i64;
    let mut later = conn.prepare_cached(JOBS_FINAL_BETWEEN)?;
    for job in later.query_map(params![kind, state, at, sweep.before_ms, left], old)? {
        found.push(job?);
    }
    Ok(found)
}

fn may_go(conn: &Connection, old: &OldJob, parents: &mut HashMap<i64, bool>) -> Result<bool> {
    let Some(parent) = old.parent else {
        return Ok(true);
    };
    if let Some(is_over) = parents.get(&parent) {
        return Ok(*is_over);
    }
    let is_over = job_row::state(conn, JobId(parent))?.is_none_or(State::is_final);
    parents.insert(parent, is_over);
    Ok(is_over)
}

/// The number of jobs that a sweep would remove.
pub(crate) fn count(conn: &Connection, sweep: &Sweep) -> Result<u64> {
    Ok(conn.query_row(
        JOBS_FINAL_BEFORE_COUNT,
        params![sweep.kind, sweep.state.code(), sweep.before_ms],
        |row| row.get(0),
    )?)
}

/// Returns free pages to the file system, if the file's mode allows it. Returns whether there are more. Call it when
/// nothing is left to be removed: before that it would move pages that are removed next. ([`step`] does where it must.)
pub(crate) fn give_back_space(conn: &Connection, until: Instant) -> Result<bool> {
    let before = free_pages(conn)?;
    if before == 0 {
        return Ok(false);
    }
    let mut statement = conn.prepare("PRAGMA incremental_vacuum")?;
    let mut rows = statement.query([])?;
    // A row for each page.
    while rows.next()?.is_some() && clock::instant() < until {}
    drop(rows);
    let left = free_pages(conn)?;
    // A file of another mode keeps its free pages.
    Ok(left > 0 && left < before)
}

fn free_pages(conn: &Connection) -> Result<i64> {
    Ok(conn.pragma_query_value(None, "freelist_count", |row| row.get(0))?)
}
