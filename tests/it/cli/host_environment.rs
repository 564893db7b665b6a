//! What a process finds around it: its environment, time zones, paths, a file system, other processes
//! that hold the file.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::support::{Jobq, Output, search_path, text};

/// Runs a script in a mount namespace of its own; none, and a word on it, where there can be none.
fn with_own_mounts(jobq: &Jobq, script: &str) -> Option<Output> {
    unshared(jobq, "mount -t tmpfs none /mnt", script)
}

/// Runs a script where it is root and has mounts of its own, if `probe` works there.
pub(super) fn unshared(jobq: &Jobq, probe: &str, script: &str) -> Option<Output> {
    let unshared = |script: &str| {
        let mut command = Command::new("unshare");
        command
            .args(["-rm", "/bin/sh", "-c", script])
            .env_clear()
            .env("PATH", search_path())
            .env("JOBQ_DB", jobq.db())
            .env("HOME", jobq.folder())
            .current_dir(jobq.work());
        command.output()
    };
    let tried = unshared(probe);
    if !tried.is_ok_and(|tried| tried.status.success()) {
        eprintln!("SKIPPED: this cannot be done here: {probe}");
        return None;
    }
    let said = unshared(script).unwrap();
    let [stdout, stderr] = [said.stdout, said.stderr].map(|said| String::from_utf8(said).unwrap());
    Some(Output {
        code: said.status.code().unwrap(),
        stdout,
        stderr,
    })
}

fn finding(jobq: &Jobq, check: &str) -> Value {
    let findings = jobq.json_lines(&["doctor"]);
    let found = findings.into_iter().find(|found| found["check"] == check);
    found.unwrap_or_else(|| panic!("the doctor does not look at {check}"))
}

const NO_ZONES: &str = "mount -t tmpfs none /usr/share/zoneinfo || exit 99\n";

#[test]
fn without_zone_data_jobs_run_and_zone_users_report_it() {
    let jobq = Jobq::new();
    let add = ["schedule", "add", "n", "0 2 * * *", "--tz", "Europe/Berlin"];
    jobq.run(&[&add[..], &["--", "true"]].concat()).exits(0);
    let script = format!(
        "{NO_ZONES} jobq schedule next '0 2 * * *' --tz UTC -n 1 || exit 1
         jobq enqueue -q -- true || exit 2
         jobq run --drain -q || exit 3
         jobq doctor; jobq schedule next '0 2 * * *' --tz Europe/Berlin"
    );
    let Some(said) = with_own_mounts(&jobq, &script) else {
        return;
    };
    let error = "the time zone 'Europe/Berlin' cannot be read: this machine has no time zone data";
    assert!(said.stderr.contains(error), "{said:#?}");
    assert!(said.stderr.contains("hint: install it"), "{said:#?}");
    let told = "1 schedule is not fired on this machine, which does not know the time zone 'Europe/Berlin' of 'n'";
    assert!(said.stdout.contains(told), "{said:#?}");
    assert_eq!(said.code, 2);
    assert_eq!(jobq.state(1), "completed");
    assert_eq!(finding(&jobq, "schedules")["severity"], "ok");
}

#[test]
fn a_runner_without_file_watching_says_so_and_polls() {
    let jobq = Jobq::new();
    let none = "echo 0 >/proc/sys/user/max_inotify_instances";
    let script = format!(
        "{none} || exit 99
         jobq run 2>told & until grep -q 'running jobs' told; do sleep .05; done
         jobq enqueue -q --wait -- true || exit 1
         id=$(jobq enqueue -q -- echo printed); jobq logs -f $id || exit 2
         kill -TERM $!; wait $!"
    );
    let Some(said) = unshared(&jobq, none, &script) else {
        return;
    };
    assert_eq!(said.code, 0, "{said:#?}");
    assert!(said.stdout.contains("printed"), "{said:#?}");
    let told = jobq.read("told");
    assert!(
        told.contains("cannot be watched: Too many open files"),
        "{told}"
    );
    assert!(told.contains("looking every few seconds instead"), "{told}");
}

#[test]
fn an_unknown_terminal_type_and_language_change_nothing() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "echo", "grüße"]);
    let plain = jobq.stdout(&["list"]);
    for (name, value) in [
        ("TERM", "dumb"),
        ("TERM", ""),
        ("TERM", "\x1b[31mno/such\n"),
        ("COLUMNS", "-1"),
        ("LANG", "xx_YY.nowhere"),
        ("LC_ALL", "\u{fffd}"),
        ("RUST_LOG", "nonsense=nonsense,"),
    ] {
        let said = jobq.call(&["list"]).env(name, value).run().exits(0);
        assert_eq!(said.stdout, plain, "{name}={value}");
    }
}

#[test]
fn a_tz_that_cannot_be_read_means_utc() {
    let jobq = Jobq::new();
    for (id, zone) in (1..).zip(["No/Where", ":/etc/passwd", ""]) {
        let words = ["enqueue", "--at", "2100-01-01 12:00", "--kind", "k"];
        jobq.call(&words).env("TZ", zone).run().exits(0);
        assert_eq!(jobq.job(id)["run_at"], "2100-01-01T12:00:00.000Z", "{zone}");
    }
}

#[test]
fn a_command_longer_than_the_system_allows_fails_permanently() {
    let jobq = Jobq::new();
    let long = json!({ "command": ["true", "x".repeat(200_000)], "retries": 3 });
    jobq.enqueue_batch(&format!("{long}\n"));
    jobq.drain(&[]).exits(4);
    let job = jobq.job(1);
    assert_eq!(
        (&job["state"], &job["attempt"]),
        (&json!("failed"), &json!(1))
    );
    let error = text(&job["error"]);
    assert!(error.contains("Argument list too long"), "{error}");
}

#[test]
fn an_empty_option_for_the_database_does_not_mean_the_default() {
    let jobq = Jobq::new();
    let call = jobq.call(&["--db", "", "enqueue", "--", "true"]);
    call.run().fails(2, &["--db is empty", "hint: name a file"]);
    let call = jobq.call(&["enqueue", "--", "true"]).env("JOBQ_DB", "");
    call.run().exits(0);
    assert!(jobq.db().exists());
}

#[test]
fn a_path_that_is_too_long_is_refused_with_its_length() {
    let jobq = Jobq::new();
    for path in [format!("{}x.db", "folder/".repeat(90)), "n".repeat(250)] {
        let said = jobq.run(&["--db", &path, "enqueue", "--", "true"]);
        said.fails(2, &["too long", "bytes of at most", "hint: "]);
    }
    assert_eq!(fs::read_dir(jobq.work()).unwrap().count(), 0);
}

#[test]
fn a_home_that_cannot_be_written_is_named() {
    let jobq = Jobq::new();
    let call = jobq.call_as_nobody(&["enqueue", "--", "true"]);
    let call = call
        .without_env("XDG_STATE_HOME")
        .without_env("XDG_CONFIG_HOME");
    let home = jobq.folder().join("home");
    super::support::set_mode(&home, 0o555);
    let folder = format!("{}/.local/state/jobq", home.display());
    call.run().fails(1, &[&folder, "Permission denied"]);
}

#[test]
fn a_read_only_file_system_allows_reads_and_refuses_writes() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    let folder = jobq.db().parent().unwrap().display().to_string();
    let script = format!(
        "mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} || exit 99
         jobq list; jobq status 1 >status
         for verb in 'enqueue -- true' 'run --drain' 'cancel 1' 'pause'; do jobq $verb; echo $?; done"
    );
    let Some(said) = with_own_mounts(&jobq, &script) else {
        return;
    };
    assert!(said.stdout.starts_with("1\tpending\texec"), "{said:#?}");
    assert!(said.stdout.ends_with("\n1\n1\n1\n1\n"), "{said:#?}");
    let errors = said
        .stderr
        .lines()
        .filter(|line| line.starts_with("error: "));
    assert!(
        errors.clone().all(|line| line.contains("read")),
        "{said:#?}"
    );
    assert_eq!(errors.count(), 4, "{said:#?}");
    assert_eq!(jobq.total(), 1);
}

#[test]
fn an_endless_reader_stops_no_writer_and_doctor_names_the_log() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--kind", "k"]);
    let reader = jobq::rusqlite::Connection::open(jobq.db()).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let jobs = |reader: &jobq::rusqlite::Connection| -> i64 {
        let counted = reader.query_row("SELECT count(*) FROM jobq_job", [], |row| row.get(0));
        counted.unwrap()
    };
    assert_eq!(jobs(&reader), 1);
    let queue = jobq::Queue::open(jobq.db()).unwrap();
    for _ in 0..3 {
        queue.enqueue(jobq::NewJob::new("k")).unwrap();
    }
    assert_eq!(jobs(&reader), 1, "it sees what it saw");
    // As after a day of this: nothing may be written over what it still sees.
    let log = format!("{}-wal", jobq.db().display());
    let log = fs::OpenOptions::new().write(true).open(log).unwrap();
    log.set_len(300 << 20).unwrap();
    let size = finding(&jobq, "size");
    assert_eq!(size["severity"], "warning", "{size}");
    assert!(
        text(&size["message"]).contains("has been reading for long"),
        "{size}"
    );
    drop(reader);
    queue.enqueue(jobq::NewJob::new("k")).unwrap();
    drop(queue);
    assert_eq!(finding(&jobq, "size")["severity"], "ok");
    assert_eq!(jobq.total(), 5);
}

#[test]
#[ignore = "waits as long as a write waits for the lock: 20 s"]
fn a_write_that_waits_in_vain_is_retryable_and_names_the_holder() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--kind", "k"]);
    let holder = jobq::rusqlite::Connection::open(jobq.db()).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let words = ["is busy", "hint: process", "holds it"];
    jobq.run(&["enqueue", "--kind", "k"]).fails(75, &words);
    assert_eq!(jobq.total(), 1, "whoever looks waits for nobody");
}
