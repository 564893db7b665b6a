//! Jobs that wait for other jobs, seen through the file.

use std::time::Duration;

use crate::model::event::EventKind;
use crate::model::family::{GROUP_KIND, PrerequisiteRule};
use crate::model::id::JobId;
use crate::model::job::{NewJob, Prerequisite};
use crate::model::outcome::Verdict;
use crate::model::state::State;
use crate::model::state::State::*;
use crate::store::jobs::remove;
use crate::store::tests::sandbox::Sandbox;
use crate::store::upkeep::promote;

fn new() -> NewJob {
    NewJob::new("send")
}

fn three(sandbox: &mut Sandbox) -> [JobId; 3] {
    ["a", "b", "c"].map(|kind| sandbox.enqueue(NewJob::new(kind)))
}

#[test]
fn a_job_runs_once_all_that_it_comes_after_have_completed() {
    let mut sandbox = Sandbox::new();
    let [a, b, c] = three(&mut sandbox);
    let id = sandbox.enqueue(new().after([a, b, c]));
    assert_eq!(sandbox.state(id), Blocked);
    for before in [c, a] {
        sandbox.complete(before);
        assert_eq!(sandbox.state(id), Blocked);
        sandbox.assert_books_are_right();
    }
    sandbox.complete(b);
    assert_eq!(sandbox.state(id), Pending);
    assert_eq!(
        sandbox.history(id),
        [EventKind::Enqueued, EventKind::Released]
    );
    let shown: Vec<_> = sandbox.job(id).depends_on;
    let met = |job| Prerequisite {
        job,
        rule: PrerequisiteRule::Completed,
        met: true,
    };
    assert_eq!(shown, [met(a), met(b), met(c)], "edges stay, to be shown");
    sandbox.assert_books_are_right();
}

#[test]
fn a_retry_of_a_prerequisite_releases_nobody() {
    let mut sandbox = Sandbox::new();
    let [a, ..] = three(&mut sandbox);
    let ids = [
        sandbox.enqueue(new().after([a])),
        sandbox.enqueue(new().after_any([a])),
    ];
    let held = sandbox.start(a);
    let retry = Verdict::Retry {
        error: "not now".to_owned(),
        after: Duration::ZERO,
    };
    sandbox.settle(&held, &retry);
    assert_eq!(sandbox.states(&ids), [Blocked, Blocked]);
    sandbox.write(|tx| promote::promote_due(tx, 10));
    sandbox.complete(a);
    assert_eq!(sandbox.states(&ids), [Pending, Pending]);
    sandbox.assert_books_are_right();
}

#[test]
fn a_failed_prerequisite_cancels_dependents_and_names_itself() {
    let mut sandbox = Sandbox::new();
    let [a, b, c] = three(&mut sandbox);
    let id = sandbox.enqueue(new().after([a, b]));
    let other = sandbox.enqueue(new().after([c]));
    sandbox.fail(b);
    sandbox.cancel(c);
    assert_eq!(sandbox.states(&[id, other]), [Cancelled, Cancelled]);
    assert_eq!(
        sandbox.error(id),
        format!("job {b}, which it waits for, failed")
    );
    assert_eq!(
        sandbox.error(other),
        format!("job {c}, which it waits for, was cancelled")
    );
    sandbox.complete(a);
    assert_eq!(sandbox.state(id), Cancelled, "what is final stays");
    sandbox.assert_books_are_right();
}

#[test]
fn after_any_runs_it_however_the_others_ended() {
    let mut sandbox = Sandbox::new();
    let [a, b, c] = three(&mut sandbox);
    let id = sandbox.enqueue(new().after_any([a, b, c]));
    sandbox.fail(a);
    sandbox.cancel(b);
    assert_eq!(sandbox.state(id), Blocked);
    sandbox.complete(c);
    assert_eq!(sandbox.state(id), Pending);
    sandbox.assert_books_are_right();
}

#[test]
fn both_rules_go_together_on_one_job() {
    for (fails, expected) in [(0, Pending), (1, Cancelled)] {
        let mut sandbox = Sandbox::new();
        let ends = three(&mut sandbox);
        let id = sandbox.enqueue(new().after_any([ends[0]]).after([ends[1]]));
        sandbox.fail(ends[fails]);
        sandbox.complete(ends[1 - fails]);
        assert_eq!(sandbox.state(id), expected);
        sandbox.assert_books_are_right();
    }
}

#[test]
fn a_job_after_one_that_has_ended_is_judged_at_once() {
    let mut sandbox = Sandbox::new();
    let [a, b, c] = three(&mut sandbox);
    sandbox.complete(a);
    sandbox.fail(b);
    sandbox.cancel(c);
    let after = |job: JobId| new().after([job]);
    let any = |job: JobId| new().after_any([job]);
    for (job, state) in [
        (after(a), Pending),
        (after(b), Cancelled),
        (after(c), Cancelled),
        (any(a), Pending),
        (any(b), Pending),
        (any(c), Pending),
    ] {
        let enqueued = sandbox.try_enqueue(job).unwrap();
        assert_eq!(enqueued.state, state);
        assert_eq!(sandbox.state(enqueued.id), state, "as it was told");
        if state == Cancelled {
            let error = sandbox.error(enqueued.id);
            assert!(error.contains("which it waits for"), "{error}");
            let history = sandbox.history(enqueued.id);
            assert_eq!(history, [EventKind::Enqueued, EventKind::Cancelled]);
        }
    }
    sandbox.assert_books_are_right();
}

#[test]
fn a_doomed_job_leaves_none_of_its_other_ties_behind() {
    let mut sandbox = Sandbox::new();
    let [a, b, c] = three(&mut sandbox);
    sandbox.fail(a);
    let group = sandbox.enqueue(NewJob::new(GROUP_KIND));
    let deadline = jiff::Timestamp::from_millisecond(sandbox.now_ms + 1000).unwrap();
    let job = new()
        .after([a, b])
        .key("k")
        .unique("u")
        .deadline(deadline)
        .parent(group);
    let id = sandbox.enqueue(job);
    assert_eq!(sandbox.state(id), Cancelled);
    assert_eq!(sandbox.state(group), Failed, "its only child was cancelled");
    for table in ["concurrency_slot", "deadline", "unique"] {
        let rows = format!("SELECT count(*) FROM jobq_{table}");
        assert_eq!(sandbox.number(&rows), 0, "{table}");
    }
    sandbox.complete(b);
    sandbox.complete(c);
    assert_eq!(sandbox.state(id), Cancelled);
    sandbox.assert_books_are_right();
}

#[test]
fn the_cancellation_goes_on_to_those_who_wait_for_the_cancelled() {
    let mut sandbox = Sandbox::new();
    let [a, ..] = three(&mut sandbox);
    let second = sandbox.enqueue(new().after([a]));
    let third = sandbox.enqueue(new().after([second]));
    let cleanup = sandbox.enqueue(new().after_any([third]));
    sandbox.fail(a);
    assert_eq!(
        sandbox.states(&[second, third, cleanup]),
        [Cancelled, Cancelled, Pending]
    );
    assert_eq!(
        sandbox.error(third),
        format!("job {second}, which it waits for, was cancelled")
    );
    sandbox.assert_books_are_right();
}

#[test]
fn a_diamond_runs_its_end_once() {
    let mut sandbox = Sandbox::new();
    let [a, ..] = three(&mut sandbox);
    let sides = ["left", "right"].map(|kind| sandbox.enqueue(NewJob::new(kind).after([a])));
    let end = sandbox.enqueue(NewJob::new("end").after(sides));
    sandbox.complete(a);
    assert_eq!(sandbox.states(&sides), [Pending, Pending]);
    sandbox.complete(sides[1]);
    assert_eq!(sandbox.state(end), Blocked);
    sandbox.complete(sides[0]);
    sandbox.complete(end);
    let told = [EventKind::Enqueued, EventKind::Released, EventKind::Started];
    assert_eq!(sandbox.history(end)[..3], told);
    sandbox.assert_books_are_right();
}

#[test]
fn a_broken_diamond_cancels_its_end_once() {
    let mut sandbox = Sandbox::new();
    let [a, ..] = three(&mut sandbox);
    let sides = ["left", "right"].map(|kind| sandbox.enqueue(NewJob::new(kind).after([a])));
    let end = sandbox.enqueue(NewJob::new("end").after(sides));
    sandbox.cancel(a);
    assert_eq!(sandbox.states(&[sides[0], sides[1], end]), [Cancelled; 3]);
    assert_eq!(
        sandbox.history(end),
        [EventKind::Enqueued, EventKind::Cancelled]
    );
    sandbox.assert_books_are_right();
}

#[test]
fn a_delay_counts_from_the_beginning_and_both_must_be_over() {
    let mut sandbox = Sandbox::new();
    let [a, b, _] = three(&mut sandbox);
    let delayed = |after| new().delay(Duration::from_secs(5)).after([after]);
    let early = sandbox.enqueue(delayed(a));
    let late = sandbox.enqueue(delayed(b));
    sandbox.complete(a);
    assert_eq!(sandbox.states(&[early, late]), [Scheduled, Blocked]);
    sandbox.now_ms += 5000;
    sandbox.write(|tx| promote::promote_due(tx, 10));
    assert_eq!(sandbox.states(&[early, late]), [Pending, Blocked]);
    sandbox.complete(b);
    assert_eq!(sandbox.state(late), Pending, "its delay has passed already");
    let rest = "SELECT count(*) FROM jobq_job WHERE state = 2 AND run_at IS NOT NULL";
    assert_eq!(sandbox.number(rest), 0);
    sandbox.assert_books_are_right();
}

#[test]
fn unknown_prerequisites_are_refused_by_name() {
    let mut sandbox = Sandbox::new();
    let [a, b, _] = three(&mut sandbox);
    for job in [new().after([a, JobId(77)]), new().after_any([JobId(77)])] {
        let error = sandbox.refused(job);
        assert!(error.is_not_found(), "{error}");
        assert!(error.to_string().contains("no job 77"), "{error}");
    }
    sandbox.complete(b);
    sandbox.write(|tx| remove::remove(tx, b));
    let error = sandbox.refused(new().after([b]));
    assert!(error.hint().unwrap().contains("removed"), "{error:?}");
    sandbox.assert_books_are_right();
}

/// The job would wait for `on`, and nobody of the two would ever run.
#[track_caller]
fn is_a_cycle(sandbox: &mut Sandbox, job: NewJob, on: JobId, parent: JobId) {
    let error = sandbox.refused(job);
    assert!(error.is_invalid_input(), "{error}");
    let told = error.to_string();
    assert!(told.contains("cycle"), "{told}");
    assert!(told.contains(&format!("wait for job {on}")), "{told}");
    let why = match on == parent {
        true => "which is its parent",
        false => "which waits for its parent",
    };
    assert!(told.contains(why), "{told}");
    sandbox.assert_books_are_right();
}

#[test]
fn a_child_that_would_wait_for_its_parent_is_refused() {
    let mut sandbox = Sandbox::new();
    for kind in [GROUP_KIND, "parent"] {
        let id = sandbox.enqueue(NewJob::new(kind));
        let child = new().parent(id);
        is_a_cycle(&mut sandbox, child.clone().after([id]), id, id);
        is_a_cycle(&mut sandbox, child.after_any([id]), id, id);
    }
}

#[test]
fn a_child_cannot_depend_on_a_dependent_of_its_parent() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new(GROUP_KIND));
    let mut last = id;
    let child = new().parent(id);
    for _ in 0..5 {
        last = sandbox.enqueue(new().after([last]));
        is_a_cycle(&mut sandbox, child.clone().after([last]), last, id);
    }
    // By way of the child of one who waits, and of the parent of one.
    let group = sandbox.enqueue(NewJob::new(GROUP_KIND).after([last]));
    let inner = sandbox.enqueue(new().parent(group));
    is_a_cycle(&mut sandbox, child.clone().after([inner]), inner, id);
    let outer = sandbox.enqueue(NewJob::new(GROUP_KIND));
    sandbox.enqueue(new().parent(outer).after([last]));
    is_a_cycle(&mut sandbox, child.after([outer]), outer, id);
}

#[test]
fn a_grandchild_that_would_wait_for_its_grandparent_is_refused() {
    let mut sandbox = Sandbox::new();
    let old = sandbox.enqueue(NewJob::new(GROUP_KIND));
    let middle = sandbox.enqueue(NewJob::new("parent").parent(old));
    let young = new().parent(middle);
    is_a_cycle(&mut sandbox, young.clone().after([old]), old, middle);
    let after_old = sandbox.enqueue(new().after([old]));
    is_a_cycle(&mut sandbox, young.after([after_old]), after_old, middle);
}

#[test]
fn children_may_wait_for_each_other_around_the_run_phase() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("parent"));
    let one = sandbox.enqueue(new().parent(id));
    let two = sandbox.enqueue(new().parent(id).after([one]));
    assert_eq!(sandbox.states(&[one, two]), [Blocked, Blocked]);
    sandbox.complete(id);
    assert_eq!(sandbox.states(&[one, two]), [Pending, Blocked]);
    let three = sandbox.enqueue(new().parent(id).after([two]));
    let cousin = sandbox.enqueue(NewJob::new(GROUP_KIND).parent(id).after([three]));
    let inner = sandbox.enqueue(new().parent(cousin).after([one]));
    for child in [one, two, three] {
        sandbox.complete(child);
    }
    assert_eq!(sandbox.state(cousin), Pending, "a blocked group has a turn");
    sandbox.complete(cousin);
    sandbox.complete(inner);
    assert_eq!(sandbox.states(&[cousin, id]), [Completed, Completed]);
    sandbox.assert_books_are_right();
}

#[test]
fn a_family_may_wait_for_another_whole_family() {
    let mut sandbox = Sandbox::new();
    let first = sandbox.enqueue(NewJob::new(GROUP_KIND));
    let one = sandbox.enqueue(NewJob::new("one").parent(first));
    let second = sandbox.enqueue(NewJob::new(GROUP_KIND));
    let two = sandbox.enqueue(NewJob::new("two").parent(second).after([first]));
    assert_eq!(sandbox.state(two), Blocked);
    sandbox.complete(one);
    assert_eq!(sandbox.states(&[first, two]), [Completed, Pending]);
    sandbox.complete(two);
    assert_eq!(sandbox.state(second), State::Completed);
    sandbox.assert_books_are_right();
}

#[test]
fn a_manual_retry_of_a_cancelled_job_ignores_failed_ones() {
    let mut sandbox = Sandbox::new();
    let [a, b, _] = three(&mut sandbox);
    let id = sandbox.enqueue(new().after([a, b]));
    sandbox.fail(a);
    sandbox.requeue(id);
    assert_eq!(sandbox.state(id), Blocked, "it still waits for who lives");
    sandbox.assert_books_are_right();
    sandbox.complete(b);
    assert_eq!(sandbox.state(id), Pending);
    sandbox.assert_books_are_right();
}

#[test]
fn a_retry_of_both_keeps_their_order() {
    let mut sandbox = Sandbox::new();
    let [a, ..] = three(&mut sandbox);
    let id = sandbox.enqueue(new().after([a]));
    sandbox.fail(a);
    sandbox.requeue(a);
    sandbox.requeue(id);
    assert_eq!(sandbox.states(&[a, id]), [Pending, Blocked]);
    sandbox.complete(a);
    assert_eq!(sandbox.state(id), Pending);
    sandbox.assert_books_are_right();
}

/// All of a chain that had completed was pending at once, and ran backwards.
#[test]
fn a_retry_of_a_chain_that_has_completed_keeps_its_order() {
    let mut sandbox = Sandbox::new();
    let [a, ..] = three(&mut sandbox);
    let id = sandbox.enqueue(new().after([a]));
    sandbox.complete(a);
    sandbox.complete(id);
    sandbox.requeue(id);
    assert_eq!(sandbox.state(id), Pending, "what it waits for has ended");
    sandbox.complete(id);
    sandbox.requeue(a);
    sandbox.requeue(id);
    assert_eq!(sandbox.states(&[a, id]), [Pending, Blocked]);
    sandbox.assert_books_are_right();
    sandbox.complete(a);
    assert_eq!(sandbox.state(id), Pending);
    sandbox.assert_books_are_right();
}

#[test]
fn a_retry_waits_for_nobody_who_would_wait_for_it_by_now() {
    let mut sandbox = Sandbox::new();
    let parent = sandbox.enqueue(NewJob::new("parent"));
    let after = sandbox.enqueue(new().after([parent]));
    sandbox.complete(parent);
    sandbox.complete(after);
    sandbox.requeue(parent);
    let child = sandbox.enqueue(new().parent(parent).after([after]));
    sandbox.requeue(after);
    assert_eq!(sandbox.states(&[after, child]), [Blocked, Blocked]);
    sandbox.cancel(child);
    sandbox.requeue(child);
    sandbox.assert_books_are_right();
    for id in [parent, child, after] {
        sandbox.complete(id);
    }
    assert_eq!(sandbox.states(&[parent, child, after]), [Completed; 3]);
    sandbox.assert_books_are_right();
}

#[test]
fn a_cancelled_blocked_job_stays_so_and_drops_its_edges() {
    let mut sandbox = Sandbox::new();
    let [a, ..] = three(&mut sandbox);
    let id = sandbox.enqueue(new().after([a]));
    sandbox.cancel(id);
    sandbox.complete(a);
    assert_eq!(sandbox.state(id), Cancelled);
    sandbox.write(|tx| remove::remove(tx, id));
    assert_eq!(sandbox.number("SELECT count(*) FROM jobq_prerequisite"), 0);
    sandbox.assert_books_are_right();
}
