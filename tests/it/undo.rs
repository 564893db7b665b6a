//! Changes by hand are undone whole, or refused with what stands in the way.

use std::time::Duration;

use jobq::testing::TestQueue;
use jobq::{
    ClearOption, Error, EventFilter, EventId, EventKind, Filter, JobId, JobOptions, JobRecord,
    JobUpdate, NewJob, Outcome, Priority, Queue, QueueLimitsUpdate, QueueSelector, Rate, Schedule,
    Severity, State, Undone, Update,
};

use crate::support::by;

fn add(queue: &Queue, job: NewJob) -> JobId {
    queue.enqueue(job).unwrap().id
}

fn job(queue: &Queue, id: JobId) -> JobRecord {
    queue.get(id).unwrap().unwrap()
}

fn states(queue: &Queue, ids: &[JobId]) -> Vec<State> {
    ids.iter().map(|id| job(queue, *id).state).collect()
}

/// The newest event of this kind.
fn last(queue: &Queue, kind: EventKind) -> EventId {
    let filter = EventFilter {
        kinds: vec![kind],
        ..EventFilter::default()
    };
    queue.events(&filter).unwrap().events.pop().unwrap().id
}

/// The event of the latest change that can be undone.
fn latest(queue: &Queue) -> EventId {
    queue.undoable(1).unwrap()[0].id
}

fn assert_refused(queue: &Queue, event: EventId, why: &str) -> Error {
    let before = all(queue);
    let error = queue.undo(event).unwrap_err();
    assert!(error.is_wrong_state(), "{error:?}");
    assert!(error.to_string().contains(why), "{error}");
    assert_eq!(all(queue), before, "a refused undo has changed something");
    assert!(
        !queue.undoable(100).unwrap().iter().any(|of| of.id == event) || !why.contains("since")
    );
    error
}

/// What there is, but for the moments of changes.
fn all(queue: &Queue) -> String {
    let mut jobs = queue.list(&Filter::default()).unwrap();
    for job in &mut jobs {
        job.updated_at = job.created_at;
    }
    let mut schedules = queue.schedules().unwrap();
    for schedule in &mut schedules {
        schedule.updated_at = schedule.created_at;
    }
    let is_paused = queue.all_paused_since().unwrap().is_some();
    let queues = queue.queues().unwrap();
    format!("{jobs:?} {queues:?} {is_paused} {schedules:?}")
}

fn assert_file_is_right(queue: &Queue) {
    let mut bad = queue.check().unwrap();
    bad.retain(|finding| finding.severity == Severity::Error);
    assert!(bad.is_empty(), "{bad:?}");
}

#[test]
fn a_cancelled_job_is_put_back_as_it_was() {
    let queue = TestQueue::new();
    let hour = Duration::from_secs(3600);
    let single = add(&queue, NewJob::new("k").unique("u").key("own"));
    add(&queue, NewJob::new("k").key("slot"));
    let blocked = add(&queue, NewJob::new("k").key("slot").deadline(hour));
    let scheduled = add(&queue, NewJob::new("k").delay(hour).tag("a", "b"));
    let dependent = add(&queue, NewJob::new("k").after([scheduled]));
    for id in [dependent, scheduled, blocked, single] {
        let before = all(&queue);
        queue.cancel(id).unwrap();
        queue.advance(Duration::from_secs(1));
        let undone = queue.undo(latest(&queue)).unwrap();
        assert!(
            matches!(undone, Undone::Cancel { job, .. } if job == id),
            "{undone:?}"
        );
        assert_eq!(all(&queue), before, "job {id}");
        assert_file_is_right(&queue);
    }
    let kinds = queue
        .events(&EventFilter {
            job: Some(single),
            ..EventFilter::default()
        })
        .unwrap();
    let put_back = kinds.events.last().unwrap();
    let cancel = last(&queue, EventKind::Cancelled);
    assert_eq!(
        (put_back.kind, put_back.undo()),
        (EventKind::Requeued, Some(cancel))
    );
}

#[test]
fn what_was_cancelled_with_a_job_comes_back_with_it() {
    let queue = TestQueue::new();
    let first = add(&queue, NewJob::new("k"));
    let parent = add(&queue, NewJob::new("k").after([first]));
    let children = [1, 2].map(|_| add(&queue, NewJob::new("k").parent(parent)));
    let after = add(&queue, NewJob::new("k").after([parent]));
    let by_hand = add(&queue, NewJob::new("k").after([after]));
    queue.cancel(by_hand).unwrap();
    let before = all(&queue);
    queue.cancel(first).unwrap();
    let ids = [&[first, parent, after][..], &children].concat();
    assert_eq!(states(&queue, &ids), [State::Cancelled; 5]);
    let undone = queue.undo(latest(&queue)).unwrap();
    let expected = Undone::Cancel {
        job: first,
        state: State::Pending,
        others: 4,
    };
    assert_eq!(undone, expected);
    assert_eq!(all(&queue), before);
    assert_eq!(job(&queue, by_hand).state, State::Cancelled);
    assert_file_is_right(&queue);
    queue.run_due(|runner| runner.kind("k", by(|_| Outcome::Done(None))));
    assert_eq!(states(&queue, &ids), [State::Completed; 5]);
}

#[test]
fn a_waiting_parent_gets_its_result_and_its_children_back() {
    let queue = TestQueue::new();
    let parent = add(&queue, NewJob::new("parent"));
    let add_child = by(|ctx| match ctx.spawn_child(NewJob::new("child")) {
        Ok(()) => Outcome::Done(Some("\"half\"".to_owned())),
        Err(failure) => failure.into(),
    });
    queue.run_due(|runner| runner.kind("parent", add_child));
    let before = all(&queue);
    assert_eq!(job(&queue, parent).state, State::Waiting);
    queue.cancel(parent).unwrap();
    assert_eq!(queue.counts().unwrap().get(State::Cancelled), 2);
    queue.undo(latest(&queue)).unwrap();
    assert_eq!(all(&queue), before);
    queue.run_due(|runner| runner.kind("child", by(|_| Outcome::Done(None))));
    assert_eq!(job(&queue, parent).state, State::Completed);
    assert_eq!(job(&queue, parent).result.unwrap().get(), "\"half\"");
}

#[test]
fn a_job_that_waits_for_a_retry_gets_its_error_back() {
    let queue = TestQueue::new();
    let id = add(&queue, NewJob::new("k"));
    let fail = by(|_| Outcome::Retry {
        error: "no shop".to_owned(),
        after: None,
    });
    queue.run_due(|runner| runner.kind("k", fail));
    let before = all(&queue);
    assert_eq!(job(&queue, id).error.as_deref(), Some("no shop"));
    queue.cancel(id).unwrap();
    assert_eq!(job(&queue, id).error, None);
    queue.undo(latest(&queue)).unwrap();
    assert_eq!(all(&queue), before);
}

#[test]
fn a_cancel_is_not_undone_over_what_came_after_it() {
    let queue = TestQueue::new();
    let cancelled = |options: NewJob| {
        let id = add(&queue, options);
        queue.cancel(id).unwrap();
        (id, latest(&queue))
    };
    let (id, event) = cancelled(NewJob::new("k"));
    queue.retry(id).unwrap();
    assert_refused(&queue, event, "has changed since");
    queue.cancel(id).unwrap();
    assert_refused(&queue, event, "has changed since");

    let (_, event) = cancelled(NewJob::new("k").unique("u"));
    add(&queue, NewJob::new("k").unique("u"));
    assert_refused(&queue, event, "has its unique key 'u' now");

    let (_, event) = cancelled(NewJob::new("k").key("one"));
    add(&queue, NewJob::new("k").key("one"));
    assert_refused(&queue, event, "key 'one' has no free slot");

    let (_, event) = cancelled(NewJob::new("k").deadline(Duration::from_secs(5)));
    queue.advance(Duration::from_secs(6));
    assert_refused(&queue, event, "deadline has passed");

    let needs = add(&queue, NewJob::new("k"));
    let (_, event) = cancelled(NewJob::new("k").after([needs]));
    queue.cancel(needs).unwrap();
    assert_refused(&queue, event, "which it waits for, is cancelled");

    let released = add(&queue, NewJob::new("k"));
    add(&queue, NewJob::new("k").after_any([released]));
    queue.cancel(released).unwrap();
    assert_refused(&queue, latest(&queue), "waits for it no longer");

    let parent = add(&queue, NewJob::new("k"));
    let child = add(&queue, NewJob::new("k").parent(parent));
    queue.cancel(child).unwrap();
    let event = latest(&queue);
    queue.cancel(parent).unwrap();
    assert_refused(&queue, event, "its parent");
    assert_file_is_right(&queue);
}

#[test]
fn a_prerequisite_that_completed_since_is_waited_for_no_longer() {
    let queue = TestQueue::new();
    let needs = add(&queue, NewJob::new("k"));
    let id = add(&queue, NewJob::new("k").after([needs]));
    queue.cancel(id).unwrap();
    let event = latest(&queue);
    queue.run_due(|runner| runner.kind("k", by(|_| Outcome::Done(None))));
    let undone = queue.undo(event).unwrap();
    assert_eq!(
        undone,
        Undone::Cancel {
            job: id,
            state: State::Pending,
            others: 0
        }
    );
    assert_file_is_right(&queue);
}

#[test]
fn an_edit_is_taken_back_whatever_it_changed() {
    let queue = TestQueue::new();
    let second = Duration::from_secs(1);
    let bare = add(&queue, NewJob::new("k").payload(&1).delay(second * 60));
    let full = NewJob::new("k")
        .payload_json(r#"{"a": 1.0}"#)
        .delay(second * 90)
        .queue("mail")
        .priority(Priority::Low)
        .retry_delays([second, second * 2])
        .timeout(second * 3)
        .deadline(second * 100)
        .tenant("acme")
        .tag("a", "old")
        .key("disk")
        .key_limit(4)
        .unique("u")
        .unique_for(second * 9);
    let full = add(&queue, full);
    let set = JobOptions {
        queue: Some("other".to_owned()),
        priority: Some(Priority::Urgent),
        when: Some(jobq::When::In(second * 5)),
        max_retries: Some(9),
        backoff: Some(jobq::Backoff::Linear),
        timeout: Some(second),
        deadline: Some((queue.now() + second * 7).into()),
        tenant: Some("north".to_owned()),
        tags: [("a", "new"), ("b", "new")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        key: Some("net".to_owned()),
        key_limit: Some(2),
        unique: Some(jobq::UniqueKey::Named("v".to_owned())),
        unique_for: Some(second),
        ..JobOptions::default()
    };
    let change = JobUpdate {
        set,
        payload: Some("2".to_owned()),
        ..JobUpdate::default()
    };
    let clear = JobUpdate {
        clear: vec![
            ClearOption::Timeout,
            ClearOption::Deadline,
            ClearOption::Tenant,
            ClearOption::Key,
            ClearOption::Unique,
            ClearOption::Tag("a".to_owned()),
        ],
        ..JobUpdate::default()
    };
    for (id, change) in [(bare, change.clone()), (full, change), (full, clear)] {
        let before = format!("{:?}", job(&queue, id));
        queue.edit(id, change).unwrap();
        assert_ne!(format!("{:?}", job(&queue, id)), before);
        assert_eq!(queue.undo(latest(&queue)).unwrap(), Undone::Edit(id));
        assert_eq!(format!("{:?}", job(&queue, id)), before);
        assert_file_is_right(&queue);
    }
}

#[test]
fn an_edit_is_not_taken_back_over_a_later_one_or_while_it_runs() {
    let queue = TestQueue::new();
    let id = add(&queue, NewJob::new("k"));
    let edit = |priority| {
        let set = JobOptions {
            priority: Some(priority),
            ..JobOptions::default()
        };
        queue.edit(id, set).unwrap();
        latest(&queue)
    };
    let first = edit(Priority::High);
    let second = edit(Priority::Low);
    assert_refused(&queue, first, "has changed since");
    let undo = queue.clone();
    let run = by(move |_| {
        assert!(undo.undo(second).unwrap_err().is_wrong_state());
        Outcome::Retry {
            error: "again".to_owned(),
            after: None,
        }
    });
    queue.run_due(|runner| runner.kind("k", run));
    queue.undo(second).unwrap();
    assert_eq!(job(&queue, id).priority, Priority::High);
    assert_refused(&queue, second, "has changed since");

    queue
        .edit(
            id,
            JobUpdate {
                payload: Some(format!("\"{}\"", "x".repeat(100_000))),
                ..JobUpdate::default()
            },
        )
        .unwrap();
    queue
        .edit(
            id,
            JobUpdate {
                payload: Some("1".to_owned()),
                ..JobUpdate::default()
            },
        )
        .unwrap();
    assert_refused(&queue, latest(&queue), "too long to be kept");
}

/// Makes a change, takes it back, and makes it again.
fn there_and_back(queue: &Queue, change: impl Fn() -> bool, expected: &Undone) {
    let before = all(queue);
    assert!(change(), "{expected:?}");
    assert_ne!(all(queue), before, "{expected:?}");
    assert_eq!(queue.undo(latest(queue)).unwrap(), *expected);
    assert_eq!(all(queue), before, "{expected:?}");
    assert!(change(), "{expected:?}");
}

#[test]
fn pauses_and_resumes_are_taken_back() {
    let queue = TestQueue::new();
    let mail = || QueueSelector::Named("mail".to_owned());
    add(&queue, NewJob::new("k").queue("mail"));
    let nightly = Schedule::new("nightly", "@daily", NewJob::new("k"));
    queue.add_schedule(nightly).unwrap();
    for which in [mail(), QueueSelector::All] {
        let paused = Undone::QueuePause(which.clone());
        there_and_back(&queue, || queue.pause(which.clone()).unwrap(), &paused);
        let resumed = Undone::QueueResume(which.clone());
        there_and_back(&queue, || queue.resume(which.clone()).unwrap(), &resumed);
    }
    let paused = Undone::SchedulePause("nightly".to_owned());
    there_and_back(&queue, || queue.pause_schedule("nightly").unwrap(), &paused);
    let resumed = Undone::ScheduleResume("nightly".to_owned());
    there_and_back(
        &queue,
        || queue.resume_schedule("nightly").unwrap(),
        &resumed,
    );

    queue.pause(mail()).unwrap();
    let pause = latest(&queue);
    queue.pause(QueueSelector::All).unwrap();
    queue.resume(mail()).unwrap();
    assert_refused(&queue, pause, "queue 'mail' has changed since");
    queue.pause_schedule("nightly").unwrap();
    let pause = latest(&queue);
    queue.remove_schedule("nightly").unwrap();
    assert_refused(&queue, pause, "schedule 'nightly' has changed since");
}

#[test]
fn limits_are_set_back_to_what_they_were() {
    let queue = TestQueue::new();
    add(&queue, NewJob::new("k").queue("mail"));
    let limits = |concurrency, rate, max_size, weight| QueueLimitsUpdate {
        concurrency,
        rate,
        max_size,
        weight,
    };
    let rate = |jobs| {
        Update::Set(Rate {
            jobs,
            per: Duration::from_secs(60),
        })
    };
    let limited = Undone::QueueLimits("mail".to_owned());
    for change in [
        limits(Update::Set(2), rate(3), Update::Keep, Update::Set(5)),
        limits(Update::Clear, rate(4), Update::Set(9), Update::Keep),
        limits(Update::Keep, Update::Clear, Update::Clear, Update::Set(1)),
    ] {
        there_and_back(
            &queue,
            || queue.set_limits("mail", change).unwrap(),
            &limited,
        );
    }
}

#[test]
fn only_some_events_can_be_undone() {
    let queue = TestQueue::new();
    assert!(queue.undo(EventId(1)).unwrap_err().is_not_found());
    assert!(queue.event(EventId(1)).unwrap().is_none());
    let id = add(&queue, NewJob::new("k"));
    let dependent = add(&queue, NewJob::new("k").after([id]));
    assert_refused(&queue, EventId(1), "job_enqueued");
    queue.cancel(id).unwrap();
    let filter = EventFilter {
        job: Some(dependent),
        ..EventFilter::default()
    };
    let consequence = queue.events(&filter).unwrap().events.pop().unwrap();
    assert_eq!(consequence.kind, EventKind::Cancelled);
    assert_refused(&queue, consequence.id, "cannot be undone");
    queue.retry(id).unwrap();
    assert_refused(&queue, last(&queue, EventKind::Requeued), "job_requeued");
    let found = queue.event(consequence.id).unwrap().unwrap();
    assert_eq!(format!("{found:?}"), format!("{consequence:?}"));
    assert!(queue.event(EventId(999)).unwrap().is_none());
}

#[test]
fn the_changes_that_can_be_undone_are_listed_newest_first() {
    let queue = TestQueue::new();
    let ids: Vec<JobId> = (0..5).map(|_| add(&queue, NewJob::new("k"))).collect();
    queue.cancel_many(&ids);
    queue.pause(QueueSelector::All).unwrap();
    queue.retry(ids[1]).unwrap();
    let listed = queue.undoable(10).unwrap();
    let jobs: Vec<Option<JobId>> = listed.iter().map(|event| event.job).collect();
    let [first, _, third, fourth, fifth] = [0, 1, 2, 3, 4].map(|at| Some(ids[at]));
    assert_eq!(jobs, [None, fifth, fourth, third, first]);
    assert_eq!(queue.undoable(2).unwrap().len(), 2);
    queue.undo(listed[0].id).unwrap();
    assert_eq!(
        queue.undoable(10).unwrap().len(),
        5,
        "the undo is a resume of its own"
    );
}

#[test]
fn a_cancel_made_before_events_kept_anything_cannot_be_undone() {
    let queue = TestQueue::new();
    let id = add(&queue, NewJob::new("k"));
    queue.cancel(id).unwrap();
    let event = latest(&queue);
    let conn = jobq::rusqlite::Connection::open(queue.path()).unwrap();
    conn.execute("UPDATE jobq_log SET data = NULL", []).unwrap();
    assert_refused(&queue, event, "cannot be undone");
    for data in [
        "{\"was\":\"running\"}",
        "{\"was\":1}",
        "x",
        "{\"was\":\"completed\"}",
    ] {
        conn.execute("UPDATE jobq_log SET data = ?1", [data])
            .unwrap();
        let error = queue.undo(event).unwrap_err();
        assert!(error.is_wrong_state(), "{data}: {error}");
    }
    assert_file_is_right(&queue);
}

#[test]
fn an_undo_that_is_refused_half_way_changes_nothing() {
    let queue = TestQueue::new();
    let first = add(&queue, NewJob::new("k"));
    let middle = add(&queue, NewJob::new("k").after([first]));
    add(&queue, NewJob::new("k").after([middle]).unique("u"));
    queue.cancel(first).unwrap();
    let event = latest(&queue);
    add(&queue, NewJob::new("k").unique("u"));
    // The first two are brought back before the third is refused.
    assert_refused(&queue, event, "has its unique key 'u' now");
    assert_eq!(states(&queue, &[first, middle]), [State::Cancelled; 2]);
    assert_file_is_right(&queue);
}
