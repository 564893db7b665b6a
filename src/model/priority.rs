//! The priority of a job.

use serde::{Deserialize, Serialize};

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

words!(Priority, "priority", "priorities" {
    Low = "low",
    Normal = "normal",
    High = "high",
    Urgent = "urgent",
});
codes!(Priority);
