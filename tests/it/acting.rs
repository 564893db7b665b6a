//! Who made a change is in its event, where somebody says so.

use jobq::testing::TestQueue;
use jobq::{
    Event, EventFilter, EventKind, JobOptions, NewJob, Outcome, Priority, Queue, QueueLimitsUpdate,
    QueueSelector, Schedule, Update,
};

use crate::support::by;

/// Every change by hand there is, by this handle.
fn change_everything(queue: &Queue) {
    let job = |kind: &str| queue.enqueue(NewJob::new(kind)).unwrap().id;
    let [parent, single] = [job("parent"), job("single")];
    queue.enqueue(NewJob::new("child").parent(parent)).unwrap();
    let high = JobOptions {
        priority: Some(Priority::High),
        ..JobOptions::default()
    };
    queue.edit(single, high).unwrap();
    queue.cancel(parent).unwrap();
    queue.cancel_many(&[single])[0].as_ref().unwrap();
    queue.retry(parent).unwrap();
    let name = || QueueSelector::Named("mail".to_owned());
    for which in [QueueSelector::All, name()] {
        assert!(queue.pause(which.clone()).unwrap());
        assert!(queue.resume(which).unwrap());
    }
    let limits = QueueLimitsUpdate {
        concurrency: Update::Set(2),
        ..QueueLimitsUpdate::default()
    };
    assert!(queue.set_limits("mail", limits).unwrap());
    let nightly = Schedule::new("nightly", "@daily", NewJob::new("nightly"));
    queue.add_schedule(nightly).unwrap();
    assert!(queue.pause_schedule("nightly").unwrap());
    assert!(queue.resume_schedule("nightly").unwrap());
    queue.run_schedule("nightly").unwrap();
    queue.remove_schedule("nightly").unwrap();
}

fn events(queue: &Queue) -> Vec<Event> {
    queue.events(&EventFilter::default()).unwrap().events
}

#[test]
fn each_change_by_hand_says_who_made_it_and_nothing_else_does() {
    let queue = TestQueue::new();
    change_everything(&queue.acting_as("web:ann"));
    let mut named = 0;
    for event in events(&queue) {
        let data = event.data.as_ref().map(|data| data.as_bytes());
        let is_consequence = data.is_some_and(|data| data.windows(5).any(|text| text == b"error"));
        let is_by_hand = event.kind != EventKind::Enqueued && !is_consequence;
        assert_eq!(event.by().is_some(), is_by_hand, "{event:?}");
        if let Some(by) = event.by() {
            assert_eq!(by, "web:ann");
            named += 1;
        }
    }
    assert_eq!(named, 15);
}

#[test]
fn a_handle_without_a_name_says_nothing_of_who_acts() {
    for named in [false, true] {
        let queue = TestQueue::new();
        match named {
            true => change_everything(&queue.acting_as("ann").acting_as("")),
            false => change_everything(&queue),
        }
        let all = events(&queue);
        assert!(all.iter().all(|event| event.by().is_none()), "{all:?}");
    }
}

#[test]
fn asking_a_running_job_to_stop_says_who_asks() {
    let queue = TestQueue::new();
    let id = queue.enqueue(NewJob::new("long")).unwrap().id;
    let stop = queue.acting_as("web:ann");
    let run = by(move |ctx| {
        stop.cancel(ctx.job_id()).unwrap();
        Outcome::Cancelled
    });
    queue.run_due(|runner| runner.kind("long", run));
    let kinds = vec![EventKind::CancelRequested, EventKind::Cancelled];
    let filter = EventFilter {
        job: Some(id),
        kinds,
        ..EventFilter::default()
    };
    let found = queue.events(&filter).unwrap().events;
    let names: Vec<Option<String>> = found.iter().map(Event::by).collect();
    assert_eq!(names, [Some("web:ann".to_owned()), None], "{found:?}");
}
