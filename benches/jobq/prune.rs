//! Removing old jobs, and what that costs others.

use jobq::Durability;
use jobq::bench::{Spread, per_s, prune_cost, thousands};

use crate::Done;
use crate::plan::Plan;
use crate::report::{Goal, Line};

pub(crate) fn prune(plan: &Plan) -> Done {
    const MB: f64 = 1e6;
    let jobs = plan.jobs_or(plan.pick(100_000, 1_000));
    let cost = prune_cost(&plan.setup(Durability::Full), jobs)?;
    let name = format!("prune of {} jobs", thousands(jobs as f64));
    Line::new(name, per_s(jobs, cost.took), "jobs/s").print();
    Line::new("in all", cost.took.as_secs_f64(), "s").print();
    let ms = |times: &Spread, percent| times.percentile(percent).as_secs_f64() * 1e3;
    for (what, times) in [
        ("its transactions", &cost.steps),
        ("another's enqueue", &cost.others),
    ] {
        Line::new(format!("{what}, longest"), ms(times, 100.0), "ms")
            .beside("p50", ms(times, 50.0))
            .beside("p99", ms(times, 99.0))
            .goal(plan.goal(Goal::AtMost(20.0)))
            .print();
    }
    Line::new("the file afterwards", cost.after_bytes as f64 / MB, "MB")
        .beside("before", cost.before_bytes as f64 / MB)
        .print();
    Ok(())
}
