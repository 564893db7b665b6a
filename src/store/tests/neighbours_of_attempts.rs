//! Claiming, ending and taking over attempts, and what attempts write, leaves every other row as it was.

use crate::model::part::NO_PARTS;
use std::time::Duration;

use crate::model::event::{EventKind, Level, LogEntry};
use crate::model::job::{AttemptRef, Progress};
use crate::model::outcome::{Snooze, Verdict};
use crate::model::state::State;
use crate::store::jobs::claim::{ClaimFor, ClaimRequest, KindCapacity};
use crate::store::jobs::fair_share::FairShares;
use crate::store::jobs::finish_attempt::{AttemptMeasures, PrefetchAgain};
use crate::store::jobs::{attempt_reports, claim, finish_attempt};
use crate::store::tests::town::{Who, held, job, touches, touches_in, town};
use crate::store::upkeep::runners;
use crate::store::upkeep::runners::Loss;

const MEASURED: AttemptMeasures = AttemptMeasures {
    worker: Some(3),
    took: Some(Duration::from_millis(7)),
    exit_code: Some(0),
    cpu_ms: Some(5),
    max_rss_bytes: Some(4096),
};

fn attempt() -> AttemptRef {
    AttemptRef {
        job: held().job,
        attempt: held().attempt,
    }
}

#[test]
fn claiming_touches_the_claimed_job_alone() {
    for claim_for in [ClaimFor::FreeWorker, ClaimFor::Prefetch] {
        let request = ClaimRequest {
            runner: 1,
            queues: Some(&[1]),
            kinds: &[KindCapacity::any(1), KindCapacity::any(2)],
            claim_for,
            jobs: 1,
            aside: &NO_PARTS,
        };
        touches(
            |tx| claim::claim(tx, &request, &mut FairShares::default()).map(|_| ()),
            &[
                "~ job target pending",
                "+ event job_started of target pending",
                "~ count mail pending",
                "~ count mail running",
            ],
        );
    }
}

#[track_caller]
fn settling(verdict: Verdict, outcome: Option<&str>, kind: EventKind, to: State) {
    let event = format!("+ event {kind} of target running");
    let count = format!("~ count mail {to}");
    let mut expected = vec![
        "~ job target running",
        "~ count mail running",
        &event,
        &count,
    ];
    expected.extend(outcome);
    touches(
        |tx| {
            assert_eq!(
                finish_attempt::finish(tx, &held(), &verdict, &MEASURED)?,
                Some(to),
                "{verdict:?}"
            );
            Ok(())
        },
        &expected,
    );
}

#[test]
fn ending_an_attempt_touches_its_own_job_alone() {
    let outcome = Some("~ outcome target running");
    let error = || "boom".to_owned();
    settling(
        Verdict::Complete {
            result: Some("1".to_owned()),
        },
        outcome,
        EventKind::Completed,
        State::Completed,
    );
    settling(
        Verdict::Complete { result: None },
        outcome,
        EventKind::Completed,
        State::Completed,
    );
    settling(
        Verdict::Fail { error: error() },
        outcome,
        EventKind::Failed,
        State::Failed,
    );
    settling(
        Verdict::Retry {
            error: error(),
            after: Duration::from_secs(5),
        },
        outcome,
        EventKind::Retry,
        State::Scheduled,
    );
    settling(
        Verdict::Snooze(Snooze::For(Duration::from_secs(5))),
        None,
        EventKind::Snoozed,
        State::Scheduled,
    );
    settling(
        Verdict::Cancel,
        None,
        EventKind::Cancelled,
        State::Cancelled,
    );
    settling(
        Verdict::GiveBack {
            why: "shut down".into(),
        },
        None,
        EventKind::Returned,
        State::Pending,
    );
    settling(
        Verdict::Recover { error: error() },
        outcome,
        EventKind::Recovered,
        State::Pending,
    );
}

#[test]
fn giving_back_an_unbegun_job_touches_it_alone() {
    for again in [PrefetchAgain::Yes, PrefetchAgain::Never] {
        touches(
            |tx| finish_attempt::return_unbegun(tx, &held(), again).map(|_| ()),
            &[
                "~ job target running",
                "+ event job_returned of target running",
                "~ count mail running",
                "~ count mail pending",
            ],
        );
    }
}

#[test]
fn taking_over_from_a_runner_touches_its_own_jobs_alone() {
    for loss in [Loss::Dead, Loss::Hung { heartbeat: 7 }] {
        touches(
            |tx| {
                assert_eq!(runners::take_over(tx, 1, loss)?, Some(2));
                Ok(())
            },
            &[
                "~ runner 1",
                "~ job target running",
                "~ job twin running",
                "~ outcome target running",
                "~ outcome twin running",
                "+ event job_recovered of target running",
                "+ event job_recovered of twin running",
                "+ event runner_lost",
                "~ count mail running",
                "~ count mail pending",
            ],
        );
    }
}

#[test]
fn a_runner_that_lives_or_has_ended_is_not_taken_over() {
    for (runner, loss) in [
        (1, Loss::Hung { heartbeat: 6 }),
        (3, Loss::Dead),
        (4, Loss::Dead),
        (9, Loss::Dead),
    ] {
        touches(
            |tx| {
                assert_eq!(runners::take_over(tx, runner, loss)?, None);
                Ok(())
            },
            &[],
        );
    }
}

#[test]
fn noting_a_worker_touches_the_job_that_it_runs_alone() {
    let target = job(Who::Target, State::Running);
    touches(
        |tx| runners::note_worker(tx, target, 2, 4),
        &["~ job target running"],
    );
    touches(|tx| runners::note_worker(tx, target, 1, 4), &[]);
    let pending = job(Who::Target, State::Pending);
    touches(|tx| runners::note_worker(tx, pending, 2, 4), &[]);
}

#[test]
fn what_an_attempt_writes_touches_its_own_job_alone() {
    let progress = Progress {
        percent: Some(70.0),
        ..Progress::default()
    };
    let entry = LogEntry {
        level: Level::Info,
        message: "on the way".to_owned(),
        fields: None,
    };
    touches(
        |tx| attempt_reports::progress(tx, attempt(), &progress),
        &[
            "~ progress target running",
            "+ event job_progress of target running",
        ],
    );
    touches(
        |tx| attempt_reports::log(tx, attempt(), &entry),
        &["+ event job_log of target running"],
    );
    touches(
        |tx| attempt_reports::output(tx, attempt(), EventKind::Stdout, b"\xff\xfe"),
        &["+ event job_stdout of target running"],
    );
    touches(
        |tx| attempt_reports::result(tx, attempt(), "[1]"),
        &["~ outcome target running"],
    );
}

#[test]
fn an_attempt_that_lost_its_job_writes_nothing() {
    let mut town = town();
    let stale = AttemptRef {
        attempt: 1,
        ..attempt()
    };
    let ended = AttemptRef {
        job: job(Who::Target, State::Completed),
        ..attempt()
    };
    touches_in(
        &mut town,
        |tx| {
            for attempt in [stale, ended] {
                let told = [
                    attempt_reports::progress(tx, attempt, &Progress::default()),
                    attempt_reports::output(tx, attempt, EventKind::Stderr, b"x"),
                    attempt_reports::result(tx, attempt, "1"),
                ];
                for refused in told {
                    let error = refused.unwrap_err();
                    assert!(error.is_wrong_state(), "{error}");
                    assert!(error.to_string().contains("no longer holds"), "{error}");
                }
            }
            Ok(())
        },
        &[],
    );
}
