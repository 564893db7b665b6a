//! Jobs in bulk: enqueued, drained, and what that writes to the disk.

use jobq::Durability;
use jobq::bench::{Life, Load, life_of_floor, life_of_queue, per_s, thousands};

use crate::Done;
use crate::plan::Plan;
use crate::report::{Goal, Line, Pair};

const CHUNK: usize = 1000;

/// Whole lives of jobq and of the floor, in turns.
fn lives(plan: &Plan, load: Load, figure: impl Fn(&Life) -> f64) -> jobq::Result<Pair> {
    let setup = plan.setup(Durability::Full);
    let mut pair = Pair::new("floor");
    for _ in 0..plan.pick(5, 1) {
        let queue = life_of_queue(&setup, load)?;
        let floor = life_of_floor(&setup, load)?;
        pair.push(figure(&queue), figure(&floor));
    }
    Ok(pair)
}

fn jobs(plan: &Plan) -> usize {
    plan.pick(100_000, 3_000)
}

pub(crate) fn drain(plan: &Plan) -> Done {
    let jobs = jobs(plan);
    let load = Load { jobs, chunk: CHUNK };
    let pair = lives(plan, load, |life| per_s(jobs, life.drain))?;
    Line::pair(
        format!("drain of {}", thousands(jobs as f64)),
        "jobs/s",
        &pair,
    )
    .goal_of_ratio(pair.ratio(), plan.goal(Goal::AtLeast(0.6)))
    .goal(plan.goal(Goal::AtLeast(100_000.0)))
    .print();
    Ok(())
}

pub(crate) fn enqueue(plan: &Plan) -> Done {
    let jobs = jobs(plan);
    for chunk in [CHUNK, jobs] {
        let load = Load { jobs, chunk };
        let pair = lives(plan, load, |life| per_s(jobs, life.enqueue))?;
        let name = format!("enqueue, {} in a transaction", thousands(chunk as f64));
        Line::pair(name, "jobs/s", &pair)
            .goal_of_ratio(pair.ratio(), plan.goal(Goal::AtLeast(0.8)))
            .print();
    }
    Ok(())
}

pub(crate) fn bytes(plan: &Plan) -> Done {
    let jobs = jobs(plan);
    let load = Load { jobs, chunk: CHUNK };
    let written = |life: &Life| life.written_bytes.unwrap_or(0) as f64 / jobs as f64;
    let pair = lives(plan, load, written)?;
    if pair
        .values
        .iter()
        .chain(&pair.floors)
        .any(|bytes| *bytes == 0.0)
    {
        println!(
            "the kernel does not say what is written here: --dir names a folder on another disk"
        );
        return Ok(());
    }
    Line::pair("written for each job", "bytes", &pair)
        .goal_of_ratio(pair.ratio(), plan.goal(Goal::AtMost(1.3)))
        .print();
    Ok(())
}
