//! The wall clock jumps: what was given as a duration keeps what is left of it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use jobq::rusqlite::{Connection, TransactionBehavior};
use jobq::testing::TestQueue;
use jobq::{
    Context, EventKind, JobId, NewJob, Outcome, QueueSelector, Runner, Schedule, Snooze, State,
    Until, When,
};

use crate::support::place::{count_events, job, state, wait_until_completed};
use crate::support::{PATIENCE, assert_stays, by, wait_until};

const BEAT: Duration = Duration::from_millis(20);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// A queue on a clock that is moved by hand, and its runner.
struct Timed {
    runner: Runner,
    queue: TestQueue,
}

impl Timed {
    fn new(beat_every: Duration) -> Timed {
        Timed::on(TestQueue::new(), beat_every)
    }

    fn on(queue: TestQueue, beat_every: Duration) -> Timed {
        let handler = by(|ctx: &Context| match (ctx.payload(), ctx.attempt()) {
            ("\"snooze\"", 1) => Outcome::Snooze(Snooze::For(Duration::from_secs(60))),
            ("\"retry\"", 1) => Outcome::Retry {
                error: "later".into(),
                after: Some(Duration::from_secs(60)),
            },
            _ => Outcome::Done(None),
        });
        let runner = queue
            .runner()
            .heartbeat(beat_every, PATIENCE)
            .kind("kind", handler);
        let runner = runner.start().unwrap();
        Timed { runner, queue }
    }

    fn add(&self, when: When) -> JobId {
        self.queue
            .enqueue(NewJob::new("kind").when(when))
            .unwrap()
            .id
    }

    /// One that its handler puts off by a minute.
    fn add_put_off(&self, how: &str) -> JobId {
        let id = self
            .queue
            .enqueue(NewJob::new("kind").payload(&how))
            .unwrap()
            .id;
        wait_until("it is put off", PATIENCE, || {
            state(&self.queue, id) == State::Scheduled
        });
        id
    }

    fn due_in(&self, id: JobId, wall: Timestamp) -> SignedDuration {
        job(&self.queue, id).run_at.unwrap().duration_since(wall)
    }

    /// The clock is set to another time, and the runner has noticed.
    fn step(&self, to: Timestamp, watched: JobId) {
        let before = job(&self.queue, watched).run_at;
        self.queue.clock().step(to);
        wait_until("the step is noticed", PATIENCE, || {
            job(&self.queue, watched).run_at != before
        });
    }

    fn assert_waits(&self, ids: &[JobId]) {
        let states = || {
            ids.iter()
                .map(|id| state(&self.queue, *id))
                .collect::<Vec<_>>()
        };
        assert_eq!(states(), vec![State::Scheduled; ids.len()]);
        assert_stays("the states", BEAT * 10, states);
    }
}

#[test]
fn clock_steps_either_way_keep_the_remaining_delay() {
    for hours in [1, -1] {
        let timed = Timed::new(BEAT);
        let delayed = timed.add(When::In(Duration::from_secs(60)));
        let snoozed = timed.add_put_off("snooze");
        let retried = timed.add_put_off("retry");
        timed.queue.advance(Duration::from_secs(20));
        let stepped = TestQueue::START + HOUR * hours;
        timed.step(stepped, delayed);
        for id in [delayed, snoozed, retried] {
            assert_eq!(
                timed.due_in(id, stepped),
                SignedDuration::from_secs(40),
                "{hours} h"
            );
        }
        timed.queue.advance(Duration::from_secs(39));
        timed.assert_waits(&[delayed, snoozed, retried]);
        timed.queue.advance(Duration::from_secs(1));
        for id in [delayed, snoozed, retried] {
            wait_until_completed(&timed.queue, id);
        }
        timed.runner.stop().unwrap();
    }
}

#[test]
fn what_waits_for_a_moment_of_the_wall_clock_follows_it() {
    let timed = Timed::new(BEAT);
    let delayed = timed.add(When::In(Duration::from_secs(60)));
    let appointed = timed.add(When::At(TestQueue::START + HOUR / 2));
    timed.step(TestQueue::START - HOUR, delayed);
    timed.assert_waits(&[delayed, appointed]);
    timed.queue.advance(Duration::from_secs(60));
    wait_until_completed(&timed.queue, delayed);
    timed.assert_waits(&[appointed]);
    timed.queue.clock().step(TestQueue::START + HOUR);
    wait_until_completed(&timed.queue, appointed);
    assert_eq!(
        count_events(&timed.queue, Some(appointed), EventKind::Started),
        1
    );
    timed.runner.stop().unwrap();
}

/// Between two heartbeats the runner may wake for anything.
#[test]
fn a_step_between_heartbeats_makes_nothing_due_early() {
    let timed = Timed::new(Duration::from_secs(600));
    let delayed = timed.add(When::In(Duration::from_secs(60)));
    wait_until_completed(&timed.queue, timed.add(When::Now));
    timed.queue.clock().step(TestQueue::START + HOUR);
    wait_until_completed(&timed.queue, timed.add(When::Now));
    timed.assert_waits(&[delayed]);
    timed.queue.advance(Duration::from_secs(60));
    timed.add(When::Now);
    wait_until_completed(&timed.queue, delayed);
    timed.runner.stop().unwrap();
}

#[test]
fn a_duration_deadline_is_not_missed_by_a_clock_step() {
    let timed = Timed::new(BEAT);
    timed
        .queue
        .pause(QueueSelector::Named("held".into()))
        .unwrap();
    let within = |deadline: When| {
        let job = NewJob::new("kind").queue("held").deadline(deadline);
        timed.queue.enqueue(job).unwrap().id
    };
    let moving = within(When::In(Duration::from_secs(60)));
    let fixed = within(When::At(TestQueue::START + HOUR));
    timed
        .queue
        .clock()
        .step(TestQueue::START + HOUR * 24 * 3650);
    wait_until("the fixed one is late", PATIENCE, || {
        state(&timed.queue, fixed) == State::Cancelled
    });
    timed.queue.advance(Duration::from_secs(59));
    assert_eq!(state(&timed.queue, moving), State::Pending);
    timed.queue.advance(Duration::from_secs(1));
    wait_until("the other one is late", PATIENCE, || {
        state(&timed.queue, moving) == State::Cancelled
    });
    timed.runner.stop().unwrap();
}

#[test]
fn an_unnoticed_clock_step_ends_no_unique_window() {
    let queue = TestQueue::new();
    let unique = || {
        NewJob::new("kind")
            .unique("u")
            .unique_for(Duration::from_secs(60))
    };
    let done = by(|_: &Context| Outcome::Done(None));
    let first = queue.enqueue(unique()).unwrap().id;
    queue.run_due(|runner| runner.kind("kind", done));
    queue.clock().step(TestQueue::START + HOUR);
    let second = queue.enqueue(unique()).unwrap();
    assert_eq!((second.id, second.duplicate), (first, true));
    queue.advance(Duration::from_secs(60));
    assert!(!queue.enqueue(unique()).unwrap().duplicate);
}

#[test]
fn a_delay_in_the_apps_transaction_uses_the_actual_clock() {
    let queue = TestQueue::new();
    let done = || by(|_: &Context| Outcome::Done(None));
    let run_due = || {
        queue
            .run_due(|runner| runner.kind("kind", done()))
            .completed
    };
    assert_eq!(run_due(), 0);
    queue.clock().step(TestQueue::START + HOUR);
    let mut conn = Connection::open(queue.path()).unwrap();
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    let delayed = NewJob::new("kind").delay(Duration::from_secs(60));
    queue.enqueue_in(&tx, delayed).unwrap();
    tx.commit().unwrap();
    queue.advance(Duration::from_secs(59));
    assert_eq!(run_due(), 0);
    queue.advance(Duration::from_secs(1));
    assert_eq!(run_due(), 1);
}

#[test]
fn a_schedule_added_by_a_fast_clock_fires_once_it_is_set_right() {
    let queue = TestQueue::new();
    let run_due = || {
        let done = by(|_: &Context| Outcome::Done(None));
        queue.run_due(|runner| runner.kind("kind", done)).completed
    };
    assert_eq!(run_due(), 0);
    queue.clock().step(TestQueue::START + HOUR * 24 * 3650);
    let hourly = Schedule::new("report", "0 * * * *", NewJob::new("kind"));
    queue.add_schedule(hourly.timezone("UTC")).unwrap();
    queue.clock().step(TestQueue::START);
    assert_eq!(run_due(), 0);
    queue.advance(Duration::from_secs(3600));
    assert_eq!(run_due(), 1);
}

/// A clock that was a month ahead for some seconds took the failures of a week along.
#[test]
fn a_runner_removes_nothing_by_a_clock_that_has_just_been_set() {
    let queue = TestQueue::new();
    let run_due = || {
        let failing = by(|_: &Context| Outcome::Fail { error: "no".into() });
        let runner = queue.runner().kind("kind", failing);
        runner.run_due().unwrap()
    };
    let id = queue.enqueue(NewJob::new("kind")).unwrap().id;
    assert_eq!(run_due().failed, 1);
    queue.clock().step(TestQueue::START + HOUR * 24 * 30);
    run_due();
    // The next one finds a reading of the wrong clock in the file.
    run_due();
    let drained = queue
        .runner()
        .kind("kind", by(|_: &Context| Outcome::Done(None)));
    queue.clock().step(TestQueue::START);
    drained
        .until(Until::Drained)
        .start()
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(state(&queue, id), State::Failed);
    queue.advance(Duration::from_secs(8 * 24 * 3600));
    run_due();
    assert!(queue.get(id).unwrap().is_none(), "it is old by now");
}

#[test]
fn waits_survive_a_boot_in_1970_and_the_clock_step_after_it() {
    let queue = TestQueue::new();
    let minute = || NewJob::new("kind").delay(Duration::from_secs(60));
    let before = queue.enqueue(minute()).unwrap().id;
    let due = job(&queue, before).run_at;
    // What was read of the clock is of another start of the machine.
    let another = "UPDATE jobq_meta SET value = 'another' WHERE key = 'clock_boot'";
    let conn = Connection::open(queue.path()).unwrap();
    assert_eq!(conn.execute(another, []).unwrap(), 1);
    queue.clock().step(Timestamp::UNIX_EPOCH);
    let timed = Timed::on(queue, BEAT);
    let since = timed.queue.enqueue(minute()).unwrap().id;
    let now = TestQueue::START + SignedDuration::from_secs(50);
    timed.step(now, since);
    assert_eq!(timed.due_in(since, now), SignedDuration::from_secs(60));
    assert_eq!(job(&timed.queue, before).run_at, due);
    timed.queue.advance(Duration::from_secs(10));
    wait_until_completed(&timed.queue, before);
    timed.assert_waits(&[since]);
    timed.queue.advance(Duration::from_secs(50));
    wait_until_completed(&timed.queue, since);
    timed.runner.stop().unwrap();
}
