//! The other clocks of the command line; the wall clock is [`super::output::time::now`].

use std::time::Instant;

use jiff::Zoned;
use jiff::tz::TimeZone;

use super::output::time;

/// This moment as the person at the terminal would write it.
pub(crate) fn local_now() -> Zoned {
    time::now().to_zoned(TimeZone::system())
}

/// This process's own monotonic time.
pub(crate) fn instant() -> Instant {
    Instant::now()
}
