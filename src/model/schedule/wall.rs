//! From wall clock times to moments: the slots of a cron rule when summer time begins or ends.
//!
//! jobq follows Vixie cron. A rule with a wildcard (`*`, `*/n`) in its minute or hour follows the wall clock.
//! Any other names fixed times of day, also by lists and ranges.
//!
//! | | the time is skipped | the time occurs twice |
//! |---|---|---|
//! | fixed times | at the first moment after the gap | the first time |
//! | wildcard | not at all | both times |
//!
//! So `0 * * * *` fires every hour that passes, and `0 2,14 * * *` twice a day, whatever the clock does.
//! All fixed times in one gap fire together, as one slot.
//!
//! `croner` sees wall clock times only, as if they were UTC, where no clock is ever changed.

use croner::Cron;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// A cron rule in a time zone.
#[derive(Clone, Debug)]
pub(super) struct Wall {
    cron: Box<Cron>,
    zone: TimeZone,
    follows: Follows,
}

/// What a rule goes by where the clock is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// The times of day that it names: each comes once.
    TimesOfDay,
    /// The clock on the wall.
    Clock,
}

/// No zone's clock is ever set by as much.
const WIDEST_CHANGE: SignedDuration = SignedDuration::from_hours(48);
const SECOND: SignedDuration = SignedDuration::from_secs(1);

impl Wall {
    pub(super) fn new(cron: Cron, zone: TimeZone, follows: Follows) -> Wall {
        Wall {
            cron: Box::new(cron),
            zone,
            follows,
        }
    }

    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The first slot after this whole second.
    pub(super) fn after(&self, second: Timestamp) -> Option<Timestamp> {
        match self.follows {
            Follows::TimesOfDay => self.next_fixed(second),
            Follows::Clock => self.next_on_clock(second.checked_add(SECOND).ok()?),
        }
    }

    /// The last slot that is not after this whole second.
    pub(super) fn at_or_before(&self, second: Timestamp) -> Option<Timestamp> {
        match self.follows {
            Follows::TimesOfDay => self.last_fixed(second),
            Follows::Clock => self.last_on_clock(second),
        }
    }

    /// A later time of day is never at an earlier moment, so the first that is late enough is the next
    /// slot. Times that the clock shows again have been before.
    fn next_fixed(&self, second: Timestamp) -> Option<Timestamp> {
        let mut time = self.zone.to_datetime(second);
        loop {
            time = self.time_from(time.checked_add(SECOND).ok()?)?;
            let slot = self.moment_of(time)?;
            if slot > second {
                return Some(slot);
            }
        }
    }

    fn last_fixed(&self, second: Timestamp) -> Option<Timestamp> {
        let time = self.zone.to_datetime(second);
        // Of the hour that comes again, all times have been.
        let latest = self.end_of_repeated(second, time).unwrap_or(time);
        self.moment_of(self.time_until(latest)?)
    }

    /// The moment of a time of day: the first of two, or where the gap that it is in ends.
    fn moment_of(&self, time: DateTime) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(time);
        match ambiguous.offset() {
            AmbiguousOffset::Gap { before, .. } => {
                self.last_change(before.to_timestamp(time).ok()?)
            }
            _ => ambiguous.earlier().ok(),
        }
    }

    /// The last second of the hour that the clock shows for the second time, where it does.
    fn end_of_repeated(&self, second: Timestamp, time: DateTime) -> Option<DateTime> {
        let ambiguous = self.zone.to_ambiguous_timestamp(time);
        let AmbiguousOffset::Fold { before, after } = ambiguous.offset() else {
            return None;
        };
        if self.zone.to_offset(second) != after {
            return None;
        }
        let change = before.to_datetime(self.last_change(second)?);
        change.checked_sub(SECOND).ok()
    }

    /// From change to change of the clock, between which it goes evenly.
    fn next_on_clock(&self, mut from: Timestamp) -> Option<Timestamp> {
        loop {
            let offset = self.zone.to_offset(from);
            let time = self.time_from(offset.to_datetime(from))?;
            let slot = offset.to_timestamp(time).ok()?;
            let change = self.zone.following(from).next();
            let change = change.map(|change| change.timestamp());
            let Some(change) = change.filter(|change| *change <= slot) else {
                return Some(slot);
            };
            // Long before that time nothing matches, whatever the clock does meanwhile.
            let near = slot.checked_sub(WIDEST_CHANGE).ok()?;
            from = match change.duration_since(from) >= WIDEST_CHANGE {
                true => change.max(near),
                false => change,
            };
        }
    }

    fn last_on_clock(&self, mut until: Timestamp) -> Option<Timestamp> {
        loop {
            let offset = self.zone.to_offset(until);
            let time = self.time_until(offset.to_datetime(until))?;
            let slot = offset.to_timestamp(time).ok()?;
            let change = self.last_change(until);
            let Some(change) = change.filter(|change| slot < *change) else {
                return Some(slot);
            };
            let before = change.checked_sub(SECOND).ok()?;
            let near = slot.checked_add(WIDEST_CHANGE).ok()?;
            until = match until.duration_since(change) >= WIDEST_CHANGE {
                true => before.min(near),
                false => before,
            };
        }
    }

    /// The last change of the clock that is not after this second.
    fn last_change(&self, second: Timestamp) -> Option<Timestamp> {
        let after = second.checked_add(SECOND).ok()?;
        let change = self.zone.preceding(after).next()?;
        Some(change.timestamp())
    }

    /// The first time that matches, from this one on.
    fn time_from(&self, time: DateTime) -> Option<DateTime> {
        let from = time.to_zoned(TimeZone::UTC).ok()?;
        let found = self.cron.find_next_occurrence(&from, true).ok()?;
        Some(found.datetime())
    }

    /// The last time that matches, up to this one.
    fn time_until(&self, time: DateTime) -> Option<DateTime> {
        let from = time.to_zoned(TimeZone::UTC).ok()?;
        let found = self.cron.find_previous_occurrence(&from, true).ok()?;
        Some(found.datetime())
    }
}
