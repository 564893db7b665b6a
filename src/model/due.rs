//! The moment at which a job is due.

use crate::clock::millis;
use crate::model::job::When;

/// When a waiting job is due, and whether that moment was asked for or follows from a duration.
pub(crate) struct Due {
    pub(crate) run_at_ms: i64,
    pub(crate) fixed: bool,
}

impl Due {
    /// None if it is due already.
    pub(crate) fn of(when: When, now_ms: i64) -> Option<Due> {
        Some(Due::moment(when, now_ms)).filter(|due| due.run_at_ms > now_ms)
    }

    /// The same, also for a moment that has passed.
    pub(crate) fn moment(when: When, now_ms: i64) -> Due {
        let run_at_ms = match when {
            When::Now => now_ms,
            When::In(delay) => after(millis(delay), now_ms),
            When::At(at) => at.as_millisecond(),
        };
        Due {
            run_at_ms,
            fixed: !matches!(when, When::In(_)),
        }
    }
}

/// The moment `delay` from now. The year 9999 stands for never, and still fits when a step of the clock
/// moves it.
pub(crate) fn after(wait_ms: i64, now_ms: i64) -> i64 {
    const NEVER_MS: i64 = 253_402_300_799_999;
    now_ms.saturating_add(wait_ms).min(NEVER_MS)
}
