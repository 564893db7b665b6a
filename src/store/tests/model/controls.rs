//! Negative controls: each spoils the file in one way, and the harness must notice and shrink it.

use fastrand::Rng;

use crate::store::tests::model::bench::{fails, run};
use crate::store::tests::model::ops::{Op, sequence};
use crate::store::tests::model::shrink::shrink;

/// Spoils a file in the middle of random sequences; whether each rule that is named was found
/// broken, by a short list of operations.
#[track_caller]
fn is_noticed(sql: &'static str, rule: &str) {
    for seed in 0..200 {
        let mut ops = sequence(&mut Rng::with_seed(seed), 60);
        assert!(!fails(&ops), "seed {seed} fails without being spoilt");
        ops.insert(30, Op::Sabotage(sql));
        let Err(wrong) = run(&ops) else {
            // There was nothing to spoil.
            continue;
        };
        assert!(wrong.contains(rule), "{wrong}");
        let short = shrink(ops);
        assert!(
            short.len() <= 10,
            "{} are left of it: {short:#?}",
            short.len()
        );
        assert!(fails(&short));
        return;
    }
    panic!("nobody noticed: {sql}");
}

#[test]
fn a_lost_place_is_noticed() {
    is_noticed(
        "DELETE FROM jobq_concurrency_slot WHERE job_id = (SELECT max(job_id) FROM jobq_concurrency_slot WHERE held = 1)",
        "holds a slot of its key",
    );
}

#[test]
fn a_leaked_place_is_noticed() {
    is_noticed(
        "INSERT INTO jobq_concurrency_slot SELECT 'k0', 1, 0, max(id) FROM jobq_job WHERE state >= 5 HAVING max(id) > 0",
        "nobody else holds a slot",
    );
}

#[test]
fn a_child_counted_twice_is_noticed() {
    is_noticed(
        "UPDATE jobq_family SET done = done + 1 WHERE job_id = (SELECT max(job_id) FROM jobq_family)",
        "a family counts its children",
    );
}

#[test]
fn a_forgotten_prerequisite_is_noticed() {
    is_noticed(
        "UPDATE jobq_job SET unmet = 0 WHERE state = 1 AND unmet > 0",
        "what a blocked job has unmet is counted",
    );
}

#[test]
fn a_second_live_job_of_a_unique_key_is_noticed() {
    is_noticed(
        "UPDATE jobq_job SET unique_key = (SELECT max(unique_key) FROM jobq_job WHERE state < 5), links = links | 16
            WHERE id = (SELECT max(id) FROM jobq_job WHERE state < 5 AND unique_key IS NULL)",
        "a unique key has one live job",
    );
}

#[test]
fn a_counter_that_drifts_is_noticed() {
    is_noticed(
        "UPDATE jobq_number SET value = value + 1 WHERE what >= 0 AND value > 0",
        "the counters equal a recount",
    );
}

#[test]
fn a_limit_that_is_not_kept_is_noticed() {
    is_noticed(
        "UPDATE jobq_queue SET concurrency = 100 WHERE concurrency IS NOT NULL",
        "a claim of",
    );
    is_noticed("DELETE FROM jobq_rate", "a claim of");
}

#[test]
fn a_slot_that_comes_twice_or_never_is_noticed() {
    is_noticed(
        "UPDATE jobq_schedule SET next_at = last_at WHERE last_at IS NOT NULL",
        "nothing of",
    );
    is_noticed(
        "UPDATE jobq_schedule SET next_at = next_at + 20000",
        "a job for",
    );
}

#[test]
fn a_schedule_that_overlaps_is_noticed() {
    is_noticed(
        "UPDATE jobq_schedule SET last_job_id = NULL WHERE overlap = 1",
        "nothing of",
    );
}

#[test]
fn a_gap_in_the_history_is_noticed() {
    is_noticed(
        "DELETE FROM jobq_attempt WHERE ended_event = (SELECT max(ended_event) FROM jobq_attempt
            WHERE job_id IN (SELECT id FROM jobq_job))",
        "has had",
    );
}

#[test]
fn an_event_that_the_feed_lacks_is_noticed() {
    is_noticed(
        "DELETE FROM jobq_feed WHERE id = (SELECT max(id) FROM jobq_feed WHERE events LIKE '[[1,%')",
        "has other events in the feed",
    );
}

#[test]
fn a_hook_that_is_lost_or_was_not_fired_is_noticed() {
    is_noticed(
        "DELETE FROM jobq_hook WHERE job_id = (SELECT max(job_id) FROM jobq_hook)",
        "hook ",
    );
    is_noticed(
        "DELETE FROM jobq_hook_job WHERE job_id = (SELECT max(job_id) FROM jobq_hook_job)",
        "is for",
    );
}

#[test]
fn a_lost_effect_is_noticed() {
    is_noticed(
        "DELETE FROM effect WHERE rowid = (SELECT max(rowid) FROM effect)",
        "effects of",
    );
}

#[test]
fn a_final_job_that_comes_back_is_noticed() {
    is_noticed(
        "UPDATE jobq_job SET state = 2, finished_at = NULL WHERE id = (SELECT max(id) FROM jobq_job WHERE state = 5 AND links = 0)",
        "the counters equal a recount",
    );
}
