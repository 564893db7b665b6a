//! Schedules of a program: a runner that lives, and a clock that is moved by hand.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use jobq::{Context, EventKind, ManualClock, Missed, NewJob, Outcome, Queue, Runner, Schedule};

use crate::support::place::{Scene, count_events};
use crate::support::{PATIENCE, assert_stays, by, wait_until};

const BEAT: Duration = Duration::from_millis(20);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

struct Timed {
    _scene: Scene,
    clock: ManualClock,
    start: Timestamp,
    queue: Queue,
    runner: Runner,
}

impl Timed {
    /// Half past an hour, with a schedule for every full hour.
    fn new(missed: Missed) -> Timed {
        let scene = Scene::new();
        let start: Timestamp = "2030-06-01T12:30:00Z".parse().unwrap();
        let clock = ManualClock::new(start);
        let queue = Queue::options()
            .clock(&clock)
            .open(scene.database())
            .unwrap();
        let runner = queue
            .runner()
            .heartbeat(BEAT, PATIENCE)
            .kind("report", by(|_: &Context| Outcome::Done(None)));
        let runner = runner.start().unwrap();
        let hourly = Schedule::new("hourly", "0 * * * *", NewJob::new("report"))
            .timezone("UTC")
            .missed(missed);
        queue.add_schedule(hourly).unwrap();
        Timed {
            _scene: scene,
            clock,
            start,
            queue,
            runner,
        }
    }

    fn completed(&self) -> usize {
        count_events(&self.queue, None, EventKind::Completed)
    }

    /// So many jobs have come in all, and the next is due then.
    fn comes_to(&self, jobs: usize, next_at: Timestamp) {
        let next = || self.queue.schedule("hourly").unwrap().unwrap().next_at;
        wait_until(
            &format!("{jobs} jobs, the next at {next_at}"),
            PATIENCE,
            || self.completed() == jobs && next() == Some(next_at),
        );
        assert_stays("the jobs", BEAT * 5, || (self.completed(), next()));
    }
}

#[test]
fn a_clock_jump_of_ten_years_and_back_disrupts_no_schedule() {
    for (missed, made_up) in [(Missed::Skip, 0), (Missed::Once, 1), (Missed::All, 100)] {
        let timed = Timed::new(missed);
        let first = timed.start + HOUR / 2;
        timed.clock.advance(Duration::from_secs(30 * 60));
        timed.comes_to(1, first + HOUR);
        let ahead = HOUR * 87_600;
        timed.clock.step(timed.start + ahead);
        timed.comes_to(1 + made_up, first + ahead);
        timed.clock.step(timed.start + HOUR);
        timed.comes_to(1 + made_up, first + HOUR);
        timed.clock.advance(Duration::from_secs(30 * 60));
        timed.comes_to(2 + made_up, first + HOUR * 2);
        // An hour back: the slot that has come does not come again.
        timed.clock.step(first + HOUR / 2);
        timed.comes_to(2 + made_up, first + HOUR * 2);
        timed.clock.advance(Duration::from_secs(45 * 60));
        timed.comes_to(2 + made_up, first + HOUR * 2);
        timed.runner.stop().unwrap();
    }
}

#[test]
fn a_schedule_change_reaches_a_live_runner_at_once() {
    let timed = Timed::new(Missed::Once);
    let first = timed.start + HOUR / 2;
    assert!(timed.queue.pause_schedule("hourly").unwrap());
    timed.clock.advance(Duration::from_secs(60 * 60));
    timed.comes_to(0, first);
    assert!(timed.queue.resume_schedule("hourly").unwrap());
    timed.comes_to(0, first + HOUR);
    timed.queue.run_schedule("hourly").unwrap();
    timed.comes_to(1, first + HOUR);
    let every = Schedule::new("hourly", "@every 10m", NewJob::new("report")).timezone("UTC");
    timed.queue.add_schedule(every).unwrap();
    timed.clock.advance(Duration::from_secs(10 * 60));
    timed.comes_to(2, timed.start + HOUR + SignedDuration::from_mins(20));
    timed.queue.remove_schedule("hourly").unwrap();
    timed.clock.advance(Duration::from_secs(60 * 60));
    assert_stays("the jobs", BEAT * 5, || timed.completed());
    timed.runner.stop().unwrap();
}
