//! Labels: how the jobs of one call refer to each other before they have numbers.

use std::collections::HashMap;

use crate::model::id::JobId;
use crate::model::job::NewJob;
use crate::model::job::options::JobRef;
use crate::{Error, Result};

impl NewJob {
    /// What later jobs of the same [`enqueue_many`](crate::Queue::enqueue_many) or
    /// [`enqueue_batch`](crate::Queue::enqueue_batch) call this one. Labels are not kept.
    ///
    /// ```
    /// use jobq::{NewJob, Queue, State};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let queue = Queue::open(folder.path().join("jobs.db"))?;
    /// let jobs = queue.enqueue_many([
    ///     NewJob::new("fetch").label("fetch"),
    ///     NewJob::new("unpack").after_label("fetch"),
    /// ])?;
    /// assert_eq!(queue.get(jobs[1].id)?.unwrap().state, State::Blocked);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> NewJob {
        self.options.label = Some(label.into());
        self
    }

    /// [`NewJob::after`] an earlier job of the same call, by its label.
    #[must_use]
    pub fn after_label(mut self, label: impl Into<String>) -> NewJob {
        self.options.after.push(JobRef::Label(label.into()));
        self
    }

    /// [`NewJob::after_any`] of an earlier job of the same call, by its label.
    #[must_use]
    pub fn after_any_label(mut self, label: impl Into<String>) -> NewJob {
        self.options.after_any.push(JobRef::Label(label.into()));
        self
    }

    /// A child ([`NewJob::parent`]) of an earlier job of the same call, by its label.
    #[must_use]
    pub fn parent_label(mut self, label: impl Into<String>) -> NewJob {
        self.options.parent = Some(JobRef::Label(label.into()));
        self.spawned_by = None;
        self
    }

    pub(crate) fn has_labels(&self) -> bool {
        self.options.label.is_some() || self.options.referenced_labels().next().is_some()
    }

    /// The job without its labels, and without the references to those of others.
    pub(crate) fn without_labels(mut self) -> NewJob {
        let options = &mut self.options;
        options.label = None;
        for others in [&mut options.after, &mut options.after_any] {
            others.retain(|other| other.label().is_none());
        }
        options.parent.take_if(|parent| parent.label().is_some());
        self
    }
}

/// The labelled jobs of a call so far.
#[derive(Debug, Default)]
pub(crate) struct Labels(HashMap<String, JobId>);

impl Labels {
    /// The job with ids in place of labels.
    pub(crate) fn resolve(&self, mut job: NewJob) -> Result<NewJob> {
        job.options.resolve(|label| self.0.get(label).copied());
        if let Some(label) = job.options.referenced_labels().next() {
            return Err(
                Error::invalid(format!("no earlier job has the label '{label}'"))
                    .with_hint("labels name jobs of the same call, and only those before"),
            );
        }
        Ok(job)
    }

    /// The job has got its number.
    pub(crate) fn add(&mut self, label: String, id: JobId) -> Result<()> {
        match self.0.insert(label.clone(), id) {
            None => Ok(()),
            Some(_) => Err(Error::invalid(format!("two jobs have the label '{label}'"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_earlier_jobs_become_their_numbers() {
        let mut labels = Labels::default();
        labels.add("a".to_owned(), JobId(3)).unwrap();
        labels.add("b".to_owned(), JobId(4)).unwrap();
        let job = NewJob::new("k").after([JobId(1)]).label("c");
        let job = job.after_label("a").after_any_label("b").parent_label("a");
        let options = labels.resolve(job).unwrap().options;
        assert_eq!(options.after, [1, 3].map(|id| JobRef::Id(JobId(id))));
        assert_eq!(options.after_any, [JobRef::Id(JobId(4))]);
        assert_eq!(options.parent, Some(JobRef::Id(JobId(3))));
        assert_eq!(options.referenced_labels().next(), None);
    }

    #[test]
    fn an_unknown_label_and_one_that_is_given_twice_are_refused() {
        let mut labels = Labels::default();
        let alone = labels.resolve(NewJob::new("k").after_label("b"));
        assert!(alone.unwrap_err().to_string().contains("'b'"));
        labels.add("a".to_owned(), JobId(1)).unwrap();
        let twice = labels.add("a".to_owned(), JobId(2)).unwrap_err();
        assert!(twice.is_invalid_input() && twice.to_string().contains("'a'"));
    }
}
