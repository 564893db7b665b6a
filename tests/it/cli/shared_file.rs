//! One database and several users: root, its owner, a group, a stranger.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::support::{Jobq, NOBODY, set_mode};
use crate::support::{PATIENCE, wait_until};

const ANN: u32 = 54_321;
const BOB: u32 = 54_322;
const GROUP: u32 = 54_300;

/// A folder that users can reach, with the binary in it; none where this process is not root.
struct Place {
    jobq: Jobq,
    binary: PathBuf,
    db: PathBuf,
}

impl Place {
    /// `folder_mode` is that of the folder of the database, which is Ann's and the group's.
    fn new(folder_mode: u32) -> Option<Place> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can be several users");
            return None;
        }
        let jobq = Jobq::new();
        set_mode(jobq.folder(), 0o755);
        set_mode(&jobq.work(), 0o755);
        let binary = jobq.folder().join("jobq");
        fs::copy(env!("CARGO_BIN_EXE_jobq"), &binary).unwrap();
        let folder = jobq.path("data");
        fs::create_dir(&folder).unwrap();
        chown(&folder, Some(ANN), Some(GROUP)).unwrap();
        set_mode(&folder, folder_mode);
        let db = folder.join("jobs.db");
        Some(Place { jobq, binary, db })
    }

    fn command(&self, uid: u32, words: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={uid}"))
            .arg(format!("--regid={uid}"));
        command.arg(match uid {
            ANN | BOB => format!("--groups={GROUP}"),
            _ => "--clear-groups".to_owned(),
        });
        command.arg(&self.binary).args(words);
        command
            .current_dir("/")
            .env_clear()
            .env("PATH", "/usr/bin:/bin");
        command.env("HOME", "/").env("JOBQ_DB", &self.db);
        command
    }

    fn run(&self, uid: u32, words: &[&str]) -> Output {
        self.command(uid, words).output().unwrap()
    }

    fn works(&self, uid: u32, words: &[&str]) -> String {
        let ran = self.run(uid, words);
        assert!(ran.status.success(), "{uid} {words:?}: {ran:?}");
        String::from_utf8(ran.stdout).unwrap()
    }

    fn fails(&self, uid: u32, words: &[&str]) -> String {
        let ran = self.run(uid, words);
        assert_eq!(ran.status.code(), Some(1), "{uid} {words:?}: {ran:?}");
        String::from_utf8(ran.stderr).unwrap()
    }

    /// As Ann does who wants to share her database.
    fn share(&self) {
        for suffix in ["", "-wal", "-shm"] {
            let path = format!("{}{suffix}", self.db.display());
            if Path::new(&path).exists() {
                chown(&path, None, Some(GROUP)).unwrap();
                set_mode(Path::new(&path), 0o660);
            }
        }
    }

    fn runners(&self) -> PathBuf {
        self.db.with_file_name("jobs.db-runners")
    }

    fn killed_runner_of(&self, uid: u32) {
        self.works(uid, &["enqueue", "--", "sleep", "300"]);
        let mut command = self.command(uid, &["run"]);
        let mut runner = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        let running = || {
            self.works(ANN, &["list", "--state", "running"])
                .lines()
                .count()
                == 1
        };
        wait_until("the job runs", PATIENCE, running);
        runner.kill().unwrap();
        runner.wait().unwrap();
    }

    /// A child that the runner was just starting has its locks until it is a program of its own.
    fn wait_until_gone(&self, uid: u32) {
        wait_until("the killed runner is seen as gone", PATIENCE, || {
            self.works(uid, &["status"]).contains("offline")
        });
    }
}

#[test]
fn after_a_run_by_root_the_owner_of_the_file_goes_on() {
    let Some(place) = Place::new(0o700) else {
        return;
    };
    place.works(ANN, &["enqueue", "--", "true"]);
    place.works(0, &["run", "--drain"]);
    let folder = fs::metadata(place.runners()).unwrap();
    assert_eq!(
        (folder.uid(), folder.permissions().mode() & 0o7777),
        (ANN, 0o700)
    );
    place.works(ANN, &["enqueue", "--", "true"]);
    place.works(ANN, &["run", "--drain"]);
    place.killed_runner_of(0);
    // Root's killed runner is seen as gone, and its job is taken over.
    place.wait_until_gone(ANN);
    place.works(ANN, &["cancel", "3"]);
    place.run(ANN, &["run", "--drain"]);
    assert!(
        place
            .works(ANN, &["list", "--state", "cancelled"])
            .contains('3')
    );
}

#[test]
fn a_group_shares_a_file_its_runners_and_its_dead() {
    let Some(place) = Place::new(0o2770) else {
        return;
    };
    place.works(ANN, &["enqueue", "--", "true"]);
    place.share();
    place.works(BOB, &["run", "--drain"]);
    let folder = fs::metadata(place.runners()).unwrap();
    assert_eq!(
        (folder.gid(), folder.permissions().mode() & 0o7777),
        (GROUP, 0o2770)
    );
    place.works(ANN, &["enqueue", "--", "true"]);
    place.works(ANN, &["run", "--drain"]);
    place.killed_runner_of(ANN);
    let lock = fs::read_dir(place.runners())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let lock = lock.metadata().unwrap();
    assert_eq!(
        (lock.uid(), lock.gid(), lock.mode() & 0o777),
        (ANN, GROUP, 0o660)
    );
    place.wait_until_gone(BOB);
    place.works(BOB, &["cancel", "3"]);
    place.run(BOB, &["run", "--drain"]);
    assert!(
        place
            .works(BOB, &["list", "--state", "cancelled"])
            .contains('3')
    );
}

#[test]
fn whoever_may_not_is_told_whose_it_is_and_what_to_do() {
    let Some(place) = Place::new(0o755) else {
        return;
    };
    place.works(ANN, &["enqueue", "--", "true"]);
    for words in [
        &["status"][..],
        &["run", "--drain"],
        &["enqueue", "--", "true"],
    ] {
        let said = place.fails(NOBODY, words);
        for part in ["jobs.db", &format!("user {ANN}"), "0600", "chown", "group"] {
            assert!(said.contains(part), "{words:?}: no {part:?} in {said}");
        }
    }
    // Whoever may read it reads, and hears why it is not written.
    for path in fs::read_dir(place.jobq.path("data")).unwrap() {
        set_mode(&path.unwrap().path(), 0o644);
    }
    let said = place.fails(NOBODY, &["run", "--drain"]);
    assert!(
        said.contains("read") && said.contains(&format!("user {ANN}")),
        "{said}"
    );
    place.works(NOBODY, &["list"]);
}

#[test]
fn a_lock_folder_left_by_root_is_named_with_its_remedy() {
    let Some(place) = Place::new(0o700) else {
        return;
    };
    place.works(ANN, &["enqueue", "--", "true"]);
    fs::create_dir(place.runners()).unwrap();
    set_mode(&place.runners(), 0o700);
    let said = place.fails(ANN, &["run", "--drain"]);
    assert!(
        said.contains("jobs.db-runners belongs to root (mode 0700)"),
        "{said}"
    );
    assert!(said.contains("sudo chown -R"), "{said}");
}
