//! Schedules of config files: each belongs to the file that declares it.

use std::fs;

use serde_json::json;

use super::support::{Jobq, text};

/// Starts a runner with this config file, and stops it; what it said.
fn run_with(jobq: &Jobq, config: &str) -> String {
    let runner = jobq.spawn(&["--config", config, "run"]);
    runner.wait_until_said("is running jobs");
    let said = runner.stderr();
    runner.stop();
    said
}

fn names(jobq: &Jobq) -> Vec<String> {
    let schedules = jobq.json_lines(&["schedule", "list"]);
    schedules
        .iter()
        .map(|schedule| text(&schedule["name"]))
        .collect()
}

fn two_projects() -> Jobq {
    let jobq = Jobq::new();
    jobq.write(
        "a.toml",
        "[schedules.nightly]\ncron = '0 2 * * *'\nkind = 'a'\n[schedules.weekly]\ncron = '@weekly'\nkind = 'a'",
    );
    jobq.write("b.toml", "[schedules.poll]\ncron = '@hourly'\nkind = 'b'");
    jobq.write("none.toml", "workers = 2");
    run_with(&jobq, "a.toml");
    jobq
}

#[test]
fn a_config_without_schedules_removes_none_of_another_config() {
    let jobq = two_projects();
    let said = run_with(&jobq, "none.toml");
    assert!(!said.contains("schedule"), "{said}");
    assert_eq!(names(&jobq), ["nightly", "weekly"]);
    run_with(&jobq, "b.toml");
    assert_eq!(names(&jobq), ["nightly", "poll", "weekly"]);
    jobq.write("a.toml", "[schedules.weekly]\ncron = '@weekly'\nkind = 'a'");
    let said = run_with(&jobq, "a.toml");
    assert!(said.contains("schedule 'nightly' removed"), "{said}");
    assert_eq!(names(&jobq), ["poll", "weekly"]);
}

#[test]
fn a_schedule_is_listed_with_the_file_that_declares_it() {
    let jobq = two_projects();
    jobq.run(&["schedule", "add", "mine", "@daily", "--", "true"])
        .exits(0);
    let listed = jobq.json_lines(&["schedule", "list"]);
    let file = fs::canonicalize(jobq.path("a.toml")).unwrap();
    assert_eq!(listed[0]["declared_by"], json!(null), "by hand");
    assert_eq!(listed[1]["declared_by"], json!(file));
    let removed = jobq.run(&["schedule", "remove", "weekly"]).exits(0);
    assert!(removed.hint().contains("a.toml declares it"), "{removed:?}");
    let said = run_with(&jobq, "a.toml");
    assert!(said.contains("schedule 'weekly' added"), "{said}");
}

/// The same file by another way: through a link, or from another folder.
#[test]
fn a_config_file_has_one_name_however_it_is_reached() {
    let jobq = two_projects();
    std::os::unix::fs::symlink("a.toml", jobq.path("link.toml")).unwrap();
    let said = run_with(&jobq, "link.toml");
    assert!(!said.contains("schedule"), "{said}");
    assert_eq!(names(&jobq), ["nightly", "weekly"]);
}

#[test]
fn a_name_in_two_files_belongs_to_the_last_and_is_reported() {
    let jobq = two_projects();
    jobq.write("b.toml", "[schedules.weekly]\ncron = '@daily'\nkind = 'b'");
    let said = run_with(&jobq, "b.toml");
    assert!(said.contains("schedule 'weekly' was declared by"), "{said}");
    assert!(
        said.contains("a.toml; it belongs to this config file now"),
        "{said}"
    );
    let listed = jobq.json_lines(&["schedule", "list"]);
    assert_eq!(listed[1]["cron"], "@daily");
}

#[test]
fn a_schedule_whose_file_is_gone_is_named_with_its_remedy() {
    let jobq = two_projects();
    jobq.run(&["doctor"]).exits(0);
    fs::rename(jobq.path("a.toml"), jobq.path("moved.toml")).unwrap();
    let remedy = "which is not there any more; `jobq schedule remove nightly` removes it";
    let found = jobq.stdout(&["doctor"]);
    assert!(found.contains(remedy), "{found}");
    let said = run_with(&jobq, "none.toml");
    assert!(said.contains(remedy), "{said}");
    // Under its new name it declares them again.
    let said = run_with(&jobq, "moved.toml");
    assert!(
        said.contains("it belongs to this config file now"),
        "{said}"
    );
    let found = jobq.stdout(&["doctor"]);
    assert!(!found.contains("schedule remove"), "{found}");
}

/// The database names a file that nobody should read to its end.
#[test]
fn a_declaring_file_that_is_no_plain_file_is_not_read() {
    let jobq = two_projects();
    let fifo = jobq.path("a.toml");
    fs::remove_file(&fifo).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let found = jobq.stdout(&["doctor"]);
    assert!(found.contains("which is not there any more"), "{found}");
}
