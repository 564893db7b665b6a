//! The disk is full, or files may not grow: errors are clear, what was acknowledged is there, and a
//! runner saves what it has to report when there is room again.

use std::process::Command;
use std::time::Duration;

use jobq::{JobId, NewJob, Queue, State};

use crate::support::child::{EnqueuerRole, Request, RunnerRole};
use crate::support::notes::{self, Told};
use crate::support::place::{Place, Scene, ailments, all_jobs, job, state, wait_until_completed};
use crate::support::process::{Process, Spawn};
use crate::support::task::Task;
use crate::support::{PATIENCE, assert_stays, wait_until};

/// A write past the limit is an error then, and no signal.
const IGNORE_XFSZ: &str = "trap '' XFSZ";

fn hurried(seed: u64) -> EnqueuerRole {
    EnqueuerRole {
        longest: Duration::ZERO,
        pause: Duration::ZERO,
        seed,
    }
}

fn is_clear(told: &Told) -> bool {
    let (Told::Refused(error) | Told::Unknown(error)) = told else {
        return false;
    };
    error.contains("disk is full") || error.contains("may not become larger")
}

#[test]
fn a_file_that_cannot_grow_fails_enqueues_and_loses_nothing() {
    let scene = Scene::new();
    drop(scene.open());
    let enqueuer = Spawn::new(&scene, "enqueuer", hurried(1))
        .after(IGNORE_XFSZ)
        .start();
    enqueuer.limit_files(Some(300_000));
    wait_until("nothing fits any more", PATIENCE, || {
        let notes = notes::read(&scene);
        let tail = notes.iter().rev().take(20);
        notes.len() > 20 && tail.clone().all(|(_, told)| is_clear(told))
    });
    enqueuer.end();
    let queue = scene.open();
    assert!(
        notes::complaints(&scene)
            .iter()
            .all(|(_, told)| is_clear(told))
    );
    assert_eq!(notes::lies(&scene, &queue), Vec::<String>::new());
    assert_eq!(ailments(&queue), Vec::<String>::new());
    assert!(!notes::acknowledged(&scene).is_empty());
    queue.enqueue(Task::default().job()).unwrap();
}

/// A runner that runs two tasks, with one more behind them.
struct Busy {
    runner: Process,
    ids: Vec<JobId>,
}

fn busy_runner(place: &Place, queue: &Queue, patience: Duration) -> Busy {
    let role = RunnerRole {
        patience,
        ..RunnerRole::default()
    };
    let runner = Spawn::new(place, "runner", role)
        .after(IGNORE_XFSZ)
        .start_runner(queue);
    let gated = Task::until(place.file("gate")).stubborn().job();
    let gated = gated.on_end(NewJob::new("tell"));
    let ids: Vec<JobId> = (0..3)
        .map(|_| queue.enqueue(gated.clone()).unwrap().id)
        .collect();
    wait_until("two run, and their workers are noted", PATIENCE, || {
        ids.iter()
            .filter(|id| job(queue, **id).worker.is_some())
            .count()
            == 2
    });
    Busy { runner, ids }
}

/// A runner that ends without saving what these jobs came to fails, and names them.
fn assert_says_what_is_unsaved(place: &Place, ids: &[JobId]) {
    let said = std::fs::read_to_string(place.file("runner.log")).unwrap();
    let error = format!(
        "the runner ended before it could save what became of jobs {}, {}: ",
        ids[0], ids[1]
    );
    assert!(said.contains(&error), "{said}");
}

fn wait_until_ended(place: &Place, tasks: usize) {
    wait_until("the tasks end", PATIENCE, || {
        place
            .effects()
            .iter()
            .filter(|effect| effect.is_end())
            .count()
            == tasks
    });
}

#[test]
fn a_runner_keeps_reports_until_the_file_can_be_written() {
    let scene = Scene::new();
    let queue = scene.open();
    let Busy { runner, ids } = busy_runner(&scene, &queue, PATIENCE);
    runner.limit_files(Some(4096));
    scene.open_gate("gate");
    wait_until_ended(&scene, 2);
    let time = Duration::from_millis(800);
    let cpu_before = runner.cpu_time();
    assert_stays("the states", time, || {
        ids.iter().map(|id| state(&queue, *id)).collect::<Vec<_>>()
    });
    let spent = runner.cpu_time() - cpu_before;
    assert!(spent < time / 4, "it waits between its tries: {spent:?}");
    assert_eq!(queue.counts().unwrap().get(State::Running), 2);
    runner.limit_files(None);
    for id in ids {
        wait_until_completed(&queue, id);
        let job = job(&queue, id);
        assert_eq!((job.attempt, scene.begins_of(id).len()), (1, 1));
        assert_eq!(job.hook_jobs.len(), 1);
    }
    runner.end();
    assert_eq!(ailments(&queue), Vec::<String>::new());
}

#[test]
fn a_runner_that_cannot_save_stops_and_jobs_are_taken_over() {
    let scene = Scene::new();
    let queue = scene.open();
    let Busy { mut runner, ids } = busy_runner(&scene, &queue, Duration::from_millis(300));
    runner.limit_files(Some(4096));
    assert!(!runner.wait_to_exit_when_asked().success());
    assert_says_what_is_unsaved(&scene, &ids[..2]);
    assert_eq!(queue.counts().unwrap().get(State::Running), 2);
    scene.open_gate("gate");
    let heir = Spawn::new(&scene, "heir", RunnerRole::default()).start_runner(&queue);
    for id in ids {
        wait_until_completed(&queue, id);
    }
    heir.end();
    assert_eq!(ailments(&queue), Vec::<String>::new());
}

/// Runs an ignored test of this file on a small disk of its own, which is full when it is full.
fn on_a_small_disk(test: &str) {
    let scene = Scene::new();
    let disk = scene.file("disk");
    std::fs::create_dir(&disk).unwrap();
    let probe = Command::new("unshare").args(["-rm", "true"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        return eprintln!("skipped: no file system can be mounted here");
    }
    let ran = Command::new("unshare")
        .args(["-rm", "/bin/sh", "-c"])
        .arg(r#"mount -t tmpfs -o size=6m none "$0" && exec "$@""#)
        .arg(&disk)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("JOBQ_TEST_PLACE", scene.folder())
        .env("JOBQ_TEST_DISK", &disk)
        .output()
        .unwrap();
    let said = [ran.stdout, ran.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(
        ran.status.success() && said[0].contains("1 passed"),
        "{}",
        said.concat()
    );
}

/// The place that [`on_a_small_disk`] has prepared; none where the test was started by hand.
fn small_disk() -> Option<Place> {
    let disk = std::env::var("JOBQ_TEST_DISK").ok()?;
    Some(Place::at(std::env::var("JOBQ_TEST_PLACE").ok()?).on_disk(disk))
}

fn free_blocks(place: &Place) -> u64 {
    rustix::fs::statvfs(place.disk()).unwrap().f_bfree
}

/// More than a small disk has left anywhere.
fn large_job() -> NewJob {
    NewJob::new("large").payload(&"x".repeat(1 << 20))
}

#[test]
fn a_full_disk_is_reported_and_the_runner_recovers_with_room() {
    on_a_small_disk("disk::inner_full_disk");
}

#[test]
#[ignore = "runs on a disk that another test mounts"]
fn inner_full_disk() {
    let Some(place) = small_disk() else { return };
    let queue = place.open();
    let Busy { mut runner, ids } = busy_runner(&place, &queue, PATIENCE);
    let filler = place.disk().join("filler");
    runner.ask(&Request::Fill(filler.clone()));
    wait_until("the disk is full", PATIENCE, || free_blocks(&place) == 0);
    place.open_gate("gate");
    wait_until_ended(&place, 2);
    for _ in 0..3 {
        let error = queue.enqueue(large_job()).unwrap_err();
        assert!(error.is_full(), "{error:?}");
        assert_eq!(error.to_string(), "the disk is full; nothing was changed");
        assert!(error.hint().is_some());
    }
    assert_eq!(all_jobs(&queue).len(), ids.len());
    runner.ask(&Request::Remove(filler));
    for id in ids {
        wait_until_completed(&queue, id);
        assert_eq!((job(&queue, id).attempt, place.begins_of(id).len()), (1, 1));
    }
    queue.enqueue(large_job()).unwrap();
    runner.end();
    assert_eq!(ailments(&queue), Vec::<String>::new());
}

#[test]
fn a_runner_on_a_full_disk_stops_and_its_jobs_are_taken_over() {
    on_a_small_disk("disk::inner_stop_on_full_disk");
}

#[test]
#[ignore = "runs on a disk that another test mounts"]
fn inner_stop_on_full_disk() {
    let Some(place) = small_disk() else { return };
    let queue = place.open();
    let Busy { mut runner, ids } = busy_runner(&place, &queue, Duration::from_millis(300));
    let filler = place.disk().join("filler");
    runner.ask(&Request::Fill(filler.clone()));
    wait_until("the disk is full", PATIENCE, || free_blocks(&place) == 0);
    runner.ask(&Request::Stop);
    assert!(!runner.wait_to_exit_when_asked().success());
    assert_says_what_is_unsaved(&place, &ids[..2]);
    std::fs::remove_file(filler).unwrap();
    place.open_gate("gate");
    let heir = Spawn::new(&place, "heir", RunnerRole::default()).start_runner(&queue);
    for id in ids {
        wait_until_completed(&queue, id);
    }
    heir.end();
    assert_eq!(ailments(&queue), Vec::<String>::new());
}
