//! Changes to all jobs that match a filter.

use super::Queue;
use crate::model::filter::{Filter, Sort};
use crate::model::id::JobId;
use crate::model::state::State;
use crate::{Error, Result};

/// Number of jobs read, and changed in one transaction, at a time.
const PAGE: usize = 256;

/// The result of a change to all jobs that match a filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkReport {
    /// How many jobs were changed; without those that were changed as a consequence, as children are
    /// cancelled with their parent.
    pub jobs: u64,
    /// The jobs that could not be retried because another job has their unique key, each with the reason.
    pub refused: Vec<(JobId, String)>,
}

type Is = fn(&State) -> bool;

impl Queue {
    /// Cancels the jobs that match the filter and are not final, as [`Queue::cancel`]: oldest first, a few
    /// hundred per commit, up to the job that is newest at the start. Jobs that end meanwhile are skipped.
    ///
    /// ```
    /// # use jobq::{Filter, NewJob, Queue};
    /// # let folder = tempfile::tempdir()?;
    /// let queue = Queue::open(folder.path().join("jobs.db"))?;
    /// queue.enqueue_many((0..1000).map(|_| NewJob::new("resize").tenant("north")))?;
    /// let north = Filter { tenant: Some("north".into()), ..Filter::default() };
    /// assert_eq!(queue.cancel_where(&north)?.jobs, 1000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The file cannot be read or written; jobs cancelled before the error stay cancelled.
    pub fn cancel_where(&self, filter: &Filter) -> Result<BulkReport> {
        let live = |state: &State| !state.is_final();
        self.change_where(filter, (live, live), Queue::cancel_many)
    }

    /// Retries the final jobs that match the filter, as [`Queue::retry`]; if the filter names no state, the
    /// failed ones. Otherwise as [`Queue::cancel_where`].
    ///
    /// # Errors
    /// As [`Queue::cancel_where`].
    pub fn retry_where(&self, filter: &Filter) -> Result<BulkReport> {
        let failed = |state: &State| *state == State::Failed;
        self.change_where(
            filter,
            (failed, |state| state.is_final()),
            Queue::retry_many,
        )
    }

    /// Removes the final jobs that match the filter with their histories, as [`Queue::remove`]. Otherwise as
    /// [`Queue::cancel_where`].
    ///
    /// # Errors
    /// As [`Queue::cancel_where`].
    pub fn remove_where(&self, filter: &Filter) -> Result<BulkReport> {
        let is_final = |state: &State| state.is_final();
        self.change_where(filter, (is_final, is_final), Queue::remove_many)
    }

    /// Calls `each` with the jobs that match the filter, oldest first, a few hundred at a time. A read lasts
    /// for one page, so `each` may change the jobs. No job occurs twice, and none that is enqueued after the
    /// start. [`Filter::after`] is the job to begin after; [`Filter::sort`] is ignored.
    ///
    /// # Errors
    /// The file cannot be read, or `each` returns an error.
    pub fn for_each_page<E: From<Error>>(
        &self,
        filter: &Filter,
        mut each: impl FnMut(&[JobId]) -> Result<(), E>,
    ) -> Result<(), E> {
        let last = self.last_id()?.unwrap_or_default();
        let mut left = filter.limit.unwrap_or(usize::MAX);
        let mut page = Filter {
            sort: Sort::Oldest,
            ..filter.clone()
        };
        loop {
            page.limit = Some(left.min(PAGE));
            // Only the ids: the jobs of a page may be larger than memory.
            let mut ids = Vec::new();
            self.for_each(&page, |job| {
                ids.push(job.id);
                Ok(())
            })?;
            page.after = ids.last().copied();
            ids.retain(|id| *id <= last);
            if ids.is_empty() {
                return Ok(());
            }
            left -= ids.len();
            each(&ids)?;
        }
    }

    /// `unless_named` are the states that are meant where the filter names none, of those that `may`.
    fn change_where<T>(
        &self,
        filter: &Filter,
        (unless_named, may): (Is, Is),
        change: fn(&Queue, &[JobId]) -> Vec<Result<T>>,
    ) -> Result<BulkReport> {
        // Its error would look like that of a job whose state has changed.
        self.store.refuse_inside()?;
        let mut report = BulkReport::default();
        let mut filter = filter.clone();
        if filter.states.is_empty() {
            filter.states = State::ALL.into_iter().filter(unless_named).collect();
        }
        filter.states.retain(may);
        if filter.states.is_empty() {
            return Ok(report);
        }
        self.for_each_page(&filter, |ids| {
            for (id, answer) in ids.iter().zip(change(self, ids)) {
                match answer {
                    Ok(_) => report.jobs += 1,
                    Err(error) if error.is_duplicate() => {
                        report.refused.push((*id, error.to_string()));
                    }
                    // Its state has changed since its page was read.
                    Err(error) if error.is_not_found() || error.is_wrong_state() => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })?;
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::job::NewJob;
    use crate::testing::TestQueue;

    const JOBS: u64 = 3 * PAGE as u64 + 10;

    fn of(queue: &str) -> Filter {
        Filter {
            queues: vec![queue.to_owned()],
            ..Filter::default()
        }
    }

    #[test]
    fn bulk_changes_reach_all_matching_jobs_and_no_others() {
        let queue = TestQueue::new();
        let add = |to: &str| {
            let jobs = (0..JOBS).map(|_| NewJob::new("send").queue(to));
            queue.enqueue_many(jobs).unwrap();
        };
        add("mail");
        add("post");
        assert_eq!(queue.cancel_where(&of("mail")).unwrap().jobs, JOBS);
        assert_eq!(queue.cancel_where(&of("mail")).unwrap().jobs, 0);
        assert_eq!(queue.counts().unwrap().get(State::Pending), JOBS);
        assert_eq!(queue.retry_where(&of("mail")).unwrap().jobs, 0);
        let cancelled = Filter {
            states: vec![State::Cancelled, State::Pending],
            ..Filter::default()
        };
        assert_eq!(queue.retry_where(&cancelled).unwrap().jobs, JOBS);
        let some = Filter {
            limit: Some(PAGE + 1),
            ..of("post")
        };
        assert_eq!(queue.cancel_where(&some).unwrap().jobs, PAGE as u64 + 1);
        let running = Filter {
            states: vec![State::Running],
            ..Filter::default()
        };
        assert_eq!(queue.remove_where(&running).unwrap().jobs, 0);
        let removed = queue.remove_where(&Filter::default()).unwrap();
        assert_eq!(removed.jobs, PAGE as u64 + 1);
        assert_eq!(queue.counts().unwrap().total(), 2 * JOBS - removed.jobs);
    }

    #[test]
    fn retry_where_refuses_a_taken_unique_key_and_retries_others() {
        let queue = TestQueue::new();
        let first = queue.enqueue(NewJob::new("send").unique("a")).unwrap();
        queue.enqueue(NewJob::new("send").unique("b")).unwrap();
        queue.cancel_where(&Filter::default()).unwrap();
        queue.enqueue(NewJob::new("send").unique("a")).unwrap();
        let cancelled = Filter {
            states: vec![State::Cancelled],
            ..Filter::default()
        };
        let report = queue.retry_where(&cancelled).unwrap();
        assert_eq!(report.jobs, 1);
        assert_eq!(report.refused.len(), 1);
        assert_eq!(report.refused[0].0, first.id);
    }
}
