//! An attempt that no longer holds its job changes nothing, whatever it reports.

use crate::model::event::EventKind;
use crate::model::job::NewJob;
use crate::model::outcome::Verdict;
use crate::model::state::State;
use crate::store::jobs::finish_attempt;
use crate::store::jobs::finish_attempt::{AttemptMeasures, ClaimToken, PrefetchAgain};
use crate::store::tests::sandbox::{Sandbox, verdicts};
use crate::store::tests::town::{Who, held, job, touches_in, town};

const MEASURED: AttemptMeasures = AttemptMeasures {
    worker: Some(3),
    took: None,
    exit_code: Some(1),
    cpu_ms: None,
    max_rss_bytes: None,
};

#[test]
fn a_report_of_another_attempt_leaves_one_event_only() {
    for verdict in verdicts() {
        for attempt in [1, 3] {
            let stale = ClaimToken { attempt, ..held() };
            touches_in(
                &mut town(),
                |tx| {
                    assert_eq!(
                        finish_attempt::finish(tx, &stale, &verdict, &MEASURED)?,
                        None
                    );
                    Ok(())
                },
                &["+ event job_report_dropped of target running"],
            );
        }
    }
}

#[test]
fn a_report_on_a_job_that_does_not_run_leaves_one_event_only() {
    for verdict in verdicts() {
        for state in State::ALL {
            if state == State::Running {
                continue;
            }
            let stale = ClaimToken {
                job: job(Who::Target, state),
                ..held()
            };
            touches_in(
                &mut town(),
                |tx| {
                    assert_eq!(
                        finish_attempt::finish(tx, &stale, &verdict, &MEASURED)?,
                        None
                    );
                    Ok(())
                },
                &[&format!("+ event job_report_dropped of target {state}")],
            );
        }
    }
}

/// The cancel request is the newer attempt's business: an old report must not carry it out.
#[test]
fn a_stale_report_does_not_carry_out_a_cancel_request() {
    for verdict in verdicts() {
        let mut town = town();
        let running = held().job.0;
        town.sql(&format!(
            "UPDATE jobq_job SET cancel = 1 WHERE id = {running}"
        ));
        let stale = ClaimToken {
            attempt: 1,
            ..held()
        };
        touches_in(
            &mut town,
            |tx| {
                assert_eq!(
                    finish_attempt::finish(tx, &stale, &verdict, &MEASURED)?,
                    None
                );
                Ok(())
            },
            &["+ event job_report_dropped of target running"],
        );
    }
}

#[test]
fn giving_back_an_unheld_job_leaves_one_event_only() {
    for again in [PrefetchAgain::Yes, PrefetchAgain::Never] {
        let stale = ClaimToken {
            attempt: 1,
            ..held()
        };
        touches_in(
            &mut town(),
            |tx| {
                assert_eq!(finish_attempt::return_unbegun(tx, &stale, again)?, None);
                Ok(())
            },
            &["+ event job_report_dropped of target running"],
        );
    }
}

#[test]
fn a_report_on_a_removed_job_is_dropped() {
    let mut town = town();
    let stale = ClaimToken {
        job: crate::JobId(99),
        ..held()
    };
    touches_in(
        &mut town,
        |tx| {
            let verdict = Verdict::Complete { result: None };
            assert_eq!(
                finish_attempt::finish(tx, &stale, &verdict, &MEASURED)?,
                None
            );
            Ok(())
        },
        &["+ event job_report_dropped of new 99"],
    );
}

#[test]
fn only_the_first_of_two_reports_of_an_attempt_counts() {
    for first in verdicts() {
        for second in verdicts() {
            let mut sandbox = Sandbox::new();
            let id = sandbox.enqueue(NewJob::new("send"));
            let runner = sandbox.runner("one");
            let held = sandbox.claim_one(runner);
            let state = sandbox.settle(&held, &first);
            assert!(state.is_some());
            let before = format!("{:?}", sandbox.job(id));
            assert_eq!(sandbox.settle(&held, &second), None);
            assert_eq!(format!("{:?}", sandbox.job(id)), before);
            let dropped = sandbox.history(id).into_iter();
            let dropped = dropped.filter(|kind| *kind == EventKind::ReportDropped);
            assert_eq!(dropped.count(), 1);
            sandbox.assert_counters_are_right();
        }
    }
}
