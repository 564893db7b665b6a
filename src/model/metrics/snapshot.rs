//! All metrics of a file at one moment, as a monitoring system reads them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;

use crate::model::event::EventKind;
use crate::model::metrics::AttemptTotals;
use crate::model::queue::QueueRecord;
use crate::model::runner::RunnerState;

/// Maximum number of pairs of a queue and a kind with metrics of their own. Each has some fifty series.
pub(crate) const MAX_PAIRS: usize = 200;
/// Maximum number of queues, and of schedules, with metrics of their own.
pub(crate) const MAX_NAMES: usize = 200;
/// The queue and the kind of all that is beyond [`MAX_PAIRS`], and the queue of what is beyond [`MAX_NAMES`].
pub(crate) const OTHER: &str = "other";

/// All metrics of a file at one moment. Reading them costs the same however many jobs there are.
#[derive(Clone, Debug, Default)]
pub struct MetricsSnapshot {
    pub(crate) schema: i64,
    pub(crate) sqlite: String,
    pub(crate) queues: Vec<QueueGauges>,
    /// The number of runners in each state.
    pub(crate) runners: Vec<(RunnerState, u64)>,
    pub(crate) busy_workers: u64,
    pub(crate) idle_workers: u64,
    pub(crate) schedules: Vec<ScheduleGauges>,
    /// The files of the database and their sizes in bytes.
    pub(crate) files: Vec<(&'static str, u64)>,
    pub(crate) pairs: Vec<PairTotals>,
}

/// A queue.
#[derive(Clone, Debug)]
pub(crate) struct QueueGauges {
    pub(crate) queue: QueueRecord,
    /// Whether it is paused, by its name or with all others.
    pub(crate) is_paused: bool,
    /// How long its oldest pending jobs have been pending; none: none is pending.
    pub(crate) oldest_pending: Option<Duration>,
}

/// A schedule.
#[derive(Clone, Debug)]
pub(crate) struct ScheduleGauges {
    pub(crate) name: String,
    /// None: it is paused, or has no further slot.
    pub(crate) next_at: Option<Timestamp>,
    /// When the last of its jobs completed that is still in the file.
    pub(crate) last_success_at: Option<Timestamp>,
}

/// The jobs of a kind in a queue, since the file was created.
#[derive(Clone, Debug, Default)]
pub(crate) struct PairTotals {
    pub(crate) queue: String,
    pub(crate) kind: String,
    /// The number of jobs that were enqueued.
    pub(crate) enqueued: u64,
    /// The number of attempts by how they ended.
    pub(crate) outcomes: BTreeMap<&'static str, u64>,
    /// The attempts, however they ended.
    pub(crate) attempts: AttemptTotals,
}

impl PairTotals {
    pub(crate) fn add(&mut self, outcome: EventKind, totals: &AttemptTotals) {
        let attempts = self.outcomes.entry(outcome_word(outcome)).or_default();
        *attempts = attempts.saturating_add(totals.attempts);
        self.attempts.merge(totals);
    }

    fn merge(&mut self, other: &PairTotals) {
        self.enqueued = self.enqueued.saturating_add(other.enqueued);
        for (outcome, attempts) in &other.outcomes {
            let sum = self.outcomes.entry(outcome).or_default();
            *sum = sum.saturating_add(*attempts);
        }
        self.attempts.merge(&other.attempts);
    }
}

/// The word of an outcome: that of its event, without `job_`.
pub(crate) fn outcome_word(outcome: EventKind) -> &'static str {
    let word = outcome.as_str();
    word.strip_prefix("job_").unwrap_or(word)
}

/// The first `most` pairs, and the sum of the others as [`OTHER`]. A counter must not move from one name to another, so
/// the pairs come in an order to whose end new ones are added.
pub(crate) fn capped(pairs: Vec<PairTotals>, most: usize) -> Vec<PairTotals> {
    let mut capped: Vec<PairTotals> = Vec::new();
    // A queue and a kind may be called so, too.
    let mut places: HashMap<(String, String), usize> = HashMap::new();
    for (at, mut pair) in pairs.into_iter().enumerate() {
        if at >= most {
            pair.queue = OTHER.to_owned();
            pair.kind = OTHER.to_owned();
        }
        match places.get(&(pair.queue.clone(), pair.kind.clone())) {
            Some(place) => capped[*place].merge(&pair),
            None => {
                places.insert((pair.queue.clone(), pair.kind.clone()), capped.len());
                capped.push(pair);
            }
        }
    }
    capped
}

/// The first `most` queues, and all others as one.
pub(crate) fn capped_queues(mut queues: Vec<QueueGauges>, most: usize) -> Vec<QueueGauges> {
    let rest = queues.split_off(queues.len().min(most));
    for queue in rest {
        let other = queues.iter().position(|of| of.queue.name == OTHER);
        match other.map(|at| &mut queues[at]) {
            Some(other) => {
                for (state, jobs) in queue.queue.counts.iter() {
                    let jobs = i64::try_from(jobs).unwrap_or(i64::MAX);
                    other.queue.counts.add(state, jobs);
                }
                other.oldest_pending = other.oldest_pending.max(queue.oldest_pending);
            }
            None => {
                let mut other = queue;
                other.queue.name = OTHER.to_owned();
                other.queue.limits.concurrency = None;
                other.queue.limits.max_size = None;
                other.is_paused = false;
                queues.push(other);
            }
        }
    }
    queues
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::queue::{Counts, QueueLimits};
    use crate::model::state::State;

    fn queue(name: &str, pending_s: u64) -> QueueGauges {
        let mut counts = Counts::default();
        counts.add(State::Pending, 2);
        QueueGauges {
            queue: QueueRecord {
                name: name.to_owned(),
                paused_at: None,
                counts,
                limits: QueueLimits {
                    concurrency: Some(3),
                    rate: None,
                    max_size: None,
                    weight: 1,
                },
            },
            is_paused: true,
            oldest_pending: Some(Duration::from_secs(pending_s)),
        }
    }

    #[test]
    fn queues_beyond_the_cap_are_one_without_limits() {
        let queues = ["a", "b", "c"].map(|name| queue(name, u64::from(name.as_bytes()[0])));
        let capped = capped_queues(queues.to_vec(), 1);
        assert_eq!(capped.len(), 2);
        let other = &capped[1];
        assert_eq!(other.queue.name, OTHER);
        assert_eq!(other.queue.counts.get(State::Pending), 4);
        let longest = Duration::from_secs(u64::from(b'c'));
        assert_eq!(other.oldest_pending, Some(longest));
        assert_eq!(
            (other.queue.limits.concurrency, other.is_paused),
            (None, false)
        );
        assert_eq!(capped[0].queue.limits.concurrency, Some(3));
    }

    fn pair(queue: &str, kind: &str, enqueued: u64) -> PairTotals {
        PairTotals {
            queue: queue.to_owned(),
            kind: kind.to_owned(),
            enqueued,
            ..PairTotals::default()
        }
    }

    #[test]
    fn pairs_beyond_the_cap_are_added_up_as_one() {
        let pairs = vec![pair("a", "x", 1), pair("b", "x", 2), pair("b", "y", 3)];
        let totals: Vec<_> = capped(pairs, 1)
            .into_iter()
            .map(|pair| (pair.queue, pair.kind, pair.enqueued))
            .collect();
        let expected = [("a", "x", 1), ("other", "other", 5)];
        assert_eq!(totals, expected.map(|(q, k, n)| (q.into(), k.into(), n)));
    }

    #[test]
    fn a_kind_that_is_called_other_is_one_series_with_the_rest() {
        let pairs = vec![pair("other", "other", 1), pair("a", "x", 2)];
        let totals = capped(pairs, 1);
        assert_eq!(totals.len(), 1);
        assert_eq!(totals[0].enqueued, 3);
    }
}
