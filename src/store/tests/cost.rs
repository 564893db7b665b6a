//! What a claim costs does not grow with what it leaves alone, counted in steps of SQLite's machine.

use crate::model::part::NO_PARTS;
use rusqlite::StatementStatus;

use crate::store::jobs::claim::{ClaimFor, ClaimRequest, KindCapacity};
use crate::store::jobs::fair_share::FairShares;
use crate::store::jobs::{claim, claim_queues};
use crate::store::read::events;
use crate::store::sqlite::tx::COUNT_ADD;
use crate::store::tests::sandbox::Sandbox;
use crate::store::upkeep::promote;
use crate::store::upkeep::promote::{JOB_NEXT_DUE, JOBS_PROMOTE_IF_DUE};

const FEW: usize = 1_000;
const MANY: usize = 100_000;

/// One queue and one runner; kind 1 has a handler, kind 2 has none.
fn sandbox(jobs: usize, columns: &str) -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.runner("one");
    sandbox.sql(&format!(
        "INSERT INTO jobq_queue (name) VALUES ('default'), ('other');
         INSERT INTO jobq_kind (name) VALUES ('send'), ('unknown');
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {jobs})
         INSERT INTO jobq_job (max_retries, backoff, retry_delay_ms, created_at, updated_at, priority, queue_id, kind_id,
             state, wait_reason, wait_fixed, run_at, finished_at)
         SELECT 3, 4, 5000, i, i, i % 4, 1, {columns} FROM n;
         INSERT INTO jobq_job (max_retries, backoff, retry_delay_ms, created_at, updated_at, priority, queue_id, kind_id, state)
         VALUES (3, 4, 5000, 1, 1, 1, 1, 1, 2), (3, 4, 5000, 1, 1, 1, 1, 1, 2), (3, 4, 5000, 1, 1, 1, 1, 1, 2),
             (3, 4, 5000, 1, 1, 1, 1, 1, 2), (3, 4, 5000, 1, 1, 1, 1, 1, 2);
         INSERT INTO jobq_payload SELECT id, '1' FROM jobq_job WHERE state = 2;
         INSERT INTO jobq_number (what, id, value) SELECT state, queue_id, count(*) FROM jobq_job GROUP BY queue_id, state;"
    ));
    sandbox
}

const DELAYED: &str = "1, 0, 1, 0, 2000000000000 + i, NULL";
const PENDING: &str = "1, 2, NULL, NULL, NULL, NULL";
const UNKNOWN: &str = "2, 2, NULL, NULL, NULL, NULL";
const COMPLETED: &str = "1, 5, NULL, NULL, NULL, i";

/// Steps that these statements have taken so far; the connection keeps them prepared.
fn steps(sandbox: &Sandbox, statements: &[&str]) -> i64 {
    let steps = statements.iter().map(|sql| {
        let statement = sandbox.conn.prepare_cached(sql).unwrap();
        i64::from(statement.get_status(StatementStatus::VmStep))
    });
    steps.sum()
}

fn steps_of_a_claim(jobs: usize, columns: &str, claim_for: ClaimFor) -> i64 {
    let mut sandbox = sandbox(jobs, columns);
    let mut statements: Vec<&str> = claim::STATEMENTS.iter().map(|s| s.sql).collect();
    statements.extend(claim_queues::STATEMENTS.iter().map(|s| s.sql));
    statements.extend(events::STATEMENTS.iter().map(|s| s.sql));
    statements.extend([COUNT_ADD, JOB_NEXT_DUE, JOBS_PROMOTE_IF_DUE]);
    let before = steps(&sandbox, &statements);
    let request = ClaimRequest {
        runner: 1,
        queues: None,
        kinds: &[KindCapacity::any(1)],
        claim_for,
        jobs: 5,
        aside: &NO_PARTS,
    };
    assert!(claim::has_claimable(&sandbox.conn, &request, sandbox.now_ms).unwrap());
    let claimed = sandbox.write(|tx| {
        promote::promote_due(tx, 100)?;
        let claimed = claim::claim(tx, &request, &mut FairShares::default())?;
        promote::next_moment(tx.conn, tx.now_ms, (promote::Schedules::Fire, &NO_PARTS))?;
        Ok(claimed)
    });
    assert_eq!(claimed.len(), 5);
    let spent = steps(&sandbox, &statements) - before;
    assert!(spent > 100, "the steps were not counted: {spent}");
    spent
}

#[track_caller]
fn costs_the_same(columns: &str) {
    for claim_for in [ClaimFor::FreeWorker, ClaimFor::Prefetch] {
        let few = steps_of_a_claim(FEW, columns, claim_for);
        let many = steps_of_a_claim(MANY, columns, claim_for);
        assert!(
            many as f64 <= few as f64 * 1.1,
            "{claim_for:?}: {few} steps among {FEW}, {many} among {MANY}"
        );
    }
}

#[test]
fn delayed_jobs_cost_a_claim_nothing() {
    costs_the_same(DELAYED);
}

#[test]
fn pending_jobs_further_back_cost_a_claim_nothing() {
    costs_the_same(PENDING);
}

#[test]
fn pending_jobs_without_a_handler_cost_a_claim_nothing() {
    costs_the_same(UNKNOWN);
}

#[test]
fn ended_jobs_cost_a_claim_nothing() {
    costs_the_same(COMPLETED);
}

#[test]
fn a_claim_that_read_and_skipped_would_be_noticed() {
    let skipping = "SELECT id FROM jobq_job NOT INDEXED WHERE state = 2 AND kind_id = 1 ORDER BY priority DESC, id LIMIT 5";
    let spent = [FEW, MANY].map(|jobs| {
        let sandbox = sandbox(jobs, DELAYED);
        let mut statement = sandbox.conn.prepare_cached(skipping).unwrap();
        let found: Vec<i64> = statement
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<rusqlite::Result<_>>()
            .unwrap();
        assert_eq!(found.len(), 5);
        drop(statement);
        steps(&sandbox, &[skipping])
    });
    assert!(spent[1] > spent[0] * 50, "{spent:?}");
}
