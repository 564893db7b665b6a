//! Whose `./jobq.toml` is obeyed.

use std::os::unix::fs::chown;

use rustix::process::geteuid;

use super::support::{Jobq, set_mode};

/// It would move the database, and make a folder for it.
const MOVES: &str =
    "db = 'theirs/x.db'\n[schedules.s]\ncron = '* * * * * *'\nshell = 'touch ran'\n";

fn refused(jobq: &Jobq, why: &str) {
    for verb in [
        &["status"][..],
        &["run", "--drain"],
        &["enqueue", "--", "true"],
    ] {
        let told = jobq.run(verb).fails(1, &["./jobq.toml is not obeyed", why]);
        assert_eq!(
            told.hint(),
            "if you trust what it says: --config ./jobq.toml"
        );
    }
    assert!(!jobq.path("theirs").exists() && !jobq.db().exists());
}

#[test]
fn a_config_of_somebody_else_is_named_and_not_obeyed() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can give a file to somebody else");
        return;
    }
    let jobq = Jobq::new();
    let path = jobq.write("jobq.toml", MOVES);
    chown(&path, Some(65534), Some(65534)).unwrap();
    refused(&jobq, "it belongs to user 65534");
    // Whoever names it trusts it.
    jobq.run(&["--config", "./jobq.toml", "enqueue", "--", "true"])
        .exits(0);
    assert!(jobq.path("theirs/x.db").exists() && !jobq.db().exists());
    // It is the user's who has become root.
    let as_root = jobq.call(&["list"]).env("SUDO_UID", "65534").run();
    assert_eq!(as_root.exits(0).rows().len(), 1);
}

#[test]
fn a_config_of_ones_own_or_of_root_is_obeyed() {
    let jobq = Jobq::new();
    jobq.write("jobq.toml", "db = 'mine.db'\n");
    jobq.enqueue(&["--", "true"]);
    assert!(jobq.path("mine.db").exists());
    set_mode(&jobq.path("mine.db"), 0o644);
    let as_nobody = jobq.call_as_nobody(&["list"]).run();
    assert!(!as_nobody.stderr.contains("not obeyed"), "{as_nobody:?}");
}

#[test]
fn a_config_that_others_can_write_or_replace_is_not_obeyed() {
    let jobq = Jobq::new();
    let path = jobq.write("jobq.toml", MOVES);
    set_mode(&path, 0o646);
    refused(&jobq, "it can be written by everybody");
    set_mode(&path, 0o644);
    set_mode(&jobq.work(), 0o777);
    refused(&jobq, "its folder can be written by everybody");
    set_mode(&jobq.work(), 0o1777);
    jobq.run(&["enqueue", "--", "true"]).exits(0);
}

#[test]
fn a_config_that_is_a_pipe_is_refused_at_once() {
    let jobq = Jobq::new();
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mkfifoat(rustix::fs::CWD, jobq.path("jobq.toml"), mode).unwrap();
    refused(&jobq, "it is not a regular file");
}
