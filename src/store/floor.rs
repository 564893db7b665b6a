//! The raw SQLite floor that jobq is measured against: one thread, a plain loop over a frozen copy
//! of the schema that does the same inserts and updates, events included, 256 jobs a transaction.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::connection::Durability;
use crate::{Result, clock};

/// The schema as it was when the floor was laid. It does not follow `schema.sql`.
const SCHEMA: &str = include_str!("floor.sql");

/// Jobs in a transaction.
const GROUP: usize = 256;

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

impl Floor {
    /// Makes the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(path: &Path, durability: Durability) -> Result<Floor> {
        let conn = Connection::open(path)?;
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        let synchronous = if durability == Durability::Full {
            "FULL"
        } else {
            "NORMAL"
        };
        conn.pragma_update(None, "synchronous", synchronous)?;
        conn.pragma_update(None, "foreign_keys", true)?;
        conn.execute_batch(SCHEMA)?;
        conn.execute_batch(
            "INSERT INTO jobq_queue (name) VALUES ('default'); INSERT INTO jobq_kind (name) VALUES ('noop')",
        )?;
        Ok(Floor { conn })
    }

    /// Adds so many jobs; how long it took.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn enqueue(&self, jobs: usize, payload: &str) -> Result<Duration> {
        let start = clock::instant();
        let now = 1_700_000_000_000_i64;
        for group in groups(jobs) {
            self.conn.execute_batch("BEGIN IMMEDIATE")?;
            for _ in 0..group {
                let id = self.conn.prepare_cached(JOB)?.insert([now])?;
                self.conn
                    .prepare_cached(PAYLOAD)?
                    .execute(params![id, payload])?;
                self.event(1, id, None)?;
            }
            self.conn
                .prepare_cached(COUNT)?
                .execute([2, group as i64])?;
            self.conn.execute_batch("COMMIT")?;
        }
        Ok(start.elapsed())
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

fn groups(jobs: usize) -> impl Iterator<Item = usize> {
    (0..jobs.div_ceil(GROUP)).map(move |group| GROUP.min(jobs - group * GROUP))
}
