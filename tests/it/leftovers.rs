//! What the commands of a killed runner leave running is ended before their jobs run again.

use std::os::unix::process::CommandExt;
use std::time::Duration;

use jobq::handlers::exec::{EXEC, ExecHandler, ExecPayload, Program};
use jobq::{NewJob, Outcome, Queue, State};

use crate::support::child::RunnerRole;
use crate::support::place::{Scene, job, state, wait_until_completed};
use crate::support::process::{Process, Spawn, is_alive};
use crate::support::{PATIENCE, by, monotonic, wait_for, wait_until};

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

#[test]
fn a_rerun_job_finds_no_leftovers_of_its_killed_runner() {
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

/// Ways to leave the command's group; what has left it writes its number to `pids`.
const ESCAPES: [&str; 3] = [
    "setsid sleep 600 & echo $! >>pids",
    "setsid sh -c '(setsid sleep 600 & echo $! >>pids) &'",
    "setsid sh -c 'trap \"\" TERM HUP; echo $$ >>pids; while :; do sleep 600; done' &",
];

/// The first attempt leaves processes by all of these ways and goes on; the second looks which of them
/// are still there.
fn escaping(scene: &Scene) -> String {
    format!(
        "cd '{}'\n\
         if [ $JOBQ_ATTEMPT = 2 ]; then for pid in $(cat pids); do\n\
         [ -e /proc/$pid ] && grep -q '^State:.[^ZX]' /proc/$pid/status && echo $pid >>survivors; done; exit 0; fi\n\
         {}\n exec sleep 600",
        scene.folder().display(),
        ESCAPES.join("\n")
    )
}

#[test]
fn a_killed_runners_processes_outside_the_group_are_ended() {
    let scene = Scene::new();
    let queue = scene.open();
    let first = start(&scene, &queue, "first");
    let id = shell(&queue, &escaping(&scene));
    let pids = pids_in(&scene, "pids", ESCAPES.len());
    first.kill();
    let second = start(&scene, &queue, "second");
    wait_until_completed(&queue, id);
    second.end();
    assert!(!scene.file("survivors").exists());
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
}

#[test]
fn a_due_run_takeover_ends_leftovers_of_a_killed_runner() {
    let scene = Scene::new();
    let queue = scene.open();
    let first = start(&scene, &queue, "first");
    let id = shell(&queue, &escaping(&scene));
    pids_in(&scene, "pids", ESCAPES.len());
    first.kill();
    queue
        .runner()
        .kind(EXEC, ExecHandler::default())
        .run_due()
        .unwrap();
    assert_eq!(job(&queue, id).state, State::Completed);
    assert!(!scene.file("survivors").exists());
}

#[test]
fn leftovers_of_a_hung_runners_command_end_at_takeover() {
    let scene = Scene::new();
    let queue = scene.open();
    let quick = RunnerRole {
        beat_every: Duration::from_millis(50),
        hung_after: Duration::from_millis(400),
        ..RunnerRole::default()
    };
    let first = Spawn::new(&scene, "first", quick.clone()).start_runner(&queue);
    let id = shell(&queue, &escaping(&scene));
    let pids = pids_in(&scene, "pids", ESCAPES.len());
    first.freeze();
    let second = Spawn::new(&scene, "second", quick).start_runner(&queue);
    wait_until_completed(&queue, id);
    assert!(!scene.file("survivors").exists());
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    first.thaw();
    first.end();
    second.end();
    assert_eq!(state(&queue, id), State::Completed);
}

/// A runner that dies between starting a command and anything that it could do about it.
#[test]
#[cfg(feature = "fault-injection")]
fn a_command_of_a_lost_runner_never_runs_beside_its_successor() {
    let scene = Scene::new();
    let queue = scene.open();
    let script = format!(
        "cd '{}'; [ $JOBQ_ATTEMPT = 1 ] || {{ grep -q '^State:.[^ZX]' /proc/$(cat pids)/status && touch survivors; exit 0; }}\n\
         echo $$ >pids; exec sleep 600",
        scene.folder().display()
    );
    let id = shell(&queue, &script);
    let mut first = Spawn::new(&scene, "first", RunnerRole::default())
        .env("JOBQ_FAULT", "dies-at-start")
        .start();
    first.wait_to_exit();
    let [pid] = pids_in(&scene, "pids", 1)[..] else {
        panic!("one number")
    };
    assert!(is_alive(pid));
    let second = start(&scene, &queue, "second");
    wait_until_completed(&queue, id);
    second.end();
    assert!(!scene.file("survivors").exists() && !is_alive(pid));
}

/// A command that kills its runner as soon as it runs.
#[test]
fn a_command_that_kills_its_runner_at_once_is_gone_when_rerun() {
    let scene = Scene::new();
    let queue = scene.open();
    let script = format!(
        "cd '{}'; if [ $JOBQ_ATTEMPT = 1 ]; then kill -9 $PPID; echo $$ >pids; exec sleep 600; fi\n\
         grep -q '^State:.[^ZX]' /proc/$(cat pids)/status && touch survivors; exit 0",
        scene.folder().display()
    );
    let id = shell(&queue, &script);
    let mut first = Spawn::new(&scene, "first", RunnerRole::default()).start();
    first.wait_to_exit();
    pids_in(&scene, "pids", 1);
    let second = start(&scene, &queue, "second");
    wait_until_completed(&queue, id);
    second.end();
    assert!(!scene.file("survivors").exists());
}

/// Somebody else's process, which a hostile lock file or a hostile number leads to.
struct Bystander(std::process::Child);

impl Bystander {
    fn start(variables: &[(&str, &str)]) -> Bystander {
        let mut command = std::process::Command::new("sleep");
        command.arg("600").envs(variables.iter().copied());
        Bystander(command.process_group(0).spawn().unwrap())
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// What earlier versions noted in a lock file, of a process that is not the attempt's.
fn forged_mark(pid: u32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = fields.split(' ').collect();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let first = std::fs::read_to_string("/proc/1/stat").unwrap();
    let (_, first) = first.rsplit_once(") ").unwrap();
    format!(
        "1 1 {pid} {} {} {}/{}/{}",
        fields[19],
        fields[3],
        boot.trim(),
        namespace.display(),
        first.split(' ').nth(19).unwrap()
    )
}

#[test]
fn a_takeover_ends_only_processes_of_the_attempt() {
    let scene = Scene::new();
    let queue = scene.open();
    let first = start(&scene, &queue, "first");
    let id = shell(&queue, &escaping(&scene));
    let pids = pids_in(&scene, "pids", ESCAPES.len());
    let database = scene.database();
    let database = database.to_str().unwrap();
    let mut bystanders = [
        Bystander::start(&[]),
        // Of another job, another attempt, and of another file that has the same job.
        Bystander::start(&[
            ("JOBQ_DB", database),
            ("JOBQ_JOB_ID", "2"),
            ("JOBQ_ATTEMPT", "1"),
        ]),
        Bystander::start(&[
            ("JOBQ_DB", database),
            ("JOBQ_JOB_ID", "1"),
            ("JOBQ_ATTEMPT", "2"),
        ]),
        Bystander::start(&[
            ("JOBQ_DB", "/"),
            ("JOBQ_JOB_ID", "1"),
            ("JOBQ_ATTEMPT", "1"),
        ]),
        Bystander::start(&[("JOBQ_JOB_ID", "1"), ("JOBQ_ATTEMPT", "1")]),
    ];
    let marks: Vec<String> = bystanders.iter().map(|it| forged_mark(it.0.id())).collect();
    for file in std::fs::read_dir(scene.file("jobs.db-runners")).unwrap() {
        std::fs::write(file.unwrap().path(), marks.join("\n")).unwrap();
    }
    first.kill();
    let second = start(&scene, &queue, "second");
    wait_until_completed(&queue, id);
    second.end();
    assert!(pids.iter().all(|pid| !is_alive(*pid)), "its own are gone");
    assert!(bystanders.iter_mut().all(Bystander::lives));
}

#[test]
fn a_process_older_than_the_lost_runner_is_not_its_attempts() {
    let scene = Scene::new();
    let queue = scene.open();
    let database = scene.database();
    let database = database.to_str().unwrap();
    // What a job of the same number left, in a file that was here before.
    let variables = [
        ("JOBQ_DB", database),
        ("JOBQ_JOB_ID", "1"),
        ("JOBQ_ATTEMPT", "1"),
    ];
    let mut older = Bystander::start(&variables);
    let began = monotonic();
    wait_until("a clock tick has passed", PATIENCE, || {
        monotonic() - began > Duration::from_millis(20)
    });
    let first = start(&scene, &queue, "first");
    let id = shell(&queue, &escaping(&scene));
    pids_in(&scene, "pids", ESCAPES.len());
    first.kill();
    let second = start(&scene, &queue, "second");
    wait_until_completed(&queue, id);
    second.end();
    assert!(older.lives());
}

#[test]
fn a_copy_of_the_file_ends_nothing_of_the_original() {
    let scene = Scene::new();
    let queue = scene.open();
    let first = start(&scene, &queue, "first");
    let id = shell(&queue, &escaping(&scene));
    let pids = pids_in(&scene, "pids", ESCAPES.len());
    wait_until("it runs", PATIENCE, || state(&queue, id) == State::Running);
    let copy = Scene::new();
    queue.backup(copy.database()).unwrap();
    // With the lock files, which nobody holds there: its runner looks dead.
    let locks = copy.file("jobs.db-runners");
    std::fs::create_dir(&locks).unwrap();
    for file in std::fs::read_dir(scene.file("jobs.db-runners")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), locks.join(file.file_name())).unwrap();
    }
    let other = copy.open();
    // Its handler is not called: the command would see the original's folder.
    let done = by(|_| Outcome::Done(None));
    other.runner().kind(EXEC, done).run_due().unwrap();
    assert_eq!(
        state(&other, id),
        State::Completed,
        "it was taken over there"
    );
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    queue.cancel(id).unwrap();
    wait_until("it is cancelled", PATIENCE, || state(&queue, id).is_final());
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    first.end();
}
