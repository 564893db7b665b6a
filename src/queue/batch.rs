//! Batches of any size, never in memory as a whole.

use crate::model::id::{Batch, JobId};
use crate::model::job::{Enqueued, Labels, NewJob};
use crate::model::limits::EnqueueLimits;
use crate::queue::Queue;
use crate::store::{PLAIN_AT_ONCE, Tx, ValidatedJob};
use crate::{Error, Result, store};

/// Whether a batch is recognised by a digest of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchDedup {
    /// It is not recognised.
    No,
    /// It is recognised. While a job of the same batch is not final, failed or was cancelled, nothing is
    /// added; failed and cancelled jobs are retried. Once all have completed or were removed, the batch is
    /// added anew.
    Once(String),
    /// It is recognised later, and always added now: it replaces the earlier one.
    Again(String),
}

/// The result of enqueuing a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BatchStart {
    /// No job was added: the batch is empty or has only duplicates.
    #[default]
    Nothing,
    /// Its jobs were added.
    Added(Batch),
    /// It exists already and is resumed.
    Resumed(ResumedBatch),
}

/// A batch that is resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResumedBatch {
    /// Its jobs.
    pub batch: Batch,
    /// How many jobs were not final.
    pub unfinished: u64,
    /// How many failed or cancelled jobs are retried.
    pub retried: u64,
    /// Jobs that could not be retried, each with the reason.
    pub refused: Vec<(JobId, String)>,
}

impl BatchStart {
    /// The jobs of the batch; none if it added none.
    pub fn batch(&self) -> Option<Batch> {
        match self {
            BatchStart::Nothing => None,
            BatchStart::Added(batch) => Some(*batch),
            BatchStart::Resumed(resumed) => Some(resumed.batch),
        }
    }
}

/// The progress of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchProgress {
    /// Number of jobs that are not final.
    pub unfinished: u64,
    /// Number of jobs that failed or were cancelled.
    pub ended_badly: u64,
}

impl Queue {
    /// Adds a batch of any size in one transaction, with flat memory: the jobs are read as they are added, and
    /// only [labels](NewJob::label) are kept. `each` gets each job in the order of the source, before the
    /// COMMIT. A batch that is remembered [`Once`](BatchDedup::Once) is not added while it is not done: what
    /// failed of it or was cancelled is put back in the same transaction.
    ///
    /// The file is locked for writing while `jobs` is read, so a slow source holds up all other writers.
    ///
    /// # Errors
    /// As [`Queue::enqueue`], and what the source reports. Nothing is added then, and what `each` got is void.
    /// `jobs` and `each` may read from this queue, but not write to it ([`Error::is_wrong_state`]).
    pub fn enqueue_batch(
        &self,
        jobs: impl IntoIterator<Item = Result<NewJob>>,
        remember: BatchDedup,
        mut each: impl FnMut(Enqueued),
    ) -> Result<BatchStart> {
        self.store.write_alone(|tx| {
            if let BatchDedup::Once(digest) = &remember
                && let Some(resumed) = resume(tx, digest)?
            {
                return Ok(BatchStart::Resumed(resumed));
            }
            let mut batch: Option<Batch> = None;
            let mut labels = Labels::default();
            for job in jobs {
                let added = add(tx, job?, &self.limits, &mut labels)?;
                if added.is_new() {
                    batch = Some(Batch {
                        first: batch.map_or(added.id, |batch| batch.first),
                        last: added.id,
                    });
                }
                each(added);
            }
            if let (BatchDedup::Once(digest) | BatchDedup::Again(digest), Some(batch)) =
                (&remember, batch)
            {
                store::remember_batch(tx, digest, batch)?;
            }
            Ok(batch.map_or(BatchStart::Nothing, BatchStart::Added))
        })
    }

    /// The batch that was added with this digest, while one of its jobs exists.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn batch(&self, digest: &str) -> Result<Option<Batch>> {
        store::find_batch(&*self.store.reader()?, digest)
    }

    /// How many jobs of a batch are not final, and how many failed or were cancelled.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn batch_progress(&self, batch: Batch) -> Result<BatchProgress> {
        let reader = self.store.reader()?;
        Ok(BatchProgress {
            unfinished: store::batch_unfinished(&reader, batch)?,
            ended_badly: store::batch_ended_badly(&reader, batch)?,
        })
    }
}

/// Resumes the batch of this digest if it is not done: retries its failed and cancelled jobs, each on its
/// own.
fn resume(tx: &mut Tx<'_>, digest: &str) -> Result<Option<ResumedBatch>> {
    let Some(batch) = store::find_batch(tx.conn, digest)? else {
        return Ok(None);
    };
    let unfinished = store::batch_unfinished(tx.conn, batch)?;
    let undone = store::batch_undone(tx.conn, batch)?;
    if unfinished == 0 && undone.is_empty() {
        return Ok(None);
    }
    // A child is put back with its parent.
    let answers = tx.for_each(&undone, |tx, job| {
        let is_final = store::job_row(tx.conn, job)?.state.is_final();
        if is_final {
            store::requeue_job(tx, job)?;
        }
        Ok(())
    })?;
    let mut resumed = ResumedBatch {
        batch,
        unfinished,
        retried: 0,
        refused: Vec::new(),
    };
    for (job, answer) in undone.into_iter().zip(answers) {
        match answer {
            Ok(()) => resumed.retried += 1,
            Err(error) => resumed.refused.push((job, error.to_string())),
        }
    }
    Ok(Some(resumed))
}

/// Checks many jobs before the transaction begins.
pub(super) fn prepare(
    jobs: impl IntoIterator<Item = NewJob>,
    limits: &EnqueueLimits,
) -> Result<Vec<Prepared>> {
    jobs.into_iter()
        .enumerate()
        .map(|(at, job)| Prepared::new(job, limits).map_err(|error| in_place(at, error)))
        .collect()
}

pub(super) fn add_all(
    tx: &mut Tx<'_>,
    jobs: &[Prepared],
    limits: &EnqueueLimits,
) -> Result<Vec<Enqueued>> {
    let mut labels = Labels::default();
    let mut added: Vec<Enqueued> = Vec::with_capacity(jobs.len());
    while let Some(job) = jobs.get(added.len()) {
        let at = added.len();
        if let Some(plain) = plain(&jobs[at..]) {
            let together = store::enqueue_plain_together(tx, &plain);
            added.extend(together.map_err(|(after, error)| in_place(at + after, error))?);
            continue;
        }
        let one = job.add(tx, limits, &mut labels);
        added.push(one.map_err(|error| in_place(at, rolled_back(error, &added)))?);
    }
    Ok(added)
}

/// The next jobs, if they can be added together.
fn plain(jobs: &[Prepared]) -> Option<[&ValidatedJob; PLAIN_AT_ONCE]> {
    let next = jobs.first_chunk::<PLAIN_AT_ONCE>()?;
    let plain: Vec<&ValidatedJob> = next.iter().map_while(Prepared::plain).collect();
    plain.try_into().ok()
}

/// A job of a failed call has no id any more: it is named by its position.
fn rolled_back(error: Error, added: &[Enqueued]) -> Error {
    let is_it = |added: &Enqueued| Some(added.id) == error.job() && added.is_new();
    match added.iter().position(is_it) {
        Some(at) => error.with_job_called(&format!("job {} of this call", at + 1)),
        None => error,
    }
}

fn in_place(at: usize, error: Error) -> Error {
    error.context(format_args!("job {}", at + 1))
}

/// A job of a call with many, checked before the transaction begins.
pub(super) enum Prepared {
    Checked(ValidatedJob),
    /// It gets numbers for labels, or is one that others name.
    Labelled(Box<NewJob>),
}

impl Prepared {
    fn new(job: NewJob, limits: &EnqueueLimits) -> Result<Prepared> {
        if !job.has_labels() {
            return ValidatedJob::new(job, limits).map(Prepared::Checked);
        }
        ValidatedJob::new(job.clone().without_labels(), limits)?;
        Ok(Prepared::Labelled(Box::new(job)))
    }

    fn plain(&self) -> Option<&ValidatedJob> {
        match self {
            Prepared::Checked(job) if job.is_plain() => Some(job),
            Prepared::Checked(_) | Prepared::Labelled(_) => None,
        }
    }

    fn add(
        &self,
        tx: &mut Tx<'_>,
        limits: &EnqueueLimits,
        labels: &mut Labels,
    ) -> Result<Enqueued> {
        match self {
            Prepared::Checked(job) => store::enqueue(tx, job),
            Prepared::Labelled(job) => add(tx, NewJob::clone(job), limits, labels),
        }
    }
}

fn add(
    tx: &mut Tx<'_>,
    mut job: NewJob,
    limits: &EnqueueLimits,
    labels: &mut Labels,
) -> Result<Enqueued> {
    let label = job.options.label.take();
    let job = labels.resolve(job)?;
    let added = store::enqueue(tx, &ValidatedJob::new(job, limits)?)?;
    if let Some(label) = label {
        labels.add(label, added.id)?;
    }
    Ok(added)
}
