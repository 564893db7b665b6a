//! A runner whose config file changes.

use super::support::{Jobq, Running, set_mode};
use crate::support::{PATIENCE, wait_until};

const IN_USE: &str = "jobq.toml has changed and is in use";

fn running(config: &str) -> (Jobq, Running) {
    let jobq = Jobq::new();
    jobq.write("jobq.toml", config);
    let runner = jobq.runner(&[]);
    (jobq, runner)
}

#[test]
fn a_runner_takes_on_a_changed_files_schedules_limits_and_kinds() {
    let (jobq, runner) = running("[schedules.old]\ncron = '@yearly'\nkind = 'k'");
    jobq.enqueue(&["--kind", "note"]);
    jobq.write(
        "jobq.toml",
        "[schedules.new]\ncron = '@yearly'\nkind = 'k'\n[queues.images]\nconcurrency = 2\n\
         [kinds.note]\ncommand = ['touch', 'noted']",
    );
    runner.wait_until_said(IN_USE);
    for said in ["schedule 'new' added", "schedule 'old' removed"] {
        assert!(runner.stderr().contains(said), "{}", runner.stderr());
    }
    assert!(jobq.stdout(&["queue", "list"]).contains("concurrency=2"));
    wait_until("the new kind is handled", PATIENCE, || {
        jobq.state(1) == "completed"
    });
    assert!(jobq.path("noted").exists());
    runner.stop();
}

#[test]
fn an_invalid_changed_file_is_named_by_line_and_not_used() {
    let (jobq, runner) = running("[schedules.old]\ncron = '@yearly'\nkind = 'k'");
    jobq.write(
        "jobq.toml",
        "workers = 3\n[schedules.new]\ncron = '61 * * * *'\nkind = 'k'",
    );
    runner.wait_until_said("jobq.toml has changed and is not used: ");
    runner.wait_until_said("minute 61 is out of range");
    jobq.write("jobq.toml", "workers = 3\nwokers = 4\n");
    runner.wait_until_said("line 2: unknown key 'wokers'");
    // Elsewhere, as the file here would be refused.
    let list = jobq.call(&["schedule", "list"]).cwd(jobq.folder()).run();
    assert!(list.exits(0).stdout.starts_with("old\t"));
    jobq.write("jobq.toml", "workers = 3\n");
    runner.wait_until_said(IN_USE);
    runner.wait_until_said("workers will be used once this runner is started again");
    assert!(jobq.json_lines(&["schedule", "list"]).is_empty());
    assert_eq!(
        runner.stderr().matches("is not used").count(),
        2,
        "each is said once"
    );
    runner.stop();
}

#[test]
fn a_config_file_added_at_runtime_is_used_as_at_start() {
    const SCHEDULE: &str = "cron = '@yearly'\nkind = 'k'";
    let jobq = Jobq::new();
    let config = jobq.folder().join("config/jobq");
    std::fs::create_dir_all(&config).unwrap();
    let runner = jobq.runner(&[]);
    let of_user = config.join("jobq.toml");
    std::fs::write(&of_user, format!("[schedules.user]\n{SCHEDULE}")).unwrap();
    runner.wait_until_said("config/jobq/jobq.toml is new and is in use");
    runner.wait_until_said("schedule 'user' added");
    // One in the folder of the runner comes before the user's, and a mistake in it is told.
    jobq.write("jobq.toml", "wokers = 4\n");
    runner.wait_until_said("jobq.toml is new and is not used: ");
    runner.wait_until_said("unknown key 'wokers'");
    let here = jobq.write("new.toml", format!("[schedules.here]\n{SCHEDULE}"));
    set_mode(&here, 0o666);
    std::fs::rename(&here, jobq.path("jobq.toml")).unwrap();
    runner.wait_until_said("./jobq.toml is not obeyed: it can be written by everybody");
    set_mode(&jobq.path("jobq.toml"), 0o644);
    let again = jobq.write("new.toml", format!("[schedules.here]\n{SCHEDULE}"));
    std::fs::rename(again, jobq.path("jobq.toml")).unwrap();
    runner.wait_until_said("schedule 'here' added");
    runner.wait_until_said("\njobq.toml is new and is in use");
    // From now on that one counts.
    std::fs::write(&of_user, "workers = 2").unwrap();
    jobq.write("jobq.toml", "workers = 3\n");
    runner.wait_until_said(IN_USE);
    runner.wait_until_said("schedule 'here' removed");
    assert!(!runner.stderr().contains("schedule 'user' removed"));
    runner.stop();
}

#[test]
fn a_removed_file_changes_nothing_but_one_renamed_in_applies() {
    let (jobq, runner) = running("[schedules.old]\ncron = '@yearly'\nkind = 'k'");
    std::fs::remove_file(jobq.path("jobq.toml")).unwrap();
    runner.wait_until_said("jobq.toml is missing: its settings stay");
    assert_eq!(jobq.json_lines(&["schedule", "list"]).len(), 1);
    let new = jobq.write("new.toml", "[schedules.new]\ncron = '@yearly'\nkind = 'k'");
    std::fs::rename(new, jobq.path("jobq.toml")).unwrap();
    runner.wait_until_said(IN_USE);
    runner.wait_until_said("schedule 'old' removed");
    runner.stop();
}
