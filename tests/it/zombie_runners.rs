//! Runners that stand still and come back: whoever was taken for lost changes nothing any more.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jobq::{EventKind, Outcome, Queue, RunReport, State, Until};

use crate::support::checker::Witness;
use crate::support::child::{Request, RunnerRole};
use crate::support::effects::Effect;
use crate::support::place::{
    Place, Scene, ailments, count_events, events, job, result, wait_until_completed,
};
use crate::support::process::{Process, Spawn};
use crate::support::task::{TASK, Task};
use crate::support::{PATIENCE, assert_stays, by, monotonic, wait_for, wait_until};

/// A runner with one worker that beats often and takes others for hung soon.
fn watchful(beat_every: Duration, hung_after: Duration) -> RunnerRole {
    RunnerRole {
        workers: 1,
        beat_every,
        hung_after,
        ..RunnerRole::default()
    }
}

/// A runner that beats so seldom that no heartbeat comes in between.
fn silent() -> RunnerRole {
    watchful(Duration::from_secs(600), Duration::from_secs(6000))
}

fn wait_until_lost(queue: &Queue, runner: jobq::RunnerId) {
    wait_until("the runner is taken for lost", PATIENCE, || {
        let lost = |event: &jobq::Event| {
            event.kind == EventKind::RunnerLost && event.runner == Some(runner)
        };
        events(queue, None).iter().any(lost)
    });
}

#[test]
fn a_zombie_changes_nothing_registers_anew_and_goes_on() {
    let role = || watchful(Duration::from_millis(100), Duration::from_millis(600));
    let scene = Scene::new();
    let queue = scene.open();
    let zombie = Spawn::new(&scene, "zombie", role()).start_runner(&queue);
    let id = queue
        .enqueue(Task::until(scene.file("gate")).stubborn().job())
        .unwrap()
        .id;
    scene.wait_until_begun(id, 1);
    let heir = Spawn::new(&scene, "heir", role()).start_runner(&queue);

    zombie.freeze();
    assert_eq!(scene.wait_until_begun(id, 2).process, "heir");
    scene.open_gate("gate.2");
    wait_until_completed(&queue, id);
    let left_by_heir = format!("{:?}", job(&queue, id));
    assert_eq!(result(&queue, id).as_deref(), Some(r#""heir-2""#));

    zombie.thaw();
    wait_until("the zombie registers anew", PATIENCE, || {
        zombie.runner_ids(&queue).len() == 2
    });
    scene.open_gate("gate.1");
    wait_until("the zombie's handler ends", PATIENCE, || {
        scene
            .effects()
            .iter()
            .any(|effect| effect.process == "zombie" && effect.is_end())
    });
    let more = [(); 2].map(|()| {
        queue
            .enqueue(Task::until(scene.file("more")).job())
            .unwrap()
            .id
    });
    wait_until("the zombie begins a new job", PATIENCE, || {
        let own = |effect: &Effect| effect.process == "zombie" && effect.is_begin();
        let effects = scene.effects();
        effects
            .iter()
            .any(|effect| own(effect) && more.contains(&effect.job))
    });
    scene.open_gate("more");
    queue.wait(&more, Some(PATIENCE)).unwrap();
    zombie.end();
    heir.end();
    assert_eq!(format!("{:?}", job(&queue, id)), left_by_heir);
    assert_eq!(scene.lock_files(), 0, "each takes its lock files with it");
    assert_eq!(ailments(&queue), Vec::<String>::new());
}

#[test]
fn a_zombie_whose_handler_does_not_listen_can_be_stopped() {
    let role = || watchful(Duration::from_millis(100), Duration::from_millis(600));
    let scene = Scene::new();
    let queue = scene.open();
    let zombie = Spawn::new(&scene, "zombie", role()).start_runner(&queue);
    let deaf = Task::until(scene.file("gate")).stubborn().job();
    let id = queue.enqueue(deaf).unwrap().id;
    scene.wait_until_begun(id, 1);
    let heir = Spawn::new(&scene, "heir", role()).start_runner(&queue);
    zombie.freeze();
    scene.wait_until_begun(id, 2);
    zombie.thaw();
    wait_until("the zombie registers anew", PATIENCE, || {
        zombie.runner_ids(&queue).len() == 2
    });
    let asked_at = monotonic();
    zombie.end();
    assert!(monotonic() - asked_at < role().patience / 2);
    scene.open_gate("gate");
    wait_until_completed(&queue, id);
    heir.end();
    assert_eq!(result(&queue, id).as_deref(), Some(r#""heir-2""#));
}

/// Short jobs are claimed ahead of the workers. Those that wait in the channel of a runner that stands
/// still are another's when it goes on.
#[test]
fn what_a_zombie_had_claimed_ahead_begins_on_its_heir_only() {
    let role = || watchful(Duration::from_millis(100), Duration::from_millis(600));
    let scene = Scene::new();
    let queue = scene.open();
    let zombie = Spawn::new(&scene, "zombie", role()).start_runner(&queue);
    // What has waited in the channel for a second is given back, so a slow test may come too late.
    let round = |round: u32| {
        let gate = format!("held-{round}");
        let quick = || (0..300).map(|_| Task::default().job());
        let held = Task::until(scene.file(&gate)).stubborn().job();
        let jobs = quick().chain([held]).chain(quick());
        let ids = queue.enqueue_many(jobs).unwrap();
        let ids: Vec<_> = ids.iter().map(|added| added.id).collect();
        scene.wait_until_begun(ids[300], 1);
        zombie.freeze();
        let begun: HashSet<_> = scene.effects().iter().map(|effect| effect.job).collect();
        let not_begun = ids.iter().copied().filter(|id| !begun.contains(id));
        let running = |id: &jobq::JobId| job(&queue, *id).state == State::Running;
        let ahead: Vec<_> = not_begun.filter(running).collect();
        if ahead.is_empty() {
            zombie.thaw();
            scene.open_gate(&gate);
            queue.wait(&ids, Some(PATIENCE)).unwrap();
        }
        (!ahead.is_empty()).then_some((ids, gate, ahead))
    };
    let (ids, gate, ahead) = (1..20).find_map(round).expect("jobs claimed ahead");

    let heir = Spawn::new(&scene, "heir", role()).start_runner(&queue);
    scene.wait_until_begun(ids[300], 2);
    scene.open_gate(&gate);
    queue.wait(&ids, Some(PATIENCE)).unwrap();
    zombie.thaw();
    wait_until("the zombie registers anew", PATIENCE, || {
        zombie.runner_ids(&queue).len() == 2
    });
    zombie.end();
    heir.end();
    for id in ahead {
        let begins = scene.begins_of(id);
        let begins: Vec<_> = begins.iter().map(|effect| &*effect.process).collect();
        assert_eq!(begins, ["heir"], "job {id}");
    }
    assert_eq!(ailments(&queue), Vec::<String>::new());
}

/// A runner is stopped at the moment when it is about to write that a job has ended; another takes
/// the job over and is at it when the first goes on. What is wrong in the end.
pub(crate) fn report_late(place: &Place, fault: Option<&str>) -> Vec<String> {
    let queue = place.open();
    let spawn = |name: &str, role: RunnerRole| {
        Spawn::new(place, name, role)
            .env("JOBQ_FAULT", fault.unwrap_or_default())
            .start_runner(&queue)
    };
    let zombie = spawn("zombie", silent());
    let id = queue
        .enqueue(Task::until(place.file("gate")).job())
        .unwrap()
        .id;
    place.wait_until_begun(id, 1);
    // Then it has nothing to write any more but the report.
    wait_until("the worker is noted", PATIENCE, || {
        job(&queue, id).worker.is_some()
    });

    let lock = place.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    place.open_gate("gate.1");
    zombie.wait_until_dispatcher_is_busy();
    let gone = HashMap::from([("zombie".to_owned(), monotonic())]);
    zombie.freeze_as_it_is();
    lock.execute_batch("ROLLBACK").unwrap();

    let heir = spawn(
        "heir",
        watchful(Duration::from_millis(50), Duration::from_millis(300)),
    );
    assert_eq!(place.wait_until_begun(id, 2).process, "heir");
    zombie.thaw();
    wait_until("the late report is written", PATIENCE, || {
        let dropped = count_events(&queue, Some(id), EventKind::ReportDropped);
        dropped == 1 || job(&queue, id).state.is_final()
    });
    place.open_gate("gate.2");
    wait_until("the heir ends its attempt", PATIENCE, || {
        place
            .effects()
            .iter()
            .any(|effect| effect.process == "heir" && effect.is_end())
    });
    wait_until_completed(&queue, id);
    zombie.end();
    heir.end();
    let mut wrong = Witness::of(place, &queue, &gone).violations();
    if result(&queue, id).as_deref() != Some(r#""heir-2""#) {
        wrong.push(format!(
            "the result is {:?}, not the heir's",
            result(&queue, id)
        ));
    }
    wrong
}

#[test]
fn a_zombie_cannot_finish_a_job_that_was_taken_over() {
    let scene = Scene::new();
    assert_eq!(report_late(&scene, None), Vec::<String>::new());
    let queue = scene.open();
    assert_eq!(count_events(&queue, None, EventKind::ReportDropped), 1);
}

#[test]
fn a_runner_taken_for_lost_registers_anew_before_it_claims() {
    let scene = Scene::new();
    let queue = scene.open();
    let mut zombie = Spawn::new(&scene, "zombie", silent()).start_runner(&queue);
    let lost = zombie.runner_ids(&queue)[0];
    let lock = scene.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    // What it is about to write is a job, and it would claim that at once.
    zombie.ask(&Request::Enqueue(Task::until(scene.file("gate"))));
    zombie.wait_until_dispatcher_is_busy();
    zombie.freeze_as_it_is();
    lock.execute_batch("ROLLBACK").unwrap();
    let heir = Spawn::new(
        &scene,
        "heir",
        watchful(Duration::from_millis(50), Duration::from_millis(300)),
    );
    let heir = heir.start_runner(&queue);
    wait_until_lost(&queue, lost);

    zombie.thaw();
    let id = wait_for("the job is enqueued", PATIENCE, || queue.last_id().unwrap());
    scene.wait_until_begun(id, 1);
    assert_ne!(
        job(&queue, id).runner,
        Some(lost),
        "nobody would take it over from a lost runner"
    );
    scene.open_gate("gate");
    wait_until_completed(&queue, id);
    zombie.end();
    heir.end();
}

#[test]
fn runners_that_paused_together_take_nothing_from_each_other() {
    let hung_after = Duration::from_millis(400);
    let role = || watchful(Duration::from_millis(100), hung_after);
    let scene = Scene::new();
    let queue = scene.open();
    let runners: Vec<Process> = ["one", "two"]
        .map(|name| Spawn::new(&scene, name, role()).start_runner(&queue))
        .into();
    let ids = [(); 2].map(|()| {
        queue
            .enqueue(Task::until(scene.file("gate")).job())
            .unwrap()
            .id
    });
    for id in ids {
        scene.wait_until_begun(id, 1);
    }
    for _ in 0..5 {
        runners.iter().for_each(Process::freeze);
        let since = monotonic();
        wait_until("time passes", PATIENCE, || {
            monotonic() > since + hung_after * 2
        });
        runners.iter().for_each(Process::thaw);
        assert_stays("the number of attempts", hung_after * 2, || {
            scene.effect_log().count()
        });
    }
    scene.open_gate("gate");
    queue.wait(&ids, Some(PATIENCE)).unwrap();
    runners.into_iter().for_each(Process::end);
    assert_eq!(count_events(&queue, None, EventKind::RunnerLost), 0);
    assert!(ids.iter().all(|id| job(&queue, *id).attempt == 1));
}

/// Beats quickly, and ends when nothing is left to run.
fn drain(queue: &Queue, hung_after: Duration) -> RunReport {
    let runner = queue
        .runner()
        .heartbeat(Duration::from_millis(50), hung_after)
        .kind(TASK, by(|_| Outcome::Done(None)))
        .until(Until::Drained);
    runner.start().unwrap().wait().unwrap()
}

/// In a copy of the file nothing tells that its runners are gone but their silence.
#[test]
fn a_drain_waits_for_a_lockless_runner_until_it_is_found_hung() {
    let (scene, copy) = (Scene::new(), Scene::new());
    let queue = scene.open();
    let original = Spawn::new(&scene, "original", silent()).start_runner(&queue);
    let id = queue
        .enqueue(Task::until(scene.file("gate")).job())
        .unwrap()
        .id;
    scene.wait_until_begun(id, 1);
    queue.backup(copy.database()).unwrap();
    let restored = copy.open();
    let [told] = &ailments(&restored)[..] else {
        panic!("the doctor tells of one thing")
    };
    assert!(
        told.contains("has no lock file and 1 running job;"),
        "{told}"
    );
    let ended = drain(&restored, Duration::from_millis(400));
    assert_eq!((ended.stats.completed, ended.left.len()), (1, 0));
    assert_eq!(job(&restored, id).attempt, 2);
    assert_eq!(ailments(&restored), Vec::<String>::new());
    assert_eq!(ailments(&queue), Vec::<String>::new());
    scene.open_gate("gate");
    original.end();
}

#[test]
fn a_drain_leaves_a_live_runners_jobs_even_without_lock_file() {
    for has_file in [true, false] {
        let scene = Scene::new();
        let queue = scene.open();
        let role = watchful(Duration::from_millis(50), Duration::from_secs(600));
        let live = Spawn::new(&scene, "live", role).start_runner(&queue);
        let id = queue
            .enqueue(Task::until(scene.file("gate")).job())
            .unwrap()
            .id;
        scene.wait_until_begun(id, 1);
        if !has_file {
            scene.remove_lock_files();
        }
        let ended = drain(&queue, PATIENCE);
        assert_eq!((ended.stats.completed, ended.left.len()), (0, 1));
        scene.open_gate("gate");
        wait_until_completed(&queue, id);
        live.end();
        assert_eq!(job(&queue, id).attempt, 1);
    }
}
