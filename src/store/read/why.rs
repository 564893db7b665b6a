//! Which rule keeps a job from running.

use std::path::Path;

use crate::clock::{millis, timestamp};
use crate::model::family::{Children, PrerequisiteRule};
use crate::model::id::JobId;
use crate::model::job::JobRecord;
use crate::model::runner::{RunnerFilter, RunnerRecord, RunnerState};
use crate::model::state::{State, WaitReason};
use crate::model::why::Why;
use crate::store::jobs::claim::is_paused;
use crate::store::jobs::rate::Ring;
use crate::store::jobs::{concurrency_slots, families, job_row, queues};
use crate::store::read::jobs;
use crate::store::read::runners::list as list_runners;
use crate::store::sqlite::names::find_queue;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::{Connection, RowResult, params};
use crate::store::upkeep::{doctor, runners};
use crate::{Error, Result};

statements! {
    cold JOBS_AHEAD_OF = "SELECT count(*) FROM jobq_job
        WHERE state = 2 AND queue_id = ?1 AND (priority > ?2 OR (priority = ?2 AND id < ?3))";
    /// By the index of what runs, over all runners: as many rows as there are workers, and some ahead.
    cold JOBS_RUNNING_IN = "SELECT id FROM jobq_job INDEXED BY jobq_job_running WHERE state = 3 AND queue_id = ?1
        ORDER BY id LIMIT ?2";
    /// Its deadline has passed and it has not begun: the next active runner cancels it.
    cold DEADLINE_MISSED = "SELECT at FROM jobq_deadline WHERE job_id = ?1 AND at <= ?2";
    cold QUEUE_USE = "SELECT q.rate_at, coalesce((SELECT r.value FROM jobq_number r WHERE r.what = 3 AND r.id = q.id), 0)
        FROM jobq_queue q WHERE q.id = ?1";
    hot PREREQUISITES_UNMET = "SELECT n.needs_id, n.rule, j.state FROM jobq_prerequisite n
        JOIN jobq_job j ON j.id = n.needs_id WHERE n.job_id = ?1 AND n.met = 0 LIMIT ?2";
    cold PREREQUISITES_UNMET_COUNT = "SELECT count(*) FROM jobq_prerequisite WHERE job_id = ?1 AND met = 0";
}

/// `locks` is the folder of the runners' lock files.
pub(crate) fn why(conn: &Connection, id: JobId, (now_ms, locks): (i64, &Path)) -> Result<Why> {
    let state = |state: Result<Option<State>>| state.ok().flatten().unwrap_or(State::Pending);
    let found = match doctor::damage::of_job(conn, id)? {
        Some(what) => Err(what),
        None => match rule(conn, id, (now_ms, locks)) {
            Err(error) if error.blames_data() && !error.is_not_found() => Err(error.to_string()),
            found => Ok(found?),
        },
    };
    Ok(found.unwrap_or_else(|what| Why::Damaged {
        state: state(job_row::state(conn, id)),
        what,
    }))
}

fn rule(conn: &Connection, id: JobId, (now_ms, locks): (i64, &Path)) -> Result<Why> {
    let job = jobs::get(conn, id)?.ok_or_else(|| Error::no_such_job(id))?;
    if let Some(late) = late(conn, &job, now_ms)? {
        return Ok(late);
    }
    match job.state {
        State::Running => running(conn, &job, locks),
        State::Scheduled => Ok(Why::NotDue {
            reason: job.wait_reason.unwrap_or(WaitReason::Delay),
            until: job.run_at.unwrap_or(job.created_at),
        }),
        State::Pending => pending(conn, &job, (now_ms, locks)),
        State::Blocked => blocked(conn, &job),
        State::Waiting => waiting(conn, &job),
        state => Ok(Why::Final {
            state,
            error: job.error.clone(),
        }),
    }
}

fn running(conn: &Connection, job: &JobRecord, locks: &Path) -> Result<Why> {
    let runner = job.runner.unwrap_or_default();
    let cancel_requested = job.cancel_requested;
    let is_gone =
        runners::find_dead(conn, locks)?.contains(&runner.0) || runners::is_unowned(conn, job.id)?;
    Ok(match is_gone {
        true => Why::RunnerGone {
            runner,
            cancel_requested,
        },
        false => Why::Running {
            runner,
            cancel_requested,
        },
    })
}

/// A job that is cancelled whatever else keeps it.
fn late(conn: &Connection, job: &JobRecord, now_ms: i64) -> Result<Option<Why>> {
    let (State::Scheduled | State::Blocked | State::Pending) = job.state else {
        return Ok(None);
    };
    let mut statement = conn.prepare(DEADLINE_MISSED)?;
    let mut rows = statement.query([job.id.0, now_ms])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    Ok(Some(Why::DeadlineOver {
        state: job.state,
        deadline: timestamp(row.get(0)?),
    }))
}

/// The limit of its queue that keeps its jobs from starting now.
fn limited(conn: &Connection, queue: i64, (name, now_ms): (&str, i64)) -> Result<Option<Why>> {
    let limits = queues::limits(conn, queue)?;
    let (rate_at, running): (i64, u64) =
        conn.query_row(QUEUE_USE, [queue], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if let Some(limit) = limits
        .concurrency
        .filter(|limit| u64::from(*limit) <= running)
    {
        let mut statement = conn.prepare(JOBS_RUNNING_IN)?;
        let jobs =
            statement.query_map(params![queue, NAMED as i64], |row| Ok(JobId(row.get(0)?)))?;
        return Ok(Some(Why::QueueAtLimit {
            queue: name.to_owned(),
            limit,
            running,
            jobs: jobs.collect::<RowResult<_>>()?,
        }));
    }
    let Some(rate) = limits.rate else {
        return Ok(None);
    };
    let ring = Ring {
        queue,
        jobs: i64::from(rate.jobs),
        span_ms: millis(rate.per),
        at: rate_at,
    };
    let next = ring.next_start(conn, now_ms)?;
    Ok(next.map(|next| Why::QueueRate {
        queue: name.to_owned(),
        rate,
        next: timestamp(next),
    }))
}

/// The limit of a kind that keeps its jobs from starting now, in each runner that could claim it.
fn kind_limited(kind: &str, able: &[&RunnerRecord]) -> Option<Why> {
    let (mut limits, mut jobs) = (Vec::new(), Vec::new());
    let claiming = able
        .iter()
        .filter(|runner| runner.state != RunnerState::Stopping);
    for runner in claiming {
        let limit = *runner.kind_limits.get(kind)?;
        let of_kind = runner.jobs.iter().filter(|held| held.kind == kind);
        let before = jobs.len();
        jobs.extend(of_kind.map(|held| held.job));
        if ((jobs.len() - before) as u64) < limit {
            return None;
        }
        limits.push(limit);
    }
    limits.sort_unstable();
    limits.dedup();
    jobs.sort_unstable();
    let running = jobs.len() as u64;
    jobs.truncate(NAMED);
    Some(Why::KindAtLimit {
        kind: kind.to_owned(),
        limits,
        running,
        jobs,
    })
}

/// What the handlers of a kind say, if none of the runners that could claim it can run a job now.
fn unavailable(kind: &str, able: &[&RunnerRecord]) -> Option<Why> {
    let mut claiming = able
        .iter()
        .filter(|runner| runner.state != RunnerState::Stopping);
    let reason = |runner: &RunnerRecord| runner.unavailable_kinds.get(kind).cloned();
    let (runner, first) = able
        .iter()
        .find_map(|runner| Some((runner.id, reason(runner)?)))?;
    claiming
        .all(|runner| reason(runner).is_some())
        .then(|| Why::HandlerUnavailable {
            kind: kind.to_owned(),
            runner,
            reason: first,
        })
}

/// The resource that the system lacks, if that keeps each runner that could claim it from more jobs.
fn short_of(able: &[&RunnerRecord]) -> Option<Why> {
    let mut claiming = able
        .iter()
        .filter(|runner| runner.state != RunnerState::Stopping);
    let first = able.iter().find(|runner| runner.short_of.is_some())?;
    claiming
        .all(|runner| runner.short_of.is_some())
        .then(|| Why::OutOfResources {
            runner: first.id,
            reason: first.short_of.clone().unwrap_or_default(),
            running: able.iter().map(|runner| runner.jobs.len() as u64).sum(),
        })
}

fn pending(conn: &Connection, job: &JobRecord, moment: (i64, &Path)) -> Result<Why> {
    let queue = find_queue(conn, &job.queue)?.unwrap_or_default();
    if let Some(why) = nothing_runs(conn, queue, &job.queue)? {
        return Ok(why);
    }
    let runners = active_runners(conn, moment.1)?;
    let why = of_kind(conn, (queue, &job.queue), &job.kind, (&runners, moment.0))?;
    let Why::InLine {
        running, workers, ..
    } = why
    else {
        return Ok(why);
    };
    let arguments = params![queue, job.priority.code(), job.id.0];
    Ok(Why::InLine {
        ahead: conn.query_row(JOBS_AHEAD_OF, arguments, |row| row.get(0))?,
        running,
        workers,
    })
}

/// A pause, which keeps all pending jobs of the queue.
pub(crate) fn nothing_runs(conn: &Connection, queue: i64, name: &str) -> Result<Option<Why>> {
    if queues::all_paused_since(conn)?.is_some() {
        return Ok(Some(Why::AllPaused));
    }
    let is_paused = is_paused(conn, queue)?;
    Ok(is_paused.then(|| Why::QueuePaused(name.to_owned())))
}

pub(crate) fn active_runners(conn: &Connection, locks: &Path) -> Result<Vec<RunnerRecord>> {
    let mut runners = list_runners(conn, RunnerFilter::Now, locks)?;
    runners.retain(RunnerRecord::is_alive);
    Ok(runners)
}

/// What keeps a pending job of this kind in a queue that is not paused; the number of jobs ahead is left out.
pub(crate) fn of_kind(
    conn: &Connection,
    (queue, name): (i64, &str),
    kind: &str,
    (runners, now_ms): (&[RunnerRecord], i64),
) -> Result<Why> {
    if runners.is_empty() {
        return Ok(Why::NoRunner);
    }
    let knows_kind: Vec<&RunnerRecord> = runners
        .iter()
        .filter(|runner| runner.kinds.iter().any(|known| known == kind))
        .collect();
    if knows_kind.is_empty() {
        return Ok(Why::NoHandler(kind.to_owned()));
    }
    let serves = |runner: &&RunnerRecord| {
        let queues = runner.queues.as_ref();
        queues.is_none_or(|queues| queues.iter().any(|served| served == name))
    };
    let able: Vec<&RunnerRecord> = knows_kind.into_iter().filter(serves).collect();
    if able.is_empty() {
        return Ok(Why::QueueNotServed(name.to_owned()));
    }
    if able
        .iter()
        .all(|runner| runner.state == RunnerState::Stopping)
    {
        return Ok(Why::RunnersStopping);
    }
    if let Some(unavailable) = unavailable(kind, &able) {
        return Ok(unavailable);
    }
    if let Some(limit) = limited(conn, queue, (name, now_ms))? {
        return Ok(limit);
    }
    if let Some(limit) = kind_limited(kind, &able) {
        return Ok(limit);
    }
    if let Some(short) = short_of(&able) {
        return Ok(short);
    }
    Ok(Why::InLine {
        ahead: 0,
        running: able.iter().map(|runner| runner.jobs.len() as u64).sum(),
        workers: able
            .iter()
            .map(|runner| u64::from(runner.worker_count))
            .sum(),
    })
}

/// Maximum number of jobs that are named.
const NAMED: usize = 10;

pub(crate) fn blocked(conn: &Connection, job: &JobRecord) -> Result<Why> {
    let mut statement = conn.prepare_cached(PREREQUISITES_UNMET)?;
    let mut rows = statement.query(params![job.id.0, NAMED as i64])?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        let needs = JobId(row.get(0)?);
        let Some(state) = State::from_code(row.get(2)?) else {
            continue;
        };
        match PrerequisiteRule::from_code(row.get(1)?) {
            Some(PrerequisiteRule::RunPhase) => {
                return Ok(Why::ParentFirst {
                    parent: needs,
                    state,
                });
            }
            Some(PrerequisiteRule::Spawned) => return Ok(Why::SpawnerFirst { spawner: needs }),
            _ => jobs.push((needs, state)),
        }
    }
    if jobs.is_empty() {
        return in_line(conn, job);
    }
    let all: u64 = conn.query_row(PREREQUISITES_UNMET_COUNT, [job.id.0], |row| row.get(0))?;
    Ok(Why::WaitsFor {
        more: all.saturating_sub(jobs.len() as u64),
        jobs,
    })
}

/// Its concurrency key has no free slot.
fn in_line(conn: &Connection, job: &JobRecord) -> Result<Why> {
    let Some(key) = job.key.clone() else {
        return Ok(Why::Other(job.state));
    };
    let limit = concurrency_slots::number(conn, &key)?;
    let mut holders = Vec::new();
    for holder in concurrency_slots::holders(conn, &key, NAMED)? {
        holders.extend(job_row::state(conn, holder)?.map(|state| (holder, state)));
    }
    Ok(Why::KeyTaken {
        holders,
        limit: limit.unsigned_abs(),
        key,
    })
}

pub(crate) fn waiting(conn: &Connection, job: &JobRecord) -> Result<Why> {
    let family = families::get(conn, job.id)?;
    let children = family.map_or_else(Children::default, |family| family.children);
    if children.total == 0 {
        return Ok(Why::NoChildYet);
    }
    if children.live() == 0 {
        return in_line(conn, job);
    }
    Ok(Why::ChildrenFirst(children))
}
