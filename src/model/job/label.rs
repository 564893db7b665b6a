//! Labels: how the jobs of one call refer to each other before they have numbers.

use std::collections::HashMap;

use crate::model::id::JobId;
use crate::model::job::NewJob;
use crate::{Error, Result};

/// What a new job is called, and which earlier jobs of the same call it names.
#[derive(Clone, Debug, Default)]
pub(crate) struct LabelRefs {
    own: Option<String>,
    after: Vec<String>,
    after_any: Vec<String>,
    parent: Option<String>,
}

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
        self.labels().own = Some(label.into());
        self
    }

    /// [`NewJob::after`] an earlier job of the same call, by its label.
    #[must_use]
    pub fn after_label(mut self, label: impl Into<String>) -> NewJob {
        self.labels().after.push(label.into());
        self
    }

    /// [`NewJob::after_any`] of an earlier job of the same call, by its label.
    #[must_use]
    pub fn after_any_label(mut self, label: impl Into<String>) -> NewJob {
        self.labels().after_any.push(label.into());
        self
    }

    /// A child ([`NewJob::parent`]) of an earlier job of the same call, by its label.
    #[must_use]
    pub fn parent_label(mut self, label: impl Into<String>) -> NewJob {
        self.labels().parent = Some(label.into());
        self
    }

    fn labels(&mut self) -> &mut LabelRefs {
        self.labels.get_or_insert_default()
    }

    /// Its own label, taken from it.
    pub(crate) fn take_label(&mut self) -> Option<String> {
        self.labels.as_mut()?.own.take()
    }

    /// The job without its labels.
    pub(crate) fn without_labels(mut self) -> NewJob {
        self.labels = None;
        self
    }

    /// For the file, which knows no labels: those of others must have become numbers.
    pub(crate) fn alone(self) -> Result<NewJob> {
        match self.labels {
            None => Ok(self),
            Some(_) => Labels::default().resolve(self),
        }
    }
}

/// The labelled jobs of a call so far.
#[derive(Debug, Default)]
pub(crate) struct Labels(HashMap<String, JobId>);

impl Labels {
    /// The job with ids in place of labels, and without its own label.
    pub(crate) fn resolve(&self, mut job: NewJob) -> Result<NewJob> {
        let Some(refs) = job.labels.take() else {
            return Ok(job);
        };
        job = job.after(self.ids(&refs.after)?);
        job = job.after_any(self.ids(&refs.after_any)?);
        if let Some(parent) = &refs.parent {
            job = job.parent(self.id(parent)?);
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

    fn ids(&self, labels: &[String]) -> Result<Vec<JobId>> {
        labels.iter().map(|label| self.id(label)).collect()
    }

    fn id(&self, label: &str) -> Result<JobId> {
        self.0.get(label).copied().ok_or_else(|| {
            Error::invalid(format!("no earlier job has the label '{label}'"))
                .with_hint("labels name jobs of the same call, and only those before")
        })
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
        let mut job = job.after_label("a").after_any_label("b").parent_label("a");
        assert_eq!(job.take_label().as_deref(), Some("c"));
        let job = labels.resolve(job).unwrap();
        assert_eq!(job.after, [JobId(1), JobId(3)]);
        assert_eq!(job.after_any, [JobId(4)]);
        assert_eq!(job.parent.unwrap().job, JobId(3));
        assert!(job.labels.is_none());
    }

    #[test]
    fn an_unknown_label_and_one_that_is_given_twice_are_refused() {
        let alone = NewJob::new("k").label("a").after_label("b").alone();
        assert!(alone.unwrap_err().to_string().contains("'b'"));
        assert!(NewJob::new("k").label("a").alone().is_ok());
        let mut labels = Labels::default();
        labels.add("a".to_owned(), JobId(1)).unwrap();
        let twice = labels.add("a".to_owned(), JobId(2)).unwrap_err();
        assert!(twice.is_invalid_input() && twice.to_string().contains("'a'"));
    }
}
