//! The raw SQLite floor that jobq is measured against: one thread, a plain loop over lean tables that does
//! what a job's life needs and nothing else. It has no rules, no event for enqueuing and for starting, and no
//! way to ask for the history of a job.

use std::cell::Cell;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params, params_from_iter};

use crate::clock::Clock;
use crate::error::Kind;
use crate::model::file_options::Durability;
use crate::{Error, Result, clock};

const SCHEMA: &str = include_str!("floor.sql");

/// Jobs claimed in a transaction.
const CLAIM_AT_ONCE: i64 = 256;
/// Events in one statement.
const EVENTS_AT_ONCE: usize = 16;
/// Pages in the log before SQLite checkpoints it: as many as a runner allows.
const CHECKPOINT_PAGES: i64 = 2000;

/// No writer of a crowd is to give up: it is waited for its turn, however long that takes.
const PATIENCE: Duration = Duration::from_secs(120);

const VERSION: &str = "SELECT value FROM meta WHERE key = 'schema_version'";
const LAST_JOB: &str = "SELECT jobs FROM count WHERE queue_id = 0 AND state = 100";
const JOB: &str = "INSERT INTO job (id, queue_id, kind_id, state, priority, max_retries, backoff,
        retry_delay_ms, created_at, updated_at)
    VALUES (?2, 1, 1, 2, 1, 3, 4, 5000, ?1, ?1)";
const PAYLOAD: &str = "INSERT INTO payload (job_id, payload) VALUES (?1, ?2)";
const COUNT: &str = "UPDATE count SET jobs = jobs + ?2 WHERE queue_id = 1 AND state = ?1";
const NUMBER: &str = "UPDATE count SET jobs = ?2 WHERE queue_id = 0 AND state = ?1";
const NEXT: &str = "SELECT id FROM job WHERE state = 2 AND queue_id = 1 AND kind_id = 1
    ORDER BY priority DESC, id LIMIT ?1";
const READ: &str =
    "SELECT j.attempt + 1, p.payload, j.retries, j.crashes, j.max_retries, j.backoff,
        j.retry_delay_ms, j.jitter, j.timeout_ms, j.links, j.parent_id
    FROM job j LEFT JOIN payload p ON p.job_id = j.id WHERE j.id = ?1 AND j.state = 2";
const CLAIM: &str =
    "UPDATE job SET state = 3, attempt = attempt + 1, claim = 1, runner_id = 1, worker = NULL,
        started_at = ?2, updated_at = ?2
    WHERE id = ?1 AND state = 2";
const FINISH: &str = "UPDATE job SET state = 5, finished_at = ?3, updated_at = ?3
    WHERE id = ?1 AND attempt = ?2 AND state = 3";

/// A file with nothing but the lean tables.
#[derive(Debug)]
pub struct Floor {
    conn: Connection,
    /// The last id; none if other connections add jobs too.
    last_job: Cell<Option<i64>>,
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
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        conn.execute_batch(SCHEMA)?;
        Floor::over(conn, durability, Some(0))
    }

    /// One more connection to the file, that waits for its turn with SQLite's own busy handler.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path, durability: Durability) -> Result<Floor> {
        let conn = Connection::open(path)?;
        conn.busy_timeout(PATIENCE)?;
        Floor::over(conn, durability, None)
    }

    fn over(conn: Connection, durability: Durability, last_job: Option<i64>) -> Result<Floor> {
        let synchronous = match durability {
            Durability::Full => "FULL",
            Durability::Normal => "NORMAL",
        };
        conn.pragma_update(None, "synchronous", synchronous)?;
        conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        conn.set_prepared_statement_cache_capacity(64);
        Ok(Floor {
            conn,
            last_job: Cell::new(last_job),
        })
    }

    /// Adds jobs, so many in a transaction; returns how long it took.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn enqueue(&self, jobs: usize, chunk: usize, payload: &str) -> Result<Duration> {
        let start = clock::instant();
        let mut left = jobs;
        while left > 0 {
            let group = chunk.min(left);
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
        self.run("BEGIN IMMEDIATE")?;
        let _: i64 = self.one(VERSION)?;
        let now_ms = Clock::default().now_ms();
        let mut id = match self.last_job.get() {
            Some(last) => last,
            None => self.one(LAST_JOB)?,
        };
        for _ in 0..jobs {
            id += 1;
            self.conn
                .prepare_cached(JOB)?
                .execute(params![now_ms, id])?;
            self.conn
                .prepare_cached(PAYLOAD)?
                .execute(params![id, payload])?;
        }
        self.conn.prepare_cached(COUNT)?.execute([2, jobs as i64])?;
        for (number, value) in [(100, id), (101, 0), (102, now_ms)] {
            self.conn.prepare_cached(NUMBER)?.execute([number, value])?;
        }
        self.run("COMMIT")?;
        self.last_job.set(self.last_job.get().map(|_| id));
        Ok(())
    }

    /// Claims and finishes all jobs; how long it took.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn drain(&self) -> Result<Duration> {
        let start: Instant = clock::instant();
        let mut held: Vec<(i64, i64)> = Vec::new();
        loop {
            self.run("BEGIN IMMEDIATE")?;
            let now_ms = Clock::default().now_ms();
            for (id, attempt) in &held {
                let finish = params![id, attempt, now_ms];
                self.conn.prepare_cached(FINISH)?.execute(finish)?;
            }
            self.append(&held, now_ms)?;
            let finished = held.len() as i64;
            held.clear();
            let mut next = self.conn.prepare_cached(NEXT)?;
            let ids: Vec<i64> = next
                .query_map([CLAIM_AT_ONCE], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            for id in ids {
                let mut read = self.conn.prepare_cached(READ)?;
                let (attempt, payload): (i64, String) =
                    read.query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
                std::hint::black_box(payload);
                self.conn
                    .prepare_cached(CLAIM)?
                    .execute(params![id, now_ms])?;
                held.push((id, attempt));
            }
            if finished > 0 {
                for (state, jobs) in [(2, -finished), (5, finished)] {
                    self.conn.prepare_cached(COUNT)?.execute([state, jobs])?;
                }
            }
            self.run("COMMIT")?;
            if held.is_empty() {
                return Ok(start.elapsed());
            }
        }
    }

    /// An event for each attempt that has ended.
    fn append(&self, ended: &[(i64, i64)], now_ms: i64) -> Result<()> {
        for ended in ended.chunks(EVENTS_AT_ONCE) {
            let rows = vec!["(?, 4, ?, ?, 1, 2, 55, NULL)"; ended.len()].join(", ");
            let sql = format!(
                "INSERT INTO event (at, kind, job_id, attempt, runner_id, worker, took_us, data) VALUES {rows}"
            );
            let values = ended
                .iter()
                .flat_map(|(id, attempt)| [now_ms, *id, *attempt]);
            let mut append = self.conn.prepare_cached(&sql)?;
            append.execute(params_from_iter(values))?;
        }
        Ok(())
    }

    fn run(&self, sql: &str) -> Result<()> {
        self.conn.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    fn one(&self, sql: &str) -> Result<i64> {
        let mut statement = self.conn.prepare_cached(sql)?;
        Ok(statement.query_row([], |row| row.get(0))?)
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
        floor.enqueue(257, 100, "1").unwrap();
        Floor::open(&path, Durability::Normal)
            .unwrap()
            .enqueue_one("2")
            .unwrap();
        floor.drain().unwrap();
        for sql in [
            "SELECT count(*) FROM job WHERE state = 5",
            "SELECT jobs FROM count WHERE queue_id = 1 AND state = 5",
            "SELECT jobs FROM count WHERE queue_id = 0 AND state = 100",
            "SELECT count(*) FROM payload",
            "SELECT count(*) FROM event",
        ] {
            assert_eq!(floor.one(sql).unwrap(), 258, "{sql}");
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
