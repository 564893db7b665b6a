//! The priority of a job.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The priority of a job within its queue. Jobs of equal priority run oldest first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Priority {
    /// After everything else.
    Low = 0,
    /// The default.
    #[default]
    Normal = 1,
    /// Before normal.
    High = 2,
    /// Before everything else.
    Urgent = 3,
}

impl Priority {
    /// Every priority, lowest first.
    pub const ALL: [Priority; 4] = [
        Priority::Low,
        Priority::Normal,
        Priority::High,
        Priority::Urgent,
    ];

    /// The lower-case name used in JSON and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Priority::Low => "low",
            Priority::Normal => "normal",
            Priority::High => "high",
            Priority::Urgent => "urgent",
        }
    }

    pub(crate) const fn code(self) -> i64 {
        self as i64
    }

    pub(crate) fn from_code(code: i64) -> Option<Priority> {
        Priority::ALL
            .into_iter()
            .find(|priority| priority.code() == code)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = Error;

    fn from_str(name: &str) -> Result<Priority> {
        Priority::ALL
            .into_iter()
            .find(|priority| priority.as_str() == name)
            .ok_or_else(|| {
                Error::invalid(format!("unknown priority '{name}'"))
                    .with_hint("priorities are low, normal, high, urgent")
            })
    }
}
