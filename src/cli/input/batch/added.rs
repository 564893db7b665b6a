//! What has been added of a batch, in little memory.

use jobq::{BatchStart, Enqueued, JobId, JobOptions, OnDuplicate};

use crate::cli::input::batch::input::LinePlace;
use crate::cli::render::enqueued::Warnings;

/// What one transaction has added.
#[derive(Clone, Debug, Default)]
pub(crate) struct Added {
    /// The new jobs, or those of the same batch that go on.
    pub(crate) start: BatchStart,
    runs: Vec<AlikeJobs>,
    /// The labels of lines, and the jobs that they name.
    pub(super) labels: Vec<(String, JobId)>,
    /// The label of the line that was read last, until its job has a number.
    label: Option<String>,
    /// What that line says of duplicates.
    on_duplicate: Option<OnDuplicate>,
    pub(crate) warnings: Warnings,
    pub(super) end: LinePlace,
}

/// Like jobs with consecutive ids, of consecutive lines.
#[derive(Clone, Copy, Debug)]
struct AlikeJobs {
    first: Enqueued,
    line: u64,
    jobs: u64,
}

impl Added {
    /// Nothing yet, from this place on.
    pub(super) fn from(place: LinePlace) -> Added {
        Added {
            end: place,
            ..Added::default()
        }
    }

    /// What became of each job, in the order of the lines.
    pub(crate) fn each(&self) -> impl Iterator<Item = Enqueued> + '_ {
        self.runs.iter().flat_map(|run| {
            (run.first.id.0..).zip(0..run.jobs).map(|(id, _)| Enqueued {
                id: JobId(id),
                ..run.first
            })
        })
    }

    /// Whether no line was left.
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// How many jobs were there already.
    pub(crate) fn duplicates(&self) -> u64 {
        let known = self.runs.iter().filter(|run| !run.first.is_new());
        known.map(|run| run.jobs).sum()
    }

    /// The line that has added this job; none where it was there already.
    pub(super) fn line_of(&self, job: JobId) -> Option<u64> {
        let new = self.runs.iter().filter(|run| run.first.is_new());
        let mut lines = new.filter_map(|run| {
            let at = u64::try_from(job.0 - run.first.id.0).ok()?;
            (at < run.jobs).then_some(run.line + at)
        });
        lines.next()
    }

    /// A line has been read, up to `end`.
    pub(super) fn read(&mut self, options: &JobOptions, end: LinePlace) {
        self.label.clone_from(&options.label);
        self.on_duplicate = options.on_duplicate;
        self.end = end;
    }

    /// Its job has a number.
    pub(super) fn record(&mut self, job: Enqueued) {
        if let Some(label) = self.label.take() {
            self.labels.push((label, job.id));
        }
        self.warnings.add(&job, self.on_duplicate);
        let told_of = self.end.lines;
        match self.runs.last_mut() {
            Some(AlikeJobs { first, line, jobs })
                if *line + *jobs == told_of
                    && first.state == job.state
                    && first.is_new() == job.is_new()
                    && first.replaced == job.replaced
                    && first.rerun_of == job.rerun_of
                    && u64::try_from(job.id.0 - first.id.0) == Ok(*jobs) =>
            {
                *jobs += 1;
            }
            _ => self.runs.push(AlikeJobs {
                first: job,
                line: told_of,
                jobs: 1,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use jobq::State;

    use super::*;

    #[test]
    fn alike_jobs_share_the_memory_of_one_and_come_out_unchanged() {
        let job = |id, state, duplicate| Enqueued {
            id: JobId(id),
            state,
            duplicate,
            replaced: false,
            rerun_of: None,
        };
        let mut jobs: Vec<_> = (1..=1000)
            .map(|id| job(id, State::Pending, false))
            .collect();
        jobs.push(job(1001, State::Blocked, false));
        jobs.push(job(7, State::Pending, true));
        jobs.push(job(7, State::Pending, true));
        jobs.push(job(1002, State::Pending, false));
        let mut added = Added::default();
        for (job, lines) in jobs.iter().zip(1..) {
            added.read(&JobOptions::default(), LinePlace { lines, offset: 0 });
            added.record(*job);
        }
        assert_eq!(added.each().collect::<Vec<_>>(), jobs);
        assert_eq!((added.runs.len(), added.duplicates()), (5, 2));
        let lines = [1, 500, 1001, 1002, 7, 1003].map(|id| added.line_of(JobId(id)));
        let found = [Some(1), Some(500), Some(1001), Some(1004), Some(7), None];
        assert_eq!(lines, found);
    }
}
