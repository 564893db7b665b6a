//! The help for tests of applications: what runs when, what the assertions say.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

use jobq::testing::TestQueue;
use jobq::{
    AttemptRef, Backoff, Context, Failure, Job, NewJob, Outcome, Retention, RunnerFilter, Snooze,
    State, WaitReason,
};
use serde::{Deserialize, Serialize};

use crate::support::by;
use crate::support::place::{ailments, job, state};

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Mail {
    to: String,
}

impl Job for Mail {
    const KIND: &'static str = "mail";
    type Output = String;
}

fn mail(to: &str) -> Mail {
    Mail { to: to.into() }
}

fn send(mail: Mail, _: &Context) -> Result<String, Failure> {
    Ok(format!("sent to {}", mail.to))
}

/// What the code panics with.
fn complaint<T>(code: impl FnOnce() -> T) -> String {
    let Err(panic) = catch_unwind(AssertUnwindSafe(code)) else {
        panic!("it did not fail");
    };
    *panic.downcast::<String>().unwrap()
}

fn lock_files(queue: &TestQueue) -> usize {
    let mut folder = queue.path().into_os_string();
    folder.push("-runners");
    std::fs::read_dir(PathBuf::from(folder)).unwrap().count()
}

#[test]
fn a_retry_waits_exactly_as_long_as_its_policy_says() {
    let queue = TestQueue::new();
    let failing = |_: Mail, ctx: &Context| match ctx.attempt() {
        3 => Ok("at last".to_owned()),
        attempt => Err(Failure::retry(format!("try {attempt}"))),
    };
    let patient = NewJob::of(&mail("ann"))
        .backoff(Backoff::Exponential)
        .retry_delay(Duration::from_secs(5));
    let id = queue.enqueue(patient).unwrap().id;
    for wait in [5, 10].map(Duration::from_secs) {
        assert_eq!(queue.run_due(|runner| runner.job(failing)).retried, 1);
        assert_eq!(job(&queue, id).wait_reason, Some(WaitReason::Retry));
        queue.advance(wait - Duration::from_millis(1));
        let early = queue.run_due(|runner| runner.job(failing));
        assert_eq!(early, jobq::RunStats::default());
        queue.advance(Duration::from_millis(1));
    }
    assert_eq!(queue.run_due(|runner| runner.job(failing)).completed, 1);
    assert_eq!(
        queue.output::<Mail>(id).unwrap().as_deref(),
        Some("at last")
    );
}

#[test]
fn a_job_with_a_list_of_delays_waits_exactly_as_it_says() {
    let queue = TestQueue::new();
    let busy = |_: Mail, ctx: &Context| match ctx.attempt() {
        2 => Err::<String, _>(Failure::retry_after("its own delay wins", HOUR)),
        _ => Err(Failure::retry("no")),
    };
    let delays = [7, 300].map(Duration::from_secs);
    let listed = NewJob::of(&mail("ann")).retry_delays(delays).max_retries(4);
    let id = queue.enqueue(listed).unwrap().id;
    for wait in [delays[0], HOUR, delays[1], delays[1]] {
        assert_eq!(queue.run_due(|runner| runner.job(busy)).retried, 1);
        let due = job(&queue, id).run_at.unwrap();
        assert_eq!(due.duration_since(queue.now()).unsigned_abs(), wait);
        queue.advance(wait);
    }
    assert_eq!(queue.run_due(|runner| runner.job(busy)).failed, 1);
}

#[test]
fn an_attempt_that_asks_for_a_snooze_and_succeeds_gets_it() {
    let queue = TestQueue::new();
    let asking = |_: Mail, ctx: &Context| {
        if ctx.attempt() == 1 {
            let attempt = AttemptRef {
                job: ctx.job_id(),
                attempt: 1,
            };
            ctx.queue().set_snooze(attempt, HOUR)?;
        }
        Ok(format!("try {}", ctx.attempt()))
    };
    let id = queue.enqueue(mail("ann")).unwrap().id;
    let first = queue.run_due(|runner| runner.job(asking));
    assert_eq!(first, jobq::RunStats::default());
    assert_eq!(job(&queue, id).wait_reason, Some(WaitReason::Snooze));
    queue.advance(HOUR);
    assert_eq!(queue.run_due(|runner| runner.job(asking)).completed, 1);
    assert_eq!(queue.output::<Mail>(id).unwrap().as_deref(), Some("try 2"));
    assert_eq!(job(&queue, id).retries, 0);
}

#[test]
fn the_clock_moves_on_to_what_is_due_next_until_nothing_is() {
    let queue = TestQueue::new();
    let id = queue.enqueue(mail("nobody")).unwrap().id;
    let failing = |_: Mail, _: &Context| Err::<String, _>(Failure::retry("no such mailbox"));
    let mut attempts = 1;
    queue.run_due(|runner| runner.job(failing));
    while queue.advance_to_next() {
        attempts += 1;
        queue.run_due(|runner| runner.job(failing));
    }
    let failed = job(&queue, id);
    assert_eq!((failed.state, failed.attempt), (State::Failed, attempts));
    assert_eq!(failed.retries_left(), 0);
    assert!(
        queue.now() > TestQueue::START,
        "the default policy has waits"
    );
}

#[test]
fn what_a_handler_enqueues_runs_at_once_unless_it_is_for_later() {
    let queue = TestQueue::new();
    let chain = |Mail { to }: Mail, ctx: &Context| {
        let next = mail(&format!("{to}!"));
        match to.len() {
            1 | 2 => ctx.queue().enqueue(NewJob::of(&next))?,
            _ => ctx.queue().enqueue(NewJob::of(&next).delay(HOUR))?,
        };
        Ok(to)
    };
    queue.enqueue(mail("a")).unwrap();
    assert_eq!(queue.run_due(|runner| runner.job(chain)).completed, 3);
    assert_eq!(queue.enqueued::<Mail>(), [mail("a!!!")]);
    let later = queue.assert_enqueued(|mail: &Mail| mail.to == "a!!!");
    assert_eq!(later.run_at, Some(TestQueue::START + HOUR));
    queue.advance(HOUR);
    assert_eq!(queue.run_due(|runner| runner.job(chain)).completed, 1);
}

#[test]
fn an_endlessly_due_job_is_stopped_and_past_runs_are_saved() {
    type Run = fn(&Context) -> Outcome;
    let forever: [(&str, Run); 2] = [
        ("it enqueues itself", |ctx| {
            ctx.queue().enqueue(NewJob::new("endless")).unwrap();
            Outcome::Done(None)
        }),
        ("it snoozes for no time", |_| {
            Outcome::Snooze(Snooze::For(Duration::ZERO))
        }),
    ];
    for (what, handler) in forever {
        let queue = TestQueue::new();
        queue.enqueue(NewJob::new("endless")).unwrap();
        let said = complaint(|| queue.run_due(|runner| runner.kind("endless", by(handler))));
        assert!(said.starts_with("1001 jobs have run"), "{what}: {said}");
        assert!(said.contains("without an end; give follow-ups"), "{said}");
        let left = queue.assert_enqueued_of_kind("endless");
        assert_eq!(left.state, State::Pending, "{what}");
        let completed = queue.counts().unwrap().get(State::Completed);
        assert_eq!(completed + u64::from(left.attempt), 1001, "{what}");
        assert!(queue.runners(RunnerFilter::Now).unwrap().is_empty());
        assert_eq!(lock_files(&queue), 0);
    }
}

#[test]
fn a_job_is_performed_alone_and_once() {
    let queue = TestQueue::new();
    queue.enqueue(mail("first")).unwrap();
    let other = NewJob::of(&mail("urgent")).priority(jobq::Priority::Urgent);
    queue.enqueue(other).unwrap();
    let sent = queue.perform(mail("ann"), |runner| runner.job(send));
    assert_eq!((sent.state, sent.attempt), (State::Completed, 1));
    let output = queue.output::<Mail>(sent.id).unwrap();
    assert_eq!(output.as_deref(), Some("sent to ann"));
    assert_eq!(queue.enqueued::<Mail>(), [mail("first"), mail("urgent")]);

    let shaky = |_: Mail, _: &Context| Err::<String, _>(Failure::retry_after("busy", HOUR));
    let later = NewJob::of(&mail("bob")).delay(HOUR).max_retries(7);
    let retried = queue.perform(later, |runner| runner.job(shaky));
    assert_eq!((retried.state, retried.attempt), (State::Scheduled, 1));
    assert_eq!(retried.error.as_deref(), Some("busy"));
    assert_eq!(retried.run_at, Some(TestQueue::START + HOUR));
    assert_eq!(retried.retries_left(), 6);

    let panicking = |_: Mail, _: &Context| -> Result<String, Failure> { panic!("on purpose") };
    let panicked = queue.perform(NewJob::of(&mail("eve")).max_retries(0), |runner| {
        runner.job(panicking)
    });
    assert_eq!(panicked.state, State::Failed);
    assert_eq!(panicked.error.as_deref(), Some("panicked: on purpose"));
    assert_eq!(lock_files(&queue), 0);
}

#[test]
fn a_failed_assertion_lists_what_there_is() {
    let queue = TestQueue::new();
    let said = complaint(|| queue.assert_enqueued(|_: &Mail| true));
    assert_eq!(
        said,
        "no live job of kind 'mail' matches; the queue has no jobs"
    );
    queue.perform(mail("ann"), |runner| runner.job(send));
    queue.enqueue(NewJob::of(&mail("bob")).delay(HOUR)).unwrap();
    queue.enqueue(NewJob::new("resize").payload(&7)).unwrap();
    let there = r#"there are, at 2030-01-01T12:00:00Z:
  1 mail completed {"to":"ann"}
  2 mail scheduled until 2030-01-01T13:00:00Z {"to":"bob"}
  3 resize pending 7"#;
    let ann = |mail: &Mail| mail.to == "ann";
    assert_eq!(
        complaint(|| queue.assert_enqueued(ann)),
        format!("no live job of kind 'mail' matches; {there}"),
        "one that has run is not live"
    );
    assert_eq!(
        complaint(|| queue.assert_none_enqueued::<Mail>()),
        format!("1 live jobs are of kind 'mail'; {there}")
    );
    assert_eq!(
        complaint(|| queue.assert_enqueued_of_kind("crop")),
        format!("there is no live job of kind 'crop'; {there}")
    );
    assert_eq!(queue.assert_enqueued_of_kind("resize").payload.get(), "7");
}

#[test]
fn two_queues_do_not_meet_and_each_goes_with_its_folder() {
    let (one, other) = (TestQueue::new(), TestQueue::new());
    one.enqueue(mail("ann")).unwrap();
    assert_ne!(one.path(), other.path());
    assert_eq!(other.counts().unwrap().total(), 0);
    assert_eq!(other.run_due(|runner| runner.job(send)), Default::default());
    other.advance(HOUR);
    assert_eq!(
        (one.now(), other.now() - HOUR),
        (TestQueue::START, one.now())
    );
    let folders = [&one, &other].map(|queue| queue.path().parent().unwrap().to_owned());
    assert!(folders.iter().all(|folder| folder.exists()));
    drop(one);
    assert_eq!(folders.map(|folder| folder.exists()), [false, true]);
}

#[test]
fn old_jobs_stay_unless_the_test_is_about_them() {
    let queue = TestQueue::new();
    let sent = queue.perform(mail("ann"), |runner| runner.job(send));
    queue.advance(HOUR * 24 * 30);
    queue.run_due(|runner| runner.job(send));
    assert_eq!(state(&queue, sent.id), State::Completed);
    let usual = Retention::default();
    queue.run_due(|runner| runner.job(send).retention(usual));
    assert!(queue.get(sent.id).unwrap().is_none());
    assert_eq!(ailments(&queue), Vec::<String>::new());
}

#[test]
fn application_queue_settings_apply_in_a_test_queue() {
    let small = jobq::EnqueueLimits {
        max_payload_bytes: 10,
        ..jobq::EnqueueLimits::default()
    };
    let queue = TestQueue::with(|options| options.limits(small));
    let refused = queue.enqueue(mail("somebody far away")).unwrap_err();
    assert!(refused.is_invalid_input(), "{refused}");
}
