//! The blocks of kinds and queues: each job's are noted whatever happens, and rows go with the jobs.

use std::collections::BTreeSet;

use fastrand::Rng;
use rusqlite::Connection;

use crate::Error;
use crate::model::id::JobId;
use crate::model::job::update::JobUpdate;
use crate::model::job::{JobOptions, NewJob};
use crate::model::limits::EnqueueLimits;
use crate::model::remedy::Severity;
use crate::model::state::State;
use crate::queue::Queue;
use crate::store::jobs::validate::ValidatedJob;
use crate::store::jobs::{enqueue, update};
use crate::store::sqlite::names;
use crate::store::sqlite::names::Names;
use crate::store::tests::sandbox::Sandbox;
use crate::store::upkeep::doctor::audit;
use crate::store::upkeep::prune;
use crate::store::upkeep::prune::{PrunePass, Sweep};

/// Rows as they are kept, or as the jobs ask for them.
type Blocks = BTreeSet<(i64, i64, i64)>;

fn blocks(sandbox: &Sandbox, sql: &str) -> Blocks {
    let mut statement = sandbox.conn.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

fn kept(sandbox: &Sandbox) -> Blocks {
    blocks(sandbox, "SELECT what, id, block FROM jobq_block")
}

fn needed(sandbox: &Sandbox) -> Blocks {
    let needed =
        "SELECT 0, kind_id, id >> 8 FROM jobq_job UNION SELECT 1, queue_id, id >> 8 FROM jobq_job";
    blocks(sandbox, needed)
}

/// The next id is so many further.
fn skip(sandbox: &Sandbox, ids: u32) {
    sandbox.sql(&format!(
        "UPDATE jobq_number SET value = value + {ids} WHERE what = -2 AND id = 1"
    ));
}

fn any_job(rng: &mut Rng) -> ValidatedJob {
    let job = NewJob::new(["send", "resize"][rng.usize(..2)]);
    let job = job.queue(["mail", "images", "sleepy"][rng.usize(..3)]);
    let job = if rng.bool() { job.tenant("a") } else { job };
    ValidatedJob::new(job, &EnqueueLimits::default()).unwrap()
}

/// Jobs in one transaction, of which one command or all of it may be undone.
fn enqueue_some(sandbox: &mut Sandbox, rng: &mut Rng) {
    let jobs: Vec<(ValidatedJob, bool)> = (0..rng.usize(1..9))
        .map(|_| (any_job(rng), rng.u8(..4) == 0))
        .collect();
    let is_undone = rng.u8(..4) == 0;
    let _ = sandbox.try_write(|tx| {
        for (job, is_undone) in &jobs {
            let _ = tx.savepoint(|tx| {
                enqueue::enqueue(tx, job)?;
                is_undone
                    .then(|| Err(Error::invalid("undone")))
                    .unwrap_or(Ok(()))
            });
        }
        if is_undone {
            return Err(Error::invalid("undone"));
        }
        Ok(())
    });
}

fn edit_one(sandbox: &mut Sandbox, rng: &mut Rng) {
    let last = sandbox.number("SELECT coalesce(max(id), 0) FROM jobq_job");
    let edit = JobUpdate::from(JobOptions {
        queue: Some(["mail", "images", "sleepy"][rng.usize(..3)].to_owned()),
        ..JobOptions::default()
    });
    let id = JobId(rng.i64(0..=last));
    let _ = sandbox.try_write(|tx| update::edit(tx, id, &edit, &EnqueueLimits::default()));
}

/// Removes every final job, of which a few have ended just now.
fn prune_some(sandbox: &mut Sandbox, rng: &mut Rng) {
    let until = rng.i64(0..=sandbox.number("SELECT coalesce(max(id), 0) FROM jobq_job"));
    sandbox.sql(&format!(
        "UPDATE jobq_number SET value = value - (SELECT count(*) FROM jobq_job j
             WHERE j.id <= {until} AND j.state = 2 AND j.queue_id = jobq_number.id) WHERE what = 2;
         INSERT INTO jobq_number SELECT 5, queue_id, count(*), NULL FROM jobq_job WHERE id <= {until} AND state = 2
             GROUP BY queue_id ON CONFLICT DO UPDATE SET value = value + excluded.value;
         UPDATE jobq_job SET state = 5, finished_at = 1 WHERE id <= {until} AND state = 2"
    ));
    let kinds = names::kind_ids(&sandbox.conn).unwrap().into_iter();
    let sweeps = kinds.map(|kind| Sweep::new(kind, State::Completed, 2));
    let mut next = Some(PrunePass::of(sweeps.collect()));
    while let Some(pass) = next {
        next = sandbox
            .write(|tx| prune::step(tx, &pass, prune::no_end()))
            .next;
    }
}

#[test]
fn each_job_is_in_the_blocks_of_its_kind_and_its_queue() {
    for seed in 0..60 {
        let mut rng = Rng::with_seed(seed);
        let mut sandbox = Sandbox::new();
        for _ in 0..40 {
            match rng.u8(..8) {
                0 => edit_one(&mut sandbox, &mut rng),
                1 => prune_some(&mut sandbox, &mut rng),
                2 => skip(&sandbox, rng.u32(..600)),
                // Another writer, which knows nothing.
                3 => sandbox.names = Names::default(),
                _ => enqueue_some(&mut sandbox, &mut rng),
            }
            let (kept, needed) = (kept(&sandbox), needed(&sandbox));
            assert!(kept.is_superset(&needed), "{seed}: {kept:?}, {needed:?}");
        }
    }
}

#[test]
fn blocks_go_with_their_jobs_but_not_the_newest_one() {
    let mut sandbox = Sandbox::new();
    let mut rng = Rng::with_seed(7);
    for _ in 0..5 {
        for _ in 0..4 {
            enqueue_some(&mut sandbox, &mut rng);
        }
        skip(&sandbox, 256);
    }
    sandbox.enqueue(NewJob::new("send").queue("mail"));
    let newest = sandbox.number("SELECT max(id) >> 8 FROM jobq_job");
    assert!(needed(&sandbox).len() > 10);
    sandbox.sql("UPDATE jobq_job SET state = 5, finished_at = 1");
    sandbox.sql("DELETE FROM jobq_number WHERE what = 2; INSERT INTO jobq_number SELECT 5, queue_id, count(*), NULL FROM jobq_job GROUP BY 2");
    prune_some(&mut sandbox, &mut rng);
    assert_eq!(needed(&sandbox), Blocks::new());
    let left = kept(&sandbox);
    assert!(
        !left.is_empty() && left.iter().all(|row| row.2 == newest),
        "{left:?}"
    );
    // The writer remembers these rows, and does not write them again.
    sandbox.enqueue(NewJob::new("send").queue("mail"));
    assert!(kept(&sandbox).is_superset(&needed(&sandbox)));
}

#[test]
fn a_lost_block_is_found_and_put_back() {
    let mut sandbox = Sandbox::new();
    sandbox.enqueue(NewJob::new("send").queue("mail"));
    assert_eq!(audit::faults(&sandbox.conn).unwrap(), []);
    for lost in ["what = 0", "what = 1"] {
        sandbox.sql(&format!("DELETE FROM jobq_block WHERE {lost}"));
        let faults = audit::faults(&sandbox.conn).unwrap();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].1.starts_with("job 1 is in a block"), "{faults:?}");
        sandbox.write(audit::repair);
        assert_eq!(audit::faults(&sandbox.conn).unwrap(), []);
    }
}

#[test]
fn a_schema_6_file_keeps_its_jobs_and_has_their_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let conn = Connection::open(&path).unwrap();
    conn.pragma_update(None, "journal_mode", "WAL").unwrap();
    let schema_6 = include_str!("../../../tests/data/schema_6.sql");
    conn.execute_batch(&format!(
        "BEGIN; {schema_6};
         INSERT INTO jobq_meta VALUES ('schema_version', 6), ('created_by', 'jobq'), ('file_id', '{0:032}');
         INSERT INTO jobq_number VALUES (-2, 0, 0, 'jobq file {0:032}'), (-2, 1, 5000, NULL), (-2, 2, 5000, NULL);
         INSERT INTO jobq_queue (name) VALUES ('mail'), ('images'); INSERT INTO jobq_kind (name) VALUES ('send'), ('resize');
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
         INSERT INTO jobq_job (id, queue_id, kind_id, state, priority, max_retries, backoff, retry_delay_ms, created_at,
             updated_at, finished_at)
         SELECT i, 1 + (i > 900), 1 + i % 2, CASE i % 3 WHEN 0 THEN 2 WHEN 1 THEN 5 ELSE 6 END, 1, 3, 4, 5000, i, i,
             CASE WHEN i % 3 > 0 THEN i END FROM n;
         INSERT INTO jobq_payload SELECT id, '1' FROM jobq_job;
         INSERT INTO jobq_number SELECT state, queue_id, count(*), NULL FROM jobq_job GROUP BY 1, 2; COMMIT",
        0
    ))
    .unwrap();
    let queue = Queue::open(&path).unwrap();
    let findings = queue.check().unwrap();
    assert!(
        findings.iter().all(|found| found.severity == Severity::Ok),
        "{findings:?}"
    );
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(queue.counts().unwrap().total(), 5000);
    assert_eq!(
        number("SELECT count(*) FROM jobq_block WHERE what = 0"),
        2 * 20
    );
    assert_eq!(
        number("SELECT count(*) FROM jobq_block WHERE what = 1 AND id = 1"),
        4
    );
    let failed = "SELECT count(*) FROM jobq_job INDEXED BY jobq_job_state WHERE state = 6";
    assert_eq!(
        number(failed),
        number("SELECT count(*) FROM jobq_job WHERE state = 6")
    );
}
