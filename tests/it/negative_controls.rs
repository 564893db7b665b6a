//! The checks can fail: with a protection taken away, the same scenes end in what it prevents.

use std::collections::HashMap;
use std::time::Duration;

use crate::support::checker::Witness;
use crate::support::child::RunnerRole;
use crate::support::place::{Place, Scene};
use crate::support::process::Spawn;
use crate::support::task::Task;
use crate::support::{PATIENCE, wait_until};
use crate::zombie_runners::report_late;

fn tells(wrong: &[String], what: &str) -> bool {
    wrong.iter().any(|wrong| wrong.contains(what))
}

/// Two runners that look at each other's locks often, and jobs that take longer than that.
fn run_side_by_side(place: &Place, fault: &str) -> Vec<String> {
    let queue = place.open();
    let role = RunnerRole {
        beat_every: Duration::from_millis(50),
        ..RunnerRole::default()
    };
    let runners = ["one", "two"].map(|name| {
        Spawn::new(place, name, role.clone())
            .env("JOBQ_FAULT", fault)
            .start_runner(&queue)
    });
    let task = Task::taking(Duration::from_millis(150)).stubborn();
    queue.enqueue_many((0..12).map(|_| task.job())).unwrap();
    wait_until("the jobs are final", PATIENCE, || {
        queue.counts().unwrap().live() == 0
    });
    for runner in runners {
        runner.end();
    }
    Witness::of(place, &queue, &HashMap::new()).violations()
}

#[test]
fn without_its_lock_a_live_runners_jobs_are_taken_over() {
    assert_eq!(run_side_by_side(&Scene::new(), ""), Vec::<String>::new());
    let wrong = run_side_by_side(&Scene::new(), "no-lock");
    assert!(tells(&wrong, "was still at attempt"), "{wrong:#?}");
}

#[test]
fn without_the_fence_a_zombie_finishes_the_heirs_attempt() {
    let wrong = report_late(&Scene::new(), Some("no-fence"));
    assert!(tells(&wrong, "not the heir's"), "{wrong:#?}");
}
