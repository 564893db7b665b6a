//! A handler's effect on the application's own tables is committed with the job's completion: it
//! happens exactly once, whoever is killed when, and not at all where the job is somebody else's.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crossbeam_channel::bounded;
use jobq::{
    Backoff, Context, EventKind, Failure, Jitter, JobId, Level, MetricSpan, NewJob, Outcome,
    Progress, Queue, State, Until,
};

use crate::support::booking::{Booking, Style, bookings, make_table};
use crate::support::child::RunnerRole;
use crate::support::place::{
    Scene, ailments, all_jobs, count_events, events, job, result, wait_until_completed,
};
use crate::support::process::{Process, Spawn};
use crate::support::{PATIENCE, by, number_from_environment, task, wait_until};

/// Runners are killed while they book orders; how often each order was booked in the end.
fn kill_while_booking(style: Style, seed: u64, kills: u64) -> BTreeMap<u64, usize> {
    let mut random = fastrand::Rng::with_seed(seed);
    let scene = Scene::new();
    let queue = scene.open();
    make_table(&queue);
    let orders = 40 * kills;
    let booking = |order| {
        NewJob::of(&Booking {
            order,
            style,
            pause: Duration::from_millis(3),
            gate: None,
        })
    };
    queue.enqueue_many((1..=orders).map(booking)).unwrap();
    for kill in 1..=kills {
        let name = format!("runner{kill}");
        let runner = Spawn::new(&scene, name, RunnerRole::default()).start();
        // So many that whoever was hit by the last kill has come through meanwhile: the third
        // crash in a row would fail the job.
        let wanted = bookings(&scene).len() + random.usize(6..20);
        wait_until("orders are booked", PATIENCE, || {
            bookings(&scene).len() >= wanted
        });
        runner.kill();
    }
    let fresh = task::register(queue.runner(), &scene.effect_log(), "fresh");
    fresh.until(Until::Drained).start().unwrap().wait().unwrap();
    assert_eq!(ailments(&queue), Vec::<String>::new());
    let mut booked: BTreeMap<u64, usize> = (1..=orders).map(|order| (order, 0)).collect();
    for (order, _) in bookings(&scene) {
        *booked.get_mut(&order).unwrap() += 1;
    }
    for job in all_jobs(&queue) {
        assert_eq!(job.state, State::Completed, "seed {seed}: {job:?}");
        let completed = count_events(&queue, Some(job.id), EventKind::Completed);
        assert_eq!(completed, 1, "seed {seed}: job {}", job.id);
    }
    let mut metrics = queue.metrics(MetricSpan::Lifetime, ..).unwrap();
    metrics.retain(|metric| metric.outcome == EventKind::Completed);
    let completed: u64 = metrics.iter().map(|metric| metric.totals.attempts).sum();
    let enqueued: u64 = queue.enqueued_totals().unwrap().iter().map(|of| of.2).sum();
    assert_eq!((completed, enqueued), (orders, orders), "seed {seed}");
    booked
}

fn assert_each_is_booked_once(seed: u64, kills: u64) {
    let mut booked = kill_while_booking(Style::Together, seed, kills);
    booked.retain(|_, times| *times != 1);
    assert!(
        booked.is_empty(),
        "JOBQ_SEED={seed} JOBQ_ROUNDS={kills}: {booked:?}"
    );
}

#[test]
fn an_effect_with_its_job_happens_once_after_any_kill() {
    assert_each_is_booked_once(fastrand::u64(..), 8);
}

#[test]
#[ignore = "takes minutes; JOBQ_SEED and JOBQ_ROUNDS say how"]
fn an_effect_with_its_job_happens_once_after_many_kills() {
    let seed = number_from_environment("JOBQ_SEED").unwrap_or_else(|| fastrand::u64(..));
    assert_each_is_booked_once(seed, number_from_environment("JOBQ_ROUNDS").unwrap_or(200));
}

/// The test above can fail: the same kills double an effect that is committed by itself.
#[test]
fn an_effect_apart_from_its_job_happens_twice_after_a_kill() {
    let booked = kill_while_booking(Style::Apart, fastrand::u64(..), 8);
    assert!(booked.values().all(|times| *times >= 1), "{booked:?}");
    assert!(booked.values().any(|times| *times > 1), "none was doubled");
}

#[test]
fn an_attempt_that_lost_its_job_has_no_effect() {
    let role = || RunnerRole {
        workers: 1,
        beat_every: Duration::from_millis(100),
        hung_after: Duration::from_millis(600),
        ..RunnerRole::default()
    };
    let scene = Scene::new();
    let queue = scene.open();
    make_table(&queue);
    let zombie = Spawn::new(&scene, "zombie", role()).start_runner(&queue);
    let booking = Booking {
        order: 7,
        style: Style::Together,
        pause: Duration::ZERO,
        gate: Some(scene.file("gate")),
    };
    let id = queue.enqueue(NewJob::of(&booking)).unwrap().id;
    scene.wait_until_begun(id, 1);
    let heir = Spawn::new(&scene, "heir", role()).start_runner(&queue);
    zombie.freeze();
    assert_eq!(scene.wait_until_begun(id, 2).process, "heir");
    zombie.thaw();
    // The heir is still at it: the job is running, and not the zombie's.
    scene.open_gate("gate.1");
    wait_until("the zombie is refused", PATIENCE, || {
        let of_zombie = |what: &str| {
            let mut effects = scene.effects().into_iter();
            effects.any(|effect| effect.process == "zombie" && effect.what == what)
        };
        assert!(!of_zombie("end"), "the zombie has booked the order");
        of_zombie("refused")
    });
    assert_eq!(bookings(&scene), []);
    scene.open_gate("gate.2");
    wait_until_completed(&queue, id);
    [zombie, heir].into_iter().for_each(Process::end);
    assert_eq!(bookings(&scene), [(7, 2)]);
    assert_eq!(result(&queue, id).as_deref(), Some("2"));
    assert_eq!(ailments(&queue), Vec::<String>::new());
}

/// A scene with a runner in this process whose handler is `run`.
struct Shop {
    scene: Scene,
    queue: Queue,
    runner: jobq::Runner,
}

fn shop(run: impl Fn(&Context) -> Outcome + Send + Sync + 'static) -> Shop {
    let scene = Scene::new();
    let queue = scene.open();
    make_table(&queue);
    let builder = queue.runner().workers(1).grace(Duration::from_millis(100));
    let runner = builder
        .kind("book", by(run))
        .kind("other", by(|_| Outcome::Done(None)))
        .start()
        .unwrap();
    Shop {
        scene,
        queue,
        runner,
    }
}

impl Shop {
    fn job(&self, retries: u32) -> NewJob {
        NewJob::new("book")
            .max_retries(retries)
            .backoff(Backoff::Fixed)
            .retry_delay(Duration::ZERO)
            .jitter(Jitter::Off)
    }

    fn run(&self, retries: u32) -> jobq::JobRecord {
        let id = self.queue.enqueue(self.job(retries)).unwrap().id;
        self.queue.wait(&[id], Some(PATIENCE)).unwrap().remove(0)
    }

    /// Ends the runner once `completed` jobs count as completed, and nothing else does.
    #[track_caller]
    fn end(self, completed: u64) {
        let ended = self.runner.stop().unwrap();
        let stats = ended.stats;
        assert_eq!(
            (
                stats.completed,
                stats.failed,
                stats.cancelled,
                stats.running
            ),
            (completed, 0, 0, 0)
        );
        assert_eq!(ailments(&self.queue), Vec::<String>::new());
        let dropped = count_events(&self.queue, None, EventKind::ReportDropped);
        assert_eq!(dropped, 0, "an attempt was settled twice");
    }
}

fn insert(tx: &jobq::Transaction<'_>, ctx: &Context) -> Result<(), Failure> {
    let attempt = tx
        .attempt()
        .ok_or_else(|| Failure::permanent("no attempt"))?;
    assert_eq!(
        (attempt.job, attempt.attempt),
        (ctx.job_id(), ctx.attempt())
    );
    let sql = "INSERT INTO booking (order_id, attempt) VALUES (?1, ?2)";
    tx.connection()
        .execute(sql, (ctx.job_id().0, ctx.attempt()))?;
    Ok(())
}

fn outcome(booked: Result<u32, Failure>) -> Outcome {
    match booked {
        Ok(attempt) => Outcome::Done(Some(attempt.to_string())),
        Err(failure) => failure.into(),
    }
}

#[test]
fn an_error_or_panic_inside_leaves_nothing_and_is_retried() {
    let shop = shop(|ctx| {
        outcome(ctx.complete_in(|tx| {
            insert(tx, ctx)?;
            tx.enqueue(NewJob::new("never"))?;
            match ctx.attempt() {
                1 => Err(Failure::retry("not yet")),
                2 => panic!("not yet either"),
                3 => Ok(tx
                    .connection()
                    .execute("INSERT INTO no_such_table VALUES (1)", [])?
                    as u32),
                _ => Err(Failure::permanent("never")),
            }
        }))
    });
    let job = shop.run(5);
    assert_eq!((job.state, job.attempt, job.retries), (State::Failed, 4, 3));
    assert_eq!(job.error.as_deref(), Some("never"));
    let told: Vec<String> = events(&shop.queue, Some(job.id))
        .iter()
        .filter(|event| event.kind == EventKind::Retry)
        .map(|event| String::from_utf8_lossy(event.data.as_ref().unwrap().as_bytes()).into_owned())
        .collect();
    for (told, error) in told.iter().zip(["not yet", "panicked: ", "no_such_table"]) {
        assert!(told.contains(error), "{told}");
    }
    assert_eq!(told.len(), 3);
    assert_eq!(bookings(&shop.scene), []);
    assert_eq!(all_jobs(&shop.queue).len(), 1);
    shop.runner.stop().unwrap();
    assert_eq!(ailments(&shop.queue), Vec::<String>::new());
}

#[test]
fn a_job_completed_in_a_handler_stays_completed_once() {
    for after in ["fail", "retry", "panic", "cancel", "again", "done"] {
        let shop = shop(move |ctx| {
            ctx.complete_in(|tx| {
                insert(tx, ctx)?;
                Ok(ctx.attempt())
            })
            .unwrap();
            match after {
                "fail" => Outcome::Fail {
                    error: "late".to_owned(),
                },
                "retry" => Failure::retry("late").into(),
                "panic" => panic!("late"),
                "cancel" => Outcome::Cancelled,
                "again" => {
                    let again = ctx.complete_in(|tx| {
                        insert(tx, ctx)?;
                        Ok(0)
                    });
                    assert!(again.is_err(), "it was completed twice");
                    outcome(again)
                }
                _ => Outcome::Done(Some("99".to_owned())),
            }
        });
        let job = shop.run(3);
        assert_eq!((job.state, job.attempt), (State::Completed, 1), "{after}");
        assert_eq!(job.error, None, "{after}");
        assert_eq!(result(&shop.queue, job.id).as_deref(), Some("1"), "{after}");
        assert_eq!(job.worker, Some(jobq::WorkerId(1)));
        let booked = u64::try_from(job.id.0).unwrap();
        assert_eq!(bookings(&shop.scene), [(booked, 1)], "{after}");
        // Its slot is free again.
        wait_until_completed(
            &shop.queue,
            shop.queue.enqueue(NewJob::new("other")).unwrap().id,
        );
        shop.end(2);
    }
}

#[test]
fn a_handler_may_try_once_more_after_nothing_was_committed() {
    let shop = shop(|ctx| {
        let first = ctx.complete_in(|tx| {
            insert(tx, ctx)?;
            Err::<u32, _>(Failure::retry("not yet"))
        });
        assert!(first.is_err());
        outcome(ctx.complete_in(|tx| {
            insert(tx, ctx)?;
            Ok(5)
        }))
    });
    let job = shop.run(0);
    assert_eq!(job.state, State::Completed);
    assert_eq!(bookings(&shop.scene).len(), 1);
    shop.end(1);
}

#[test]
fn jobs_added_in_complete_in_exist_and_run_on_completion() {
    let shop = shop(|ctx| {
        outcome(ctx.complete_in(|tx| {
            insert(tx, ctx)?;
            let refused = ctx.queue().enqueue(NewJob::new("other"));
            assert!(
                refused.unwrap_err().is_wrong_state(),
                "it would wait for itself"
            );
            Ok(tx.enqueue(NewJob::new("other"))?.id.0 as u32)
        }))
    });
    let job = shop.run(0);
    let added = JobId(result(&shop.queue, job.id).unwrap().parse().unwrap());
    wait_until_completed(&shop.queue, added);
    shop.end(2);
}

#[test]
fn what_was_done_counts_even_when_somebody_has_asked_to_cancel() {
    let (asked, ask) = bounded::<()>(0);
    let shop = shop(move |ctx| {
        ask.recv().unwrap();
        outcome(ctx.complete_in(|tx| {
            insert(tx, ctx)?;
            Ok(1)
        }))
    });
    let id = shop.queue.enqueue(shop.job(0)).unwrap().id;
    wait_until("it runs", PATIENCE, || {
        job(&shop.queue, id).state == State::Running
    });
    shop.queue.cancel(id).unwrap();
    asked.send(()).unwrap();
    wait_until_completed(&shop.queue, id);
    assert_eq!(bookings(&shop.scene).len(), 1);
    shop.end(1);
}

/// It is told to stop by its timeout when its job has completed already, and does not listen.
#[test]
fn a_handler_hung_after_completion_loses_its_slot_only() {
    let (open, gate) = bounded::<()>(0);
    let (late, returns) = mpsc::channel();
    let shop = shop(move |ctx| {
        ctx.complete_in(|tx| insert(tx, ctx)).unwrap();
        gate.recv().unwrap();
        late.send(()).unwrap();
        Outcome::Fail {
            error: "late".to_owned(),
        }
    });
    let timeout = Duration::from_millis(100);
    let id = shop.queue.enqueue(shop.job(3).timeout(timeout)).unwrap().id;
    // There is one worker, so this one has its slot.
    let other = shop.queue.enqueue(NewJob::new("other")).unwrap().id;
    wait_until_completed(&shop.queue, other);
    assert_eq!(job(&shop.queue, id).state, State::Completed);
    open.send(()).unwrap();
    returns.recv_timeout(PATIENCE).unwrap();
    let other = shop.queue.enqueue(NewJob::new("other")).unwrap().id;
    wait_until_completed(&shop.queue, other);
    assert_eq!(job(&shop.queue, id).attempt, 1);
    assert_eq!(bookings(&shop.scene).len(), 1);
    shop.end(3);
}

/// The messages in a job's log, and when it completed.
fn story(queue: &Queue, id: JobId) -> Vec<String> {
    let told = events(queue, Some(id)).into_iter();
    told.filter_map(|event| match event.kind {
        EventKind::Log => {
            let data = event.data.unwrap();
            let entry: jobq::LogEntry = serde_json::from_slice(data.as_bytes()).unwrap();
            Some(entry.message)
        }
        EventKind::Completed | EventKind::Failed => Some(event.kind.as_str().to_owned()),
        _ => None,
    })
    .collect()
}

#[test]
fn the_log_until_then_is_saved_and_ends_with_the_completion() {
    let shop = shop(|ctx| {
        for number in 1..=3 {
            ctx.log(Level::Info, format!("before {number}"));
        }
        ctx.progress(Progress::percent(10.0));
        ctx.progress(Progress::percent(50.0));
        let fails = ctx.retries_left() == 0;
        let booked = ctx.complete_in(|tx| {
            // More than the writer's inbox holds, as nobody empties that meanwhile.
            (0..5000).for_each(|_| ctx.log(Level::Debug, "inside"));
            ctx.progress(Progress::percent(90.0));
            insert(tx, ctx)?;
            match fails {
                true => Err(Failure::permanent("never")),
                false => Ok(1),
            }
        });
        ctx.log(Level::Info, "after");
        outcome(booked)
    });
    let completed = shop.run(1);
    let mut lines = vec!["before 1", "before 2", "before 3"];
    lines.extend(["inside"; 5000]);
    lines.push("job_completed");
    assert_eq!(story(&shop.queue, completed.id), lines);
    assert_eq!(completed.progress.unwrap().percent, Some(90.0));
    // An attempt that fails has lost nothing of its log.
    let failed = shop.run(0);
    lines.pop();
    lines.extend(["after", "job_failed"]);
    assert_eq!(story(&shop.queue, failed.id), lines);
    assert_eq!(bookings(&shop.scene).len(), 1);
}

/// It waits for no room, which there would only be after it.
#[test]
fn a_transaction_may_log_more_than_may_wait_to_be_written() {
    let shop = shop(|ctx| {
        let large = "x".repeat(10 << 20);
        outcome(ctx.complete_in(|tx| {
            (0..7).for_each(|_| ctx.log(Level::Debug, large.clone()));
            insert(tx, ctx)?;
            Ok(1)
        }))
    });
    let completed = shop.run(1);
    assert_eq!(story(&shop.queue, completed.id).len(), 8);
}

/// None ends before all have come so far: one that starved would keep the others here for ever.
#[test]
fn other_threads_write_in_turn_with_handlers_that_complete() {
    const ROUNDS: u64 = 50;
    let shop = shop(|ctx| {
        outcome(ctx.complete_in(|tx| {
            insert(tx, ctx)?;
            Ok(1)
        }))
    });
    let rounds = [(); 3].map(|()| AtomicU64::new(0));
    let all_have = || {
        let mut rounds = rounds.iter();
        rounds.all(|rounds| rounds.load(Ordering::Relaxed) >= ROUNDS)
    };
    std::thread::scope(|scope| {
        for (at, done) in rounds.iter().enumerate() {
            let (shop, all_have) = (&shop, &all_have);
            scope.spawn(move || {
                while !all_have() {
                    match at {
                        0 => assert_eq!(shop.run(0).state, State::Completed),
                        _ => {
                            shop.queue.enqueue(NewJob::new("nobody's")).unwrap();
                        }
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let completed = rounds[0].load(Ordering::Relaxed);
    assert_eq!(bookings(&shop.scene).len() as u64, completed);
    shop.end(completed);
}
