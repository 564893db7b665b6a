//! Changing all jobs that match a filter, and what that costs others.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jobq::bench::{Spread, per_s, thousands};
use jobq::{BulkAction, Durability, Filter, NewJob, Queue, State};

use crate::Done;
use crate::plan::Plan;
use crate::report::{Goal, Line};

const CHUNK: usize = 1000;

/// How long a preview and a reading of errors may last.
const BUDGET: Duration = Duration::from_millis(150);

/// Pending jobs are cancelled, retried, cancelled again and removed, while another connection enqueues.
pub(crate) fn change(plan: &Plan) -> Done {
    let jobs = plan.jobs_or(plan.pick(100_000, 1_000));
    for durability in [Durability::Normal, Durability::Full] {
        let setup = plan.setup(durability);
        let scratch = setup.scratch()?;
        let path = scratch.path().join("bulk.db");
        let queue = setup.open(&path)?;
        for _ in 0..jobs / CHUNK {
            let some = (0..CHUNK).map(|_| NewJob::new("send").queue("mail").tenant("acme"));
            queue.enqueue_many(some)?;
        }
        let other = setup.open(&path)?;
        let mut filter = Filter {
            queues: vec!["mail".to_owned()],
            ..Filter::default()
        };
        preview(plan, &queue, &filter)?;
        for (action, state) in [
            (BulkAction::Cancel, State::Pending),
            (BulkAction::Retry, State::Cancelled),
            (BulkAction::Cancel, State::Pending),
            (BulkAction::Remove, State::Cancelled),
        ] {
            filter.states = vec![state];
            let name = format!("{action} of {} jobs, {durability}", thousands(jobs as f64));
            one_change(plan, (&queue, &other), (&filter, action), &name)?;
        }
    }
    Ok(())
}

fn preview(plan: &Plan, queue: &Queue, filter: &Filter) -> Done {
    let began = Instant::now();
    let preview = queue.preview(filter, BulkAction::Cancel, BUDGET)?;
    Line::new("preview", began.elapsed().as_secs_f64() * 1e3, "ms")
        .note(format!("{} jobs counted", thousands(preview.jobs as f64)))
        .goal(plan.goal(Goal::AtMost(200.0)))
        .print();
    Ok(())
}

fn one_change(
    plan: &Plan,
    (queue, other): (&Queue, &Queue),
    (filter, action): (&Filter, BulkAction),
    name: &str,
) -> Done {
    let is_over = AtomicBool::new(false);
    let began = Instant::now();
    let (report, others) = thread::scope(|scope| {
        let others = scope.spawn(|| enqueue_until(other, &is_over));
        let report = queue.change_where(filter, action, |_| ControlFlow::Continue(()));
        is_over.store(true, Ordering::Release);
        (report, others.join())
    });
    let took = began.elapsed();
    let jobs = report?.jobs as usize;
    let others = Spread::new(others.map_err(|_| "the other writer panicked")??);
    let ms = |percent| others.percentile(percent).as_secs_f64() * 1e3;
    Line::new(name, took.as_secs_f64(), "s")
        .note(format!("{} jobs/s", thousands(per_s(jobs, took))))
        .goal(plan.goal(Goal::AtMost(10.0)))
        .print();
    Line::new("another's enqueue, p99", ms(99.0), "ms")
        .beside("p50", ms(50.0))
        .beside("longest", ms(100.0))
        .goal(plan.goal(Goal::AtMost(50.0)))
        .print();
    Ok(())
}

/// One job at a time, with a pause after each.
fn enqueue_until(queue: &Queue, is_over: &AtomicBool) -> jobq::Result<Vec<Duration>> {
    let mut waits = Vec::new();
    loop {
        let began = Instant::now();
        queue.enqueue(NewJob::new("other"))?;
        waits.push(began.elapsed());
        if is_over.load(Ordering::Acquire) {
            return Ok(waits);
        }
        thread::sleep(Duration::from_millis(2));
    }
}
