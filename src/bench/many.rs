//! A file with many jobs, made quickly: for what must not depend on their number.

use std::path::Path;

use rusqlite::Connection;

use crate::{Error, Queue, Result};

const NAMES: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
    INSERT INTO jobq_queue (name) SELECT 'queue ' || i FROM n;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50)
    INSERT INTO jobq_kind (name) SELECT 'kind ' || i FROM n;
    INSERT INTO jobq_runner (name, pid, host, workers, kinds, state, started_at, heartbeat_at)
    VALUES ('gone', 1, 'bench', 20, '[]', 1, 1, 1);";

/// Jobs ?1 to ?2 of ?3: all kinds and queues are mixed, but the last kind is rare. A tenth has one of a thousand
/// tenants, a hundredth is tagged, and every hundredth job of the first tenth is a child of one of ten parents.
const JOBS: &str = "WITH RECURSIVE n(i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2),
    s AS (SELECT i, CASE WHEN i > ?3 - ?3 / 200 THEN 2 WHEN i > ?3 - ?3 / 200 - 20 THEN 3 WHEN i % 9973 = 0 THEN 6
        ELSE 5 END AS state FROM n)
    INSERT INTO jobq_job (id, queue_id, kind_id, state, priority, attempt, max_retries, backoff, retry_delay_ms, claim,
        runner_id, worker, created_at, updated_at, started_at, finished_at, took_us, links, parent_id, tenant)
    SELECT i, 1 + (i * 104729) % 20, CASE WHEN i % 10007 = 0 THEN 50 ELSE 1 + (i * 7919) % 49 END, state, i % 4,
        state <> 2, 3, 4, 5000, CASE WHEN state <> 2 THEN 0 END, CASE WHEN state <> 2 THEN 1 END,
        CASE WHEN state <> 2 THEN 1 + i % 5 END, 1700000000000 + i, 1700000000000 + i,
        CASE WHEN state <> 2 THEN 1700000000000 + i END, CASE WHEN state >= 5 THEN 1700000000000 + i END,
        CASE WHEN state = 5 THEN 1000 END,
        CASE WHEN i % 100 = 7 THEN 64 ELSE 0 END + CASE WHEN i % 100 = 9 AND i < ?3 / 10 THEN 1 ELSE 0 END,
        CASE WHEN i % 100 = 9 AND i < ?3 / 10 THEN 1 + i / 100 % 10 END,
        CASE WHEN i % 10 = 3 THEN 'tenant ' || (i / 10 % 1000) END FROM s";

const PAYLOADS: &str = "INSERT INTO jobq_payload SELECT id, json_object('number', id, 'text', 'a payload of a usual job')
    FROM jobq_job WHERE id BETWEEN ?1 AND ?2";
const ERRORS: &str =
    "INSERT INTO jobq_outcome (job_id, error) SELECT id, 'it did not work out' FROM jobq_job
    WHERE state = 6 AND id BETWEEN ?1 AND ?2";
const TAGS: &str = "INSERT INTO jobq_tag SELECT 'env', 'prod', id FROM jobq_job WHERE links & 64 AND id BETWEEN ?1 AND ?2";

const REST: &str = "INSERT OR IGNORE INTO jobq_block SELECT 0, kind_id, id >> 8 FROM jobq_job;
    INSERT OR IGNORE INTO jobq_block SELECT 1, queue_id, id >> 8 FROM jobq_job;
    INSERT INTO jobq_number (what, id, value) SELECT state, queue_id, count(*) FROM jobq_job GROUP BY 1, 2;
    PRAGMA wal_checkpoint(TRUNCATE);";

/// Makes such a file: most jobs are completed, one in 200 is pending, one in 10,000 failed, 20 run.
///
/// # Errors
/// The file cannot be written.
pub fn many_jobs(path: &Path, jobs: i64) -> Result<()> {
    const CHUNK: i64 = 250_000;
    let failed = |error: rusqlite::Error| Error::from(error);
    drop(Queue::open(path)?);
    let mut conn = Connection::open(path).map_err(failed)?;
    conn.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -400000")?;
    conn.execute_batch(NAMES)?;
    for first in (1..=jobs).step_by(CHUNK as usize) {
        let last = jobs.min(first + CHUNK - 1);
        let tx = conn.transaction()?;
        tx.execute(JOBS, [first, last, jobs])?;
        for sql in [PAYLOADS, ERRORS, TAGS] {
            tx.execute(sql, [first, last])?;
        }
        tx.commit()?;
    }
    conn.execute_batch(REST)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Filter, State};

    #[test]
    fn the_file_is_sound_and_has_what_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("many.db");
        many_jobs(&path, 30_000).unwrap();
        let queue = Queue::open(&path).unwrap();
        let mut findings = queue.check().unwrap();
        // Its one runner never was.
        findings.retain(|found| found.check != "locks");
        assert!(
            findings
                .iter()
                .all(|found| found.severity == crate::Severity::Ok),
            "{findings:?}"
        );
        let counts = queue.counts().unwrap();
        let of = [State::Pending, State::Running, State::Failed].map(|state| counts.get(state));
        assert_eq!((of, counts.total()), ([150, 20, 2], 30_000));
        for kind in ["kind 7", "kind 50"] {
            let filter = Filter {
                kinds: vec![kind.to_owned()],
                ..Filter::default()
            };
            assert!(!queue.page(&filter).unwrap().jobs.is_empty(), "{kind}");
        }
    }
}
