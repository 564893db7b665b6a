//! The disk fails at COMMIT: whatever is said is true, nothing acknowledged is lost, and when the
//! disk is well again everything goes on. A disk may be slow as well, or a quota be reached.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use jobq::{EventKind, JobId, State};

use crate::support::checker::Witness;
use crate::support::child::{EnqueuerRole, Role, RunnerRole};
use crate::support::notes::{self, Told};
use crate::support::place::{
    Place, Scene, ailments, all_jobs, count_events, job, wait_until_completed,
};
use crate::support::process::{Process, Spawn};
use crate::support::task::Task;
use crate::support::{PATIENCE, assert_stays, wait_until};

/// In place of the C library's: fails while the file `$JOBQ_TEST_SYNC_FAILS.always` is there, and
/// once for each `….once`, which it removes. While `….slow` is there each sync takes a tenth of a
/// second, and while `….quota` is there no write is allowed. For `….unlock` the write lock is not let go
/// once.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int fails(void) {
    const char *prefix = getenv("JOBQ_TEST_SYNC_FAILS");
    char always[4096], once[4096];
    if (!prefix) return 0;
    snprintf(always, sizeof always, "%s.always", prefix);
    snprintf(once, sizeof once, "%s.once", prefix);
    return unlink(once) == 0 || access(always, F_OK) == 0;
}

static int is_there(const char *ending) {
    const char *prefix = getenv("JOBQ_TEST_SYNC_FAILS");
    char path[4096];
    if (!prefix) return 0;
    snprintf(path, sizeof path, "%s.%s", prefix, ending);
    return access(path, F_OK) == 0;
}

ssize_t pwrite64(int fd, const void *from, size_t bytes, off64_t at) {
    if (is_there("quota")) { errno = EDQUOT; return -1; }
    return ((ssize_t (*)(int, const void *, size_t, off64_t)) dlsym(RTLD_NEXT, "pwrite64"))(fd, from, bytes, at);
}

static int sync_or_fail(const char *name, int fd) {
    if (is_there("slow")) usleep(100000);
    if (fails()) { errno = EIO; return -1; }
    return ((int (*)(int)) dlsym(RTLD_NEXT, name))(fd);
}

/* SQLite's write lock is byte 120 of the log's index. */
static int lock_or_fail(const char *name, int fd, int cmd, void *with) {
    struct flock *lock = with;
    int before = errno;
    if (cmd == F_SETLK && lock->l_type == F_UNLCK && lock->l_start == 120 && is_there("unlock")) {
        char path[4096];
        snprintf(path, sizeof path, "%s.unlock", getenv("JOBQ_TEST_SYNC_FAILS"));
        unlink(path);
        errno = EIO;
        return -1;
    }
    errno = before;
    return ((int (*)(int, int, ...)) dlsym(RTLD_NEXT, name))(fd, cmd, with);
}

#define LOCK(name) int name(int fd, int cmd, ...) { \
    va_list more; va_start(more, cmd); void *with = va_arg(more, void *); va_end(more); \
    return lock_or_fail(#name, fd, cmd, with); }
LOCK(fcntl)
LOCK(fcntl64)

int fsync(int fd) { return sync_or_fail("fsync", fd); }
int fdatasync(int fd) { return sync_or_fail("fdatasync", fd); }
"#;

/// A disk whose syncs fail on demand.
struct SickDisk<'a> {
    place: &'a Place,
    shim: PathBuf,
}

impl<'a> SickDisk<'a> {
    /// None, and a word on it, where there is no C compiler.
    fn new(place: &'a Place) -> Option<SickDisk<'a>> {
        let source = place.file("shim.c");
        let shim = place.file("shim.so");
        std::fs::write(&source, SHIM).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-o"])
            .arg(&shim)
            .arg(&source)
            .arg("-ldl");
        let Ok(status) = cc.status() else {
            eprintln!("skipped: there is no C compiler here");
            return None;
        };
        assert!(status.success(), "the shim is compiled");
        Some(SickDisk { place, shim })
    }

    fn spawn(&self, name: &str, role: impl Into<Role>) -> Process {
        Spawn::new(self.place, name, role)
            .env("LD_PRELOAD", self.shim.to_str().unwrap())
            .env(
                "JOBQ_TEST_SYNC_FAILS",
                self.place.file("sync").to_str().unwrap(),
            )
            .start()
    }

    /// From here on it is so: `slow`, or over its `quota`.
    fn becomes(&self, what: &str) {
        std::fs::write(self.place.file(&format!("sync.{what}")), "").unwrap();
    }

    fn is_no_longer(&self, what: &str) {
        std::fs::remove_file(self.place.file(&format!("sync.{what}"))).unwrap();
    }

    fn fall_ill(&self) {
        std::fs::write(self.place.file("sync.always"), "").unwrap();
    }

    fn get_well(&self) {
        std::fs::remove_file(self.place.file("sync.always")).unwrap();
    }

    /// One sync fails, and has when this returns.
    fn fail_once(&self) {
        let flag = self.place.file("sync.once");
        std::fs::write(&flag, "").unwrap();
        wait_until("a sync fails", PATIENCE, || !flag.exists());
    }
}

fn enqueuer(disk: &SickDisk<'_>, name: &str) -> Process {
    let role = EnqueuerRole {
        longest: Duration::ZERO,
        pause: Duration::from_millis(2),
        seed: 7,
    };
    disk.spawn(name, role)
}

fn wait_for_more_notes(place: &Place, what: &str, is: impl Fn(&Told) -> bool) {
    let count = || {
        notes::read(place)
            .iter()
            .filter(|(_, told)| is(told))
            .count()
    };
    let before = count();
    wait_until(what, PATIENCE, || count() >= before + 3);
}

fn is_acknowledged(told: &Told) -> bool {
    matches!(told, Told::Acknowledged(_))
}

#[test]
fn after_a_failed_commit_the_writer_knows_whether_it_landed() {
    // With another connection open the failed commit is not seen; without one it is, after recovery.
    for with_company in [true, false] {
        let scene = Scene::new();
        let Some(disk) = SickDisk::new(&scene) else {
            return;
        };
        let queue = scene.open();
        let company = with_company.then(|| (queue.counts().unwrap(), queue.clone()));
        drop(queue);
        let enqueuer = enqueuer(&disk, "enqueuer");
        for _ in 0..25 {
            wait_for_more_notes(&scene, "jobs are acknowledged again", is_acknowledged);
            disk.fail_once();
        }
        wait_for_more_notes(&scene, "jobs are acknowledged again", is_acknowledged);
        enqueuer.end();
        drop(company);
        let queue = scene.open();
        assert_eq!(notes::lies(&scene, &queue), Vec::<String>::new());
        assert_eq!(ailments(&queue), Vec::<String>::new());
    }
}

#[test]
fn nothing_is_acknowledged_until_a_sync_succeeds() {
    let scene = Scene::new();
    let Some(disk) = SickDisk::new(&scene) else {
        return;
    };
    drop(scene.open());
    let first = enqueuer(&disk, "first");
    wait_for_more_notes(&scene, "jobs are acknowledged", is_acknowledged);
    disk.fall_ill();
    wait_for_more_notes(&scene, "nothing is", |told| !is_acknowledged(told));
    assert_stays("what is acknowledged", Duration::from_millis(300), || {
        notes::acknowledged(&scene).len()
    });
    disk.get_well();
    wait_for_more_notes(&scene, "jobs are acknowledged again", is_acknowledged);
    disk.fall_ill();
    wait_for_more_notes(&scene, "nothing is", |told| !is_acknowledged(told));
    first.kill();
    disk.get_well();
    let second = enqueuer(&disk, "second");
    wait_for_more_notes(&scene, "jobs are acknowledged again", is_acknowledged);
    second.end();

    let queue = scene.open();
    assert_eq!(notes::lies(&scene, &queue), Vec::<String>::new());
    assert_eq!(ailments(&queue), Vec::<String>::new());
    let unknown = |(_, told): &(String, Told)| matches!(told, Told::Unknown(_));
    assert!(
        notes::complaints(&scene).iter().any(unknown),
        "a commit is left open"
    );
}

#[test]
fn a_runner_whose_commits_fail_keeps_reports_and_jobs() {
    for with_company in [true, false] {
        let scene = Scene::new();
        let Some(disk) = SickDisk::new(&scene) else {
            return;
        };
        let queue = scene.open();
        let gated = Task::until(scene.file("gate")).job();
        let runner = disk.spawn("runner", RunnerRole::default());
        let ids: Vec<JobId> = (0..6)
            .map(|_| queue.enqueue(gated.clone()).unwrap().id)
            .collect();
        wait_until("two run, and their workers are noted", PATIENCE, || {
            all_jobs(&queue)
                .iter()
                .filter(|job| job.worker.is_some())
                .count()
                == 2
        });
        let company = with_company.then(|| queue.clone());
        drop(queue);
        disk.fall_ill();
        scene.open_gate("gate");
        let ends = || {
            scene
                .effects()
                .iter()
                .filter(|effect| effect.is_end())
                .count()
        };
        wait_until("the tasks end", PATIENCE, || ends() == 2);
        assert_stays("what is begun", Duration::from_millis(700), || {
            scene.effect_log().count()
        });
        disk.get_well();
        wait_until("all tasks end", PATIENCE, || ends() >= ids.len());
        drop(company);
        let queue = scene.open();
        let jobs = queue.wait(&ids, Some(PATIENCE)).unwrap();
        runner.end();
        assert!(
            jobs.iter()
                .all(|job| job.state == State::Completed && job.crashes == 0)
        );
        assert_eq!(
            Witness::of(&scene, &queue, &HashMap::new()).violations(),
            Vec::<String>::new()
        );
    }
}

#[test]
fn a_reached_quota_is_a_full_disk_and_loses_no_acknowledged_job() {
    let scene = Scene::new();
    let Some(disk) = SickDisk::new(&scene) else {
        return;
    };
    drop(scene.open());
    let enqueuer = enqueuer(&disk, "enqueuer");
    wait_for_more_notes(&scene, "jobs are acknowledged", is_acknowledged);
    disk.becomes("quota");
    let is_quota = |told: &Told| match told {
        Told::Refused(error) => error.contains("the disk quota"),
        _ => false,
    };
    wait_for_more_notes(&scene, "the quota is told", is_quota);
    disk.is_no_longer("quota");
    wait_for_more_notes(&scene, "jobs are acknowledged again", is_acknowledged);
    enqueuer.end();
    let queue = scene.open();
    assert_eq!(notes::lies(&scene, &queue), Vec::<String>::new());
    assert_eq!(ailments(&queue), Vec::<String>::new());
}

/// SQLite does not tell that a lock was not let go, and waits for it itself from then on. That it is this
/// process's own is seen once the wait for it is over, after 20 s.
#[test]
fn a_lock_the_system_fails_to_release_delays_a_runner_briefly() {
    let scene = Scene::new();
    let Some(disk) = SickDisk::new(&scene) else {
        return;
    };
    let queue = scene.open();
    let first = queue.enqueue(Task::default().job()).unwrap().id;
    let runner = disk.spawn("runner", RunnerRole::default());
    wait_until_completed(&queue, first);
    disk.becomes("unlock");
    let _ = queue.enqueue(Task::default().job()).unwrap();
    let flag = scene.file("sync.unlock");
    wait_until("the lock is kept", PATIENCE, || !flag.exists());
    let conn = scene.connect();
    conn.busy_timeout(Duration::ZERO).unwrap();
    assert!(conn.execute_batch("BEGIN IMMEDIATE").is_err());
    wait_until("it is let go", PATIENCE * 2, || {
        conn.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok()
    });
    // Two threads may have met the fault at once: the second lock takes its 20 s, too.
    let mut last = None;
    wait_until("a job is enqueued again", PATIENCE * 2, || {
        last = queue.enqueue(Task::default().job()).ok();
        last.is_some()
    });
    wait_until_completed(&queue, last.unwrap().id);
    runner.end();
    assert_eq!(ailments(&queue), Vec::<String>::new());
}

#[test]
fn a_runner_on_a_slow_disk_is_not_hung_and_runs_jobs_once() {
    let scene = Scene::new();
    let Some(disk) = SickDisk::new(&scene) else {
        return;
    };
    let queue = scene.open();
    disk.becomes("slow");
    let role = RunnerRole {
        beat_every: Duration::from_millis(50),
        hung_after: Duration::from_millis(1500),
        ..RunnerRole::default()
    };
    let runners = ["one", "two"].map(|name| disk.spawn(name, role.clone()));
    let ids: Vec<JobId> = (0..6)
        .map(|_| {
            queue
                .enqueue(Task::taking(Duration::from_millis(200)).job())
                .unwrap()
                .id
        })
        .collect();
    for id in &ids {
        wait_until_completed(&queue, *id);
    }
    let attempts: Vec<u32> = ids.iter().map(|id| job(&queue, *id).attempt).collect();
    assert_eq!(attempts, [1; 6]);
    assert_eq!(count_events(&queue, None, EventKind::RunnerLost), 0);
    disk.is_no_longer("slow");
    for runner in runners {
        runner.end();
    }
}
