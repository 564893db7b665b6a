//! Jobs that have ended: the last of them, and removing old ones in small steps that are never made twice.

use rusqlite::StatementStatus;

use crate::model::filter::{Filter, Sort};
use crate::model::id::JobId;
use crate::model::job::NewJob;
use crate::model::outcome::Verdict;
use crate::model::state::State;
use crate::store::jobs::claim::ClaimedJob;
use crate::store::jobs::remove::ROWS_AT_ONCE;
use crate::store::read::{attempts, jobs, listing};
use crate::store::tests::sandbox::{START_MS, Sandbox, held};
use crate::store::upkeep::prune::{
    JOBS, JOBS_FINAL_AT, JOBS_FINAL_BETWEEN, PrunePass, ROWS, Stepped, Sweep,
};
use crate::store::upkeep::{batches, prune};

/// So many completed jobs of each kind; all ended in the same two milliseconds.
fn sandbox(jobs: usize) -> Sandbox {
    let mut sandbox = Sandbox::new();
    for kind in ["send", "resize"] {
        sandbox.enqueue(NewJob::new(kind).queue("live"));
    }
    sandbox.sql(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {jobs}), k(id) AS (VALUES (1), (2))
         INSERT INTO jobq_job (max_retries, backoff, retry_delay_ms, created_at, updated_at, priority, queue_id, kind_id,
             state, finished_at)
         SELECT 3, 4, 5000, 1, 1, 1, 1, k.id, 5, 1000 + i % 2 FROM n, k;
         INSERT INTO jobq_payload SELECT id, '1' FROM jobq_job WHERE state = 5;
         INSERT INTO jobq_number (what, id, value) SELECT state, queue_id, count(*) FROM jobq_job WHERE state = 5 GROUP BY 1, 2;"
    ));
    sandbox
}

fn pass(kinds: &[i64]) -> PrunePass {
    let sweep = |kind: &i64| Sweep::new(*kind, State::Completed, START_MS);
    PrunePass::of(kinds.iter().map(sweep).collect())
}

fn step(sandbox: &mut Sandbox, pass: &PrunePass) -> Stepped {
    sandbox.write(|tx| prune::step(tx, pass, prune::no_end()))
}

/// Steps until the pass is done: how many were removed by each.
fn finish(sandbox: &mut Sandbox, pass: PrunePass) -> Vec<u64> {
    let mut removed = Vec::new();
    let mut next = Some(pass);
    while let Some(pass) = next {
        let stepped = step(sandbox, &pass);
        removed.push(stepped.removed);
        next = stepped.next;
        assert!(removed.len() < 1000, "it does not end");
    }
    removed
}

fn completed(sandbox: &Sandbox, kind: i64) -> i64 {
    sandbox.number(&format!(
        "SELECT count(*) FROM jobq_job WHERE state = 5 AND kind_id = {kind}"
    ))
}

#[test]
fn a_pass_takes_small_steps_over_all_kinds_together() {
    let jobs = JOBS * 9 / 4;
    let mut sandbox = sandbox(jobs);
    let first = step(&mut sandbox, &pass(&[1, 2]));
    assert!(first.removed <= JOBS as u64, "{first:?}");
    let [left, other] = [1, 2].map(|kind| completed(&sandbox, kind));
    assert!(left == other && left < jobs as i64, "{left} and {other}");
    let removed = finish(&mut sandbox, first.next.unwrap());
    assert!(
        removed.iter().all(|jobs| *jobs <= JOBS as u64),
        "{removed:?}"
    );
    assert!(removed.len() <= 5, "{removed:?}");
    assert_eq!(first.removed + removed.iter().sum::<u64>(), 2 * jobs as u64);
    sandbox.assert_counters_are_right();
}

/// Gives a job so many more events.
fn lengthen(sandbox: &Sandbox, id: JobId, events: usize) {
    sandbox.sql(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {events})
         INSERT INTO jobq_log (at, kind, job_id, id, attempt, data) SELECT {START_MS}, 21, {id}, 1000 + i, 1, 'line ' || i FROM n"
    ));
}

#[test]
fn a_long_history_is_pruned_in_steps_and_its_job_comes_last() {
    let mut sandbox = sandbox(3);
    let of_kind = "FROM jobq_job WHERE state = 5 AND kind_id = 1";
    let long = JobId(sandbox.number(&format!("SELECT id {of_kind} ORDER BY id LIMIT 1 OFFSET 1")));
    for id in [long, JobId(1)] {
        lengthen(&sandbox, id, ROWS * 5 / 2);
    }
    let all = |sandbox: &Sandbox| sandbox.number("SELECT count(*) FROM jobq_log");
    let kept = format!("SELECT count(*) FROM jobq_log WHERE job_id <> {long}");
    let kept = sandbox.number(&kept);
    let mut removed = Vec::new();
    let mut next = Some(pass(&[1]));
    while let Some(pass) = next {
        let before = all(&sandbox);
        let stepped = step(&mut sandbox, &pass);
        let events = before - all(&sandbox);
        assert!(events <= (ROWS + ROWS_AT_ONCE) as i64, "{events}");
        let has_history = all(&sandbox) > kept;
        let is_there = jobs::get(&sandbox.conn, long).unwrap().is_some();
        assert!(is_there || !has_history, "its events outlive it");
        removed.push(stepped.removed);
        next = stepped.next;
        sandbox.assert_books_are_right();
    }
    assert!(removed.len() >= 3, "{removed:?}");
    assert_eq!(removed.iter().sum::<u64>(), 3);
    assert_eq!((completed(&sandbox, 1), completed(&sandbox, 2)), (0, 3));
    assert_eq!(all(&sandbox), kept, "others keep theirs");
}

/// Its runner may be killed, or somebody may put the job back.
#[test]
fn a_job_with_a_truncated_history_is_sound_and_pruned_next() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("send"));
    let held = sandbox.start(id);
    lengthen(&sandbox, id, ROWS * 3 / 2);
    sandbox.settle(&held, &Verdict::Complete { result: None });
    sandbox.now_ms += 1;
    let again = || PrunePass::of(vec![Sweep::new(1, State::Completed, i64::MAX)]);
    assert_eq!(step(&mut sandbox, &again()).removed, 0);
    assert!(!sandbox.history(id).is_empty());
    assert_eq!(sandbox.state(id), State::Completed);
    assert_eq!(attempts::of_job(&sandbox.conn, id).unwrap().len(), 1);
    sandbox.assert_books_are_right();
    sandbox.requeue(id);
    assert_eq!(sandbox.complete(id), State::Completed);
    assert_eq!(attempts::of_job(&sandbox.conn, id).unwrap().len(), 2);
    assert_eq!(finish(&mut sandbox, again()), [1]);
    assert_eq!(sandbox.history(id), []);
    sandbox.assert_books_are_right();
}

#[test]
fn large_jobs_go_few_at_a_time() {
    let mut sandbox = sandbox(20);
    sandbox.sql(
        "UPDATE jobq_payload SET payload = '\"' || hex(zeroblob(1000000)) || '\"'
         WHERE job_id IN (SELECT id FROM jobq_job WHERE state = 5 AND kind_id = 1)",
    );
    let removed = finish(&mut sandbox, pass(&[1]));
    assert!(removed.iter().all(|jobs| *jobs <= 3), "{removed:?}");
    assert_eq!(removed.iter().sum::<u64>(), 20);
}

#[test]
fn each_kind_is_kept_for_its_own_time() {
    let mut sandbox = sandbox(10);
    finish(&mut sandbox, pass(&[2]));
    assert_eq!((completed(&sandbox, 1), completed(&sandbox, 2)), (10, 0));
    let young = PrunePass::of(vec![Sweep::new(1, State::Completed, 1001)]);
    assert_eq!(finish(&mut sandbox, young), [5]);
    assert_eq!(
        completed(&sandbox, 1),
        5,
        "those that ended at 1001 are not older than that"
    );
}

#[test]
fn children_stay_while_their_parent_does_and_are_read_once() {
    let mut sandbox = sandbox(5 * JOBS);
    // Every child but each tenth has a live parent: the first job.
    sandbox
        .sql("UPDATE jobq_job SET parent_id = 1 WHERE state = 5 AND kind_id = 1 AND id % 10 <> 0");
    let read = |sandbox: &Sandbox| {
        let steps = [JOBS_FINAL_AT, JOBS_FINAL_BETWEEN].map(|sql| {
            let statement = sandbox.conn.prepare_cached(sql).unwrap();
            i64::from(statement.reset_status(StatementStatus::VmStep))
        });
        steps.iter().sum::<i64>()
    };
    read(&sandbox);
    let mut steps = Vec::new();
    let mut next = Some(pass(&[1]));
    while let Some(pass) = next {
        next = step(&mut sandbox, &pass).next;
        steps.push(read(&sandbox));
    }
    assert_eq!(completed(&sandbox, 1), 9 * JOBS as i64 / 2);
    assert!(steps.len() >= 5, "{steps:?}");
    let (first, most) = (steps[0], *steps.iter().max().unwrap());
    assert!(first > JOBS as i64, "the steps were not counted: {steps:?}");
    assert!(most <= first * 12 / 10, "later steps read more: {steps:?}");
    // Once the parent has ended they may go.
    sandbox.sql("UPDATE jobq_job SET state = 6, finished_at = 1 WHERE id = 1");
    let removed = finish(&mut sandbox, pass(&[1]));
    assert_eq!(removed.iter().sum::<u64>(), 9 * JOBS as u64 / 2);
}

/// A disk or a processor that is too slow for a step of the usual length.
#[test]
fn a_step_without_time_removes_something_and_the_rest_follows() {
    let mut sandbox = sandbox(100);
    sandbox.sql("UPDATE jobq_job SET parent_id = 1 WHERE state = 5 AND id % 3 = 0");
    let kept = sandbox.number("SELECT count(*) FROM jobq_job WHERE parent_id = 1");
    let now = crate::clock::instant();
    let (mut removed, mut next) = (Vec::new(), Some(pass(&[1, 2])));
    while let Some(pass) = next {
        let stepped = sandbox.write(|tx| prune::step(tx, &pass, now));
        removed.push(stepped.removed);
        next = stepped.next;
        sandbox.assert_counters_are_right();
    }
    let (last, steps) = removed.split_last().unwrap();
    assert!(steps.len() > 10 && steps.iter().all(|jobs| *jobs > 0));
    assert_eq!(steps.iter().sum::<u64>() + last, 200 - kept as u64);
    assert_eq!(completed(&sandbox, 1) + completed(&sandbox, 2), kept);
}

#[test]
fn what_would_be_removed_is_what_is_removed() {
    let mut sandbox = sandbox(50);
    sandbox.sql("UPDATE jobq_job SET parent_id = 1 WHERE state = 5 AND kind_id = 1 AND id % 2 = 0");
    sandbox.sql("UPDATE jobq_job SET parent_id = 123456 WHERE state = 5 AND kind_id = 2");
    for kind in [1, 2] {
        let sweep = Sweep::new(kind, State::Completed, START_MS);
        let told = prune::count(&sandbox.conn, &sweep).unwrap();
        let removed: u64 = finish(&mut sandbox, pass(&[kind])).iter().sum();
        assert_eq!(told, removed);
    }
    assert_eq!(completed(&sandbox, 1), 25);
    assert_eq!(completed(&sandbox, 2), 0, "their parent is gone");
}

#[test]
fn unique_keys_go_once_their_window_is_over() {
    let mut sandbox = Sandbox::new();
    sandbox.sql(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
         INSERT INTO jobq_unique (key, job_id, until) SELECT 'old ' || i, i, {START_MS} - i FROM n;
         INSERT INTO jobq_unique (key, job_id, until) VALUES ('live', 1, NULL), ('now', 2, {START_MS}), ('later', 3, {START_MS} + 1);"
    ));
    let stepped = step(&mut sandbox, &PrunePass::default());
    assert!(stepped.next.is_some());
    assert_eq!(sandbox.number("SELECT count(*) FROM jobq_unique"), 303);
    finish(&mut sandbox, stepped.next.unwrap());
    assert_eq!(sandbox.number("SELECT count(*) FROM jobq_unique"), 3);
}

fn batches(sandbox: &Sandbox) -> i64 {
    sandbox.number("SELECT count(*) FROM jobq_batch")
}

#[test]
fn batches_are_forgotten_once_none_of_their_jobs_is_left() {
    let mut sandbox = sandbox(4);
    let ids = |which: &str| {
        let of_kind = "FROM jobq_job WHERE state = 5 AND kind_id = 1";
        sandbox.number(&format!("SELECT {which}(id) {of_kind}"))
    };
    let (first, last) = (ids("min"), ids("max"));
    sandbox.sql(&format!(
        "INSERT INTO jobq_batch VALUES ('', {first}, {first}, 1), ('part', {first}, {last}, 1), ('live', 2, 900, 1);
         UPDATE jobq_job SET finished_at = 5000 WHERE id = {last};
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 450)
         INSERT INTO jobq_batch SELECT 'gone ' || i, 10000 + i, 10001 + i, 1 FROM n;"
    ));
    let young = Sweep::new(1, State::Completed, 5000);
    let removed = finish(&mut sandbox, PrunePass::of(vec![young]));
    assert_eq!(removed.len(), 3, "some at a time: {removed:?}");
    assert_eq!(batches(&sandbox), 2, "one job of the batch is left");
    finish(&mut sandbox, pass(&[1, 2]));
    assert_eq!(batches(&sandbox), 1);
    assert!(
        batches::find(&sandbox.conn, "live").unwrap().is_some(),
        "its second job waits"
    );
}

#[test]
fn what_cannot_be_removed_holds_up_nothing_else() {
    for kinds in [[1, 2], [2, 1]] {
        let mut sandbox = sandbox(10);
        sandbox.sql(
            "CREATE TABLE app (job_id INTEGER REFERENCES jobq_job (id));
             INSERT INTO app SELECT min(id) FROM jobq_job WHERE state = 5 AND kind_id = 1;
             INSERT INTO jobq_batch VALUES ('gone', 900, 901, 1);",
        );
        let mut next = Some(pass(&kinds));
        let mut failures = 0;
        while let Some(pass) = next {
            next = match sandbox.try_write(|tx| prune::step(tx, &pass, prune::no_end())) {
                Ok(stepped) => stepped.next,
                Err(_) => {
                    failures += 1;
                    pass.after_failure()
                }
            };
        }
        assert_eq!(failures, 2);
        assert_eq!((completed(&sandbox, 1), completed(&sandbox, 2)), (10, 0));
        assert_eq!(batches(&sandbox), 0);
    }
}

#[test]
fn a_listing_by_the_time_of_ending_is_the_same_by_the_index() {
    let mut sandbox = Sandbox::new();
    let one = sandbox.runner("one");
    for at in 0..60 {
        sandbox.enqueue(NewJob::new(["send", "resize", "call"][at % 3]));
    }
    let verdicts = [
        Verdict::Fail {
            error: "broken".to_owned(),
        },
        Verdict::Complete { result: None },
        Verdict::Cancel,
    ];
    let claimed: Vec<ClaimedJob> = sandbox.claim(one, 50);
    for (at, job) in claimed.iter().enumerate() {
        sandbox.now_ms += [0, 5, 1][at % 3];
        sandbox.settle(&held(job, one), &verdicts[at / 3 % 3]);
    }
    let ids = |filter: &Filter| {
        let mut ids = Vec::new();
        listing::list(&sandbox.conn, (filter, sandbox.now_ms), &mut |job| {
            ids.push(job.id);
            Ok(())
        })
        .unwrap();
        ids
    };
    for states in [
        vec![State::Failed],
        vec![State::Completed, State::Cancelled, State::Completed],
    ] {
        for kinds in [vec![], vec!["send".to_owned(), "nobody".to_owned()]] {
            let all = Filter {
                states: states.clone(),
                kinds,
                sort: Sort::Finished,
                ..Filter::default()
            };
            let all_ids = ids(&all);
            assert!(all_ids.len() > 3);
            for limit in [0, 1, 3, 1000] {
                let some = Filter {
                    limit: Some(limit),
                    ..all.clone()
                };
                assert_eq!(ids(&some), all_ids[..limit.min(all_ids.len())], "{some:?}");
            }
        }
    }
}

/// A schedule that found its queue full told it at each slot, forever.
#[test]
fn old_events_without_a_job_are_pruned_alone_in_small_steps() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("send"));
    let many = ROWS * 2 + 1;
    sandbox.sql(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {many})
         INSERT INTO jobq_log (job_id, id, at, kind) SELECT 0, 1000 + i, 5, 51 FROM n;
         INSERT INTO jobq_log (job_id, id, at, kind) VALUES ({id}, 9001, 5, 51), (0, 9002, {START_MS}, 51);
         DELETE FROM jobq_feed;
         INSERT INTO jobq_feed (id, at, events) SELECT 1000 + id, at, '[]' FROM jobq_log;"
    ));
    let pass = PrunePass {
        log_before_ms: Some(START_MS),
        feed_before_ms: Some(START_MS),
        ..PrunePass::default()
    };
    assert_eq!(finish(&mut sandbox, pass).len(), 3);
    let left = |which: &str| sandbox.number(&format!("SELECT count(*) FROM {which}"));
    let of_no_job = left("jobq_log WHERE job_id = 0");
    assert_eq!((of_no_job, left("jobq_log")), (1, 2));
    assert_eq!(left("jobq_feed"), 1);
}

/// A box in a field starts without knowing the time.
#[test]
fn events_of_a_clock_that_was_ahead_do_not_stop_pruning() {
    let mut sandbox = Sandbox::new();
    sandbox.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
         INSERT INTO jobq_feed (id, at, events)
         SELECT i, iif(i BETWEEN 100 AND 1500, 9000000000000, iif(i < 4900, 5, 50)), '[]' FROM n",
    );
    let pass = PrunePass {
        feed_before_ms: Some(50),
        ..PrunePass::default()
    };
    finish(&mut sandbox, pass.clone());
    assert_eq!(sandbox.number("SELECT min(id) FROM jobq_feed"), 4900);
    assert_eq!(finish(&mut sandbox, pass).len(), 1);
}
