//! What a whole process needs: the processor while it is idle, memory while it works.

use jobq::Durability;
use jobq::bench::thousands;

use crate::Done;
use crate::child;
use crate::plan::Plan;
use crate::report::{Goal, Line};

/// At least one heartbeat falls into it.
const IDLE_S: usize = 12;

pub(crate) fn idle(plan: &Plan) -> Done {
    let scratch = plan.setup(Durability::Full).scratch()?;
    let command = child::command("idle", &scratch.path().join("idle.db"), Durability::Full)?;
    let numbers = child::numbers(command, plan.pick(IDLE_S, 1))?;
    let [cpu_ms, written] = numbers.as_slice() else {
        return Err("the idle process did not say what it used".into());
    };
    Line::new("processor time of an idle runner", *cpu_ms, "ms/s")
        .goal(plan.goal(Goal::AtMost(1.0)))
        .print();
    Line::new("written by an idle runner", *written, "bytes/s").print();
    Ok(())
}

pub(crate) fn memory(plan: &Plan) -> Done {
    const MB: f64 = 1e6;
    let scratch = plan.setup(Durability::Full).scratch()?;
    let db = scratch.path().join("many.db");
    let jobs = plan.pick(1_000_000, 5_000);
    for (role, what) in [("fill", "enqueuing"), ("drain", "draining")] {
        let peaks = child::numbers(child::command(role, &db, Durability::Full)?, jobs)?;
        let peak = peaks.first().copied().unwrap_or(0.0) / MB;
        let name = format!("peak, {what} {} jobs", thousands(jobs as f64));
        Line::new(name, peak, "MB")
            .goal(plan.goal(Goal::AtMost(40.0)))
            .print();
    }
    Ok(())
}
