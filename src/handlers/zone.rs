//! The time zone that an attempt's days are those of.

use jiff::tz::TimeZone;

use crate::runner::context::Context;

/// The zone of the job's schedule, or the system's.
pub(crate) fn zone_of(ctx: &Context) -> TimeZone {
    let schedule = ctx.schedule().map(|name| ctx.queue().schedule(name));
    let zone = match schedule {
        Some(Ok(Some(schedule))) => TimeZone::get(&schedule.timezone).ok(),
        _ => None,
    };
    zone.unwrap_or_else(TimeZone::system)
}
