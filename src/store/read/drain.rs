//! What a draining runner must wait for, and the jobs it leaves.

use std::collections::BTreeMap;

use crate::Result;
use crate::model::id::JobId;
use crate::model::part::{Part, Parts};
use crate::model::state::State;
use crate::store::jobs::claim::is_paused;
use crate::store::jobs::queues::is_all_paused;
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::sqlite::{Connection, params};

statements! {
    /// By an index of its own: the jobs that wait for a retry are few among a million delayed ones.
    hot RETRY_WAITS = "SELECT 1 FROM jobq_job INDEXED BY jobq_job_retrying
        WHERE state = 0 AND wait_reason = 2 AND kind_id = ?1";
    /// Each of them: few. One without a time is never made.
    cold RETRIES = "SELECT id, queue_id FROM jobq_job INDEXED BY jobq_job_retrying
        WHERE state = 0 AND wait_reason = 2 AND kind_id = ?1
        AND typeof(run_at) IN ('integer', 'real')";
    hot JOBS_HELD_PLACES = "SELECT kind_id, queue_id FROM jobq_job WHERE state = 3 AND runner_id = ?1";
    /// Told once at the end.
    cold LEFT_SCHEDULED = "SELECT wait_reason, count(*) FROM jobq_job WHERE state = 0 GROUP BY wait_reason";
    cold LEFT_PENDING = "SELECT j.queue_id, q.name, j.kind_id, k.name, count(*) FROM jobq_job j
        JOIN jobq_queue q ON q.id = j.queue_id JOIN jobq_kind k ON k.id = j.kind_id
        WHERE j.state = 2 GROUP BY j.queue_id, j.kind_id";
    /// Told once at the end: a job of a kind or a queue that has no row is claimed by nobody.
    cold NAMELESS = "SELECT j.id FROM jobq_job j WHERE j.state = 2
        AND (NOT EXISTS (SELECT 1 FROM jobq_kind k WHERE k.id = j.kind_id)
            OR NOT EXISTS (SELECT 1 FROM jobq_queue q WHERE q.id = j.queue_id)) LIMIT 1";
    /// From the counters: they may be many.
    cold LEFT_BY_STATE = "SELECT coalesce(sum(value), 0) FROM jobq_number WHERE what = ?1";
    cold LEFT_IN_LINE = "SELECT count(*) FROM jobq_concurrency_slot p CROSS JOIN jobq_job j ON j.id = p.job_id
        WHERE p.held = 0 AND j.state = 1";
}

/// Whether a job that this runner could run waits for a retry.
pub(crate) fn retries_left(
    conn: &Connection,
    kinds: &[i64],
    (queues, aside): (Option<&[i64]>, &Parts),
) -> Result<bool> {
    if is_all_paused(conn)? || aside.has(Part::DueTimes) {
        return Ok(false);
    }
    for kind in kinds {
        if !conn.has_row(RETRY_WAITS, [kind])? {
            continue;
        }
        let mut statement = conn.prepare_cached(RETRIES)?;
        let mut rows = statement.query([kind])?;
        while let Some(row) = rows.next()? {
            let queue = row.get(1)?;
            let is_aside =
                aside.has(Part::Job(JobId(row.get(0)?))) || aside.has(Part::Queue(queue));
            if !is_aside && is_served(conn, queue, queues)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether another runner holds a job that this one could run.
pub(crate) fn holds_any(
    conn: &Connection,
    runner: i64,
    (kinds, queues): (&[i64], Option<&[i64]>),
) -> Result<bool> {
    if is_all_paused(conn)? {
        return Ok(false);
    }
    let mut statement = conn.prepare_cached(JOBS_HELD_PLACES)?;
    let mut rows = statement.query([runner])?;
    while let Some(row) = rows.next()? {
        if kinds.contains(&row.get(0)?) && is_served(conn, row.get(1)?, queues)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_served(conn: &Connection, queue: i64, queues: Option<&[i64]>) -> Result<bool> {
    Ok(queues.is_none_or(|queues| queues.contains(&queue)) && !is_paused(conn, queue)?)
}

/// A pending job of a kind or a queue that the file does not have.
pub(crate) fn nameless(conn: &Connection) -> Result<Option<JobId>> {
    conn.optional(NAMELESS, [], |row| row.get(0).map(JobId))
}

/// The number of remaining jobs by reason; `unavailable` are the reasons of kinds whose handlers can run no job.
pub(crate) fn left(
    conn: &Connection,
    (kinds, unavailable): (&[i64], &BTreeMap<String, String>),
    queues: Option<&[i64]>,
) -> Result<Vec<(u64, String)>> {
    let mut left: Vec<(u64, String)> = Vec::new();
    let all_paused = is_all_paused(conn)?;
    let mut statement = conn.prepare(LEFT_PENDING)?;
    let mut rows = statement.query(params![])?;
    while let Some(row) = rows.next()? {
        let (queue_id, queue): (i64, String) = (row.get(0)?, row.get(1)?);
        let (kind_id, kind): (i64, String) = (row.get(2)?, row.get(3)?);
        let why = if !kinds.contains(&kind_id) {
            format!("no handler for kind '{kind}'")
        } else if let Some(reason) = unavailable.get(&kind) {
            format!("kind '{kind}': {reason}")
        } else if queues.is_some_and(|queues| !queues.contains(&queue_id)) {
            format!("queue '{queue}' is not served here")
        } else if all_paused {
            "everything is paused".to_owned()
        } else if is_paused(conn, queue_id)? {
            format!("queue '{queue}' is paused")
        } else {
            "the runner was stopped".to_owned()
        };
        let jobs: u64 = row.get(4)?;
        match left.iter_mut().find(|(_, told)| *told == why) {
            Some((sum, _)) => *sum += jobs,
            None => left.push((jobs, why)),
        }
    }
    let mut statement = conn.prepare(LEFT_SCHEDULED)?;
    let mut rows = statement.query(params![])?;
    while let Some(row) = rows.next()? {
        let why = match row.get::<_, i64>(0)? {
            1 => "delayed",
            2 => "waiting for a retry",
            _ => "snoozed",
        };
        left.push((row.get(1)?, why.to_owned()));
    }
    let by_state = |state: State| -> Result<u64> {
        Ok(conn.query_row(LEFT_BY_STATE, [state.code()], |row| row.get(0))?)
    };
    let blocked = by_state(State::Blocked)?;
    let in_line: u64 = conn.query_row(LEFT_IN_LINE, [], |row| row.get(0))?;
    for (jobs, why) in [
        (by_state(State::Running)?, "running on another runner"),
        (
            blocked.saturating_sub(in_line),
            "blocked by jobs that are left",
        ),
        (in_line, "blocked by jobs that hold their concurrency keys"),
        (by_state(State::Waiting)?, "waiting for children"),
    ] {
        if jobs > 0 {
            left.push((jobs, why.to_owned()));
        }
    }
    Ok(left)
}
