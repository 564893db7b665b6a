//! What the random test has found, shrunk, each as the claim that did not hold.

use super::ops::*;
use crate::store::tests::model::bench::run;

#[track_caller]
fn holds(ops: &[Op]) {
    if let Err(wrong) = run(ops) {
        panic!("{wrong}");
    }
}

fn done() -> End {
    Done {
        spawns: Vec::new(),
        last_step: false,
    }
}

fn claim(jobs: u8) -> Op {
    Claim {
        runner: 0,
        jobs,
        ahead: false,
    }
}

/// A report that came too late was dropped, but first it had made its job a parent with a finalize phase:
/// the attempt that held the job then had two.
#[test]
fn a_zombie_cannot_make_its_job_a_parent() {
    let late = Done {
        spawns: Vec::new(),
        last_step: true,
    };
    holds(&[
        Enqueue(New::default()),
        claim(1),
        Settle(0, Again(4)),
        Report(0, late.clone()),
    ]);
    // And where its job is gone it is no error either.
    let spawns = vec![New::default()];
    holds(&[
        Enqueue(New::default()),
        claim(1),
        Settle(0, done()),
        Remove(0),
        Report(0, late),
        Report(
            0,
            Done {
                spawns,
                last_step: false,
            },
        ),
    ]);
}

/// A child that was cancelled before the attempt that had spawned it failed went on counting as a
/// failed one, so that the parent failed although its next attempt did everything anew.
#[test]
fn a_cancelled_child_of_an_undone_attempt_was_never_a_child() {
    holds(&[
        Enqueue(New::default()),
        claim(1),
        Enqueue(New {
            by: Some(0),
            ..New::default()
        }),
        Cancel(0),
        Settle(0, Again(6)),
    ]);
}

/// A job that was claimed ahead had just begun and spawned a child when its runner was lost: it came
/// back free of charge, and the child waited for whatever attempt came next, beside that one's own.
#[test]
fn a_lost_runner_discards_jobs_its_prefetched_attempt_spawned() {
    holds(&[
        Enqueue(New::default()),
        Claim {
            runner: 0,
            jobs: 1,
            ahead: true,
        },
        Enqueue(New {
            by: Some(0),
            ..New::default()
        }),
        Crash(0),
    ]);
}

/// Siblings wait for their parent's run phase, which was taken for waiting for the parent: a chain of
/// children under a parent that had not begun, or was at work, was refused as a cycle.
#[test]
fn a_child_may_wait_for_a_sibling_before_its_parent_has_run() {
    let first = New {
        parent: Some(0),
        ..New::default()
    };
    let second = New {
        parent: Some(1),
        after: vec![0],
        ..New::default()
    };
    holds(&[
        Enqueue(New::default()),
        Enqueue(first),
        Enqueue(second),
        claim(3),
        Settle(0, done()),
        claim(3),
        Settle(0, done()),
        claim(3),
    ]);
}

/// A prerequisite on the job whose attempt spawned it took the place of waiting for that attempt: it
/// was not called off with it, and a retry doubled it.
#[test]
fn what_an_attempt_spawns_cannot_wait_for_its_job_besides() {
    holds(&[
        Enqueue(New {
            kind: Group,
            ..New::default()
        }),
        Enqueue(New::default()),
        claim(1),
        Enqueue(New {
            parent: Some(1),
            by: Some(0),
            after_any: vec![0],
            ..New::default()
        }),
        Settle(0, Again(6)),
    ]);
}

/// A group that was cancelled before it had begun went on with its children when it was put back, and
/// they waited for it to begin.
#[test]
fn children_of_a_retried_group_do_not_wait_for_its_run_phase() {
    holds(&[
        Enqueue(New {
            kind: Group,
            delay: In(9),
            ..New::default()
        }),
        Enqueue(New {
            parent: Some(0),
            ..New::default()
        }),
        Cancel(1),
        Retry(1),
        claim(1),
    ]);
}

/// A job that was called off with an attempt waited, when it was put back, for an attempt that was
/// not the one that had spawned it.
#[test]
fn a_discarded_job_that_is_retried_waits_for_no_attempt() {
    holds(&[
        Enqueue(New::default()),
        claim(1),
        Enqueue(New {
            by: Some(0),
            ..New::default()
        }),
        Settle(0, Again(6)),
        Retry(0),
        claim(1),
    ]);
}

/// A child that was put back during its parent's finalize phase, and failed, was forgotten: the parent
/// completed.
#[test]
fn a_child_that_fails_during_finalize_fails_its_parent() {
    holds(&[
        Enqueue(New {
            last_step: true,
            ..New::default()
        }),
        Enqueue(New {
            parent: Some(0),
            ..New::default()
        }),
        claim(1),
        Settle(0, done()),
        claim(1),
        Settle(0, done()),
        claim(1),
        Retry(0),
        claim(1),
        Settle(0, Fail),
        Settle(0, done()),
    ]);
}

/// A job that was cancelled because its prerequisite had failed went on showing it as unmet after that
/// had been put back and had completed.
#[test]
fn a_failed_prerequisite_that_is_retried_is_met_on_completion() {
    holds(&[
        Enqueue(New::default()),
        Cancel(0),
        Enqueue(New {
            after: vec![0],
            ..New::default()
        }),
        Retry(1),
        claim(1),
        Settle(0, done()),
    ]);
}

/// A group that was cancelled while it waited for another job began at once when it was put back.
#[test]
fn a_group_that_is_put_back_waits_for_what_it_has_waited_for() {
    holds(&[
        Enqueue(New::default()),
        Enqueue(New {
            kind: Group,
            after: vec![0],
            ..New::default()
        }),
        Cancel(0),
        Retry(0),
        claim(1),
        Settle(0, done()),
    ]);
    let child = New {
        kind: Group,
        parent: Some(0),
        ..New::default()
    };
    holds(&[
        Enqueue(New::default()),
        claim(1),
        Enqueue(child),
        Settle(0, Fail),
        Retry(0),
    ]);
}

/// A group kept its deadline while its children were at work, and was cancelled for it when all that
/// was left was its finalize phase.
#[test]
fn a_group_cannot_miss_its_deadline_once_its_children_may_run() {
    let group = New {
        kind: Group,
        deadline: Some(At(5)),
        last_step: true,
        ..New::default()
    };
    holds(&[
        Enqueue(group),
        Enqueue(New {
            parent: Some(0),
            ..New::default()
        }),
        claim(1),
        Settle(0, done()),
        Pass(6),
        Turn {
            runner: 0,
            ends: Vec::new(),
            crash: None,
            jobs: 1,
        },
        Settle(0, done()),
    ]);
}

/// Children that are put back with their parent wait for each other as before: the younger came first,
/// and found what it waits for still final.
#[test]
fn siblings_that_are_put_back_wait_for_each_other_again() {
    let child = New {
        parent: Some(0),
        ..New::default()
    };
    let second = New {
        parent: Some(1),
        after: vec![0],
        ..New::default()
    };
    holds(&[
        Enqueue(New {
            kind: Group,
            ..New::default()
        }),
        Enqueue(child),
        Enqueue(second),
        claim(1),
        Settle(0, Fail),
        Retry(2),
        claim(2),
    ]);
}

/// A failed group whose children were removed has nothing to wait for when it is put back: it completes, or
/// finalizes.
#[test]
fn a_group_whose_children_were_removed_is_done_when_put_back() {
    for last_step in [false, true] {
        holds(&[
            Enqueue(New {
                kind: Group,
                last_step,
                ..New::default()
            }),
            Enqueue(New {
                parent: Some(0),
                ..New::default()
            }),
            claim(1),
            Settle(0, Fail),
            Remove(0),
            Retry(0),
            claim(1),
        ]);
    }
}

/// A child that was put back while its parent finalized, and ended in the same transaction as that, was
/// not counted yet: the parent finalized twice.
#[test]
fn a_child_that_ends_together_with_the_finalize_is_counted() {
    let turn = Turn {
        runner: 0,
        ends: vec![(0, done()), (1, done())],
        crash: None,
        jobs: 0,
    };
    holds(&[
        Enqueue(New {
            last_step: true,
            ..New::default()
        }),
        Enqueue(New {
            parent: Some(0),
            ..New::default()
        }),
        claim(1),
        Settle(0, done()),
        claim(1),
        Settle(0, done()),
        claim(1),
        Retry(0),
        claim(1),
        turn,
    ]);
}

/// The same of one that was called off before it had begun: it still waits for that, and then is done.
#[test]
fn a_group_without_its_children_is_done_once_it_may_begin() {
    holds(&[
        Enqueue(New::default()),
        claim(1),
        Enqueue(New {
            kind: Group,
            by: Some(0),
            ..New::default()
        }),
        Enqueue(New {
            parent: Some(0),
            ..New::default()
        }),
        Cancel(1),
        Remove(0),
        Retry(0),
        Settle(0, done()),
    ]);
}
