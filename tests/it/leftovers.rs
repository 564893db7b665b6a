//! What the commands of a killed runner leave running is ended before their jobs run again.

use jobq::handlers::exec::{EXEC, ExecPayload, Program};
use jobq::{NewJob, Queue};

use crate::support::child::RunnerRole;
use crate::support::place::{Scene, job, wait_until_completed};
use crate::support::process::{Process, Spawn, is_alive};
use crate::support::{PATIENCE, wait_for, wait_until};

fn shell(queue: &Queue, script: &str) -> jobq::JobId {
    let payload = ExecPayload::new(Program::Shell(script.to_owned())).unwrap();
    let job = NewJob::new(EXEC).payload_json(payload.to_json().unwrap());
    queue.enqueue(job).unwrap().id
}

fn start(scene: &Scene, queue: &Queue, name: &str) -> Process {
    Spawn::new(scene, name, RunnerRole::default()).start_runner(queue)
}

fn pids_in(scene: &Scene, file: &str, wanted: usize) -> Vec<u32> {
    wait_for("the command says its numbers", PATIENCE, || {
        let text = std::fs::read_to_string(scene.file(file)).ok()?;
        let pids: Vec<u32> = text
            .split_whitespace()
            .map(|pid| pid.parse().unwrap())
            .collect();
        (pids.len() >= wanted).then_some(pids)
    })
}

/// Waits until a runner's lock file says that it runs this process.
fn wait_until_noted(scene: &Scene, pid: u32) {
    wait_until("the process is noted", PATIENCE, || {
        let files = std::fs::read_dir(scene.file("jobs.db-runners")).unwrap();
        let notes = files.filter_map(|file| std::fs::read_to_string(file.unwrap().path()).ok());
        let word = pid.to_string();
        notes
            .into_iter()
            .any(|notes| notes.split([' ', '\n']).any(|noted| noted == word))
    });
}

#[test]
fn what_a_killed_runners_command_left_running_is_gone_when_its_job_runs_again() {
    let scene = Scene::new();
    let queue = scene.open();
    let first = start(&scene, &queue, "first");
    // The second attempt looks itself whether the processes of the first are still there.
    let script = format!(
        "cd '{}'\n\
         if [ $JOBQ_ATTEMPT = 2 ]; then for pid in $(cat pids); do\n\
         [ -e /proc/$pid ] && grep -q '^State:.[^ZX]' /proc/$pid/status && echo $pid >> survivors; done; exit 0; fi\n\
         trap '' TERM HUP; sleep 600 & echo $$ $! >> pids; sleep 600",
        scene.folder().display()
    );
    let id = shell(&queue, &script);
    let pids = pids_in(&scene, "pids", 2);
    wait_until_noted(&scene, pids[0]);
    first.kill();
    assert!(
        pids.iter().all(|pid| is_alive(*pid)),
        "a command survives its runner"
    );

    let second = start(&scene, &queue, "second");
    wait_until_completed(&queue, id);
    second.end();
    assert!(
        !scene.file("survivors").exists(),
        "something of attempt 1 ran on in attempt 2"
    );
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    assert_eq!((job(&queue, id).attempt, job(&queue, id).crashes), (2, 1));
}

#[test]
fn a_live_runner_ends_what_another_left_before_it_runs_the_job() {
    let scene = Scene::new();
    let queue = scene.open();
    let mut runners = vec![start(&scene, &queue, "one"), start(&scene, &queue, "two")];
    let script = format!(
        "cd '{}'; echo $$ > pid.$JOBQ_ATTEMPT\n\
         if [ $JOBQ_ATTEMPT = 2 ]; then grep -q '^State:.[^ZX]' /proc/$(cat pid.1)/status && touch survivor; exit 0; fi\n\
         exec sleep 600",
        scene.folder().display()
    );
    let id = shell(&queue, &script);
    let [pid] = pids_in(&scene, "pid.1", 1)[..] else {
        panic!("one number")
    };
    wait_until_noted(&scene, pid);
    let holder = job(&queue, id).runner.unwrap();
    let at = runners
        .iter()
        .position(|runner| runner.runner_ids(&queue) == [holder])
        .unwrap();
    runners.swap_remove(at).kill();
    wait_until_completed(&queue, id);
    assert!(!scene.file("survivor").exists() && !is_alive(pid));
    runners.into_iter().for_each(Process::end);
}
