//! What the doctor finds, and what can be done about it or about an error.

use std::fmt;

use crate::model::id::JobId;

/// What can be done about an error, for programs that offer it in words or buttons of their own. Displayed, it
/// names what this crate has for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// Look at the jobs that there are.
    ListJobs,
    /// Look at the queues that there are.
    ListQueues,
    /// Look at the schedules that there are.
    ListSchedules,
    /// Look at this job.
    ShowJob(JobId),
    /// Cancel this job.
    CancelJob(JobId),
    /// Wait until this job has ended.
    WaitForJob(JobId),
    /// Remove old jobs.
    Prune,
    /// Give this queue a higher limit.
    RaiseQueueLimit(String),
    /// Pause this queue.
    PauseQueue(String),
    /// Give the job a unique key.
    GiveUniqueKey,
    /// Give the job a concurrency key.
    GiveKey,
    /// See which slots a rule means.
    PreviewRule,
    /// Examine the file.
    Check,
    /// Have the file repaired.
    Repair,
    /// Put a backup in the file's place.
    Restore,
    /// Accept a network file system, where only one machine uses the file.
    AllowNetworkFs,
    /// Replace a file although it is in use.
    ReplaceInUse,
    /// Save the file, then open it for writing, which upgrades it.
    Upgrade,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Remedy::ListJobs => "Queue::list gives the jobs in the file",
            Remedy::ListQueues => "Queue::queues gives them",
            Remedy::ListSchedules => "Queue::schedules gives them",
            Remedy::ShowJob(job) => return write!(f, "Queue::get({job}) shows it"),
            Remedy::CancelJob(job) => return write!(f, "Queue::cancel({job}) does"),
            Remedy::WaitForJob(job) => return write!(f, "Queue::wait(&[{job}]) does"),
            Remedy::Prune => "Queue::prune removes old jobs",
            Remedy::RaiseQueueLimit(queue) => {
                return write!(f, "Queue::set_limits(\"{queue}\", …) raises it");
            }
            Remedy::PauseQueue(queue) => return write!(f, "Queue::pause pauses '{queue}'"),
            Remedy::GiveUniqueKey => "NewJob::unique gives it one",
            Remedy::GiveKey => "NewJob::key gives it one",
            Remedy::PreviewRule => "next_slots shows what a rule means",
            Remedy::Check => "Queue::check examines the file",
            Remedy::Repair => "Queue::repair mends it",
            Remedy::Restore => "QueueOptions::restore puts a backup in its place",
            Remedy::AllowNetworkFs => {
                "NetworkFs::Allow accepts it, where only one machine uses the file"
            }
            Remedy::ReplaceInUse => "InUse::Replace replaces the file under it",
            Remedy::Upgrade => "save it with Queue::backup, then Queue::open upgrades it",
        })
    }
}

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
