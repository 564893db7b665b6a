//! Rates: how many jobs of a queue start in any span of time.

use crate::model::part::NO_PARTS;
use std::time::Duration;

use crate::clock::{ClockReading, STEP_MS};
use crate::model::limits::{Rate, Update};
use crate::store::jobs::claim::ClaimFor;
use crate::store::tests::limits::{has_claimable, jobs, limit};
use crate::store::tests::sandbox::{START_MS, Sandbox};
use crate::store::upkeep::{clock_step, promote};

/// Starts as they come; no span may hold more than the rate says.
struct Starts {
    sandbox: Sandbox,
    rate: Rate,
    /// On a clock that never steps.
    at_ms: Vec<i64>,
    elapsed_ms: i64,
    random: fastrand::Rng,
}

impl Starts {
    fn new(seed: u64) -> Starts {
        let mut random = fastrand::Rng::with_seed(seed);
        let rate = Rate {
            jobs: random.u32(1..6),
            per: Duration::from_millis(random.u64(1..5000)),
        };
        let mut sandbox = Sandbox::new();
        for runner in ["one", "two"] {
            sandbox.runner(runner);
        }
        limit(&mut sandbox, "mail", |to| to.rate = Update::Set(rate));
        jobs(&mut sandbox, "mail", 200);
        Starts {
            sandbox,
            rate,
            at_ms: Vec::new(),
            elapsed_ms: 0,
            random,
        }
    }

    /// The file's clock, and how far it stands from the one that never steps.
    fn reading(&self) -> ClockReading<'static> {
        ClockReading {
            boot: "boot",
            offset_ms: self.sandbox.now_ms - self.elapsed_ms,
        }
    }

    fn step(&mut self) {
        let per_ms = self.rate.per.as_millis() as i64;
        let passed = self.random.i64(0..per_ms + 2);
        self.elapsed_ms += passed;
        self.sandbox.now_ms += passed;
        if self.random.u8(0..4) == 0 {
            // Smaller steps are not told from the clock's own drift.
            let step_ms = self.random.i64(STEP_MS..100_000);
            self.sandbox.now_ms += if self.random.bool() {
                step_ms
            } else {
                -step_ms
            };
        }
        let reading = self.reading();
        self.sandbox.write(|tx| clock_step::follow(tx, reading));
        let runner = self.random.i64(1..3);
        let wanted = self.random.usize(1..8);
        let seen = has_claimable(&self.sandbox, runner, ClaimFor::FreeWorker);
        let claimed = self.sandbox.claim(runner, wanted);
        assert_eq!(
            seen,
            !claimed.is_empty(),
            "it looked and claimed differently"
        );
        if claimed.len() < wanted {
            self.check_next();
        }
        self.at_ms.extend(claimed.iter().map(|_| self.elapsed_ms));
    }

    /// The moment at which the next one may start is known, and it is the right one.
    fn check_next(&self) {
        let next = promote::next_moment(
            &self.sandbox.conn,
            self.sandbox.now_ms,
            (promote::Schedules::Fire, &NO_PARTS),
        )
        .unwrap();
        let next = next.expect("jobs wait for the rate");
        assert!(next > self.sandbox.now_ms);
        let per_ms = self.rate.per.as_millis() as i64;
        assert!(next <= self.sandbox.now_ms + per_ms);
    }

    fn check(&self) {
        let per_ms = self.rate.per.as_millis() as i64;
        for (at, start) in self.at_ms.iter().enumerate() {
            let within = self.at_ms[at..]
                .iter()
                .take_while(|other| **other < start + per_ms);
            assert!(
                within.count() <= self.rate.jobs as usize,
                "more than {:?} from {start} on: {:?}",
                self.rate,
                self.at_ms
            );
        }
    }
}

#[test]
fn no_span_exceeds_the_start_rate_however_the_clock_steps() {
    for seed in 0..60 {
        let mut starts = Starts::new(seed);
        for _ in 0..40 {
            starts.step();
        }
        starts.check();
        let spans = starts.elapsed_ms / starts.rate.per.as_millis() as i64;
        let least = spans.unsigned_abs().min(40) as usize / 4;
        assert!(starts.at_ms.len() > least, "seed {seed}: it starves");
    }
}

#[test]
fn the_rate_allows_the_next_start_the_moment_the_span_is_over() {
    let mut sandbox = Sandbox::new();
    let one = sandbox.runner("one");
    let rate = Rate {
        jobs: 2,
        per: Duration::from_secs(60),
    };
    limit(&mut sandbox, "mail", |to| to.rate = Update::Set(rate));
    jobs(&mut sandbox, "mail", 9);
    assert_eq!(sandbox.claim(one, 1).len(), 1);
    sandbox.now_ms += 20_000;
    assert_eq!(sandbox.claim(one, 5).len(), 1);
    assert!(!has_claimable(&sandbox, one, ClaimFor::FreeWorker));
    let next = |sandbox: &Sandbox| {
        promote::next_moment(
            &sandbox.conn,
            sandbox.now_ms,
            (promote::Schedules::Fire, &NO_PARTS),
        )
        .unwrap()
    };
    assert_eq!(next(&sandbox), Some(START_MS + 60_000));
    sandbox.now_ms = START_MS + 59_999;
    assert_eq!(sandbox.claim(one, 5).len(), 0);
    sandbox.now_ms = START_MS + 60_000;
    assert_eq!(next(&sandbox), None, "it may start now");
    assert_eq!(sandbox.claim(one, 5).len(), 1);
    assert_eq!(next(&sandbox), Some(START_MS + 80_000));
    // A clock that was put back without anybody's noticing: what started then started now.
    sandbox.now_ms = START_MS;
    assert_eq!(next(&sandbox), Some(START_MS + 60_000));
    assert_eq!(sandbox.claim(one, 5).len(), 0);
}

#[test]
fn a_rated_queue_is_never_claimed_ahead() {
    let mut sandbox = Sandbox::new();
    let one = sandbox.runner("one");
    let rate = Rate {
        jobs: 100,
        per: Duration::from_secs(1),
    };
    limit(&mut sandbox, "mail", |to| to.rate = Update::Set(rate));
    jobs(&mut sandbox, "mail", 3);
    assert!(!has_claimable(&sandbox, one, ClaimFor::Prefetch));
    assert_eq!(sandbox.claim_for(one, 5, ClaimFor::Prefetch).len(), 0);
    assert_eq!(sandbox.claim(one, 5).len(), 3);
}

#[test]
fn only_another_rate_begins_with_an_empty_record() {
    let mut sandbox = Sandbox::new();
    let one = sandbox.runner("one");
    let mut rate = Rate {
        jobs: 1,
        per: Duration::from_secs(60),
    };
    assert!(limit(&mut sandbox, "mail", |to| to.rate = Update::Set(rate)));
    jobs(&mut sandbox, "mail", 5);
    assert_eq!(sandbox.claim(one, 5).len(), 1);
    // A runner that starts sets what its configuration says.
    assert!(!limit(&mut sandbox, "mail", |to| to.rate = Update::Set(rate)));
    assert!(limit(&mut sandbox, "mail", |to| to.weight = Update::Set(2)));
    assert_eq!(sandbox.claim(one, 5).len(), 0);
    rate.jobs = 2;
    assert!(limit(&mut sandbox, "mail", |to| to.rate = Update::Set(rate)));
    assert_eq!(sandbox.number("SELECT count(*) FROM jobq_rate"), 0);
    assert_eq!(sandbox.claim(one, 5).len(), 2);
    assert!(limit(&mut sandbox, "mail", |to| to.rate = Update::Clear));
    assert_eq!(sandbox.number("SELECT count(*) FROM jobq_rate"), 0);
    assert_eq!(sandbox.claim(one, 5).len(), 2);
    assert_eq!(
        sandbox.number("SELECT count(*) FROM jobq_log WHERE kind = 32"),
        4
    );
}
