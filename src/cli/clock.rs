//! The clocks of the command line.

use std::time::Instant;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// The wall clock of whoever looks: relative times are relative to it.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// This moment as the person at the terminal would write it.
pub(crate) fn local_now() -> Zoned {
    now().to_zoned(TimeZone::system())
}

/// This process's own monotonic time.
pub(crate) fn instant() -> Instant {
    Instant::now()
}
