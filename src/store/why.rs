//! Which rule keeps a job from running.

use std::path::Path;

use rusqlite::Connection;

use super::claim::is_paused;
use super::damage;
use super::names::find_queue;
use super::queues;
use super::rate::Ring;
use super::records;
use super::runner_records::{self, RunnerFilter, RunnerRecord, RunnerState};
use super::runners;
use super::statement::statements;
use super::unowned;
use super::why_blocked;
use crate::clock::{millis, timestamp};
use crate::job::{Children, JobId, JobRecord};
use crate::limit::Rate;
use crate::state::{State, WaitReason};
use crate::{Error, Result};

statements! {
    cold JOBS_AHEAD_OF = "SELECT count(*) FROM jobq_job
        WHERE state = 2 AND queue_id = ?1 AND (priority > ?2 OR (priority = ?2 AND id < ?3))";
    /// By the index of what runs, over all runners: as many rows as there are workers, and some ahead.
    cold JOBS_RUNNING_IN = "SELECT id FROM jobq_job INDEXED BY jobq_job_running WHERE state = 3 AND queue_id = ?1
        ORDER BY id LIMIT ?2";
    /// Its deadline is over and it has not begun: whoever looks next cancels it.
    cold DEADLINE_MISSED = "SELECT at FROM jobq_deadline WHERE job_id = ?1 AND at <= ?2";
    cold QUEUE_USE = "SELECT q.rate_at, coalesce((SELECT r.jobs FROM jobq_count r WHERE r.queue_id = q.id AND r.state = 3), 0)
        FROM jobq_queue q WHERE q.id = ?1";
}

/// So many of the jobs that take up a limit are named.
const NAMED: i64 = 10;

/// Why a job does not run now, and what would change that.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// It runs.
    Running {
        /// On this runner.
        runner: i64,
        /// It has been asked to stop.
        cancel_requested: bool,
    },
    /// It was running, and its runner is gone. The next runner that looks takes it over.
    RunnerGone {
        /// The runner.
        runner: i64,
        /// It had been asked to stop: it will be cancelled.
        cancel_requested: bool,
    },
    /// It has ended.
    Final {
        /// How.
        state: State,
        /// What went wrong, or which rule cancelled it.
        error: Option<String>,
    },
    /// Other jobs have to end first.
    WaitsFor {
        /// These, with their states.
        jobs: Vec<(JobId, State)>,
        /// And so many more.
        more: u64,
    },
    /// It is a child, and its parent's own part has to be done first.
    ParentFirst {
        /// The parent.
        parent: JobId,
        /// What it does.
        state: State,
    },
    /// The attempt that spawned it has to complete first.
    SpawnerFirst {
        /// The job of that attempt.
        spawner: JobId,
    },
    /// Other jobs hold all places of its concurrency key.
    KeyTaken {
        /// The key.
        key: String,
        /// How many places it has.
        places: u64,
        /// Who holds them, with their states: the first ten.
        holders: Vec<(JobId, State)>,
    },
    /// Its own part is done, its children are not.
    ChildrenFirst(Children),
    /// It is a group without children.
    NoChildYet,
    /// It is not due yet.
    NotDue {
        /// Because of this.
        reason: WaitReason,
        /// Until then.
        until: jiff::Timestamp,
    },
    /// It had not begun by its deadline: the next runner to start cancels it.
    DeadlineOver {
        /// What it is until then.
        state: State,
        /// Its deadline.
        deadline: jiff::Timestamp,
    },
    /// Every queue is paused.
    AllPaused,
    /// Its queue is paused.
    QueuePaused(String),
    /// No runner is alive.
    NoRunner,
    /// Runners are alive, but none has a handler for its kind.
    NoHandler(String),
    /// Runners are alive, but none of those with a handler serves its queue.
    QueueNotServed(String),
    /// Every runner that could run it is about to stop.
    RunnersStopping,
    /// The system has too little for another job: each runner that could run it runs fewer at a time.
    OutOfResources {
        /// The first of them.
        runner: i64,
        /// What there is too little of, in a handler's words.
        reason: String,
        /// How many jobs run on these runners.
        running: u64,
    },
    /// So many jobs of its queue run as may run at once.
    QueueAtLimit {
        /// Its queue.
        queue: String,
        /// The limit.
        limit: u32,
        /// How many run: more than the limit where that was lowered.
        running: u64,
        /// The first ten of them.
        jobs: Vec<JobId>,
    },
    /// Each runner that could run it runs as many jobs of its kind as it may at once.
    KindAtLimit {
        /// Its kind.
        kind: String,
        /// The limits of the kind in these runners, each once.
        limits: Vec<u64>,
        /// How many run.
        running: u64,
        /// The first ten of them.
        jobs: Vec<JobId>,
    },
    /// So many jobs of its queue have started as may start in the span.
    QueueRate {
        /// Its queue.
        queue: String,
        /// Its rate.
        rate: Rate,
        /// When the next one may start.
        next: jiff::Timestamp,
    },
    /// It waits for its turn.
    InLine {
        /// So many jobs of its queue go first.
        ahead: u64,
        /// So many jobs run on the runners that could run it.
        running: u64,
        /// With so many workers.
        workers: u64,
    },
    /// What the file holds of it, or of its queue, is damaged: a runner sets it aside.
    Damaged {
        /// What it is, as far as that can be told.
        state: State,
        /// What is wrong.
        what: String,
    },
    /// None of the above is found: `jobq doctor` looks whether the file is sound.
    Other(State),
}

/// `locks` is the folder of the runners' lock files.
pub(crate) fn why(conn: &Connection, id: JobId, (now_ms, locks): (i64, &Path)) -> Result<Why> {
    let state = |state: Result<Option<State>>| state.ok().flatten().unwrap_or(State::Pending);
    let found = match damage::of_job(conn, id)? {
        Some(what) => Err(what),
        None => match rule(conn, id, (now_ms, locks)) {
            Err(error) if error.blames_data() && !error.is_not_found() => Err(error.to_string()),
            found => Ok(found?),
        },
    };
    Ok(found.unwrap_or_else(|what| Why::Damaged {
        state: state(records::state(conn, id)),
        what,
    }))
}

fn rule(conn: &Connection, id: JobId, (now_ms, locks): (i64, &Path)) -> Result<Why> {
    let job = records::get(conn, id)?.ok_or_else(|| Error::no_such_job(id))?;
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
        State::Blocked => why_blocked::blocked(conn, &job),
        State::Waiting => why_blocked::waiting(conn, &job),
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
        runners::gone(conn, locks)?.contains(&runner) || unowned::is_unowned(conn, job.id)?;
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

/// The limit of its queue that keeps any job of it from starting now.
fn limited(conn: &Connection, queue: i64, (name, now_ms): (&str, i64)) -> Result<Option<Why>> {
    let limits = queues::limits(conn, queue)?;
    let (rate_at, running): (i64, u64) =
        conn.query_row(QUEUE_USE, [queue], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if let Some(limit) = limits
        .concurrency
        .filter(|limit| u64::from(*limit) <= running)
    {
        let mut statement = conn.prepare(JOBS_RUNNING_IN)?;
        let jobs = statement.query_map(rusqlite::params![queue, NAMED], |row| {
            Ok(JobId(row.get(0)?))
        })?;
        return Ok(Some(Why::QueueAtLimit {
            queue: name.to_owned(),
            limit,
            running,
            jobs: jobs.collect::<rusqlite::Result<_>>()?,
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

/// The limit of a kind that keeps any job of it from starting now, in each runner that could claim it.
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
    jobs.truncate(NAMED as usize);
    Some(Why::KindAtLimit {
        kind: kind.to_owned(),
        limits,
        running,
        jobs,
    })
}

/// What the system has too little of, where that keeps each runner that could claim it from more.
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

fn pending(conn: &Connection, job: &JobRecord, (now_ms, locks): (i64, &Path)) -> Result<Why> {
    let queue = find_queue(conn, &job.queue)?.unwrap_or_default();
    if queues::all_paused_since(conn)?.is_some() {
        return Ok(Why::AllPaused);
    }
    if is_paused(conn, queue)? {
        return Ok(Why::QueuePaused(job.queue.clone()));
    }
    let mut runners = runner_records::list(conn, RunnerFilter::Now, locks)?;
    runners.retain(RunnerRecord::is_alive);
    if runners.is_empty() {
        return Ok(Why::NoRunner);
    }
    let knows_kind: Vec<&RunnerRecord> = runners
        .iter()
        .filter(|runner| runner.kinds.contains(&job.kind))
        .collect();
    if knows_kind.is_empty() {
        return Ok(Why::NoHandler(job.kind.clone()));
    }
    let serves = |runner: &&RunnerRecord| {
        runner
            .queues
            .as_ref()
            .is_none_or(|queues| queues.contains(&job.queue))
    };
    let able: Vec<&RunnerRecord> = knows_kind.into_iter().filter(serves).collect();
    if able.is_empty() {
        return Ok(Why::QueueNotServed(job.queue.clone()));
    }
    if able
        .iter()
        .all(|runner| runner.state == RunnerState::Stopping)
    {
        return Ok(Why::RunnersStopping);
    }
    if let Some(limit) = limited(conn, queue, (&job.queue, now_ms))? {
        return Ok(limit);
    }
    if let Some(limit) = kind_limited(&job.kind, &able) {
        return Ok(limit);
    }
    if let Some(short) = short_of(&able) {
        return Ok(short);
    }
    let arguments = rusqlite::params![queue, job.priority.code(), job.id.0];
    Ok(Why::InLine {
        ahead: conn.query_row(JOBS_AHEAD_OF, arguments, |row| row.get(0))?,
        running: able.iter().map(|runner| runner.jobs.len() as u64).sum(),
        workers: able
            .iter()
            .map(|runner| u64::from(runner.worker_count))
            .sum(),
    })
}
