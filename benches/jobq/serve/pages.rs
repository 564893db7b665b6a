//! How long answers take.

use jobq::bench::Spread;

use crate::Done;
use crate::plan::Plan;
use crate::report::{Goal, Line};
use crate::serve::ServedFile;
use crate::serve::client::{HttpClient, Served};

/// A request, and how long 99 of 100 may take.
struct Ask {
    name: &'static str,
    goal_ms: f64,
    path: String,
}

fn ask(name: &'static str, goal_ms: f64, path: impl Into<String>) -> Ask {
    Ask {
        name,
        goal_ms,
        path: format!("/api/v1{}", path.into()),
    }
}

fn asks(file: &ServedFile) -> Vec<Ask> {
    vec![
        ask("counts", 5.0, "/counts"),
        ask("queues", 5.0, "/queues"),
        ask("overview", 5.0, "/overview"),
        ask("failed", 20.0, "/jobs?limit=50&state=failed"),
        ask("of a kind", 20.0, "/jobs?limit=50&kind=kind%207"),
        ask("of a queue", 20.0, "/jobs?limit=50&queue=queue%203"),
        ask("of a tenant", 20.0, "/jobs?limit=50&tenant=tenant%2040"),
        ask("with a tag", 20.0, "/jobs?limit=50&tag=env%3Dprod"),
        ask("of a parent", 20.0, "/jobs?limit=50&parent=4"),
        ask(
            "mix",
            200.0,
            "/jobs?limit=50&kind=kind%207&tenant=tenant%2040&state=failed",
        ),
        ask(
            "text that is nowhere",
            200.0,
            "/jobs?limit=50&text=no%20such%20text",
        ),
        ask(
            "job with 100 attempts",
            10.0,
            format!("/jobs/{}", file.tried),
        ),
        ask(
            "first lines of 1 MiB",
            20.0,
            format!("/jobs/{}/logs?limit=200", file.talker),
        ),
        ask(
            "graph of many children",
            50.0,
            format!("/jobs/{}/graph", file.parent),
        ),
    ]
}

pub(super) fn answers(plan: &Plan, file: &ServedFile) -> Done {
    let rounds = plan.pick(200, 2);
    let served = Served::start(&file.path)?;
    let mut client = served.client()?;
    for ask in asks(file) {
        client.get(&ask.path)?;
        let paths = (0..rounds).map(|_| ask.path.clone());
        print(plan, (ask.name, ask.goal_ms), &client.times(paths)?);
    }
    print(
        plan,
        ("page anywhere", 10.0),
        &anywhere(&mut client, rounds, file.jobs)?,
    );
    let metrics = (0..rounds).map(|_| "/metrics".to_owned());
    print(plan, ("metrics", 20.0), &client.times(metrics)?);
    Ok(())
}

/// Pages all over the file.
fn anywhere(
    client: &mut HttpClient,
    rounds: usize,
    jobs: usize,
) -> Result<Spread, Box<dyn std::error::Error>> {
    let after = |round: usize| 1 + (round * 48_271 * 997) % jobs;
    client.times((0..rounds).map(|round| format!("/api/v1/jobs?limit=50&after={}", after(round))))
}

fn print(plan: &Plan, (name, goal_ms): (&str, f64), times: &Spread) {
    let ms = |percent| times.percentile(percent).as_secs_f64() * 1e3;
    Line::new(format!("{name}, p99"), ms(99.0), "ms")
        .beside("p50", ms(50.0))
        .goal(plan.goal(Goal::AtMost(goal_ms)))
        .print();
}
