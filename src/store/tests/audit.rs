//! The doctor finds what the rules between jobs have kept wrong, and puts it right.

use super::sandbox::Sandbox;
use crate::job::{JobId, NewJob};
use crate::outcome::Verdict;
use crate::state::State;
use crate::store::connection::Access;
use crate::store::upkeep::{self, Severity};

/// A family, a line before a key, a chain and a unique job. Gives the numbers of: the group, its child,
/// the holder of the key, the job that waits for it, the job at the end of the chain.
fn village() -> (Sandbox, [JobId; 5]) {
    let mut sandbox = Sandbox::new();
    let group = sandbox.enqueue(NewJob::new(crate::GROUP));
    let child = sandbox.enqueue(NewJob::new("send").parent(group));
    let holds = sandbox.enqueue(NewJob::new("send").key("k"));
    let waits = sandbox.enqueue(NewJob::new("send").key("k"));
    let end = sandbox.enqueue(NewJob::new("send").after([child]).unique("u"));
    (sandbox, [group, child, holds, waits, end])
}

fn ailments(sandbox: &Sandbox) -> Vec<String> {
    let findings = upkeep::examine(&sandbox.conn, Access::Immutable).unwrap();
    let sick = findings
        .into_iter()
        .filter(|finding| finding.severity == Severity::Error);
    sick.map(|finding| finding.message).collect()
}

/// Each way to break the file, and a word of what the doctor says.
const BREAKS: &[(&str, &str)] = &[
    ("DELETE FROM jobq_place WHERE held = 1", "without a place"),
    ("DELETE FROM jobq_place WHERE held = 0", "not in its line"),
    (
        "UPDATE jobq_place SET key = 'other' WHERE held = 1",
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

#[test]
fn every_break_is_found_and_mended_and_the_jobs_still_run() {
    for (sql, word) in BREAKS {
        let (mut sandbox, jobs) = village();
        assert_eq!(ailments(&sandbox), [] as [String; 0]);
        sandbox.sql(sql);
        let found = ailments(&sandbox).join("; ");
        assert!(found.contains(word), "{sql}: {found}");
        sandbox.write(upkeep::recount);
        assert_eq!(ailments(&sandbox), [] as [String; 0], "after {sql}");
        let runner = sandbox.runner("one");
        while let [job] = &sandbox.claim(runner, 1)[..] {
            sandbox.settle(&job.held(runner), &Verdict::Complete { result: None });
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

#[test]
fn fewer_places_than_holders_is_only_worth_a_look() {
    let mut sandbox = Sandbox::new();
    for _ in 0..2 {
        sandbox.enqueue(NewJob::new("send").key("k").places(2));
    }
    sandbox.enqueue(NewJob::new("send").key("k").places(1));
    let findings = upkeep::examine(&sandbox.conn, Access::Immutable).unwrap();
    let rules = findings
        .iter()
        .find(|finding| finding.check == "rules")
        .unwrap();
    assert_eq!(rules.severity, Severity::Warning);
    assert!(rules.message.contains("key 'k'"), "{}", rules.message);
}
