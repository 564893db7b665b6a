//! The clocks of the command line.

use std::time::Instant;

use jiff::tz::TimeZone;
pub(crate) use jobq::api::clock::now;

/// Whether the system's time zone has an IANA name. One without a name, or an unknown one, cannot be
/// kept for later: UTC is meant then.
pub(crate) fn local_zone_has_name() -> bool {
    let zone = TimeZone::system();
    zone.iana_name().is_some() && !zone.is_unknown()
}

/// This process's own monotonic time.
pub(crate) fn instant() -> Instant {
    Instant::now()
}
