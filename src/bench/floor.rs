//! The raw SQLite floor that jobq is measured against: one thread, a plain loop over a frozen copy
//! of the schema that does the same inserts and updates, events included, many jobs a transaction.

use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use crate::error::Kind;
use crate::model::file_options::Durability;
use crate::{Error, Result, clock};

/// The schema as it was when the floor was laid. It does not follow `schema.sql`.
const SCHEMA: &str = include_str!("floor.sql");

/// Jobs in a transaction.
const GROUP: usize = 256;

/// No writer of a crowd is to give up: it is waited for its turn, however long that takes.
const PATIENCE: Duration = Duration::from_secs(120);

const JOB: &str = "INSERT INTO jobq_job (queue_id, kind_id, state, priority, max_retries, backoff, retry_delay_ms,
        jitter, timeout_ms, wait_reason, run_at, wait_fixed, created_at, updated_at)
    VALUES (1, 1, 2, 1, 3, 4, 5000, 1, NULL, NULL, NULL, NULL, ?1, ?1)";
const PAYLOAD: &str = "INSERT INTO jobq_payload (job_id, payload) VALUES (?1, ?2)";
const EVENT: &str =
    "INSERT INTO jobq_event (at, kind, job_id, attempt, runner_id, worker, took_us, data)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL)";
const COUNT: &str = "INSERT INTO jobq_count (queue_id, state, jobs) VALUES (1, ?1, ?2)
    ON CONFLICT (queue_id, state) DO UPDATE SET jobs = jobs + excluded.jobs";
const NEXT: &str = "SELECT id FROM jobq_job WHERE state = 2 AND queue_id = 1 AND kind_id = 1
    ORDER BY priority DESC, id LIMIT ?1";
const CLAIM: &str =
    "UPDATE jobq_job SET state = 3, attempt = attempt + 1, claim = 0, runner_id = 1, worker = NULL,
        started_at = ?2, updated_at = ?2 WHERE id = ?1 AND state = 2";
const READ: &str = "SELECT payload FROM jobq_payload WHERE job_id = ?1";
const FINISH: &str =
    "UPDATE jobq_job SET state = 5, finished_at = ?2, updated_at = ?2, worker = 1, cancel = NULL
    WHERE id = ?1 AND state = 3 AND attempt = 1";

/// A file with nothing but the frozen schema.
#[derive(Debug)]
pub struct Floor {
    conn: Connection,
}

/// The version of the SQLite that is linked in.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

impl Floor {
    /// Makes the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(path: &Path, durability: Durability) -> Result<Floor> {
        let conn = Connection::open(path)?;
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        conn.execute_batch(SCHEMA)?;
        conn.execute_batch(
            "INSERT INTO jobq_queue (name) VALUES ('default'); INSERT INTO jobq_kind (name) VALUES ('noop')",
        )?;
        Floor::over(conn, durability)
    }

    /// One more connection to the file, that waits for its turn with SQLite's own busy handler.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path, durability: Durability) -> Result<Floor> {
        let conn = Connection::open(path)?;
        conn.busy_timeout(PATIENCE)?;
        Floor::over(conn, durability)
    }

    fn over(conn: Connection, durability: Durability) -> Result<Floor> {
        let synchronous = match durability {
            Durability::Full => "FULL",
            Durability::Normal => "NORMAL",
        };
        conn.pragma_update(None, "synchronous", synchronous)?;
        conn.pragma_update(None, "foreign_keys", true)?;
        Ok(Floor { conn })
    }

    /// Adds jobs; returns how long it took.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn enqueue(&self, jobs: usize, payload: &str) -> Result<Duration> {
        let start = clock::instant();
        let mut left = jobs;
        while left > 0 {
            let group = GROUP.min(left);
            self.add(group, payload)?;
            left -= group;
        }
        Ok(start.elapsed())
    }

    /// Adds one job in a transaction of its own.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn enqueue_one(&self, payload: &str) -> Result<()> {
        self.add(1, payload)
    }

    fn add(&self, jobs: usize, payload: &str) -> Result<()> {
        let now = 1_700_000_000_000_i64;
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for _ in 0..jobs {
            let id = self.conn.prepare_cached(JOB)?.insert([now])?;
            self.conn
                .prepare_cached(PAYLOAD)?
                .execute(params![id, payload])?;
            self.event(1, id, None)?;
        }
        self.conn.prepare_cached(COUNT)?.execute([2, jobs as i64])?;
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// Claims and finishes all jobs; how long it took.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn drain(&self) -> Result<Duration> {
        let start: Instant = clock::instant();
        let now = 1_700_000_000_001_i64;
        let mut held: Vec<i64> = Vec::new();
        loop {
            self.conn.execute_batch("BEGIN IMMEDIATE")?;
            let finished = held.len() as i64;
            for id in held.drain(..) {
                self.conn
                    .prepare_cached(FINISH)?
                    .execute(params![id, now])?;
                self.event(4, id, Some(1))?;
            }
            let mut next = self.conn.prepare_cached(NEXT)?;
            let ids: Vec<i64> = next
                .query_map([GROUP as i64], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            for id in ids {
                self.conn.prepare_cached(CLAIM)?.execute(params![id, now])?;
                let payload: String = self
                    .conn
                    .prepare_cached(READ)?
                    .query_row([id], |row| row.get(0))?;
                std::hint::black_box(payload);
                self.event(2, id, None)?;
                held.push(id);
            }
            let claimed = held.len() as i64;
            for (state, jobs) in [(2, -claimed), (3, claimed - finished), (5, finished)] {
                self.conn.prepare_cached(COUNT)?.execute([state, jobs])?;
            }
            self.conn.execute_batch("COMMIT")?;
            if held.is_empty() {
                return Ok(start.elapsed());
            }
        }
    }

    fn event(&self, kind: i64, job: i64, worker: Option<i64>) -> Result<()> {
        let attempt = (kind != 1).then_some(1);
        self.conn.prepare_cached(EVENT)?.execute(params![
            1_700_000_000_000_i64,
            kind,
            job,
            attempt,
            attempt,
            worker,
            worker.map(|_| 3)
        ])?;
        Ok(())
    }
}

/// What many threads have done at once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CrowdCalls {
    /// The calls that have returned in time.
    pub(crate) calls: usize,
    /// The longest that one call took, in time or not.
    pub(crate) worst: Duration,
}

/// Gives each caller a thread and lets all of them call for so long.
pub(crate) fn crowd<C>(callers: Vec<C>, time: Duration) -> Result<CrowdCalls>
where
    C: FnMut() -> Result<()> + Send,
{
    let start = Barrier::new(callers.len() + 1);
    thread::scope(|scope| {
        let running: Vec<_> = callers
            .into_iter()
            .map(|caller| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    call(caller, time)
                })
            })
            .collect();
        start.wait();
        let mut all = CrowdCalls::default();
        for thread in running {
            let panicked = |_| Err(Error::new(Kind::Io, "a thread of the crowd panicked"));
            let own = thread.join().unwrap_or_else(panicked)?;
            all.calls += own.calls;
            all.worst = all.worst.max(own.worst);
        }
        Ok(all)
    })
}

fn call(mut caller: impl FnMut() -> Result<()>, time: Duration) -> Result<CrowdCalls> {
    let mut now = clock::instant();
    let end = now + time;
    let mut own = CrowdCalls::default();
    while now < end {
        caller()?;
        let after = clock::instant();
        own.worst = own.worst.max(after - now);
        own.calls += usize::from(after <= end);
        now = after;
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_takes_every_job_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("floor.db");
        let floor = Floor::create(&path, Durability::Normal).unwrap();
        floor.enqueue(GROUP + 1, "1").unwrap();
        Floor::open(&path, Durability::Normal)
            .unwrap()
            .enqueue_one("2")
            .unwrap();
        floor.drain().unwrap();
        let jobs = GROUP as i64 + 2;
        for (sql, expected) in [
            ("SELECT count(*) FROM jobq_job WHERE state = 5", jobs),
            ("SELECT jobs FROM jobq_count WHERE state = 5", jobs),
            ("SELECT count(*) FROM jobq_payload", jobs),
            ("SELECT count(*) FROM jobq_event", 3 * jobs),
        ] {
            let found: i64 = floor.conn.query_row(sql, [], |row| row.get(0)).unwrap();
            assert_eq!(found, expected, "{sql}");
        }
    }

    #[test]
    fn one_caller_that_fails_is_told_of() {
        let callers: Vec<_> = [true, false]
            .map(|fails| {
                move || {
                    if fails {
                        Err(Error::invalid("no"))
                    } else {
                        Ok(())
                    }
                }
            })
            .into();
        assert!(crowd(callers, Duration::from_millis(1)).is_err());
    }
}
