//! Limits of queues over all runners, and of kinds in one; weights.

use crate::model::part::NO_PARTS;
use crate::store::jobs::finish_attempt;
use crate::store::sqlite::connection::Access;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use crate::model::id::JobId;
use crate::model::job::NewJob;
use crate::model::limits::{QueueLimitsUpdate, Rate, Update};
use crate::model::outcome::Verdict;
use crate::model::remedy::Severity;
use crate::model::runner::RunnerFilter;
use crate::model::state::State;
use crate::model::why::Why;
use crate::store::jobs::claim::{ClaimFor, ClaimRequest, KindCapacity};
use crate::store::jobs::fair_share::FairShares;
use crate::store::jobs::finish_attempt::ClaimToken;
use crate::store::jobs::{claim, queues};
use crate::store::read::runners::list as list_runners;
use crate::store::read::why;
use crate::store::tests::sandbox::{START_MS, Sandbox, held};
use crate::store::upkeep::runners::{HeartbeatMode, Loss, Registration};
use crate::store::upkeep::{doctor, runners};

pub(super) fn limit(
    sandbox: &mut Sandbox,
    queue: &str,
    change: impl FnOnce(&mut QueueLimitsUpdate),
) -> bool {
    let mut limits = QueueLimitsUpdate::default();
    change(&mut limits);
    sandbox.write(|tx| queues::set_limits(tx, queue, &limits))
}

pub(super) fn jobs(sandbox: &mut Sandbox, queue: &str, count: usize) -> Vec<JobId> {
    (0..count)
        .map(|_| sandbox.enqueue(NewJob::new("send").queue(queue)))
        .collect()
}

pub(super) fn has_claimable(sandbox: &Sandbox, runner: i64, claim_for: ClaimFor) -> bool {
    let kinds = sandbox.kinds();
    let request = ClaimRequest {
        runner,
        queues: None,
        kinds: &kinds,
        claim_for,
        jobs: 5,
        aside: &NO_PARTS,
    };
    claim::has_claimable(&sandbox.conn, &request, sandbox.now_ms).unwrap()
}

pub(super) fn complete(sandbox: &mut Sandbox, held: &ClaimToken) {
    assert_eq!(
        sandbox.settle(held, &Verdict::Complete { result: None }),
        Some(State::Completed)
    );
}

#[test]
fn a_queue_runs_no_more_than_its_limit_over_all_runners() {
    let mut sandbox = Sandbox::new();
    let (one, two) = (sandbox.runner("one"), sandbox.runner("two"));
    limit(&mut sandbox, "images", |to| to.concurrency = Update::Set(3));
    jobs(&mut sandbox, "images", 20);
    let first = sandbox.claim(one, 2);
    assert_eq!(first.len(), 2);
    assert_eq!(sandbox.claim(two, 5).len(), 1, "the third place");
    for claim_for in [ClaimFor::FreeWorker, ClaimFor::Prefetch] {
        assert!(!has_claimable(&sandbox, one, claim_for), "{claim_for:?}");
        assert_eq!(sandbox.claim_for(two, 5, claim_for).len(), 0);
    }
    complete(&mut sandbox, &held(&first[0], one));
    assert!(has_claimable(&sandbox, two, ClaimFor::FreeWorker));
    assert_eq!(sandbox.claim(two, 5).len(), 1);
    sandbox.assert_counters_are_right();
}

#[test]
fn a_slot_freed_in_a_transaction_can_be_taken_in_it() {
    let mut sandbox = Sandbox::new();
    let one = sandbox.runner("one");
    limit(&mut sandbox, "images", |to| to.concurrency = Update::Set(2));
    jobs(&mut sandbox, "images", 20);
    let kinds = sandbox.kinds();
    let mut running = VecDeque::from(sandbox.claim(one, 5));
    for _ in 0..5 {
        let ended = held(&running.pop_front().unwrap(), one);
        let request = ClaimRequest {
            runner: one,
            queues: None,
            kinds: &kinds,
            claim_for: ClaimFor::FreeWorker,
            jobs: 5,
            aside: &NO_PARTS,
        };
        let claimed = sandbox.write(|tx| {
            let verdict = Verdict::Complete { result: None };
            finish_attempt::finish(tx, &ended, &verdict, &Default::default())?;
            let mut claimed = claim::claim(tx, &request, &mut FairShares::default())?;
            // What was claimed a moment ago counts, although no counter has it yet.
            claimed.extend(claim::claim(tx, &request, &mut FairShares::default())?);
            Ok(claimed)
        });
        assert_eq!(claimed.len(), 1);
        running.extend(claimed);
    }
    sandbox.assert_counters_are_right();
}

#[test]
fn a_lost_runner_gives_its_places_back() {
    let mut sandbox = Sandbox::new();
    let lost = sandbox.runner("lost");
    limit(&mut sandbox, "images", |to| to.concurrency = Update::Set(2));
    jobs(&mut sandbox, "images", 9);
    assert_eq!(sandbox.claim(lost, 5).len(), 2);
    let heir = sandbox.runner("heir");
    assert_eq!(sandbox.claim(heir, 5).len(), 0);
    sandbox.write(|tx| runners::take_over(tx, lost, Loss::Dead));
    assert_eq!(sandbox.claim(heir, 5).len(), 2);
    assert_eq!(sandbox.claim(heir, 5).len(), 0);
    sandbox.assert_counters_are_right();
}

#[test]
fn a_limit_of_one_queue_holds_up_no_other() {
    let mut sandbox = Sandbox::new();
    let one = sandbox.runner("one");
    limit(&mut sandbox, "images", |to| to.concurrency = Update::Set(1));
    jobs(&mut sandbox, "images", 9);
    jobs(&mut sandbox, "mail", 9);
    let mail = sandbox.queue_id("mail");
    let claimed = sandbox.claim(one, 6);
    assert_eq!(claimed.len(), 6, "what images leaves goes to mail");
    assert_eq!(claimed.iter().filter(|job| job.queue == mail).count(), 5);
}

#[test]
fn jobs_that_nobody_could_run_are_failed_whatever_the_limits() {
    let mut sandbox = Sandbox::new();
    let one = sandbox.runner("one");
    limit(&mut sandbox, "images", |to| {
        to.concurrency = Update::Set(1);
        to.rate = Update::Set(Rate {
            jobs: 1,
            per: Duration::from_secs(60),
        });
    });
    jobs(&mut sandbox, "images", 5);
    assert_eq!(sandbox.claim(one, 5).len(), 1);
    assert!(has_claimable(&sandbox, one, ClaimFor::NoWorker));
    assert_eq!(sandbox.claim_for(one, 5, ClaimFor::NoWorker).len(), 4);
    assert_eq!(sandbox.number("SELECT rate_at FROM jobq_queue"), 1);
}

#[test]
fn a_kind_is_taken_no_more_often_than_the_runner_has_room_for() {
    let mut sandbox = Sandbox::new();
    let one = sandbox.runner("one");
    for at in 0..20 {
        sandbox.enqueue(
            NewJob::new(if at % 2 == 0 { "send" } else { "resize" }).queue(format!("{}", at % 3)),
        );
    }
    let kinds = sandbox.kinds();
    let limited = [
        KindCapacity {
            jobs: 3,
            ..kinds[0]
        },
        kinds[1],
    ];
    let request = ClaimRequest {
        runner: one,
        queues: None,
        kinds: &limited,
        claim_for: ClaimFor::FreeWorker,
        jobs: 50,
        aside: &NO_PARTS,
    };
    let claimed = sandbox.write(|tx| claim::claim(tx, &request, &mut FairShares::default()));
    let of = |kind: KindCapacity| claimed.iter().filter(|job| job.kind == kind.kind).count();
    assert_eq!((of(kinds[0]), of(kinds[1])), (3, 10));
    let none = [KindCapacity {
        jobs: 0,
        ..kinds[0]
    }];
    let request = ClaimRequest {
        kinds: &none,
        ..request
    };
    assert!(!claim::has_claimable(&sandbox.conn, &request, START_MS).unwrap());
}

#[test]
fn queues_share_a_runner_by_weight() {
    let mut sandbox = Sandbox::new();
    let one = sandbox.runner("one");
    limit(&mut sandbox, "b", |to| to.weight = Update::Set(3));
    jobs(&mut sandbox, "a", 100);
    jobs(&mut sandbox, "b", 100);
    let kinds = sandbox.kinds();
    let mut shares = FairShares::default();
    let mut got: BTreeMap<i64, usize> = BTreeMap::new();
    for jobs in [1, 1, 5, 1, 7, 5] {
        let request = ClaimRequest {
            runner: one,
            queues: None,
            kinds: &kinds,
            claim_for: ClaimFor::FreeWorker,
            jobs,
            aside: &NO_PARTS,
        };
        for job in sandbox.write(|tx| claim::claim(tx, &request, &mut shares)) {
            *got.entry(job.queue).or_default() += 1;
        }
    }
    let (a, b) = (sandbox.queue_id("a"), sandbox.queue_id("b"));
    assert_eq!((got[&a], got[&b]), (5, 15));
}

fn why_of(sandbox: &Sandbox, id: JobId) -> Why {
    let no_locks = std::path::Path::new("");
    why::why(&sandbox.conn, id, (sandbox.now_ms, no_locks)).unwrap()
}

#[test]
fn why_names_the_limit_and_what_takes_it_up() {
    let mut sandbox = Sandbox::new();
    let one = sandbox.runner("one");
    let rate = Rate {
        jobs: 1,
        per: Duration::from_secs(60),
    };
    limit(&mut sandbox, "images", |to| to.concurrency = Update::Set(2));
    limit(&mut sandbox, "mail", |to| to.rate = Update::Set(rate));
    let images = jobs(&mut sandbox, "images", 3);
    let mail = jobs(&mut sandbox, "mail", 2);
    assert!(matches!(
        why_of(&sandbox, mail[1]),
        Why::InLine { ahead: 1, .. }
    ));
    assert_eq!(sandbox.claim(one, 10).len(), 3);
    assert_eq!(
        why_of(&sandbox, images[2]),
        Why::QueueAtLimit {
            queue: "images".to_owned(),
            limit: 2,
            running: 2,
            jobs: images[..2].to_vec(),
        }
    );
    let Why::QueueRate { queue, next, .. } = why_of(&sandbox, mail[1]) else {
        panic!("{:?}", why_of(&sandbox, mail[1]));
    };
    assert_eq!(
        (&*queue, next.as_millisecond()),
        ("mail", START_MS + 60_000)
    );
    sandbox.now_ms += 60_000;
    assert!(matches!(
        why_of(&sandbox, mail[1]),
        Why::InLine { ahead: 0, .. }
    ));
}

#[test]
fn the_doctor_warns_of_a_queue_over_its_limit() {
    let mut sandbox = Sandbox::new();
    let one = sandbox.runner("one");
    jobs(&mut sandbox, "images", 3);
    sandbox.claim(one, 3);
    let found = |sandbox: &Sandbox| {
        let access = Access::Immutable;
        let findings = doctor::examine(&sandbox.conn, access).unwrap();
        let limits = findings
            .into_iter()
            .find(|finding| finding.check == "limits");
        limits.unwrap()
    };
    limit(&mut sandbox, "images", |to| to.concurrency = Update::Set(3));
    assert_eq!(found(&sandbox).severity, Severity::Ok);
    limit(&mut sandbox, "images", |to| to.concurrency = Update::Set(2));
    assert_eq!(found(&sandbox).severity, Severity::Warning);
    assert!(
        found(&sandbox)
            .message
            .contains("queue 'images' runs 3 jobs, its limit is 2")
    );
}

#[test]
fn a_runner_records_its_kind_limits_and_an_old_row_has_none() {
    let mut sandbox = Sandbox::new();
    sandbox.runner("older");
    let registration = Registration {
        name: "newer".to_owned(),
        pid: 1,
        host: "here".to_owned(),
        workers: 5,
        kinds: vec!["send".to_owned(), "resize".to_owned()],
        queues: None,
        heartbeat_mode: HeartbeatMode::Regular,
    };
    let limits = HashMap::from([("resize".to_owned(), 2), ("unknown".to_owned(), 1)]);
    sandbox.write(|tx| runners::register(tx, &registration, &limits));
    let runners = list_runners(&sandbox.conn, RunnerFilter::Now, std::path::Path::new(""));
    let runners = runners.unwrap();
    let told = runners
        .iter()
        .map(|runner| (runner.kinds.clone(), runner.kind_limits.clone()));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            (vec!["send".to_owned()], BTreeMap::new()),
            (
                registration.kinds,
                BTreeMap::from([("resize".to_owned(), 2)])
            )
        ]
    );
    let kinds: String = sandbox
        .conn
        .query_row("SELECT kinds FROM jobq_runners WHERE id = 2", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(kinds, r#"["send",{"at_once":2,"kind":"resize"}]"#);
}
