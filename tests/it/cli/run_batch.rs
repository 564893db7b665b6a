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
fn after_a_kill_the_same_batch_goes_on_and_every_job_is_done_and_none_added_twice() {
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
fn a_finished_batch_is_added_anew_and_an_unfinished_one_only_where_that_is_asked_for() {
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
    jobq.run(&["cancel", "2", "4"]).exits(0);
    let anew = jobq.drain(&["-f", "jobs.jsonl"]).exits(0);
    assert!(anew.stderr.contains("2 jobs enqueued (5–6)"), "{anew:?}");
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
    // The failure came in an earlier run of the same batch, which this one goes on with.
    jobq.drain(&["-f", "jobs.jsonl"]).exits(4);
}
