//! Reading runners.

use std::path::Path;

use crate::Result;
use crate::clock::timestamp;
use crate::model::id::{JobId, RunnerId, WorkerId};
use crate::model::runner::{RunnerFilter, RunnerRecord, RunnerState, RunningJob};
use crate::store::sqlite::Connection;
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::upkeep::runners::{find_dead, read_kinds};

statements! {
    cold RUNNERS_RECENT = "SELECT id, name, pid, host, workers, kinds, queues, state, started_at, heartbeat_at,
            short_of
        FROM jobq_runner r WHERE state <= 2 OR ?1
            OR EXISTS (SELECT 1 FROM jobq_job j WHERE j.state = 3 AND j.runner_id = r.id) ORDER BY id";
    hot JOBS_RUNNING_ON = "SELECT j.worker, j.id, k.name, j.started_at FROM jobq_job j JOIN jobq_kind k ON k.id = j.kind_id
        WHERE j.state = 3 AND j.runner_id = ?1 ORDER BY j.worker, j.id";
}

/// `locks` is the folder of the runners' lock files.
pub(crate) fn list(conn: &Connection, of: RunnerFilter, locks: &Path) -> Result<Vec<RunnerRecord>> {
    let dead = find_dead(conn, locks)?;
    let mut statement = conn.prepare_cached(RUNNERS_RECENT)?;
    let mut rows = statement.query([of == RunnerFilter::AllTimes])?;
    let mut runners = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        let jobs = running_on(conn, id)?;
        let state = match row.get::<_, i64>(7)? {
            1 | 2 if dead.contains(&id) => RunnerState::Offline,
            1 if jobs.is_empty() => RunnerState::Idle,
            1 => RunnerState::Busy,
            2 => RunnerState::Stopping,
            _ => RunnerState::Offline,
        };
        let names = |text: String| serde_json::from_str::<Vec<String>>(&text).unwrap_or_default();
        let kinds = read_kinds(&row.get::<_, String>(5)?);
        runners.push(RunnerRecord {
            id: RunnerId(id),
            state,
            pid: row.get(2)?,
            host: row.get(3)?,
            worker_count: row.get(4)?,
            kinds: kinds.names,
            kind_limits: kinds.limits,
            unavailable_kinds: kinds.unavailable,
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
    conn.all(JOBS_RUNNING_ON, [runner], |row| {
        Ok(RunningJob {
            worker: row.get::<_, Option<_>>(0)?.map(WorkerId),
            job: JobId(row.get(1)?),
            kind: row.get(2)?,
            since: timestamp(row.get(3)?),
        })
    })
}
