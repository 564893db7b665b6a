//! What the events of a turn may have changed.

use std::collections::HashMap;

use crate::{EventKind, JobId};

/// From so many jobs on it is not said which they are.
const MOST_JOBS: usize = 10_000;

/// A set of kinds of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KindSet(u128);

impl KindSet {
    pub(crate) fn of(kinds: impl IntoIterator<Item = EventKind>) -> KindSet {
        let bits = kinds.into_iter().map(|kind| 1 << (kind as u8 & 127));
        KindSet(bits.fold(0, |all, bit: u128| all | bit))
    }

    /// All but log entries and output.
    pub(crate) fn without_output() -> KindSet {
        let all = EventKind::ALL.into_iter();
        KindSet::of(all.filter(|kind| !kind.is_output()))
    }

    pub(crate) fn meets(self, other: KindSet) -> bool {
        self.0 & other.0 != 0
    }

    fn add(&mut self, other: KindSet) {
        self.0 |= other.0;
    }
}

/// The jobs and the kinds of a number of events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched {
    kinds: KindSet,
    jobs: HashMap<JobId, KindSet>,
    /// It may be anything: too much to tell, or a change that has no event, such as the removal of a job.
    is_everything: bool,
}

impl Touched {
    pub(crate) fn everything() -> Touched {
        Touched {
            is_everything: true,
            ..Touched::default()
        }
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.is_everything
    }

    /// Adds events; one of an unknown kind may concern anything.
    pub(crate) fn add(&mut self, events: &[(Option<EventKind>, Option<JobId>)]) {
        for (kind, job) in events {
            let Some(kind) = kind.filter(|_| self.jobs.len() < MOST_JOBS) else {
                return *self = Touched::everything();
            };
            let kind = KindSet::of([kind]);
            self.kinds.add(kind);
            if let Some(job) = job {
                self.jobs.entry(*job).or_default().add(kind);
            }
        }
    }

    pub(crate) fn merge(&mut self, other: Touched) {
        self.is_everything |= other.is_everything;
        self.kinds.add(other.kinds);
        for (job, kinds) in other.jobs {
            self.jobs.entry(job).or_default().add(kinds);
        }
        if self.is_everything || self.jobs.len() > MOST_JOBS {
            *self = Touched::everything();
        }
    }

    /// Whether there may be an event of one of these kinds.
    pub(crate) fn has(&self, kinds: KindSet) -> bool {
        self.is_everything || self.kinds.meets(kinds)
    }

    /// The same for one job.
    pub(crate) fn has_job(&self, job: JobId, kinds: KindSet) -> bool {
        let of_job = self.jobs.get(&job);
        self.is_everything || of_job.is_some_and(|found| found.meets(kinds))
    }

    /// The same for one of the jobs.
    pub(crate) fn has_one_of(&self, mut jobs: impl FnMut(JobId) -> bool, kinds: KindSet) -> bool {
        let mut found = self.jobs.iter();
        self.is_everything || found.any(|(job, of_job)| of_job.meets(kinds) && jobs(*job))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_jobs_are_kept_apart() {
        let mut touched = Touched::default();
        touched.add(&[
            (Some(EventKind::Started), Some(JobId(1))),
            (Some(EventKind::Stdout), Some(JobId(2))),
            (Some(EventKind::QueuePaused), None),
        ]);
        let output = KindSet::of([EventKind::Stdout]);
        assert!(touched.has_job(JobId(2), output) && !touched.has_job(JobId(1), output));
        assert!(touched.has(KindSet::of([EventKind::QueuePaused])));
        assert!(!touched.has(KindSet::of([EventKind::Failed])));
        assert!(touched.has_one_of(|job| job == JobId(1), KindSet::without_output()));
        assert!(!touched.has_one_of(|job| job == JobId(2), KindSet::without_output()));
    }

    #[test]
    fn what_cannot_be_told_may_be_anything() {
        let mut later = Touched::default();
        later.add(&[(None, Some(JobId(1)))]);
        assert!(later.is_everything());
        let mut many = Touched::default();
        let kind = Some(EventKind::Enqueued);
        let events: Vec<_> = (0..=MOST_JOBS as i64)
            .map(|job| (kind, Some(JobId(job))))
            .collect();
        many.add(&events);
        assert!(many.is_everything() && many.jobs.is_empty());
    }

    #[test]
    fn every_kind_has_a_bit_of_its_own() {
        let bits: std::collections::BTreeSet<u128> = EventKind::ALL
            .into_iter()
            .map(|kind| KindSet::of([kind]).0)
            .collect();
        assert_eq!(bits.len(), EventKind::ALL.len());
    }
}
