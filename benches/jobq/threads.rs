//! Many threads that enqueue at once.

use std::time::Duration;

use jobq::Durability;
use jobq::bench::{crowd_of_connections, crowd_of_one_queue};

use crate::Done;
use crate::plan::Plan;
use crate::report::{Goal, Line, Pair};

const THREADS: usize = 16;

pub(crate) fn enqueue(plan: &Plan) -> Done {
    let setup = plan.setup(Durability::Full);
    let time = plan.pick(Duration::from_secs(1), Duration::from_millis(50));
    let mut per_s = Pair::new("one connection a thread");
    let mut worst_ms = Pair::new("one connection a thread");
    for _ in 0..plan.pick(5, 1) {
        let queue = crowd_of_one_queue(&setup, THREADS, time)?;
        let connections = crowd_of_connections(&setup, THREADS, time)?;
        per_s.push(queue.per_s, connections.per_s);
        worst_ms.push(ms(queue.worst), ms(connections.worst));
    }
    Line::pair("enqueue from 16 threads", "jobs/s", &per_s)
        .goal_of_ratio(per_s.ratio(), plan.goal(Goal::AtLeast(5.0)))
        .print();
    Line::pair("its longest call", "ms", &worst_ms).print();
    let one = crowd_of_one_queue(&setup, 1, time)?;
    Line::new("enqueue from one thread", one.per_s, "jobs/s").print();
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
