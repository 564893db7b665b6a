//! The clock of what is shown: relative times are relative to it.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// The wall clock of this process: relative times are relative to it.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// This moment as the person at the terminal would write it.
pub fn local_now() -> Zoned {
    now().to_zoned(TimeZone::system())
}
