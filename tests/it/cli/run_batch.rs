//! `jobq run -f`: a batch that goes on where it was.

use std::collections::BTreeMap;

use super::support::{Jobq, text};
use crate::support::{PATIENCE, wait_until};

/// So many jobs that note what they are.
fn notes(jobs: u32) -> String {
    let line = |number| format!("{{\"command\":[\"./note\",\"{number}\"],\"retries\":0}}\n");
    (1..=jobs).map(line).collect()
}

fn done(jobq: &Jobq) -> BTreeMap<u32, u32> {
    let mut times = BTreeMap::new();
    for line in jobq.read("done").lines() {
        *times.entry(line.parse().unwrap()).or_default() += 1;
    }
    times
}

#[test]
fn a_batch_is_run_to_its_end() {
    let jobq = Jobq::new();
    jobq.script("note", "echo $1 >>done");
    jobq.write("jobs.jsonl", notes(20));
    let drained = jobq.drain(&["-f", "jobs.jsonl"]).exits(0);
    assert!(
        drained
            .stderr
            .starts_with("20 jobs enqueued (1–20)\n20 completed in "),
        "{drained:?}"
    );
    assert!(done(&jobq).values().eq([1; 20].iter()));
}

#[test]
fn a_batch_comes_from_stdin_as_well() {
    let jobq = Jobq::new();
    jobq.script("note", "echo $1 >>done");
    let call = jobq.call(&["run", "--drain", "-f", "-"]).stdin(notes(3));
    call.run().exits(0);
    assert_eq!(done(&jobq).len(), 3);
}

#[test]
fn a_bad_batch_runs_nothing() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "touch", "ran"]);
    jobq.write(
        "jobs.jsonl",
        format!("{}{{\"comand\":[\"x\"]}}\n", notes(2)),
    );
    let refused = jobq
        .drain(&["-f", "jobs.jsonl"])
        .fails(2, &["jobs.jsonl line 3: unknown key 'comand'"]);
    assert_eq!(refused.hint(), "did you mean 'command'?");
    assert_eq!(jobq.total(), 1);
    assert!(!jobq.path("ran").exists());
}

#[test]
fn after_a_kill_the_same_batch_goes_on_and_adds_no_job_twice() {
    let jobq = Jobq::new();
    jobq.script("note", "[ $1 -lt 20 ] || [ -e gate ] || { touch waits; while [ ! -e gate ]; do sleep 0.02; done; }; echo $1 >>done");
    jobq.write("jobs.jsonl", notes(60));
    let runner = jobq.spawn(&["run", "--drain", "-j", "3", "-f", "jobs.jsonl"]);
    wait_until("the batch is in its middle", PATIENCE, || {
        jobq.path("waits").exists()
    });
    runner.kill();
    let finished = jobq.json_lines(&["list", "--state", "completed"]);
    assert!((1..60).contains(&finished.len()), "{}", finished.len());
    jobq.write("gate", "");
    let drained = jobq.drain(&["-j", "3", "-f", "jobs.jsonl"]).exits(0);
    assert!(
        drained
            .stderr
            .contains("going on with jobs 1–60 of this batch, "),
        "{drained:?}"
    );
    assert_eq!((jobq.count("completed"), jobq.total()), (60, 60));
    let done = done(&jobq);
    assert_eq!(
        done.keys().copied().collect::<Vec<_>>(),
        (1..=60).collect::<Vec<_>>()
    );
    for job in finished {
        let number: u32 = text(&job["payload"]["command"][1]).parse().unwrap();
        assert_eq!(done[&number], 1, "{number} was finished before the kill");
    }
    assert!(done.values().all(|times| *times <= 2), "{done:?}");
}

#[test]
fn an_unfinished_batch_is_added_again_only_on_request() {
    let jobq = Jobq::new();
    jobq.write(
        "jobs.jsonl",
        "{\"shell\":\"true\"}\n{\"kind\":\"unknown\"}\n",
    );
    jobq.drain(&["-f", "jobs.jsonl"]).exits(0);
    let going_on = jobq.drain(&["-f", "jobs.jsonl"]).exits(0);
    assert!(
        going_on
            .stderr
            .contains("going on with jobs 1–2 of this batch, 1 unfinished"),
        "{going_on:?}"
    );
    assert_eq!(jobq.total(), 2);
    let again = jobq.drain(&["-f", "jobs.jsonl", "--again"]).exits(0);
    assert!(again.stderr.contains("2 jobs enqueued (3–4)"), "{again:?}");
    // What goes on from now on is the later one.
    let going_on = jobq.drain(&["-f", "jobs.jsonl"]).exits(0);
    assert!(going_on.stderr.contains("jobs 3–4 of this batch"));
    assert_eq!(jobq.total(), 4);
}

/// A batch of three whose second job works once there is a file `gate`.
fn gated(jobq: &Jobq) {
    jobq.script(
        "note",
        "[ $1 -ne 2 ] || [ -e gate ] || exit 1; echo $1 >>done",
    );
    jobq.write("jobs.jsonl", notes(3));
}

#[test]
fn a_batch_with_a_failure_runs_that_again_and_the_good_ones_not() {
    let jobq = Jobq::new();
    gated(&jobq);
    jobq.drain(&["-f", "jobs.jsonl"]).exits(4);
    let again = jobq.drain(&["-f", "jobs.jsonl"]).exits(4);
    let said = "going on with jobs 1–3 of this batch, 1 that failed or was cancelled is run again";
    assert!(again.stderr.contains(said), "{again:?}");
    jobq.write("gate", "");
    jobq.drain(&["-f", "jobs.jsonl"]).exits(0);
    assert_eq!(done(&jobq), BTreeMap::from([(1, 1), (2, 1), (3, 1)]));
    assert_eq!((jobq.total(), jobq.count("completed")), (3, 3));
    // All have completed: the same file is another run.
    let anew = jobq.drain(&["-f", "jobs.jsonl"]).exits(0);
    assert!(anew.stderr.contains("3 jobs enqueued (4–6)"), "{anew:?}");
}

#[test]
fn jobs_of_a_batch_that_were_cancelled_are_run_again_with_it() {
    let jobq = Jobq::new();
    gated(&jobq);
    jobq.make_database();
    jobq.run(&["pause"]).exits(0);
    jobq.drain(&["-f", "jobs.jsonl"]).exits(0);
    jobq.run(&["cancel", "1-3"]).exits(0);
    jobq.run(&["resume"]).exits(0);
    jobq.write("gate", "");
    let again = jobq.drain(&["-f", "jobs.jsonl"]).exits(0);
    let said = "3 that failed or were cancelled are run again";
    assert!(again.stderr.contains(said), "{again:?}");
    assert_eq!((jobq.total(), done(&jobq).len()), (3, 3));
}

#[test]
fn what_waited_in_a_batch_for_a_failure_waits_for_it_again() {
    let jobq = Jobq::new();
    let line =
        |number, more| format!("{{\"command\":[\"./note\",\"{number}\"],\"retries\":0,{more}}}\n");
    gated(&jobq);
    let lines = [line(2, "\"label\":\"a\""), line(3, "\"after\":\"a\"")];
    jobq.write("jobs.jsonl", lines.concat());
    jobq.drain(&["-f", "jobs.jsonl"]).exits(4);
    assert_eq!(jobq.state(2), "cancelled");
    jobq.write("gate", "");
    jobq.drain(&["-f", "jobs.jsonl", "-j", "2"]).exits(0);
    assert_eq!(jobq.read("done"), "2\n3\n");
}

#[test]
fn a_batch_whose_completed_jobs_are_gone_runs_its_failure_alone() {
    let jobq = Jobq::new();
    gated(&jobq);
    jobq.drain(&["-f", "jobs.jsonl"]).exits(4);
    jobq.run(&["remove", "1", "3"]).exits(0);
    jobq.write("gate", "");
    jobq.drain(&["-f", "jobs.jsonl"]).exits(0);
    assert_eq!(done(&jobq), BTreeMap::from([(1, 1), (2, 1), (3, 1)]));
}

#[test]
fn a_failed_job_whose_unique_key_is_taken_is_not_retried() {
    let jobq = Jobq::new();
    let line = "{\"shell\":\"exit 1\",\"retries\":0,\"unique\":\"u\"}\n";
    jobq.write("jobs.jsonl", line);
    jobq.drain(&["-f", "jobs.jsonl"]).exits(4);
    jobq.enqueue(&["--unique", "u", "--kind", "other"]);
    let again = jobq.drain(&["-f", "jobs.jsonl"]).exits(4);
    assert!(
        again
            .stderr
            .contains("job 1 is not run again: job 1 cannot be retried: job 2 has"),
        "{again:?}"
    );
}

#[test]
fn two_that_start_a_failed_batch_at_once_run_it_again_once() {
    let jobq = Jobq::new();
    gated(&jobq);
    jobq.drain(&["-f", "jobs.jsonl"]).exits(4);
    jobq.write("gate", "");
    let both = [0, 1].map(|_| jobq.spawn(&["run", "--drain", "-f", "jobs.jsonl", "-j", "1"]));
    for one in both {
        one.wait().exits(0);
    }
    // Whoever came after all was done has begun the next run.
    let times = done(&jobq);
    assert!((1..=2).contains(&times[&2]), "{times:?}");
    assert_eq!(times[&2], times[&1], "{times:?}");
}

#[test]
fn another_content_or_another_directory_is_another_batch() {
    let jobq = Jobq::new();
    std::fs::create_dir(jobq.path("sub")).unwrap();
    jobq.write("jobs.jsonl", "{\"kind\":\"unknown\"}\n");
    jobq.drain(&["-f", "jobs.jsonl"]).exits(0);
    let below = jobq
        .call(&["run", "--drain", "-f", "../jobs.jsonl"])
        .cwd(jobq.path("sub"));
    assert!(below.run().exits(0).stderr.contains("1 job enqueued"));
    jobq.write(
        "jobs.jsonl",
        "{\"kind\":\"unknown\"}\n\n{\"kind\":\"unknown\"}\n",
    );
    assert!(
        jobq.drain(&["-f", "jobs.jsonl"])
            .exits(0)
            .stderr
            .contains("2 jobs enqueued")
    );
    assert_eq!(jobq.total(), 4);
}

#[test]
fn a_job_of_the_batch_that_has_failed_fails_the_drain() {
    let jobq = Jobq::new();
    jobq.write(
        "jobs.jsonl",
        "{\"shell\":\"exit 1\",\"retries\":0}\n{\"kind\":\"unknown\"}\n",
    );
    jobq.drain(&["-f", "jobs.jsonl"]).exits(4);
    // It fails again in the next run of the same batch, which goes on with it.
    jobq.drain(&["-f", "jobs.jsonl"]).exits(4);
    assert_eq!(jobq.total(), 2);
}
