//! Jobs by their numbers: how they are named, and what many of them at once come to.

use super::support::Jobq;

#[test]
fn ids_have_commas_between_them_wherever_ids_are_taken() {
    let jobq = Jobq::new();
    for _ in 0..4 {
        jobq.enqueue(&["--in", "1h", "--", "true"]);
    }
    let lines = |verb: &[&str]| jobq.run(verb).exits(0).stdout.lines().count();
    assert_eq!(lines(&["status", "1,3-4", "--json"]), 3);
    assert_eq!(lines(&["edit", "1,2", "4", "--retries", "1"]), 3);
    assert_eq!(lines(&["cancel", "1,2", "3,@last"]), 4);
    assert_eq!(lines(&["retry", "1,2"]), 2);
    assert_eq!(lines(&["remove", "3,4"]), 2);
    jobq.run(&["cancel", "1,2"]).exits(0);
    jobq.run(&["wait", "1,2", "--timeout", "0s"]).exits(4);
    jobq.run(&["why", "1,2"])
        .fails(2, &["'1,2' names several jobs; one is wanted"]);
    jobq.run(&["status", "1,x"])
        .fails(2, &["'x' is not a job id", "3,5"]);
}

#[test]
fn jobs_are_gone_through_by_number_however_they_are_named() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    jobq.enqueue(&["--after", "1", "--", "true"]);
    jobq.run(&["cancel", "1"]).exits(0);
    let retried = jobq.run(&["retry", "2", "1"]).exits(0);
    assert_eq!(
        retried.stdout,
        "job 1 is pending again\njob 2 is blocked again\n"
    );
}

#[test]
fn what_a_command_has_brought_about_itself_is_no_error() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--kind", "group"]);
    jobq.enqueue(&["--parent", "1", "--retries", "0", "--", "false"]);
    jobq.enqueue(&["--parent", "1", "--retries", "0", "--", "false"]);
    jobq.enqueue(&["--after", "1", "--", "true"]);
    let cancelled = jobq.run(&["cancel", "1-4"]).exits(0);
    assert_eq!(
        cancelled.stdout,
        "job 1 cancelled\njob 2 is cancelled\njob 3 is cancelled\njob 4 is cancelled\n"
    );
    let again = jobq.run(&["cancel", "1-4"]).exits(1);
    assert_eq!(again.stdout, "", "all were cancelled before");
    let retried = "job 1 is waiting again\njob 2 is pending again\njob 3 is pending again\n";
    assert_eq!(jobq.stdout(&["retry", "1-3"]), retried);
    jobq.drain(&[]).exits(4);
    let retried = jobq.json_lines(&["retry", "3,1-2"]);
    let results: Vec<_> = retried.iter().map(|line| &line["result"]).collect();
    assert_eq!(results, ["waiting", "pending", "pending"]);
    jobq.run(&["retry", "1-3"]).exits(1);
}

#[test]
fn a_retry_names_its_cancelled_dependents_and_leaves_them() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--retries", "0", "--", "false"]);
    jobq.enqueue(&["--after", "1", "--", "true"]);
    jobq.enqueue(&["--after", "2", "--", "true"]);
    jobq.enqueue(&["--after", "1", "--", "true"]);
    jobq.run(&["cancel", "4"]).exits(0);
    jobq.enqueue(&["--after-any", "1", "--", "true"]);
    jobq.drain(&[]).exits(4);
    let retried = jobq.run(&["retry", "1"]).exits(0);
    assert_eq!(
        retried.hint(),
        "2 jobs that were cancelled because of it stay so: `jobq retry 2-3`"
    );
    let rest = jobq.run(&["retry", "2-3"]).exits(0);
    assert_eq!(
        (rest.stdout.as_str(), rest.stderr.as_str()),
        ("job 2 is blocked again\njob 3 is blocked again\n", "")
    );
    jobq.drain(&[]).exits(4);
    let program = jobq.run(&["retry", "--failed", "--json"]).exits(0);
    assert!(!program.stderr.contains("hint"), "{program:?}");
    jobq.drain(&[]).exits(4);
    jobq.run(&["retry", "2"]).exits(0);
    let chain = jobq.run(&["retry", "1-3"]).exits(1);
    assert!(!chain.stderr.contains("stay"), "all are back: {chain:?}");
}
