//! Reading jobs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::clock::timestamp;
use crate::model::family::{Children, PrerequisiteRule};
use crate::model::hook::HookTrigger;
use crate::model::id::{JobId, RunnerId, WorkerId};
use crate::model::job::options::Priority;
use crate::model::job::{JobRecord, Prerequisite, Progress};
use crate::model::retry::{Backoff, Jitter, RetryPolicy};
use crate::model::state::{State, WaitReason};
use crate::store::jobs::{families, hooks, retry_delays, traceparents};
use crate::store::sqlite::statement::{Statements, readable_json, statements, text};
use crate::store::sqlite::types::ValueRef;
use crate::store::sqlite::{CachedStatement, Connection, Row};
use crate::{Error, Result};

statements! {
    hot JOB_GET = "SELECT j.id, k.name, q.name, j.state, j.wait_reason, j.priority, p.payload, o.result, o.error,
            g.percent, g.processed, g.total, g.message, j.attempt, j.retries, j.crashes, j.max_retries, j.backoff,
            j.retry_delay_ms, j.jitter, j.timeout_ms, j.run_at, j.cancel, j.created_at, j.updated_at,
            j.started_at, j.finished_at, j.runner_id, j.worker, j.tenant, j.unique_key, j.key, j.deadline,
            j.parent_id, f.total, f.done, f.failed,
            CASE WHEN j.links & 64 THEN (SELECT json_group_object(t.name, t.value) FROM jobq_tag t
                WHERE t.job_id = j.id) END,
            CASE WHEN j.links & 128 THEN (SELECT json_group_array(json_array(n.needs_id, n.rule, n.met))
                FROM jobq_prerequisite n WHERE n.job_id = j.id) END,
            j.schedule, j.slot,
            CASE WHEN j.links & 1024 THEN (SELECT d.delays_ms FROM jobq_retry_delays d WHERE d.job_id = j.id) END,
            CASE WHEN j.links & 4096 THEN (SELECT json_group_array(h.hook) FROM jobq_hook h WHERE h.job_id = j.id) END,
            (SELECT json_group_array(h.job_id) FROM jobq_hook_job h WHERE h.of_id = j.id),
            CASE WHEN j.links & 8192 THEN (SELECT h.event FROM jobq_hook_job h WHERE h.job_id = j.id) END,
            CASE WHEN j.links & 32768 THEN (SELECT t.traceparent FROM jobq_traceparent t WHERE t.job_id = j.id) END
        FROM jobq_job j
        JOIN jobq_kind k ON k.id = j.kind_id
        JOIN jobq_queue q ON q.id = j.queue_id
        LEFT JOIN jobq_payload p ON p.job_id = j.id
        LEFT JOIN jobq_outcome o ON o.job_id = j.id
        LEFT JOIN jobq_progress g ON g.job_id = j.id AND g.attempt = j.attempt
        LEFT JOIN jobq_family f ON f.job_id = j.id
        WHERE j.id = ?1";
    /// A range of the primary key.
    hot JOBS_BETWEEN = "SELECT id FROM jobq_job WHERE id BETWEEN ?1 AND ?2 ORDER BY id";
    hot JOB_LAST = "SELECT max(id) FROM jobq_job";
}

pub(crate) fn get(conn: &Connection, id: JobId) -> Result<Option<JobRecord>> {
    Records::new(conn)?.get(id)
}

/// Reads full records one after the other: looking up the statement costs a part of a job.
pub(crate) struct Records<'c> {
    conn: &'c Connection,
    statement: CachedStatement<'c>,
}

impl<'c> Records<'c> {
    pub(crate) fn new(conn: &'c Connection) -> Result<Records<'c>> {
        Ok(Records {
            conn,
            statement: conn.prepare_cached(JOB_GET)?,
        })
    }

    pub(crate) fn get(&mut self, id: JobId) -> Result<Option<JobRecord>> {
        let mut rows = self.statement.query([id.0])?;
        let Some(mut job) = rows.next()?.map(decode).transpose()? else {
            return Ok(None);
        };
        let of_children = progress_of_children(self.conn, id, (job.state, job.children))?;
        job.progress = of_children.or(job.progress);
        Ok(Some(job))
    }
}

/// The progress of a waiting parent is that of its children.
pub(crate) fn progress_of_children(
    conn: &Connection,
    id: JobId,
    (state, children): (State, Option<Children>),
) -> Result<Option<Progress>> {
    let Some(children) = children.filter(|_| state == State::Waiting) else {
        return Ok(None);
    };
    let percent = families::progress(conn, id, children)?;
    Ok(Some(Progress {
        processed: Some(children.done + children.failed),
        total: Some(children.total),
        ..Progress::percent(percent)
    }))
}

/// The jobs from one id to another, both included, oldest first.
pub(crate) fn between(conn: &Connection, first: JobId, last: JobId) -> Result<Vec<JobId>> {
    conn.all(JOBS_BETWEEN, [first.0, last.0], |row| row.get(0).map(JobId))
}

/// The newest job's id, if there is one.
pub(crate) fn last(conn: &Connection) -> Result<Option<JobId>> {
    let id: Option<i64> = conn.one(JOB_LAST, [], |row| row.get(0))?;
    Ok(id.map(JobId))
}

/// JSON as it is; invalid JSON is shown as a JSON string, so that one bad row hides no other.
fn json(value: ValueRef<'_>) -> Option<Box<RawValue>> {
    Some(readable_json(text(value)?))
}

fn decode(row: &Row<'_>) -> Result<JobRecord> {
    let id = JobId(row.get(0)?);
    let retry = RetryPolicy {
        max_retries: row.get(16)?,
        backoff: Backoff::from_code(row.get(17)?).ok_or_else(|| unknown(id, "backoff"))?,
        delay: Duration::from_millis(row.get(18)?),
        delays: retry_delays::parse(text(row.get_ref(41)?).as_deref()),
        jitter: if row.get(19)? {
            Jitter::Tenth
        } else {
            Jitter::Off
        },
    };
    let state = state(row.get(3)?, id)?;
    let time = |column| Ok::<_, Error>(row.get::<_, Option<i64>>(column)?.map(timestamp));
    let scheduled = state == State::Scheduled;
    Ok(JobRecord {
        id,
        kind: text(row.get_ref(1)?).unwrap_or_default(),
        queue: text(row.get_ref(2)?).unwrap_or_default(),
        state,
        wait_reason: row
            .get::<_, Option<i64>>(4)?
            .filter(|_| scheduled)
            .and_then(WaitReason::from_code),
        priority: priority(row.get(5)?, id)?,
        payload: json(row.get_ref(6)?).unwrap_or_default(),
        result: json(row.get_ref(7)?),
        error: text(row.get_ref(8)?),
        progress: progress(row, 9)?,
        attempt: row.get(13)?,
        retries: row.get(14)?,
        crashes: row.get(15)?,
        retry,
        timeout: row.get::<_, Option<u64>>(20)?.map(Duration::from_millis),
        run_at: time(21)?.filter(|_| scheduled),
        cancel_requested: row.get::<_, Option<i64>>(22)?.is_some() && state == State::Running,
        created_at: timestamp(row.get(23)?),
        updated_at: timestamp(row.get(24)?),
        started_at: time(25)?,
        finished_at: time(26)?,
        runner: row.get::<_, Option<_>>(27)?.map(RunnerId),
        worker: row.get::<_, Option<_>>(28)?.map(WorkerId),
        tenant: text(row.get_ref(29)?),
        unique_key: text(row.get_ref(30)?),
        key: text(row.get_ref(31)?),
        deadline: time(32)?,
        parent: row.get::<_, Option<i64>>(33)?.map(JobId),
        children: children(row, 34)?,
        tags: tags(row, 37)?,
        depends_on: text(row.get_ref(38)?).map_or_else(Vec::new, |json| prerequisites(&json)),
        schedule: text(row.get_ref(39)?),
        slot: time(40)?,
        hooks: numbers(row, 42)?
            .into_iter()
            .filter_map(HookTrigger::from_code)
            .collect(),
        hook_jobs: numbers(row, 43)?.into_iter().map(JobId).collect(),
        hook_of: hooks::parse(text(row.get_ref(44)?).as_deref()),
        traceparent: traceparents::parse(text(row.get_ref(45)?).as_deref()),
    })
}

/// A JSON array of numbers; empty where there is none.
fn numbers(row: &Row<'_>, at: usize) -> Result<Vec<i64>> {
    let json = text(row.get_ref(at)?);
    Ok(json
        .and_then(|json| serde_json::from_str(&json).ok())
        .unwrap_or_default())
}

fn unknown(id: JobId, what: &str) -> Error {
    Error::invalid(format!(
        "job {id} has a {what} that this jobq does not know"
    ))
}

pub(crate) fn state(code: i64, id: JobId) -> Result<State> {
    State::from_code(code).ok_or_else(|| unknown(id, "state"))
}

pub(crate) fn priority(code: i64, id: JobId) -> Result<Priority> {
    Priority::from_code(code).ok_or_else(|| unknown(id, "priority"))
}

/// From the four columns at this place on.
pub(crate) fn progress(row: &Row<'_>, at: usize) -> Result<Option<Progress>> {
    let progress = Progress {
        percent: row.get(at)?,
        processed: row.get(at + 1)?,
        total: row.get(at + 2)?,
        message: text(row.get_ref(at + 3)?),
    };
    Ok(Some(progress).filter(|progress| *progress != Progress::default()))
}

/// From the three columns at this place on.
pub(crate) fn children(row: &Row<'_>, at: usize) -> Result<Option<Children>> {
    let Some(total) = row.get(at)? else {
        return Ok(None);
    };
    Ok(Some(Children {
        total,
        done: row.get(at + 1)?,
        failed: row.get(at + 2)?,
    }))
}

pub(crate) fn tags(row: &Row<'_>, at: usize) -> Result<BTreeMap<String, String>> {
    let json = text(row.get_ref(at)?);
    Ok(json
        .and_then(|json| serde_json::from_str(&json).ok())
        .unwrap_or_default())
}

fn prerequisites(json: &str) -> Vec<Prerequisite> {
    let edges: Vec<(i64, i64, i64)> = serde_json::from_str(json).unwrap_or_default();
    let decode = |(job, rule, met): (i64, i64, i64)| {
        Some(Prerequisite {
            job: JobId(job),
            rule: PrerequisiteRule::from_code(rule)?,
            met: met == 1,
        })
    };
    edges.into_iter().filter_map(decode).collect()
}
