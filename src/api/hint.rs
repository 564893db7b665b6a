//! What to do about an error: the library's own advice, with the command that follows it.

use crate::api::text::shell_word;
use crate::{Error, Remedy};

/// The hint of an error.
pub fn hint(error: &Error) -> Option<String> {
    match (error.hint(), error.remedy().map(command)) {
        (Some(hint), Some(command)) if command.starts_with("`jobq") && command.ends_with('`') => {
            Some(format!("{hint}: {command}"))
        }
        (Some(hint), Some(command)) => Some(format!("{hint}; {command}")),
        (Some(hint), None) => Some(hint.to_owned()),
        (None, Some(command)) => Some(command),
        (None, None) if error.is_no_database() => {
            Some("the first `jobq enqueue` or `jobq run` makes it; --db names another".to_owned())
        }
        (None, None) => None,
    }
}

/// The command that does what the library advises.
fn command(remedy: &Remedy) -> String {
    let text = match remedy {
        Remedy::ListJobs => "`jobq list` shows the jobs in the file",
        Remedy::ListQueues => "`jobq queue list` shows them",
        Remedy::ListSchedules => "`jobq schedule list` shows them",
        Remedy::ShowJob(job) => return format!("`jobq status {job}` shows it"),
        Remedy::CancelJob(job) => return format!("`jobq cancel {job}`"),
        Remedy::WaitForJob(job) => return format!("`jobq wait {job}`"),
        Remedy::Prune => "`jobq prune` removes old jobs",
        Remedy::RaiseQueueLimit(queue) => {
            return format!("`jobq queue set {} --max-size N`", shell_word(queue));
        }
        Remedy::PauseQueue(queue) => {
            return format!("`jobq pause {}` pauses it", shell_word(queue));
        }
        Remedy::GiveUniqueKey => "--unique KEY gives it one",
        Remedy::GiveKey => "--key KEY gives it one",
        Remedy::PreviewRule => "`jobq schedule next RULE --tz ZONE` shows what a rule means",
        Remedy::Check => "`jobq doctor` says more",
        Remedy::Repair => "`jobq doctor --fix` repairs it",
        Remedy::Restore => "see `jobq doctor`; `jobq restore BACKUP` puts a backup in its place",
        Remedy::AllowNetworkFs => {
            "--allow-network-fs accepts it, where only one machine uses the file"
        }
        Remedy::ReplaceInUse => "--force replaces the file under it",
        Remedy::Upgrade => {
            "save it with `jobq backup FILE`, then `jobq run` or `jobq resume` upgrades it"
        }
    };
    text.to_owned()
}
