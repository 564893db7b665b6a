//! What keys change in the file, and the commands that do the same.

use std::ops::ControlFlow;

use jobq::api::text::{count, shell_word};
use jobq::api::undone::said;
use jobq::{BulkAction, Cancelled, EventId, Filter, JobId, Queue, QueueSelector};

use crate::cli::exit::CliError;
use crate::cli::render::style::Look;
use crate::cli::top::search;

/// A change that a key asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FileChange {
    Jobs(BulkAction, Vec<JobId>),
    /// All jobs that match, and the search that says so.
    Matching(BulkAction, Box<Filter>, String),
    Pause(QueueSelector),
    Resume(QueueSelector),
    PauseSchedule(String),
    ResumeSchedule(String),
    RunSchedule(String),
    /// Undoes the change of this event.
    Undo(EventId),
}

/// What came of a change, for the status line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChangeReport {
    pub(crate) look: Look,
    pub(crate) text: String,
}

impl ChangeReport {
    pub(crate) fn done(text: impl Into<String>) -> ChangeReport {
        ChangeReport {
            look: Look::Good,
            text: text.into(),
        }
    }

    pub(crate) fn failed(error: impl Into<CliError>) -> ChangeReport {
        ChangeReport {
            look: Look::Bad,
            text: error.into().message(),
        }
    }
}

impl FileChange {
    /// The words of the `jobq` command that does the same.
    pub(crate) fn command(&self) -> String {
        let named = |verb: &str, name: &str| format!("{verb} {}", shell_word(name));
        let of_queue = |verb: &str, queue: &QueueSelector| match queue {
            QueueSelector::Named(name) => named(verb, name),
            _ => verb.to_owned(),
        };
        match self {
            FileChange::Jobs(action, ids) => format!("{action} {}", id_words(ids)),
            FileChange::Matching(action, _, search) => search::change_command(*action, search),
            FileChange::Pause(queue) => of_queue("pause", queue),
            FileChange::Resume(queue) => of_queue("resume", queue),
            FileChange::PauseSchedule(name) => named("schedule pause", name),
            FileChange::ResumeSchedule(name) => named("schedule resume", name),
            FileChange::RunSchedule(name) => named("schedule run", name),
            FileChange::Undo(event) => format!("undo {}", event.0),
        }
    }

    /// `progress` is called with what is done so far of a change of many jobs.
    pub(crate) fn perform(self, queue: &Queue, progress: &dyn Fn(ChangeReport)) -> ChangeReport {
        let is = |name: &str, changed: jobq::Result<bool>, done: &str| match changed {
            Ok(true) => ChangeReport::done(format!("{name} {done}")),
            Ok(false) => ChangeReport::done(format!("{name} {done} already")),
            Err(error) => ChangeReport::failed(error),
        };
        match self {
            FileChange::Jobs(action, ids) => change_jobs(queue, action, &ids),
            FileChange::Matching(action, filter, _) => {
                change_matching(queue, (action, &filter), progress)
            }
            FileChange::Pause(which) => is(
                &queue_text(&which),
                queue.pause(which),
                "paused; running jobs go on",
            ),
            FileChange::Resume(which) => is(&queue_text(&which), queue.resume(which), "resumed"),
            FileChange::PauseSchedule(name) => {
                let what = format!("schedule '{name}' is");
                is(&what, queue.pause_schedule(name), "paused")
            }
            FileChange::ResumeSchedule(name) => {
                let what = format!("schedule '{name}' is");
                is(&what, queue.resume_schedule(name), "resumed")
            }
            FileChange::RunSchedule(name) => match queue.run_schedule(name) {
                Ok(job) => ChangeReport::done(format!("job {} is {}", job.id, job.state)),
                Err(error) => ChangeReport::failed(error),
            },
            FileChange::Undo(event) => match queue.undo(event) {
                Ok(undone) => ChangeReport::done(said(&undone)),
                Err(error) => ChangeReport::failed(error),
            },
        }
    }
}

fn queue_text(which: &QueueSelector) -> String {
    match which {
        QueueSelector::Named(name) => format!("queue '{name}' is"),
        _ => "all queues are".to_owned(),
    }
}

fn change_jobs(queue: &Queue, action: BulkAction, ids: &[JobId]) -> ChangeReport {
    let mut asked = 0;
    let results: Vec<jobq::Result<()>> = match action {
        BulkAction::Cancel => {
            let results = queue.cancel_many(ids).into_iter();
            let noted = results
                .map(|result| result.map(|how| asked += usize::from(how == Cancelled::Requested)));
            noted.collect()
        }
        BulkAction::Retry => {
            let results = queue.retry_many(ids).into_iter();
            results.map(|result| result.map(|_| ())).collect()
        }
        _ => queue.remove_many(ids),
    };
    let (mut done, mut error) = (0, None);
    for result in results {
        match result {
            Ok(()) => done += 1,
            Err(refused) => error = error.or(Some(refused)),
        }
    }
    let said = match (done, ids) {
        (0, _) => String::new(),
        (_, [id]) if asked > 0 => format!("job {id} is asked to stop"),
        (_, [id]) => format!("job {id} was {}", done_word(action)),
        _ => format!("{} {}", count(done, "job"), done_word(action)),
    };
    match error {
        None => ChangeReport::done(said),
        Some(error) if done == 0 => ChangeReport::failed(error),
        Some(error) => ChangeReport {
            look: Look::Warn,
            text: format!("{said}; not the others: {error}"),
        },
    }
}

fn done_word(action: BulkAction) -> &'static str {
    match action {
        BulkAction::Cancel => "cancelled",
        BulkAction::Retry => "retried",
        _ => "removed",
    }
}

fn change_matching(
    queue: &Queue,
    (action, filter): (BulkAction, &Filter),
    progress: &dyn Fn(ChangeReport),
) -> ChangeReport {
    let said = |jobs| format!("{} {}", count(jobs, "job"), done_word(action));
    let changed = queue.change_where(filter, action, |so_far| {
        progress(ChangeReport {
            look: Look::Plain,
            text: format!("{} so far", said(so_far.jobs)),
        });
        ControlFlow::Continue(())
    });
    match changed {
        Err(error) => ChangeReport::failed(error),
        Ok(report) => match report.refused.first() {
            None => ChangeReport::done(said(report.jobs)),
            Some((id, reason)) => ChangeReport {
                look: Look::Warn,
                text: format!(
                    "{}; {} refused: {id}: {reason}",
                    said(report.jobs),
                    report.refused.len()
                ),
            },
        },
    }
}

/// `2-4 7`, as ids are typed.
pub(crate) fn id_words(ids: &[JobId]) -> String {
    let runs = ids.chunk_by(|a, b| b.0 - a.0 == 1).map(|run| match run {
        [.., last] if run.len() > 1 => format!("{}-{last}", run[0]),
        _ => run[0].to_string(),
    });
    runs.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use jobq::NewJob;
    use jobq::testing::TestQueue;

    use super::*;

    #[test]
    fn a_change_is_shown_as_the_command_that_does_the_same() {
        let ids = [2, 3, 4, 7].map(JobId).to_vec();
        let all = [
            (FileChange::Jobs(BulkAction::Cancel, ids), "cancel 2-4 7"),
            (FileChange::Pause(QueueSelector::All), "pause"),
            (
                FileChange::Resume(QueueSelector::Named("a b".into())),
                "resume 'a b'",
            ),
            (
                FileChange::RunSchedule("nightly".into()),
                "schedule run nightly",
            ),
            (FileChange::Undo(EventId(318)), "undo 318"),
        ];
        for (change, command) in all {
            assert_eq!(change.command(), command);
        }
    }

    #[test]
    fn a_change_that_is_refused_says_why_and_what_was_done() {
        let queue = TestQueue::new();
        let ids: Vec<JobId> = (0..2)
            .map(|_| queue.enqueue(NewJob::new("k")).unwrap().id)
            .collect();
        let retry = FileChange::Jobs(BulkAction::Retry, ids.clone());
        let refused = retry.perform(&queue, &|_| {});
        assert_eq!(refused.look, Look::Bad);
        assert!(refused.text.contains("pending"), "{refused:?}");
        queue.cancel(ids[0]).unwrap();
        let part = FileChange::Jobs(BulkAction::Remove, ids.clone()).perform(&queue, &|_| {});
        assert_eq!(part.look, Look::Warn);
        assert!(part.text.starts_with("1 job removed; "), "{part:?}");
        let one = FileChange::Jobs(BulkAction::Cancel, vec![ids[1]]).perform(&queue, &|_| {});
        assert_eq!(one.text, "job 2 was cancelled");
    }
}
