//! Enqueuing and draining beside the floor, and what that writes.

use jobq::Durability;
use jobq::bench::{
    Life, Load, OneByOne, life_of_floor, life_of_queue, one_by_one_of_floor, one_by_one_of_queue,
    per_s, thousands,
};

use crate::Done;
use crate::plan::Plan;
use crate::report::{Goal, Line, Pair};

const CHUNK: usize = 100;

const DURABILITIES: [Durability; 2] = [Durability::Normal, Durability::Full];

/// Whole lives of jobq and of the floor, in turns.
fn lives(
    plan: &Plan,
    (durability, load): (Durability, Load),
    figure: impl Fn(&Life) -> f64,
) -> jobq::Result<Pair> {
    let setup = plan.setup(durability);
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
    for durability in DURABILITIES {
        let pair = lives(plan, (durability, load), |life| per_s(jobs, life.drain))?;
        let name = format!("drain of {}, {durability}", thousands(jobs as f64));
        Line::pair(name, "jobs/s", &pair)
            .goal_of_ratio(pair.ratio(), plan.goal(Goal::AtLeast(0.9)))
            .print();
    }
    Ok(())
}

pub(crate) fn enqueue(plan: &Plan) -> Done {
    let jobs = jobs(plan);
    for (durability, goal) in DURABILITIES.into_iter().zip([0.75, 0.85]) {
        for chunk in [CHUNK, jobs] {
            let load = Load { jobs, chunk };
            let pair = lives(plan, (durability, load), |life| per_s(jobs, life.enqueue))?;
            let chunk = thousands(chunk as f64);
            let name = format!("enqueue, {chunk} in a transaction, {durability}");
            Line::pair(name, "jobs/s", &pair)
                .goal_of_ratio(pair.ratio(), plan.goal(Goal::AtLeast(goal)))
                .print();
        }
    }
    Ok(())
}

pub(crate) fn enqueue_one(plan: &Plan) -> Done {
    for (durability, jobs, goal) in [
        (Durability::Normal, 20_000, 0.7),
        (Durability::Full, 4_000, 0.85),
    ] {
        let jobs = plan.pick(jobs, 100);
        let setup = plan.setup(durability);
        let (mut speed, mut bytes) = (Pair::new("floor"), Pair::new("floor"));
        for _ in 0..plan.pick(5, 1) {
            let queue = one_by_one_of_queue(&setup, jobs)?;
            let floor = one_by_one_of_floor(&setup, jobs)?;
            let written = |of: &OneByOne| of.written_bytes.unwrap_or(0) as f64 / jobs as f64;
            speed.push(per_s(jobs, queue.took), per_s(jobs, floor.took));
            bytes.push(written(&queue), written(&floor));
        }
        Line::pair(
            format!("enqueue one by one, {durability}"),
            "jobs/s",
            &speed,
        )
        .goal_of_ratio(speed.ratio(), plan.goal(Goal::AtLeast(goal)))
        .print();
        Line::pair("written for each", "bytes", &bytes)
            .goal(plan.goal(Goal::AtMost(26_000.0)))
            .print();
    }
    Ok(())
}

pub(crate) fn bytes(plan: &Plan) -> Done {
    let jobs = jobs(plan);
    let load = Load { jobs, chunk: CHUNK };
    let written = |life: &Life| life.written_bytes.unwrap_or(0) as f64 / jobs as f64;
    for durability in DURABILITIES {
        let pair = lives(plan, (durability, load), written)?;
        Line::pair(
            format!("written for each job, {durability}"),
            "bytes",
            &pair,
        )
        .goal(plan.goal(Goal::AtMost(2_000.0)))
        .print();
    }
    Ok(())
}
