//! What must not matter: how many jobs there are, how many wait, how large their payloads are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jobq::bench::{changes_per_s, claim_cost, fill, thousands};
use jobq::{Durability, JobId, NewJob};

use crate::Done;
use crate::plan::Plan;
use crate::report::{Goal, Line, Pair};

const FEW: usize = 1000;
static NEXT_KEY: AtomicU64 = AtomicU64::new(0);
const HOUR: Duration = Duration::from_secs(60 * 60);

pub(crate) fn claim(plan: &Plan) -> Done {
    let many = plan.pick(1_000_000, 5_000);
    in_files_of(plan, "pending", many, &|job| job)?;
    in_files_of(plan, "delayed", many, &|job| job.delay(HOUR))?;
    // The first of all, which they wait for, never runs.
    in_files_of(plan, "blocked", many, &|job| job.after([JobId(1)]))?;
    in_files_of(plan, "blocked by a key", many, &|job| job.key("one"))?;
    in_files_of(plan, "unique", many, &|job| {
        job.unique(format!("key {}", NEXT_KEY.fetch_add(1, Ordering::Relaxed)))
    })
}

/// Claims in turns in a file with many of such jobs and in one with few. Both have a few pending ones.
fn in_files_of(plan: &Plan, what: &str, many: usize, like: &dyn Fn(NewJob) -> NewJob) -> Done {
    let setup = plan.setup(Durability::Normal);
    let scratch = setup.scratch()?;
    let file = |name: &str, jobs| -> jobq::Result<_> {
        let queue = setup.open(&scratch.path().join(name))?;
        queue.enqueue(NewJob::new("gate"))?;
        fill(&queue, jobs, like)?;
        fill(&queue, FEW, |job| job)?;
        Ok(queue)
    };
    let (small, large) = (file("few.db", FEW)?, file("many.db", many)?);
    let mut vm_steps = Pair::new("1,000 of them");
    let mut us = Pair::new("1,000 of them");
    // The first round finds cold caches.
    for round in 0..=plan.pick(1000, 10) {
        let (few, many) = (claim_cost(&small)?, claim_cost(&large)?);
        if round > 0 {
            vm_steps.push(many.vm_steps as f64, few.vm_steps as f64);
            us.push(many.took.as_secs_f64() * 1e6, few.took.as_secs_f64() * 1e6);
        }
    }
    let name = format!("claim of 5, {} {what}", thousands(many as f64));
    for (pair, unit) in [(&vm_steps, "VM steps"), (&us, "µs")] {
        Line::pair(name.as_str(), unit, pair)
            .goal_of_ratio(pair.ratio(), plan.goal(Goal::AtMost(1.1)))
            .print();
    }
    Ok(())
}

pub(crate) fn payload_size(plan: &Plan) -> Done {
    const SMALL_BYTES: usize = 200;
    let large_bytes = plan.pick(1_000_000, 20_000);
    let (jobs, cycles) = plan.pick((100, 50), (10, 3));
    let setup = plan.setup(Durability::Normal);
    let mut pair = Pair::new("of 200 bytes");
    for _ in 0..plan.pick(5, 1) {
        pair.push(
            changes_per_s(&setup, jobs, large_bytes, cycles)?,
            changes_per_s(&setup, jobs, SMALL_BYTES, cycles)?,
        );
    }
    let name = format!("payloads of {} bytes", thousands(large_bytes as f64));
    Line::pair(name, "changes/s", &pair)
        .goal_of_ratio(pair.ratio(), plan.goal(Goal::AtLeast(0.9)))
        .print();
    Ok(())
}
