//! Reading jobs.

use std::time::Duration;

use serde_json::value::RawValue;

use crate::clock::timestamp;
use crate::model::family::{Children, PrerequisiteRule};
use crate::model::filter::{Filter, KindFilter, Sort};
use crate::model::id::{JobId, RunnerId, WorkerId};
use crate::model::job::options::Priority;
use crate::model::job::{JobRecord, Prerequisite, Progress};
use crate::model::retry::{Backoff, Jitter, RetryPolicy};
use crate::model::state::{State, WaitReason};
use crate::store::jobs::families;
use crate::store::sqlite::statement::{Statements, readable_json, statements, text};
use crate::store::sqlite::types::{Value, ValueRef};
use crate::store::sqlite::{Connection, Row, names, params, params_from_iter};
use crate::{Error, Result};

macro_rules! select_jobs {
    ($rest:literal) => {
        select_jobs!("jobq_job j", $rest)
    };
    ($from:literal, $rest:literal) => {
        concat!(
            "SELECT j.id, k.name, q.name, j.state, j.wait_reason, j.priority, p.payload, o.result, o.error,
                g.percent, g.processed, g.total, g.message, j.attempt, j.retries, j.crashes, j.max_retries, j.backoff,
                j.retry_delay_ms, j.jitter, j.timeout_ms, j.run_at, j.cancel, j.created_at, j.updated_at,
                j.started_at, j.finished_at, j.runner_id, j.worker, j.tenant, j.unique_key, j.key, j.deadline,
                j.parent_id, f.total, f.done, f.failed,
                CASE WHEN j.links & 64 THEN (SELECT json_group_object(t.name, t.value) FROM jobq_tag t
                    WHERE t.job_id = j.id) END,
                CASE WHEN j.links & 128 THEN (SELECT json_group_array(json_array(n.needs_id, n.rule, n.met))
                    FROM jobq_prerequisite n WHERE n.job_id = j.id) END,
                j.schedule, j.slot
            FROM ", $from, "
            JOIN jobq_kind k ON k.id = j.kind_id
            JOIN jobq_queue q ON q.id = j.queue_id
            LEFT JOIN jobq_payload p ON p.job_id = j.id
            LEFT JOIN jobq_outcome o ON o.job_id = j.id
            LEFT JOIN jobq_progress g ON g.job_id = j.id AND g.attempt = j.attempt
            LEFT JOIN jobq_family f ON f.job_id = j.id ",
            $rest
        )
    };
}

statements! {
    hot JOB_GET = select_jobs!("WHERE j.id = ?1");
    /// A range of the primary key.
    hot JOBS_BETWEEN = "SELECT id FROM jobq_job WHERE id BETWEEN ?1 AND ?2 ORDER BY id";
    hot JOB_LAST = "SELECT max(id) FROM jobq_job";
    /// The start of every listing; see [`list`]. In the order of ids it walks the primary key and
    /// stops at the limit.
    cold JOBS_LIST = select_jobs!("");
    /// The start of a listing by a tag: the tag's own jobs, in the order of ids, and no other row.
    cold JOBS_LIST_TAGGED = select_jobs!("jobq_tag l CROSS JOIN jobq_job j ON j.id = l.job_id", "");
    /// One step in the index for each job; a listing by the time of ending would sort them all. Few
    /// are said to be in the state, or in a file that was analyzed all final jobs are searched and sorted.
    hot JOBS_ENDED_LAST = "SELECT finished_at, id FROM jobq_job WHERE kind_id = ?1 AND likelihood(state = ?2, 0.0001) AND state >= 5
        ORDER BY finished_at DESC, id DESC LIMIT ?3";
}

pub(crate) fn get(conn: &Connection, id: JobId) -> Result<Option<JobRecord>> {
    let mut statement = conn.prepare_cached(JOB_GET)?;
    let mut rows = statement.query([id.0])?;
    let job = rows.next()?.map(decode).transpose()?;
    job.map(|job| with_progress(conn, job)).transpose()
}

/// A waiting parent has the progress of its children.
fn with_progress(conn: &Connection, mut job: JobRecord) -> Result<JobRecord> {
    if let Some(children) = job.children.filter(|_| job.state == State::Waiting) {
        let percent = families::progress(conn, job.id, children)?;
        job.progress = Some(Progress {
            processed: Some(children.done + children.failed),
            total: Some(children.total),
            ..Progress::percent(percent)
        });
    }
    Ok(job)
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

/// Calls `each` for every job that matches the filter, one at a time: memory stays flat.
pub(crate) fn list(
    conn: &Connection,
    filter: &Filter,
    each: &mut dyn FnMut(JobRecord) -> Result<()>,
) -> Result<()> {
    if is_of_ended_last(filter) {
        return list_ended_last(conn, filter, each);
    }
    let (sql, arguments) = compose(filter);
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query(params_from_iter(arguments))?;
    while let Some(row) = rows.next()? {
        each(with_progress(conn, decode(row)?)?)?;
    }
    Ok(())
}

/// The conditions of a listing and their values.
#[derive(Default)]
struct Conditions {
    terms: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    fn add(&mut self, term: impl Into<String>, values: impl IntoIterator<Item = Value>) {
        self.terms.push(term.into());
        self.values.extend(values);
    }

    fn any_of(&mut self, column: &str, values: Vec<Value>) {
        if !values.is_empty() {
            let marks = vec!["?"; values.len()].join(", ");
            self.add(format!("{column} IN ({marks})"), values);
        }
    }
}

/// The statement of a listing. It walks the jobs of the parent, else those of the first tag, else
/// those of the tenant or of the schedule, else all, by an index that has them in the order of ids.
pub(crate) fn compose(filter: &Filter) -> (String, Vec<Value>) {
    let text = |names: &[String]| names.iter().cloned().map(Value::Text).collect();
    let mut conditions = Conditions::default();
    let mut tags = filter.tags.iter().map(|(name, value)| {
        let pair = [name, value].map(|text| Value::Text(text.clone()));
        pair.into_iter()
    });
    let walked = match filter.parent {
        Some(_) => None,
        None => tags.next(),
    };
    let (start, id) = match walked {
        Some(tag) => {
            conditions.add("l.name = ? AND l.value = ?", tag);
            (JOBS_LIST_TAGGED, "l.job_id")
        }
        None => (JOBS_LIST, "j.id"),
    };
    for tag in tags {
        let term = "EXISTS (SELECT 1 FROM jobq_tag h WHERE h.name = ? AND h.value = ? AND h.job_id = j.id)";
        conditions.add(term, tag);
    }
    if let Some(parent) = filter.parent {
        conditions.add("j.parent_id = ?", [Value::Integer(parent.0)]);
    }
    if let Some(tenant) = &filter.tenant {
        conditions.add("j.tenant = ?", [Value::Text(tenant.clone())]);
    }
    if let Some(schedule) = &filter.schedule {
        conditions.add("j.schedule = ?", [Value::Text(schedule.clone())]);
    }
    let states = filter.states.iter();
    let states = states.map(|state| Value::Integer(state.code())).collect();
    conditions.any_of("j.state", states);
    conditions.any_of("q.name", text(&filter.queues));
    conditions.any_of("k.name", text(&filter.kinds));
    if let Some(since) = filter.since {
        let since = Value::Integer(since.as_millisecond());
        conditions.add("j.created_at >= ?", [since]);
    }
    if let Some(after) = filter.after {
        let newest = filter.sort == Sort::Newest;
        let older = if newest { "<" } else { ">" };
        conditions.add(format!("{id} {older} ?"), [Value::Integer(after.0)]);
    }
    let Conditions { terms, mut values } = conditions;
    let filters = match terms.is_empty() {
        true => String::new(),
        false => format!("WHERE {}", terms.join(" AND ")),
    };
    let limit = filter.limit.map(i64::try_from);
    let limit = limit.map_or(-1, |limit| limit.unwrap_or(i64::MAX));
    values.push(Value::Integer(limit));
    let order = order(filter.sort, id);
    (format!("{start}{filters} ORDER BY {order} LIMIT ?"), values)
}

/// JSON as it is; invalid JSON is shown as a JSON string, so that one bad row hides no other.
fn json(value: ValueRef<'_>) -> Option<Box<RawValue>> {
    Some(readable_json(text(value)?))
}

fn decode(row: &Row<'_>) -> Result<JobRecord> {
    let id = JobId(row.get(0)?);
    let bad = |what: &str| {
        Error::invalid(format!(
            "job {id} has a {what} that this jobq does not know"
        ))
    };
    let progress = Progress {
        percent: row.get(9)?,
        processed: row.get(10)?,
        total: row.get(11)?,
        message: text(row.get_ref(12)?),
    };
    let retry = RetryPolicy {
        max_retries: row.get(16)?,
        backoff: Backoff::from_code(row.get(17)?).ok_or_else(|| bad("backoff"))?,
        delay: Duration::from_millis(row.get(18)?),
        jitter: if row.get(19)? {
            Jitter::Tenth
        } else {
            Jitter::Off
        },
    };
    let state = State::from_code(row.get(3)?).ok_or_else(|| bad("state"))?;
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
        priority: Priority::from_code(row.get(5)?).ok_or_else(|| bad("priority"))?,
        payload: json(row.get_ref(6)?).unwrap_or_default(),
        result: json(row.get_ref(7)?),
        error: text(row.get_ref(8)?),
        progress: Some(progress).filter(|progress| *progress != Progress::default()),
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
        children: children(row)?,
        tags: text(row.get_ref(37)?)
            .and_then(|json| serde_json::from_str(&json).ok())
            .unwrap_or_default(),
        depends_on: text(row.get_ref(38)?).map_or_else(Vec::new, |json| prerequisites(&json)),
        schedule: text(row.get_ref(39)?),
        slot: time(40)?,
    })
}

fn children(row: &Row<'_>) -> Result<Option<Children>> {
    let Some(total) = row.get(34)? else {
        return Ok(None);
    };
    Ok(Some(Children {
        total,
        done: row.get(35)?,
        failed: row.get(36)?,
    }))
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

/// Whether a listing is of the last jobs that ended, without any other filter.
pub(crate) fn is_of_ended_last(filter: &Filter) -> bool {
    // Every field is named: a new filter must not be ignored here.
    let Filter {
        states,
        queues,
        kinds: _,
        since,
        sort,
        after,
        limit,
        tenant,
        tags,
        parent,
        schedule,
    } = filter;
    let nothing_else = queues.is_empty()
        && since.is_none()
        && after.is_none()
        && tenant.is_none()
        && tags.is_empty()
        && parent.is_none()
        && schedule.is_none();
    let all_final = !states.is_empty() && states.iter().all(|state| state.is_final());
    *sort == Sort::Finished && limit.is_some() && nothing_else && all_final
}

/// Calls `each` for the last jobs of these states and kinds that ended, latest first.
pub(crate) fn list_ended_last(
    conn: &Connection,
    filter: &Filter,
    each: &mut dyn FnMut(JobRecord) -> Result<()>,
) -> Result<()> {
    // One read transaction: no job may be removed between the two reads.
    let read = conn.unchecked_transaction()?;
    let limit = filter.limit.unwrap_or_default();
    let kinds = match filter.kinds.as_slice() {
        [] => KindFilter::All,
        kinds => KindFilter::Only(kinds.to_vec()),
    };
    let mut states: Vec<State> = filter.states.clone();
    states.sort_unstable_by_key(|state| state.code());
    states.dedup();
    let mut last: Vec<(i64, i64)> = Vec::new();
    for kind in names::kinds_of(&read, &kinds)? {
        for state in &states {
            let mut statement = read.prepare_cached(JOBS_ENDED_LAST)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut rows = statement.query(params![kind, state.code(), limit])?;
            while let Some(row) = rows.next()? {
                last.push((row.get(0)?, row.get(1)?));
            }
        }
        last.sort_unstable_by(|one, other| other.cmp(one));
        last.truncate(limit);
    }
    for (_, id) in last {
        if let Some(job) = get(&read, JobId(id))? {
            each(job)?;
        }
    }
    Ok(())
}

/// `id` is the column whose index is walked.
fn order(sort: Sort, id: &str) -> String {
    let (before, direction) = match sort {
        Sort::Newest => ("", " DESC"),
        Sort::Oldest => ("", ""),
        Sort::Updated => ("j.updated_at DESC, ", " DESC"),
        Sort::Started => ("j.started_at DESC, ", " DESC"),
        Sort::Finished => ("j.finished_at DESC, ", " DESC"),
        Sort::Due => ("j.run_at IS NULL, j.run_at, ", ""),
        Sort::Priority => ("j.priority DESC, ", ""),
    };
    format!("{before}{id}{direction}")
}
