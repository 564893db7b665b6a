//! Many processes on one file: nobody is told that it is busy, no job runs twice, none is lost.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jobq::{EventKind, State};

use crate::support::checker::Witness;
use crate::support::child::{EnqueuerRole, RunnerRole};
use crate::support::place::{Scene, all_jobs, count_events};
use crate::support::process::{Process, Spawn};
use crate::support::{PATIENCE, notes, wait_until};

const EACH: usize = 8;

fn crowd(time: Duration) {
    let scene = Scene::new();
    let queue = scene.open();
    let runners: Vec<Process> = (0..EACH)
        .map(|number| {
            // Short beats: looks at the others' locks and beats are part of the crowd.
            let role = RunnerRole {
                beat_every: Duration::from_millis(500),
                hung_after: PATIENCE,
                ..RunnerRole::default()
            };
            Spawn::new(&scene, format!("runner{number}"), role).start()
        })
        .collect();
    let enqueuers: Vec<Process> = (0..EACH)
        .map(|number| {
            let role = EnqueuerRole {
                longest: Duration::from_millis(3),
                pause: Duration::from_millis(5),
                seed: number as u64,
            };
            Spawn::new(&scene, format!("enqueuer{number}"), role).start()
        })
        .collect();
    let until = Instant::now() + time;
    wait_until("the time is up", time * 2, || Instant::now() >= until);
    enqueuers.into_iter().for_each(Process::end);
    wait_until("all jobs are final", PATIENCE * 2, || {
        queue.counts().unwrap().live() == 0
    });
    runners.into_iter().for_each(Process::end);

    assert_eq!(notes::complaints(&scene), []);
    assert_eq!(
        Witness::of(&scene, &queue, &HashMap::new()).violations(),
        Vec::<String>::new()
    );
    let jobs = all_jobs(&queue);
    assert!(jobs.len() >= EACH && jobs.len() == notes::acknowledged(&scene).len());
    assert!(
        jobs.iter()
            .all(|job| job.state == State::Completed && job.crashes == 0)
    );
    let begun = scene
        .effects()
        .iter()
        .filter(|effect| effect.is_begin())
        .count();
    assert_eq!(
        begun,
        jobs.len(),
        "each job is begun once, claims that were given back aside"
    );
    assert_eq!(count_events(&queue, None, EventKind::RunnerLost), 0);
    assert_eq!(count_events(&queue, None, EventKind::ReportDropped), 0);
}

#[test]
fn sixteen_processes_share_one_file() {
    crowd(Duration::from_secs(8));
}

#[test]
#[ignore = "takes a minute"]
fn sixteen_processes_share_one_file_for_long() {
    crowd(Duration::from_secs(60));
}
