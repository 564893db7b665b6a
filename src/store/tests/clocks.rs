//! A machine whose clock is wrong after its start, and is set right later or never.

use std::time::Duration;

use super::limits::{jobs, limit};
use super::sandbox::{START_MS, Sandbox};
use crate::limit::{Change, Rate};
use crate::store::due::{self, ClockReading, Schedules};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Without a clock chip it begins in 1970. One whose battery is empty, or that was never set, is off by
/// less, either way.
const WRONG_BY_MS: [i64; 4] = [-START_MS, -DAY_MS, 0, 3650 * DAY_MS];

/// A machine that can be started again.
struct Machine {
    sandbox: Sandbox,
    starts: u32,
    up_ms: i64,
    wrong_by_ms: i64,
}

impl Machine {
    fn new() -> Machine {
        let mut machine = Machine {
            sandbox: Sandbox::new(),
            starts: 1,
            up_ms: DAY_MS,
            wrong_by_ms: 0,
        };
        machine.follow_clock();
        machine
    }

    fn follow_clock(&mut self) {
        let reading = ClockReading {
            boot: format!("start {}", self.starts),
            offset_ms: self.sandbox.now_ms - self.up_ms,
        };
        self.sandbox.write(|tx| due::follow_clock(tx, &reading));
    }

    fn pass(&mut self, ms: i64) {
        self.up_ms += ms;
        self.sandbox.now_ms += ms;
        self.follow_clock();
    }

    /// The clock is set so that it is wrong by so much.
    fn set(&mut self, wrong_by_ms: i64) {
        self.sandbox.now_ms += wrong_by_ms - self.wrong_by_ms;
        self.wrong_by_ms = wrong_by_ms;
        self.follow_clock();
    }

    fn start_again(&mut self, wrong_by_ms: i64) {
        self.starts += 1;
        self.up_ms = 0;
        self.set(wrong_by_ms);
    }
}

/// A start that lay in the future kept its queue from starting for so long, a day or 53 years.
#[test]
fn a_rate_goes_on_whatever_the_clock_says_after_a_start_of_the_machine() {
    for wrong_by_ms in WRONG_BY_MS {
        for is_set_right in [true, false] {
            let mut machine = Machine::new();
            let one = machine.sandbox.runner("one");
            let rate = Rate {
                jobs: 1,
                per: Duration::from_secs(2),
            };
            limit(&mut machine.sandbox, "mail", |to| {
                to.rate = Change::Set(rate);
            });
            jobs(&mut machine.sandbox, "mail", 9);
            assert_eq!(machine.sandbox.claim(one, 5).len(), 1);
            machine.start_again(wrong_by_ms);
            machine.pass(500);
            if is_set_right {
                machine.set(0);
            }
            machine.pass(1500);
            for start in 1..=3 {
                assert_eq!(machine.sandbox.claim(one, 5).len(), 1, "start {start}");
                let now_ms = machine.sandbox.now_ms;
                let next = due::next_moment(&machine.sandbox.conn, now_ms, Schedules::Fire);
                assert_eq!(next.unwrap(), Some(now_ms + 2000));
                machine.pass(1999);
                assert_eq!(machine.sandbox.claim(one, 5).len(), 0, "start {start}");
                machine.pass(1);
            }
        }
    }
}
