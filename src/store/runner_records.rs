//! The runners as others see them.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;

use super::runners::{gone, read_kinds};
use super::statement::statements;
use crate::Result;
use crate::clock::timestamp;
use crate::job::JobId;

statements! {
    cold RUNNERS_RECENT = "SELECT id, name, pid, host, workers, kinds, queues, state, started_at, heartbeat_at,
            short_of
        FROM jobq_runner r WHERE state <= 2 OR ?1
            OR EXISTS (SELECT 1 FROM jobq_job j WHERE j.state = 3 AND j.runner_id = r.id) ORDER BY id";
    hot JOBS_RUNNING_ON = "SELECT j.worker, j.id, k.name, j.started_at FROM jobq_job j JOIN jobq_kind k ON k.id = j.kind_id
        WHERE j.state = 3 AND j.runner_id = ?1 ORDER BY j.worker, j.id";
}

/// A runner as the file has it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunnerRecord {
    /// Its number in the file.
    pub id: i64,
    /// What it does.
    pub state: RunnerState,
    /// Its process.
    pub pid: u32,
    /// The machine it is or was on.
    pub host: String,
    /// How many jobs it runs at once.
    pub worker_count: u32,
    /// The kinds it has handlers for.
    pub kinds: Vec<String>,
    /// How many jobs of a kind it runs at once; a kind that is not here: as many as it has workers.
    pub kind_limits: BTreeMap<String, u64>,
    /// The queues it serves; none: all.
    pub queues: Option<Vec<String>>,
    /// When it registered.
    pub started_at: jiff::Timestamp,
    /// When it last beat.
    pub heartbeat_at: jiff::Timestamp,
    /// What the system has too little of, so that it runs fewer jobs at a time than it has workers.
    pub short_of: Option<String>,
    /// What it holds.
    pub jobs: Vec<RunningJob>,
}

impl RunnerRecord {
    /// Whether it lives, as far as anybody can tell who looks at its lock.
    pub fn is_alive(&self) -> bool {
        self.state != RunnerState::Offline
    }
}

/// What a runner does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunnerState {
    /// It lives and holds no job.
    Idle,
    /// It holds jobs.
    Busy,
    /// It has stopped claiming and waits for its running jobs.
    Stopping,
    /// It has ended or is lost. What it still holds is taken over by the next runner to start.
    Offline,
}

/// A job that a runner holds.
#[derive(Clone, Debug)]
pub struct RunningJob {
    /// The worker that runs it, once that is known.
    pub worker: Option<u32>,
    /// The job.
    pub job: JobId,
    /// Its kind.
    pub kind: String,
    /// Since when.
    pub since: jiff::Timestamp,
}

/// Which runners are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunnerFilter {
    /// Those that have not ended, and those that are gone from which nobody has taken over yet:
    /// they are [`RunnerState::Offline`].
    Now,
    /// All that the file remembers.
    AllTimes,
}

/// `locks` is the folder of the runners' lock files.
pub(crate) fn list(conn: &Connection, of: RunnerFilter, locks: &Path) -> Result<Vec<RunnerRecord>> {
    let gone = gone(conn, locks)?;
    let mut statement = conn.prepare_cached(RUNNERS_RECENT)?;
    let mut rows = statement.query([of == RunnerFilter::AllTimes])?;
    let mut runners = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        let jobs = running_on(conn, id)?;
        let state = match row.get::<_, i64>(7)? {
            1 | 2 if gone.contains(&id) => RunnerState::Offline,
            1 if jobs.is_empty() => RunnerState::Idle,
            1 => RunnerState::Busy,
            2 => RunnerState::Stopping,
            _ => RunnerState::Offline,
        };
        let names = |text: String| serde_json::from_str::<Vec<String>>(&text).unwrap_or_default();
        let (kinds, kind_limits) = read_kinds(&row.get::<_, String>(5)?);
        runners.push(RunnerRecord {
            id,
            state,
            pid: row.get(2)?,
            host: row.get(3)?,
            worker_count: row.get(4)?,
            kinds,
            kind_limits,
            queues: row.get::<_, Option<String>>(6)?.map(names),
            started_at: timestamp(row.get(8)?),
            heartbeat_at: timestamp(row.get(9)?),
            short_of: row.get(10)?,
            jobs,
        });
    }
    Ok(runners)
}

fn running_on(conn: &Connection, runner: i64) -> Result<Vec<RunningJob>> {
    let mut statement = conn.prepare_cached(JOBS_RUNNING_ON)?;
    let rows = statement.query_map([runner], |row| {
        Ok(RunningJob {
            worker: row.get(0)?,
            job: JobId(row.get(1)?),
            kind: row.get(2)?,
            since: timestamp(row.get(3)?),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
