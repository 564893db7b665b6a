//! Findings of the doctor.

/// A finding of the doctor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was checked.
    pub check: &'static str,
    /// What was found.
    pub message: String,
}

impl Finding {
    /// Whether [`Queue::repair`](crate::Queue::repair) mends it.
    pub fn is_repairable(&self) -> bool {
        self.severity == Severity::Error && matches!(self.check, "counters" | "rules")
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is wrong.
    Ok,
    /// Something may need attention.
    Warning,
    /// Something is broken.
    Error,
}
