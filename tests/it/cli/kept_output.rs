//! What commands print while the database cannot be written is kept, or its loss is marked.

use jobq::rusqlite::Connection;

use super::host_environment::unshared;
use super::support::{Jobq, Running};
use crate::support::{PATIENCE, wait_until};

/// Prints what the second part says once there is a file `gate`, and leaves a file `printed`.
fn gated(print: &str) -> String {
    format!("until test -e gate; do sleep 0.01; done; {print}; touch printed-$JOBQ_JOB_ID")
}

/// A runner whose jobs have begun and wait for the gate.
fn runner_at_the_gate(jobq: &Jobq, jobs: u64) -> Running {
    let runner = jobq.runner(&[]);
    wait_until("the jobs run", PATIENCE, || jobq.count("running") == jobs);
    runner
}

fn open_gate(jobq: &Jobq, jobs: i64) {
    jobq.write("gate", "");
    let have_printed = |id: i64| jobq.path(&format!("printed-{id}")).exists();
    wait_until("the jobs have printed", PATIENCE, || {
        (1..=jobs).all(have_printed)
    });
}

fn logs(jobq: &Jobq, id: i64, stream: &str) -> String {
    jobq.stdout(&["logs", &id.to_string(), "--stream", stream])
}

fn seq(last: u32) -> String {
    (1..=last).map(|number| format!("{number}\n")).collect()
}

#[test]
fn output_is_kept_while_the_file_is_full_and_precedes_the_end() {
    let jobq = Jobq::new();
    let print = "seq 100000; echo between >&2; sleep 0.3; seq 20; echo last >&2";
    let id = jobq.enqueue(&["--shell", &gated(print)]);
    let runner = runner_at_the_gate(&jobq, 1);
    runner.limit_files(Some(4096));
    open_gate(&jobq, 1);
    runner.wait_until_said("what job 1 prints is kept in memory");
    assert_eq!(jobq.state(id), "running");
    runner.limit_files(None);
    jobq.run(&["wait", "1"]).exits(0);
    assert_eq!(logs(&jobq, id, "stdout"), seq(100_000) + &seq(20));
    assert_eq!(logs(&jobq, id, "stderr"), "between\nlast\n");
    assert_eq!(jobq.job(id)["attempt"], 1);
    runner.stop().exits(0);
}

#[test]
fn output_is_kept_while_the_disk_is_full() {
    let jobq = Jobq::new();
    let script = format!(
        r#"set -e
        mkdir disk; mount -t tmpfs -o size=4m none disk
        export JOBQ_DB="$PWD/disk/jobs.db"
        trap 'kill $runner' EXIT
        jobq enqueue --shell '{}'
        jobq run 2>said & runner=$!
        until test "$(jobq status 1 --json | grep -c '"state":"running"')" = 1; do sleep 0.05; done
        cat /dev/zero >disk/filler 2>filled || true
        touch gate
        for look in $(seq 400); do
            if grep -q 'job 1 prints is kept in memory' said; then break; fi; sleep 0.05
        done
        grep -q 'job 1 prints is kept in memory' said
        jobq list --json | grep -q '"state":"running"'
        rm disk/filler
        jobq wait 1
        jobq logs 1 >shown
        kill $runner; wait $runner; trap - EXIT"#,
        gated("seq 100000")
    );
    let Some(said) = unshared(&jobq, "mount -t tmpfs none /mnt", &script) else {
        return;
    };
    said.exits(0);
    assert!(jobq.read("shown") == seq(100_000));
}

#[test]
#[ignore = "holds the lock for longer than a write waits for it: 20 s"]
fn output_is_kept_while_another_process_has_the_lock() {
    let jobq = Jobq::new();
    let id = jobq.enqueue(&["--shell", &gated("seq 100000; sleep 1; seq 20")]);
    let runner = runner_at_the_gate(&jobq, 1);
    let holder = Connection::open(jobq.db()).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    open_gate(&jobq, 1);
    runner.wait_until_said("what job 1 prints is kept in memory");
    assert_eq!(jobq.state(id), "running");
    holder.execute_batch("ROLLBACK").unwrap();
    jobq.run(&["wait", "1"]).exits(0);
    assert_eq!(logs(&jobq, id, "stdout"), seq(100_000) + &seq(20));
    runner.stop().exits(0);
}

/// What is shown of a job's output, and how much is marked as lost.
fn shown_and_lost(jobq: &Jobq, id: i64) -> (usize, usize) {
    let shown = logs(jobq, id, "stdout");
    let mut lost = 0;
    let mut kept = 0;
    for line in shown.split_inclusive('\n') {
        let mark = line
            .strip_prefix("[… ")
            .and_then(|rest| rest.strip_suffix(" bytes lost: they could not be written …]\n"));
        match mark {
            Some(bytes) => lost += bytes.replace(',', "").parse::<usize>().unwrap(),
            None => kept += line.len(),
        }
    }
    (kept, lost)
}

#[test]
fn output_that_does_not_fit_in_memory_is_marked_with_its_size() {
    const PRINTED: usize = 40 << 20;
    let jobq = Jobq::new();
    let print = gated(&format!("yes 0123456789abcde | head -c {PRINTED}"));
    for _ in 0..2 {
        jobq.enqueue(&["--output-limit", "64MiB", "--shell", &print]);
    }
    let runner = runner_at_the_gate(&jobq, 2);
    runner.limit_files(Some(4096));
    open_gate(&jobq, 2);
    runner.wait_until_said("were lost: they could not be written");
    runner.limit_files(None);
    jobq.run(&["wait", "1", "2"]).exits(0);
    let found: Vec<_> = [1, 2].map(|id| shown_and_lost(&jobq, id)).to_vec();
    for (kept, lost) in &found {
        assert_eq!(kept + lost, PRINTED, "{found:?}");
    }
    let kept: usize = found.iter().map(|(kept, _)| kept).sum();
    assert!(kept <= 64 << 20 && kept > 60 << 20, "{found:?}");
    runner.stop().exits(0);
}

#[test]
fn unwritable_output_is_lost_at_the_end_and_its_job_is_named() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--shell", &gated("seq 1000; exec sleep 600")]);
    let runner = jobq.runner(&["--stop-timeout", "1s"]);
    wait_until("the job runs", PATIENCE, || jobq.count("running") == 1);
    runner.limit_files(Some(4096));
    jobq.write("gate", "");
    runner.wait_until_said("what job 1 prints is kept in memory");
    let ended = runner.stop().exits(1);
    let lost = "output of job 1 was lost";
    assert_eq!(ended.stderr.matches(lost).count(), 1, "{ended:#?}");
}
