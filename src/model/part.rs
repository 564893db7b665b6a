//! The part of a file that an error belongs to, so that one bad row does not stop the rest.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use crate::model::id::JobId;

/// The part of a file that a read or a write is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Part {
    Job(JobId),
    Queue(i64),
    /// How many jobs a queue has in each state.
    CountersOf(i64),
    /// Which queues have something to claim.
    Counters,
    Schedule(i64),
    Schedules,
    Runner(i64),
    /// When scheduled jobs are due.
    DueTimes,
    /// Promoting many due jobs at once.
    DueJobs,
    Deadlines,
    Rates,
    Clock,
    Retention,
    Metrics,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Job(job) => write!(f, "job {job}"),
            Part::Queue(id) => write!(f, "queue number {id}"),
            Part::CountersOf(id) => write!(f, "the state counters of queue number {id}"),
            Part::Counters => f.write_str("the state counters"),
            Part::Schedule(id) => write!(f, "schedule number {id}"),
            Part::Schedules => f.write_str("the schedules"),
            Part::Runner(id) => write!(f, "the jobs of lost runner {id}"),
            Part::DueTimes => f.write_str("the times of scheduled jobs"),
            Part::DueJobs => f.write_str("promoting due jobs together"),
            Part::Deadlines => f.write_str("the deadlines"),
            Part::Rates => f.write_str("the rates of queues"),
            Part::Clock => f.write_str("following steps of the clock"),
            Part::Retention => f.write_str("the removal of old jobs"),
            Part::Metrics => f.write_str("the metrics"),
        }
    }
}

/// Parts that are set aside: they are neither read nor written until the next try.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts(Option<Arc<HashSet<Part>>>);

/// Nothing is set aside.
#[cfg(any(test, feature = "cli"))]
pub(crate) static NO_PARTS: Parts = Parts(None);

impl Parts {
    pub(crate) fn has(&self, part: Part) -> bool {
        self.0.as_ref().is_some_and(|parts| parts.contains(&part))
    }

    /// These and one more.
    pub(crate) fn and(&self, part: Part) -> Parts {
        let known = self.0.iter().flat_map(|parts| parts.iter().copied());
        known.chain([part]).collect()
    }

    /// How many more rows to read than are wanted, since those set aside are skipped.
    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |parts| parts.len())
    }
}

impl FromIterator<Part> for Parts {
    fn from_iter<I: IntoIterator<Item = Part>>(parts: I) -> Parts {
        let parts: HashSet<Part> = parts.into_iter().collect();
        Parts((!parts.is_empty()).then(|| Arc::new(parts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::error::Kind;

    #[test]
    fn errors_name_the_closest_part_only_when_data_are_at_fault() {
        let error = Error::new(Kind::Corrupt, "x");
        let error = error.of(Part::Job(JobId(3))).of(Part::Queue(1));
        assert_eq!(error.part(), Some(Part::Job(JobId(3))));
        assert_eq!(error.duplicate().part(), Some(Part::Job(JobId(3))));
        for kind in [Kind::Busy, Kind::Full, Kind::Io, Kind::ReadOnly] {
            assert_eq!(Error::new(kind, "x").of(Part::Clock).part(), None);
        }
    }
}
