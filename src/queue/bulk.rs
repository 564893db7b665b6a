//! Changes to all jobs that match a filter.

use std::ops::ControlFlow;
use std::time::Duration;

use super::Queue;
use crate::model::bulk::{BulkAction, BulkPreview, BulkReport};
use crate::model::filter::Filter;
use crate::model::id::JobId;
use crate::{Error, Result, clock, store};

/// Number of jobs read, and changed in one transaction, at a time.
const PAGE: usize = 256;

/// How long the search for a page of jobs may take; it is then cut short.
const PAGE_BUDGET: Duration = Duration::from_millis(150);

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
        self.change_where(filter, BulkAction::Cancel, |_| ControlFlow::Continue(()))
    }

    /// Retries the final jobs that match the filter, as [`Queue::retry`]; if the filter names no state, the
    /// failed ones. Otherwise as [`Queue::cancel_where`].
    ///
    /// # Errors
    /// As [`Queue::cancel_where`].
    pub fn retry_where(&self, filter: &Filter) -> Result<BulkReport> {
        self.change_where(filter, BulkAction::Retry, |_| ControlFlow::Continue(()))
    }

    /// Removes the final jobs that match the filter with their histories, as [`Queue::remove`]. Otherwise as
    /// [`Queue::cancel_where`].
    ///
    /// # Errors
    /// As [`Queue::cancel_where`].
    pub fn remove_where(&self, filter: &Filter) -> Result<BulkReport> {
        self.change_where(filter, BulkAction::Remove, |_| ControlFlow::Continue(()))
    }

    /// [`Queue::cancel_where`], [`Queue::retry_where`] or [`Queue::remove_where`], which may be stopped in between:
    /// `progress` is called after each commit with what has been done, and at least every few hundred milliseconds of
    /// searching.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use std::time::Duration;
    ///
    /// use jobq::{BulkAction, Filter, NewJob, Queue};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let queue = Queue::open(folder.path().join("jobs.db"))?;
    /// queue.enqueue_many((0..1000).map(|_| NewJob::new("resize")))?;
    /// let mut filter = Filter { kinds: vec!["resize".into()], ..Filter::default() };
    /// let preview = queue.preview(&filter, BulkAction::Cancel, Duration::from_millis(150))?;
    /// assert_eq!((preview.jobs, preview.is_complete()), (1000, true));
    /// // Jobs that were enqueued since the preview stay.
    /// filter.as_of = Some(preview.as_of);
    /// let done = queue.change_where(&filter, BulkAction::Cancel, |so_far| {
    ///     println!("{} of {}", so_far.jobs, preview.jobs);
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!(done.jobs, 1000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Queue::cancel_where`].
    pub fn change_where(
        &self,
        filter: &Filter,
        action: BulkAction,
        mut progress: impl FnMut(&BulkReport) -> ControlFlow<()>,
    ) -> Result<BulkReport> {
        // Its error would look like that of a job whose state has changed.
        self.store.refuse_inside()?;
        let mut report = BulkReport::default();
        let Some(filter) = action.narrow(filter) else {
            return Ok(report);
        };
        self.each_page(&filter, |ids, searched_to| -> Result<_> {
            if !ids.is_empty() {
                self.change_page(action, ids, &mut report)?;
            }
            report.searched_to = searched_to;
            Ok(progress(&report))
        })?;
        Ok(report)
    }

    fn change_page(
        &self,
        action: BulkAction,
        ids: &[JobId],
        report: &mut BulkReport,
    ) -> Result<()> {
        let answers: Vec<Result<()>> = match action {
            BulkAction::Cancel => (self.cancel_many(ids).into_iter())
                .map(|cancelled| cancelled.map(drop))
                .collect(),
            BulkAction::Retry => (self.retry_many(ids).into_iter())
                .map(|state| state.map(drop))
                .collect(),
            BulkAction::Remove => self.remove_many(ids),
        };
        for (id, answer) in ids.iter().zip(answers) {
            match answer {
                Ok(()) => report.jobs += 1,
                Err(error) if error.is_duplicate() => {
                    report.refused.push((*id, error.to_string()));
                }
                // Its state has changed since its page was read.
                Err(error) if error.is_not_found() || error.is_wrong_state() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What [`Queue::change_where`] would change: a dry run. It ends after about `budget`, 150 ms are usual, and says
    /// how far it has searched; [`BulkPreview::add`] adds what a call has found that continues there.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn preview(
        &self,
        filter: &Filter,
        action: BulkAction,
        budget: Duration,
    ) -> Result<BulkPreview> {
        let Some(filter) = action.narrow(filter) else {
            let as_of = filter.as_of.map_or_else(|| self.last_event(), Ok)?;
            return Ok(BulkPreview {
                as_of,
                ..BulkPreview::default()
            });
        };
        let until = clock::after(clock::instant(), budget);
        store::preview_of_change(&*self.store.reader()?, (&filter, self.now_ms()), until)
    }

    /// Calls `each` with the jobs that match the filter, oldest first, a few hundred at a time. A read lasts
    /// for one page, and no longer than about 150 ms, so `each` may change the jobs; between pages others have a few
    /// milliseconds to write. No job occurs twice, and none that
    /// is enqueued after the start. [`Filter::after`] is the job to begin after; [`Filter::sort`] is ignored.
    ///
    /// # Errors
    /// The file cannot be read, or `each` returns an error.
    pub fn for_each_page<E: From<Error>>(
        &self,
        filter: &Filter,
        mut each: impl FnMut(&[JobId]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each_page(filter, |ids, _| {
            if !ids.is_empty() {
                each(ids)?;
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Pages of jobs, each with where the search has come to; an empty one when it took long.
    fn each_page<E: From<Error>>(
        &self,
        filter: &Filter,
        mut each: impl FnMut(&[JobId], Option<JobId>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let mut filter = filter.clone();
        let (first, last) = filter.ids.unwrap_or((JobId(i64::MIN), JobId(i64::MAX)));
        filter.ids = Some((first, last.min(self.last_id()?.unwrap_or_default())));
        let mut left = filter.limit.unwrap_or(usize::MAX);
        loop {
            let until = clock::after(clock::instant(), PAGE_BUDGET);
            let wanted = (left.min(PAGE), until);
            let page = {
                let reader = self.store.reader()?;
                store::matching_ids(&reader, (&filter, self.now_ms()), wanted)?
            };
            left -= page.ids.len();
            let next = page.next.filter(|_| left > 0);
            if each(&page.ids, next)?.is_break() || next.is_none() {
                return Ok(());
            }
            filter.after = next;
            if !page.ids.is_empty() {
                // Otherwise the next commit takes the lock before a process that waits tries again.
                self.store.writer.let_others_write();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::job::NewJob;
    use crate::model::state::State;
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

    #[test]
    fn a_change_can_be_stopped_and_continued_where_it_stopped() {
        let queue = TestQueue::new();
        queue
            .enqueue_many((0..JOBS).map(|_| NewJob::new("send")))
            .unwrap();
        let mut calls = 0;
        let stopped = queue.change_where(&of("default"), BulkAction::Cancel, |so_far| {
            calls += 1;
            assert_eq!(so_far.jobs, calls * PAGE as u64);
            match calls {
                2 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        });
        let stopped = stopped.unwrap();
        assert_eq!(
            (stopped.jobs, stopped.is_complete()),
            (2 * PAGE as u64, false)
        );
        assert_eq!(stopped.searched_to, Some(JobId(2 * PAGE as i64)));
        let rest = Filter {
            after: stopped.searched_to,
            ..of("default")
        };
        let rest = queue.cancel_where(&rest).unwrap();
        assert_eq!((rest.jobs, rest.is_complete()), (JOBS - stopped.jobs, true));
    }

    #[test]
    fn jobs_enqueued_since_the_preview_are_not_changed() {
        let queue = TestQueue::new();
        let add = || {
            queue
                .enqueue_many((0..20).map(|_| NewJob::new("send")))
                .unwrap()
        };
        add();
        let budget = Duration::from_secs(60);
        let preview = queue.preview(&Filter::default(), BulkAction::Cancel, budget);
        let preview = preview.unwrap();
        assert_eq!((preview.jobs, preview.sample.len()), (20, 10));
        let late = add();
        let as_of = Filter {
            as_of: Some(preview.as_of),
            ..Filter::default()
        };
        assert_eq!(queue.cancel_where(&as_of).unwrap().jobs, 20);
        assert_eq!(queue.state(late[0].id).unwrap(), Some(State::Pending));
        let none = Filter {
            states: vec![State::Failed],
            ..Filter::default()
        };
        let none = queue.preview(&none, BulkAction::Cancel, budget).unwrap();
        assert_eq!((none.jobs, none.is_complete()), (0, true));
    }
}
