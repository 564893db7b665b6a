//! Long chains, wide fans and large families: linear, without recursion.

use rusqlite::StatementStatus;

use crate::model::family::GROUP_KIND;
use crate::model::id::JobId;
use crate::model::job::NewJob;
use crate::model::limits::EnqueueLimits;
use crate::model::outcome::Verdict;
use crate::model::state::State;
use crate::model::state::State::*;
use crate::store::jobs::families::FAMILY_COUNT;
use crate::store::jobs::finish_attempt::AttemptMeasures;
use crate::store::jobs::validate::ValidatedJob;
use crate::store::jobs::{
    cancel, claim, claim_queues, concurrency_slots, dependencies, enqueue, families,
    finish_attempt, job_row, queues, release,
};
use crate::store::read::events;
use crate::store::sqlite::tx;
use crate::store::tests::sandbox::Sandbox;

const LONG: usize = 10_000;

/// Puts in as many jobs as there are names for, in one transaction.
fn enqueue_all(sandbox: &mut Sandbox, jobs: impl Iterator<Item = NewJob>) -> Vec<JobId> {
    let limits = EnqueueLimits::default();
    sandbox.write(|tx| {
        jobs.map(|job| Ok(enqueue::enqueue(tx, &ValidatedJob::new(job, &limits)?)?.id))
            .collect()
    })
}

/// Each job waits for the one before it. Numbers begin with 1.
fn chain(sandbox: &mut Sandbox, jobs: usize) -> Vec<JobId> {
    let job = |at: usize| NewJob::new("send").after((at > 0).then_some(JobId(at as i64)));
    enqueue_all(sandbox, (0..jobs).map(job))
}

/// Steps that SQLite's machine has taken for all that ends jobs and releases others.
fn steps(sandbox: &Sandbox) -> i64 {
    let statements = [
        claim::STATEMENTS,
        claim_queues::STATEMENTS,
        queues::STATEMENTS,
        cancel::STATEMENTS,
        release::STATEMENTS,
        job_row::STATEMENTS,
        tx::counts::STATEMENTS,
        tx::feed::STATEMENTS,
        events::STATEMENTS,
        families::STATEMENTS,
        job_row::STATEMENTS,
        concurrency_slots::STATEMENTS,
        dependencies::STATEMENTS,
        finish_attempt::STATEMENTS,
    ];
    let status = |sql: &str, status| {
        let statement = sandbox.conn.prepare_cached(sql).unwrap();
        i64::from(statement.get_status(status))
    };
    statements
        .into_iter()
        .flatten()
        .map(|statement| status(statement.sql, StatementStatus::VmStep))
        .sum()
}

#[track_caller]
fn assert_linear(what: &str, [half, whole]: [i64; 2]) {
    assert!(half > LONG as i64, "the steps were not counted: {half}");
    assert!(
        whole as f64 <= half as f64 * 2.2,
        "{what}: {half} steps for {}, {whole} for {LONG}",
        LONG / 2
    );
}

fn all_are(sandbox: &Sandbox, state: State, jobs: usize) {
    let found = format!(
        "SELECT count(*) FROM jobq_job WHERE state = {}",
        state.code()
    );
    assert_eq!(sandbox.number(&found), jobs as i64);
    sandbox.assert_books_are_right();
}

#[test]
fn a_chain_of_10000_is_released_singly_in_linear_time() {
    let spent = [LONG / 2, LONG].map(|jobs| {
        let mut sandbox = Sandbox::new();
        chain(&mut sandbox, jobs);
        let before = steps(&sandbox);
        for _ in 0..jobs {
            let held = sandbox.claim_one(1);
            sandbox.settle(&held, &Verdict::Complete { result: None });
        }
        all_are(&sandbox, Completed, jobs);
        steps(&sandbox) - before
    });
    assert_linear("release", spent);
}

#[test]
fn a_chain_of_10000_is_cancelled_at_once_in_linear_time() {
    let spent = [LONG / 2, LONG].map(|jobs| {
        let mut sandbox = Sandbox::new();
        let ids = chain(&mut sandbox, jobs);
        let before = steps(&sandbox);
        sandbox.fail(ids[0]);
        assert_eq!(sandbox.state(ids[jobs - 1]), Cancelled);
        all_are(&sandbox, Cancelled, jobs - 1);
        steps(&sandbox) - before
    });
    assert_linear("cascade", spent);
}

#[test]
fn a_chain_of_children_is_accepted_in_linear_time() {
    let spent = [LONG / 2, LONG].map(|jobs| {
        let mut sandbox = Sandbox::new();
        let parent = sandbox.enqueue(NewJob::new("parent"));
        let before = steps(&sandbox);
        let child = |at: usize| {
            let before = (at > 0).then_some(JobId(1 + at as i64));
            NewJob::new("child").parent(parent).after(before)
        };
        let ids = enqueue_all(&mut sandbox, (0..jobs).map(child));
        let spent = steps(&sandbox) - before;
        sandbox.complete(parent);
        assert_eq!(sandbox.states(&ids[..2]), [Pending, Blocked]);
        all_are(&sandbox, Blocked, jobs - 1);
        spent
    });
    assert_linear("enqueue", spent);
}

#[test]
fn ten_thousand_generations_end_in_one_transaction() {
    for fails in [false, true] {
        let spent = [LONG / 2, LONG].map(|jobs| {
            let mut sandbox = Sandbox::new();
            let group = |at: usize| {
                let kind = if at + 1 == jobs { "leaf" } else { GROUP_KIND };
                let job = NewJob::new(kind);
                if at == 0 {
                    job
                } else {
                    job.parent(JobId(at as i64))
                }
            };
            let ids = enqueue_all(&mut sandbox, (0..jobs).map(group));
            let before = steps(&sandbox);
            if fails {
                sandbox.cancel(ids[0]);
                all_are(&sandbox, Cancelled, jobs);
            } else {
                sandbox.complete(ids[jobs - 1]);
                all_are(&sandbox, Completed, jobs);
            }
            steps(&sandbox) - before
        });
        assert_linear("generations", spent);
    }
}

#[test]
fn a_fan_of_ten_thousand_opens_and_closes_in_linear_time() {
    let spent = [LONG / 2, LONG].map(|jobs| {
        let mut sandbox = Sandbox::new();
        let first = sandbox.enqueue(NewJob::new("first"));
        let fan = (0..jobs).map(|_| NewJob::new("fan").after([first]));
        let fan = enqueue_all(&mut sandbox, fan);
        let last = sandbox.enqueue(NewJob::new("last").after(fan));
        let before = steps(&sandbox);
        sandbox.complete(first);
        let mut left = jobs;
        while left > 0 {
            assert_eq!(sandbox.state(last), Blocked);
            let claimed = sandbox.claim(1, 100);
            for job in &claimed {
                sandbox.settle(&job.token(1), &Verdict::Complete { result: None });
            }
            left -= claimed.len();
        }
        assert_eq!(sandbox.complete(last), State::Completed);
        all_are(&sandbox, Completed, jobs + 2);
        steps(&sandbox) - before
    });
    assert_linear("fan", spent);
}

#[test]
fn adding_100000_children_updates_the_parent_once_per_tx() {
    const CHILDREN: usize = 100_000;
    const AT_ONCE: usize = 1000;
    let mut sandbox = Sandbox::new();
    let group = sandbox.enqueue(NewJob::new(GROUP_KIND));
    let updates = |sandbox: &Sandbox| {
        let statement = sandbox.conn.prepare_cached(FAMILY_COUNT).unwrap();
        statement.get_status(StatementStatus::Run)
    };
    let children = (0..CHILDREN).map(|_| NewJob::new("child").parent(group));
    enqueue_all(&mut sandbox, children);
    assert_eq!(updates(&sandbox), 1, "all of them joined at once");
    for batch in 1..=CHILDREN / AT_ONCE {
        assert_eq!(sandbox.state(group), Waiting);
        let claimed = sandbox.claim(1, AT_ONCE);
        assert_eq!(claimed.len(), AT_ONCE);
        sandbox.write(|tx| {
            for job in &claimed {
                let done = Verdict::Complete { result: None };
                finish_attempt::finish(tx, &job.token(1), &done, &AttemptMeasures::default())?;
            }
            Ok(())
        });
        assert_eq!(updates(&sandbox), 1 + batch as i32);
    }
    let job = sandbox.job(group);
    assert_eq!(job.children.unwrap().done, CHILDREN as u64);
    all_are(&sandbox, Completed, CHILDREN + 1);
}

/// Each new child looked at all that waits for its parent, although nobody can wait for it by a job
/// that waits for nothing.
#[test]
fn children_waiting_for_an_outside_job_cost_linear_time() {
    let spent = [LONG / 2, LONG].map(|jobs| {
        let mut sandbox = Sandbox::new();
        let outside = sandbox.enqueue(NewJob::new("outside"));
        let parent = sandbox.enqueue(NewJob::new(GROUP_KIND));
        let next = sandbox.enqueue(NewJob::new(GROUP_KIND).after([parent]));
        let held = (0..jobs).map(|_| NewJob::new("child").parent(next));
        enqueue_all(&mut sandbox, held);
        let before = steps(&sandbox);
        let children = (0..jobs).map(|_| NewJob::new("child").parent(parent).after([outside]));
        enqueue_all(&mut sandbox, children);
        steps(&sandbox) - before
    });
    assert_linear("children", spent);
}
