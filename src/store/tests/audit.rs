//! The doctor finds what the rules between jobs have kept wrong, and puts it right.

use rusqlite::StatementStatus;

use crate::model::id::JobId;
use crate::model::job::{AttemptRef, NewJob};
use crate::model::outcome::Verdict;
use crate::model::remedy::Severity;
use crate::model::state::State;
use crate::model::state::State::*;
use crate::store::sqlite::connection::Access;
use crate::store::tests::sandbox::Sandbox;
use crate::store::upkeep::doctor;
use crate::store::upkeep::doctor::audit::KEYS_IDLE;

/// A family, a line before a key, a chain and a unique job. Gives the numbers of: the group, its child,
/// the holder of the key, the job that waits for it, the job at the end of the chain.
fn village() -> (Sandbox, Vec<JobId>) {
    let mut sandbox = Sandbox::new();
    let group = sandbox.enqueue(NewJob::new(crate::GROUP_KIND));
    let child = sandbox.enqueue(NewJob::new("send").parent(group));
    let holds = sandbox.enqueue(NewJob::new("send").key("k"));
    let waits = sandbox.enqueue(NewJob::new("send").key("k"));
    let end = sandbox.enqueue(NewJob::new("send").after([child]).unique("u"));
    (sandbox, vec![group, child, holds, waits, end])
}

fn ailments(sandbox: &Sandbox) -> Vec<String> {
    let findings = doctor::examine(&sandbox.conn, Access::Immutable).unwrap();
    let sick = findings
        .into_iter()
        .filter(|finding| finding.severity == Severity::Error);
    sick.map(|finding| finding.message).collect()
}

/// A parent that waits with two children, one that was there before its run phase was done and one that
/// its attempt has spawned, and a job that has taken its key meanwhile. In the order of their numbers.
fn hamlet() -> (Sandbox, Vec<JobId>) {
    let mut sandbox = Sandbox::new();
    let parent = sandbox.enqueue(NewJob::new("parent").key("k").finalize());
    let child = sandbox.enqueue(NewJob::new("child").parent(parent));
    let held = sandbox.start(parent);
    let by = AttemptRef {
        job: parent,
        attempt: held.attempt,
    };
    let spawned = sandbox.enqueue(NewJob::new("child").spawned(parent, by));
    sandbox.settle(&held, &Verdict::Complete { result: None });
    let other = sandbox.enqueue(NewJob::new("other").key("k"));
    let states = [Waiting, Pending, Pending, Pending];
    let jobs = vec![parent, child, spawned, other];
    assert_eq!(sandbox.states(&jobs), states);
    (sandbox, jobs)
}

/// The hamlet, where the parent waits for a slot for its finalize phase.
fn evening() -> (Sandbox, Vec<JobId>) {
    let (mut sandbox, jobs) = hamlet();
    for child in &jobs[1..3] {
        sandbox.complete(*child);
    }
    assert_eq!(sandbox.state(jobs[0]), Waiting);
    (sandbox, jobs)
}

/// Each way to break the file, and a word of what the doctor says.
const BREAKS: &[(&str, &str)] = &[
    (
        "DELETE FROM jobq_concurrency_slot WHERE held = 1",
        "without a slot",
    ),
    (
        "DELETE FROM jobq_concurrency_slot WHERE held = 0",
        "not in its line",
    ),
    (
        "UPDATE jobq_concurrency_slot SET key = 'other' WHERE held = 1",
        "must not have",
    ),
    (
        "UPDATE jobq_family SET done = done + 1",
        "children that its counts",
    ),
    (
        "UPDATE jobq_family SET total = total - 1",
        "children that its counts",
    ),
    (
        "UPDATE jobq_job SET unmet = 0 WHERE state = 1",
        "unmet prerequisites",
    ),
    (
        "UPDATE jobq_job SET unmet = unmet + 1 WHERE unmet > 0",
        "unmet prerequisites",
    ),
    ("UPDATE jobq_prerequisite SET needs_id = 99", "has ended"),
    ("DELETE FROM jobq_unique", "unique key"),
    ("UPDATE jobq_unique SET job_id = 1", "unique key"),
];

const BREAKS_OF_PARENTS: &[(&str, &str)] = &[
    (
        "UPDATE jobq_prerequisite SET met = 0 WHERE rule = 3; UPDATE jobq_job SET state = 1, unmet = 1 WHERE id = 2",
        "job 2 waits for job 1's run phase, which is done",
    ),
    (
        "UPDATE jobq_prerequisite SET met = 0 WHERE rule = 2; UPDATE jobq_job SET state = 1, unmet = 1 WHERE id = 3",
        "job 3 waits for an attempt of job 1 that is over",
    ),
    (
        "INSERT INTO jobq_concurrency_slot (key, held, urgency, job_id) VALUES ('k', 0, 2, 1)",
        "must not have",
    ),
];

const BREAKS_BEFORE_THE_FINAL_STEP: &[(&str, &str)] = &[
    (
        "DELETE FROM jobq_concurrency_slot WHERE held = 0",
        "due for its finalize phase",
    ),
    (
        "UPDATE jobq_concurrency_slot SET key = 'other' WHERE held = 0",
        "due for its finalize phase",
    ),
    (
        "UPDATE jobq_job SET key = NULL, links = links & ~8 WHERE id = 1; DELETE FROM jobq_concurrency_slot WHERE held = 0",
        "due for its finalize phase",
    ),
    (
        "DELETE FROM jobq_concurrency_slot",
        "due for its finalize phase",
    ),
];

#[test]
fn every_break_is_found_and_mended_and_the_jobs_still_run() {
    every_break_is_mended(village, BREAKS);
    every_break_is_mended(hamlet, BREAKS_OF_PARENTS);
    every_break_is_mended(evening, BREAKS_BEFORE_THE_FINAL_STEP);
}

fn every_break_is_mended(place: fn() -> (Sandbox, Vec<JobId>), breaks: &[(&str, &str)]) {
    for (sql, word) in breaks {
        let (mut sandbox, jobs) = place();
        assert_eq!(ailments(&sandbox), [] as [String; 0]);
        sandbox.sql(sql);
        let found = ailments(&sandbox).join("; ");
        assert!(found.contains(word), "{sql}: {found}");
        sandbox.write(doctor::recount);
        assert_eq!(ailments(&sandbox), [] as [String; 0], "after {sql}");
        let runner = sandbox.runner("one");
        while let [job] = &sandbox.claim(runner, 1)[..] {
            sandbox.settle(&job.token(runner), &Verdict::Complete { result: None });
        }
        for id in jobs {
            assert_eq!(
                sandbox.job(id).state,
                State::Completed,
                "job {id} after {sql}"
            );
        }
    }
}

/// An edge names its rule: another between the same two jobs stays.
#[test]
fn what_is_still_waited_for_is_not_forgotten_with_what_is_over() {
    let (mut sandbox, jobs) = hamlet();
    sandbox.sql(
        "INSERT INTO jobq_prerequisite (needs_id, rule, job_id) VALUES (4, 0, 2), (4, 3, 2);
         INSERT INTO jobq_family (job_id, stage) VALUES (4, 1);
         UPDATE jobq_job SET links = links | 6 WHERE id = 4;
         UPDATE jobq_job SET state = 1, unmet = 2 WHERE id = 2",
    );
    sandbox.write(doctor::recount);
    assert_eq!(sandbox.state(jobs[1]), Blocked);
    assert_eq!(ailments(&sandbox), [] as [String; 0]);
    sandbox.complete(jobs[3]);
    assert_eq!(sandbox.state(jobs[1]), Pending);
}

#[test]
fn a_long_line_is_looked_at_once() {
    let [half, whole] = [500, 1000].map(|jobs| {
        let sandbox = Sandbox::new();
        sandbox.sql(&format!(
            "PRAGMA foreign_keys = OFF;
             INSERT INTO jobq_key VALUES ('k', {jobs});
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {jobs} * 2)
             INSERT INTO jobq_concurrency_slot SELECT 'k', i % 2, 2, i FROM n;"
        ));
        let mut statement = sandbox.conn.prepare(KEYS_IDLE).unwrap();
        assert!(!statement.exists([]).unwrap());
        statement.get_status(StatementStatus::VmStep)
    });
    assert!(half > 1000, "the steps were not counted: {half}");
    assert!(whole < half * 22 / 10, "{half} steps, then {whole}");
}

#[test]
fn fewer_places_than_holders_is_only_worth_a_look() {
    let mut sandbox = Sandbox::new();
    for _ in 0..2 {
        sandbox.enqueue(NewJob::new("send").key("k").key_limit(2));
    }
    sandbox.enqueue(NewJob::new("send").key("k").key_limit(1));
    let findings = doctor::examine(&sandbox.conn, Access::Immutable).unwrap();
    let rules = findings
        .iter()
        .find(|finding| finding.check == "rules")
        .unwrap();
    assert_eq!(rules.severity, Severity::Warning);
    assert!(rules.message.contains("key 'k'"), "{}", rules.message);
}
