//! Which jobs are claimed, in which order.

use crate::model::part::NO_PARTS;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::id::JobId;
use crate::model::job::JobOptions;
use crate::model::job::NewJob;
use crate::model::job::options::Priority;
use crate::model::job::update::JobUpdate;
use crate::model::limits::EnqueueLimits;
use crate::model::queue::QueueSelector;
use crate::model::state::State;
use crate::store::jobs::claim::{ClaimFor, ClaimRequest, ClaimedJob, KindCapacity};
use crate::store::jobs::fair_share::FairShares;
use crate::store::jobs::{claim, queues, update};
use crate::store::tests::sandbox::{START_MS, Sandbox};
use crate::store::upkeep::promote;

fn ids(claimed: &[ClaimedJob]) -> Vec<i64> {
    claimed.iter().map(|job| job.id.0).collect()
}

/// Claims on the given terms; the runner is always number 1.
fn claim(sandbox: &mut Sandbox, request: &ClaimRequest<'_>) -> Vec<ClaimedJob> {
    sandbox.write(|tx| claim::claim(tx, request, &mut FairShares::default()))
}

fn request<'a>(kinds: &'a [KindCapacity], jobs: usize) -> ClaimRequest<'a> {
    ClaimRequest {
        runner: 1,
        queues: None,
        kinds,
        claim_for: ClaimFor::FreeWorker,
        jobs,
        aside: &NO_PARTS,
    }
}

#[test]
fn priority_then_age_orders_a_queue_whatever_the_kind() {
    let mut sandbox = Sandbox::new();
    let runner = sandbox.runner("one");
    let mut expected = Vec::new();
    for at in 0..40usize {
        // Kinds and priorities in no common rhythm.
        let kind = ["send", "resize", "call"][at * at % 3];
        let priority = Priority::ALL[at * 7 % 4];
        let id = sandbox.enqueue(NewJob::new(kind).priority(priority));
        expected.push((std::cmp::Reverse(priority), id.0));
    }
    expected.sort_unstable();
    let expected: Vec<i64> = expected.into_iter().map(|(_, id)| id).collect();
    let mut claimed = Vec::new();
    for jobs in [1, 2, 3, 5, 8, 13, 100] {
        claimed.extend(ids(&sandbox.claim(runner, jobs)));
    }
    assert_eq!(claimed, expected);
}

#[test]
fn a_claim_never_exceeds_its_limit_or_takes_a_job_twice() {
    let mut sandbox = Sandbox::new();
    let runner = sandbox.runner("one");
    for at in 0..20 {
        sandbox.enqueue(NewJob::new("send").queue(format!("queue {}", at % 3)));
    }
    assert_eq!(sandbox.claim(runner, 0).len(), 0);
    let first = ids(&sandbox.claim(runner, 7));
    let second = ids(&sandbox.claim(runner, 100));
    assert_eq!((first.len(), second.len()), (7, 13));
    assert!(first.iter().all(|id| !second.contains(id)));
    assert_eq!(sandbox.claim(runner, 100).len(), 0);
    sandbox.assert_counters_are_right();
}

#[test]
fn queues_get_equal_shares_over_the_turns() {
    let mut sandbox = Sandbox::new();
    sandbox.runner("one");
    for queue in ["a", "b", "c", "d"] {
        for _ in 0..100 {
            sandbox.enqueue(NewJob::new("send").queue(queue));
        }
    }
    let kinds = sandbox.kinds();
    let mut shares_so_far = FairShares::default();
    for jobs in [1, 2, 3, 4, 5, 7] {
        let mut shares: BTreeMap<i64, usize> = BTreeMap::new();
        for _ in 0..4 {
            let request = request(&kinds, jobs);
            let claimed = sandbox.write(|tx| claim::claim(tx, &request, &mut shares_so_far));
            assert_eq!(claimed.len(), jobs);
            for job in claimed {
                *shares.entry(job.queue).or_default() += 1;
            }
        }
        let shares: Vec<usize> = shares.into_values().collect();
        assert_eq!(shares, [jobs; 4], "claims of {jobs}");
    }
}

#[test]
fn in_one_claim_no_queue_gets_two_more_than_another() {
    let mut sandbox = Sandbox::new();
    sandbox.runner("one");
    for queue in ["a", "b", "c", "d"] {
        for _ in 0..10 {
            sandbox.enqueue(NewJob::new("send").queue(queue));
        }
    }
    let kinds = sandbox.kinds();
    let claimed = claim(&mut sandbox, &request(&kinds, 5));
    let mut shares = [0; 4];
    for job in &claimed {
        shares[usize::try_from(job.queue).unwrap() - 1] += 1;
    }
    let most = shares.iter().max().unwrap();
    let least = shares.iter().min().unwrap();
    assert!(most - least <= 1, "{shares:?}");
}

#[test]
fn what_a_short_queue_leaves_goes_to_the_others() {
    let mut sandbox = Sandbox::new();
    let runner = sandbox.runner("one");
    sandbox.enqueue(NewJob::new("send").queue("short"));
    for _ in 0..20 {
        sandbox.enqueue(NewJob::new("send").queue("long"));
    }
    let claimed = sandbox.claim(runner, 10);
    let short = sandbox.queue_id("short");
    assert_eq!(claimed.len(), 10);
    assert_eq!(claimed.iter().filter(|job| job.queue == short).count(), 1);
}

#[test]
fn a_paused_queue_is_left_out_and_the_others_are_not() {
    let mut sandbox = Sandbox::new();
    let runner = sandbox.runner("one");
    let paused = sandbox.enqueue(
        NewJob::new("send")
            .queue("paused")
            .priority(Priority::Urgent),
    );
    let open = sandbox.enqueue(NewJob::new("send").queue("open"));
    sandbox.write(|tx| queues::pause(tx, &QueueSelector::Named("paused".to_owned())));
    assert_eq!(ids(&sandbox.claim(runner, 10)), [open.0]);
    sandbox.write(|tx| queues::resume(tx, &QueueSelector::Named("paused".to_owned())));
    assert_eq!(ids(&sandbox.claim(runner, 10)), [paused.0]);
}

#[test]
fn nothing_is_claimed_while_all_queues_are_paused() {
    let mut sandbox = Sandbox::new();
    let runner = sandbox.runner("one");
    let id = sandbox.enqueue(NewJob::new("send"));
    sandbox.write(|tx| queues::pause(tx, &QueueSelector::All));
    let kinds = sandbox.kinds();
    assert_eq!(sandbox.claim(runner, 10).len(), 0);
    assert!(!claim::has_claimable(&sandbox.conn, &request(&kinds, 1), START_MS).unwrap());
    // Also what is enqueued meanwhile, in queues that were not there.
    let later = sandbox.enqueue(NewJob::new("send").queue("another"));
    assert_eq!(sandbox.claim(runner, 10).len(), 0);
    sandbox.write(|tx| queues::resume(tx, &QueueSelector::All));
    assert_eq!(ids(&sandbox.claim(runner, 10)), [id.0, later.0]);
}

#[test]
fn jobs_without_a_handler_are_left_out_however_urgent() {
    let mut sandbox = Sandbox::new();
    sandbox.runner("one");
    for _ in 0..10 {
        sandbox.enqueue(NewJob::new("unknown").priority(Priority::Urgent));
    }
    let known = sandbox.enqueue(NewJob::new("send").priority(Priority::Low));
    let kinds = [sandbox.kinds()[1]];
    assert!(claim::has_claimable(&sandbox.conn, &request(&kinds, 1), START_MS).unwrap());
    assert_eq!(ids(&claim(&mut sandbox, &request(&kinds, 5))), [known.0]);
    assert!(!claim::has_claimable(&sandbox.conn, &request(&kinds, 1), START_MS).unwrap());
    assert_eq!(claim(&mut sandbox, &request(&[], 5)).len(), 0);
}

#[test]
fn queues_that_a_runner_does_not_serve_are_left_out() {
    let mut sandbox = Sandbox::new();
    sandbox.runner("one");
    sandbox.enqueue(NewJob::new("send").queue("theirs"));
    let ours = sandbox.enqueue(NewJob::new("send").queue("ours"));
    let kinds = sandbox.kinds();
    let served = [sandbox.queue_id("ours")];
    let serving = ClaimRequest {
        queues: Some(&served),
        ..request(&kinds, 5)
    };
    assert_eq!(ids(&claim(&mut sandbox, &serving)), [ours.0]);
    assert!(!claim::has_claimable(&sandbox.conn, &serving, START_MS).unwrap());
}

#[test]
fn what_the_same_transaction_made_pending_can_be_claimed_in_it() {
    let mut sandbox = Sandbox::new();
    sandbox.runner("one");
    let delayed = NewJob::new("send").delay(Duration::from_secs(1));
    let id = sandbox.enqueue(delayed);
    let kinds = sandbox.kinds();
    sandbox.now_ms += 1000;
    let claimed = sandbox.write(|tx| {
        promote::promote_due(tx, 10)?;
        claim::claim(tx, &request(&kinds, 1), &mut FairShares::default())
    });
    assert_eq!(ids(&claimed), [id.0]);
    sandbox.assert_counters_are_right();
}

#[test]
fn a_claim_follows_an_edit_of_queue_and_priority() {
    let mut sandbox = Sandbox::new();
    let runner = sandbox.runner("one");
    let first = sandbox.enqueue(NewJob::new("send"));
    let second = sandbox.enqueue(NewJob::new("send"));
    let urgent = JobUpdate::from(JobOptions {
        priority: Some(Priority::Urgent),
        ..JobOptions::default()
    });
    sandbox.write(|tx| update::edit(tx, second, &urgent, &EnqueueLimits::default()));
    assert_eq!(ids(&sandbox.claim(runner, 1)), [second.0]);
    let elsewhere = JobUpdate::from(JobOptions {
        queue: Some("paused".to_owned()),
        ..JobOptions::default()
    });
    sandbox.write(|tx| update::edit(tx, first, &elsewhere, &EnqueueLimits::default()));
    sandbox.write(|tx| queues::pause(tx, &QueueSelector::Named("paused".to_owned())));
    assert_eq!(sandbox.claim(runner, 1).len(), 0);
}

/// STRICT tables accept text that is no UTF-8: one bad row must not block the others.
#[test]
fn a_payload_that_cannot_be_read_blocks_nobody() {
    let mut sandbox = Sandbox::new();
    let runner = sandbox.runner("one");
    let bad: Vec<JobId> = (0..3)
        .map(|_| sandbox.enqueue(NewJob::new("send").priority(Priority::Urgent)))
        .collect();
    let good = sandbox.enqueue(NewJob::new("send").payload(&7));
    sandbox.sql(&format!(
        "UPDATE jobq_payload SET payload = CAST(x'ff' AS TEXT) WHERE job_id = {};
         UPDATE jobq_payload SET payload = CAST(x'2200ff22' AS TEXT) WHERE job_id = {};
         DELETE FROM jobq_payload WHERE job_id = {}",
        bad[0], bad[1], bad[2]
    ));
    let claimed = sandbox.claim(runner, 10);
    assert_eq!(ids(&claimed), [bad[0].0, bad[1].0, bad[2].0, good.0]);
    let payloads: Vec<Option<&str>> = claimed.iter().map(|job| job.payload.as_deref()).collect();
    assert_eq!(payloads, [None, None, None, Some("7")]);
    for id in bad {
        assert_eq!(sandbox.job(id).state, State::Running, "it can be looked at");
    }
}
