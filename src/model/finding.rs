//! What an examination of a file has found.

/// What the doctor found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at.
    pub check: &'static str,
    /// What it is like.
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
    /// As it should be.
    Ok,
    /// Worth a look.
    Warning,
    /// Something is broken.
    Error,
}
