//! Which slots of a schedule to enqueue now, as pure rules of time.

use crate::model::schedule::Missed;
use crate::model::schedule::rule::Rule;

/// Maximum number of missed slots that get a job; older ones are skipped.
pub(crate) const MOST_MISSED: usize = 100;

/// A slot that is later than this was missed, and so was every slot before a later one that has come.
pub(crate) const LATE_MS: i64 = 60_000;

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Firing {
    /// Slots to enqueue a job for, oldest first.
    pub(crate) slots: Vec<i64>,
    /// Slots that are skipped, by the first and the last of them: all of them before `slots`.
    pub(crate) passed: Option<(i64, i64)>,
    /// The last slot that has come.
    pub(crate) last_at: i64,
    /// None: the rule has no further slot.
    pub(crate) next_at: Option<i64>,
}

/// What to do at `now` for `next_at`, which has come. It never walks through all missed slots: it goes
/// backwards from now, a bounded number of steps.
///
/// `next_at` counts as a slot even where the rule has no slot there any more, because the time zone's
/// rules have changed since it was worked out.
pub(crate) fn fire(rule: &Rule, missed: Missed, next_at: i64, now: i64) -> Firing {
    let last_at = rule
        .at_or_before(now, next_at)
        .map_or(next_at, |slot| slot.max(next_at));
    let slots = match missed {
        Missed::Skip if now.saturating_sub(last_at) > LATE_MS => Vec::new(),
        Missed::Skip | Missed::Once => vec![last_at],
        Missed::All => latest(rule, next_at, last_at),
    };
    let passed = match slots.first() {
        None => Some((next_at, last_at)),
        Some(first) if *first > next_at => rule
            .at_or_before(first - 1, next_at)
            .map(|last| (next_at, last.max(next_at))),
        Some(_) => None,
    };
    Firing {
        slots,
        passed,
        last_at,
        next_at: rule.after(now, last_at),
    }
}

/// The last slots from `next_at` to `last_at`, oldest first.
fn latest(rule: &Rule, next_at: i64, last_at: i64) -> Vec<i64> {
    let before = |slot: &i64| {
        rule.at_or_before(slot - 1, next_at)
            .filter(|slot| *slot >= next_at)
    };
    let mut slots: Vec<i64> = std::iter::successors(Some(last_at), before)
        .take(MOST_MISSED)
        .collect();
    slots.reverse();
    slots
}

/// Where a schedule stands: the slot that comes next, and the last one that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stand {
    pub(crate) next_at: Option<i64>,
    pub(crate) last_at: Option<i64>,
}

/// Where the schedule continues after a step of the clock; none: where it is.
///
/// After a step back, the slots up to `next_at` have been fired once and are not fired again. But
/// where the schedule would be silent for more than two of its slots, it goes on from now. When such a
/// clock is then set right, what had come before it went back has come, and is not made up for.
pub(crate) fn after_step(rule: &Rule, stand: Stand, now: i64) -> Option<i64> {
    let first = rule.first(now)?;
    let second = rule.after(first, first)?;
    let Some(next_at) = stand.next_at.filter(|next_at| *next_at <= second) else {
        return Some(first);
    };
    let last_at = stand.last_at.filter(|last_at| *last_at <= now)?;
    (next_at <= last_at)
        .then(|| rule.after(last_at, last_at))
        .flatten()
}
