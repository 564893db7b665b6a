//! How soon a job begins.

use jobq::Durability;
use jobq::bench::{Listener, Spread, start_latency};

use crate::Done;
use crate::child::{self, durability_word};
use crate::plan::Plan;
use crate::report::{Goal, Line};

const DURABILITIES: [Durability; 2] = [Durability::Normal, Durability::Full];

fn samples(plan: &Plan) -> usize {
    plan.pick(1000, 20)
}

pub(crate) fn within(plan: &Plan) -> Done {
    for durability in DURABILITIES {
        let spread = start_latency(&plan.setup(durability), samples(plan))?;
        tell(plan, &spread, durability, 1000.0);
    }
    Ok(())
}

pub(crate) fn across(plan: &Plan) -> Done {
    let samples = samples(plan);
    for durability in DURABILITIES {
        let setup = plan.setup(durability);
        let scratch = setup.scratch()?;
        let db = scratch.path().join("shared.db");
        let listener = Listener::start(&setup.open(&db)?)?;
        let mut other = child::command("stamped", &db, durability)?
            .arg(samples.to_string())
            .spawn()?;
        let spread = listener.hear(samples);
        // Should the listener have given up, the child ends by itself.
        let ended = other.wait()?;
        let spread = spread?;
        if !ended.success() {
            return Err(format!("the enqueuing process ended with {ended}").into());
        }
        tell(plan, &spread, durability, 3000.0);
    }
    Ok(())
}

fn tell(plan: &Plan, spread: &Spread, durability: Durability, goal_us: f64) {
    let us = |percent: f64| spread.percentile(percent).as_secs_f64() * 1e6;
    let is_judged = durability == Durability::Normal;
    let goal = plan.goal(Goal::AtMost(goal_us)).filter(|_| is_judged);
    let name = |what: &str| format!("{what}, durability {}", durability_word(durability));
    Line::new(name("p50"), us(50.0), "µs").print();
    Line::new(name("p99"), us(99.0), "µs")
        .beside("worst", us(100.0))
        .goal(goal)
        .print();
}
