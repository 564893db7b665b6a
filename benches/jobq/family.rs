//! What a parent costs its children, and what rules cost the claim of others.

use std::time::Instant;

use jobq::bench::{drain, fill, thousands};
use jobq::{Durability, GROUP_KIND, JobId, NewJob};

use crate::Done;
use crate::plan::Plan;
use crate::report::{Goal, Line, Pair};

/// Seconds to enqueue and to drain so many jobs, with a parent or without.
fn life(plan: &Plan, jobs: usize, with_parent: bool) -> jobq::Result<(f64, f64)> {
    let setup = plan.setup(Durability::Full);
    let scratch = setup.scratch()?;
    let queue = setup.open(&scratch.path().join("family.db"))?;
    let began = Instant::now();
    let parent: Option<JobId> = if with_parent {
        Some(queue.enqueue(NewJob::new(GROUP_KIND))?.id)
    } else {
        None
    };
    fill(&queue, jobs, |job| match parent {
        Some(parent) => job.parent(parent),
        None => job,
    })?;
    let enqueued = began.elapsed().as_secs_f64();
    let completed = jobs + usize::from(with_parent);
    Ok((enqueued, drain(&queue, completed)?.as_secs_f64()))
}

pub(crate) fn family(plan: &Plan) -> Done {
    let jobs = plan.pick(100_000, 2_000);
    let (mut enqueue, mut drain) = (Pair::new("no parent"), Pair::new("no parent"));
    for _ in 0..plan.pick(5, 1) {
        let (family, alone) = (life(plan, jobs, true)?, life(plan, jobs, false)?);
        enqueue.push(family.0, alone.0);
        drain.push(family.1, alone.1);
    }
    let name = format!("drain of {} children of one parent", thousands(jobs as f64));
    Line::pair(name, "s", &drain)
        .goal_of_ratio(drain.ratio(), plan.goal(Goal::AtMost(1.3)))
        .print();
    Line::pair("enqueuing them", "s", &enqueue).print();
    Ok(())
}
