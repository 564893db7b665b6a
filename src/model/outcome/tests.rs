use super::*;
use crate::model::retry::{Backoff, Jitter};

fn budget(retries: u32, crashes: u32) -> Budget {
    let policy = RetryPolicy {
        max_retries: 2,
        backoff: Backoff::Fixed,
        delay: Duration::from_secs(7),
        jitter: Jitter::Off,
        ..RetryPolicy::default()
    };
    Budget {
        policy,
        retries,
        crashes,
        timeout: Some(Duration::from_secs(90)),
    }
}

fn failed(reason: Option<CancelReason>) -> Ending {
    Ending::Returned {
        outcome: Outcome::Retry {
            error: "no".into(),
            after: None,
        },
        reason,
    }
}

#[test]
fn a_failed_try_is_retried_until_its_retries_are_spent() {
    let again = Verdict::Retry {
        error: "no".into(),
        after: Duration::from_secs(7),
    };
    assert_eq!(judge(failed(None), &budget(0, 0), 0.5), again);
    assert_eq!(judge(failed(None), &budget(1, 0), 0.5), again);
    assert_eq!(
        judge(failed(None), &budget(2, 0), 0.5),
        Verdict::Fail { error: "no".into() }
    );
}

#[test]
fn a_handlers_own_delay_overrides_the_backoff() {
    let outcome = Outcome::Retry {
        error: "no".into(),
        after: Some(Duration::ZERO),
    };
    let verdict = judge(
        Ending::Returned {
            outcome,
            reason: None,
        },
        &budget(0, 0),
        0.5,
    );
    assert_eq!(
        verdict,
        Verdict::Retry {
            error: "no".into(),
            after: Duration::ZERO
        }
    );
}

#[test]
fn an_attempt_that_a_shutdown_interrupted_costs_nothing() {
    for ending in [
        failed(Some(CancelReason::Shutdown)),
        Ending::Abandoned {
            reason: CancelReason::Shutdown,
        },
        Ending::Returned {
            outcome: Outcome::Cancelled,
            reason: Some(CancelReason::Shutdown),
        },
    ] {
        assert!(matches!(
            judge(ending, &budget(2, 2), 0.5),
            Verdict::GiveBack { .. }
        ));
    }
}

#[test]
fn an_attempt_short_of_resources_costs_no_retry_unless_stopped() {
    let ending = |reason| Ending::Returned {
        outcome: Outcome::OutOfResources {
            error: "no descriptors".into(),
        },
        reason,
    };
    let why = "no descriptors".into();
    assert_eq!(
        judge(ending(None), &budget(2, 2), 0.5),
        Verdict::GiveBack { why }
    );
    let reason = Some(CancelReason::Requested);
    assert_eq!(judge(ending(reason), &budget(2, 2), 0.5), Verdict::Cancel);
}

#[test]
fn what_was_done_counts_even_when_it_was_told_to_stop() {
    let ending = Ending::Returned {
        outcome: Outcome::Done(None),
        reason: Some(CancelReason::Requested),
    };
    assert_eq!(
        judge(ending, &budget(0, 0), 0.5),
        Verdict::Complete { result: None }
    );
}

#[test]
fn a_cancelled_attempt_is_cancelled_however_it_ends() {
    let reason = Some(CancelReason::Requested);
    for ending in [
        failed(reason),
        Ending::Panicked {
            message: "x".into(),
            reason,
        },
        Ending::Returned {
            outcome: Outcome::Fail { error: "x".into() },
            reason,
        },
        Ending::Abandoned {
            reason: CancelReason::Requested,
        },
    ] {
        assert_eq!(judge(ending, &budget(0, 0), 0.5), Verdict::Cancel);
    }
}

#[test]
fn a_timeout_is_a_failed_try_that_names_the_limit() {
    let ending = Ending::Abandoned {
        reason: CancelReason::Timeout,
    };
    let Verdict::Retry { error, .. } = judge(ending, &budget(0, 0), 0.5) else {
        panic!("not retried")
    };
    assert_eq!(error, "timed out after 1m 30s");
    let late = failed(Some(CancelReason::Timeout));
    assert_eq!(
        judge(late, &budget(2, 0), 0.5),
        Verdict::Fail {
            error: "timed out after 1m 30s: no".into()
        }
    );
}

#[test]
fn durations_are_spelled_as_people_write_them() {
    for (ms, text) in [
        (0, "0ms"),
        (40, "40ms"),
        (2500, "2.5s"),
        (60_000, "1m"),
        (5_400_000, "1h 30m"),
    ] {
        assert_eq!(Spelled(Duration::from_millis(ms)).to_string(), text);
    }
}

#[test]
fn a_timeout_while_the_handler_is_unavailable_costs_no_retry() {
    let outcome = Outcome::Unavailable {
        error: "down".to_owned(),
        pause: Duration::from_secs(1),
    };
    let verdict = |reason| {
        let ending = Ending::Returned {
            outcome: outcome.clone(),
            reason,
        };
        judge(ending, &budget(0, 0), 0.0)
    };
    let back = Verdict::GiveBack { why: "down".into() };
    assert_eq!(verdict(Some(CancelReason::Timeout)), back);
    assert_eq!(verdict(None), back);
    assert_eq!(verdict(Some(CancelReason::Requested)), Verdict::Cancel);
}
