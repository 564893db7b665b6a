//! Fair sharing: queues share a runner in proportion to their weights, by stride scheduling.
//!
//! Each queue has a mark that advances by `STRIDE / weight` for every job taken from it, and the next slot
//! goes to the queue with the least mark. Marks are stored as a lead over the last one taken, so they never
//! grow without bound. A queue without jobs has no lead: afterwards it can neither hog the runner nor claim
//! missed slots.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// The step of a queue of weight 1. Exact shares would need a multiple of every weight; this is near enough
/// for weights up to a million.
const STRIDE: u64 = 1 << 40;

/// How far each queue is ahead of the others; a queue without an entry is not ahead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FairShares(HashMap<i64, u64>);

/// A queue with jobs to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueShare {
    pub(crate) queue: i64,
    pub(crate) weight: u32,
    /// Maximum number of slots it may get, whatever its weight.
    pub(crate) room: usize,
}

impl QueueShare {
    fn stride(&self) -> u64 {
        (STRIDE / u64::from(self.weight.max(1))).max(1)
    }
}

impl FairShares {
    /// How many of the slots each contender gets.
    pub(crate) fn split(&self, places: usize, contenders: &[QueueShare]) -> Vec<usize> {
        let mut shares = vec![0; contenders.len()];
        if let [only] = contenders {
            shares[0] = places.min(only.room);
            return shares;
        }
        let mut next: BinaryHeap<Reverse<(u64, usize)>> = contenders
            .iter()
            .enumerate()
            .filter(|(_, contender)| contender.room > 0)
            .map(|(at, contender)| Reverse((self.lead(contender.queue), at)))
            .collect();
        for _ in 0..places {
            let Some(Reverse((mark, at))) = next.pop() else {
                break;
            };
            shares[at] += 1;
            if shares[at] < contenders[at].room {
                next.push(Reverse((mark + contenders[at].stride(), at)));
            }
        }
        shares
    }

    /// Records how many jobs of each were taken: as [`FairShares::split`] said, or fewer.
    pub(crate) fn charge(&mut self, taken: &[(QueueShare, usize)]) {
        let mut last = 0;
        for (contender, jobs) in taken.iter().filter(|(_, jobs)| *jobs > 0) {
            let stride = contender.stride();
            let mark = self.0.entry(contender.queue).or_default();
            last = last.max(*mark + stride * (*jobs as u64 - 1));
            *mark += stride * *jobs as u64;
        }
        self.0.retain(|_, mark| {
            *mark = mark.saturating_sub(last);
            *mark > 0
        });
    }

    /// Resets all leads: every job that could be taken was, so no queue waits.
    pub(crate) fn rest(&mut self) {
        self.0.clear();
    }

    fn lead(&self, queue: i64) -> u64 {
        self.0.get(&queue).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contender(queue: i64, weight: u32) -> QueueShare {
        QueueShare {
            queue,
            weight,
            room: usize::MAX,
        }
    }

    /// Distributes the slots; returns how many each got.
    fn serve(shares: &mut FairShares, places: usize, contenders: &[QueueShare]) -> Vec<usize> {
        let got = shares.split(places, contenders);
        let taken: Vec<_> = contenders.iter().copied().zip(got.clone()).collect();
        shares.charge(&taken);
        got
    }

    #[test]
    fn one_claim_is_split_by_weight() {
        let queues = [contender(1, 1), contender(2, 2), contender(3, 5)];
        assert_eq!(FairShares::default().split(8, &queues), [1, 2, 5]);
        assert_eq!(FairShares::default().split(800, &queues), [100, 200, 500]);
    }

    #[test]
    fn what_a_queue_has_no_room_for_goes_to_the_others() {
        let mut queues = [contender(1, 1), contender(2, 100)];
        queues[1].room = 3;
        assert_eq!(FairShares::default().split(10, &queues), [7, 3]);
        queues[0].room = 0;
        assert_eq!(FairShares::default().split(10, &queues), [0, 3]);
    }

    #[test]
    fn an_idle_queue_gains_no_claim_on_the_runner() {
        let mut shares = FairShares::default();
        let both = [contender(1, 1), contender(2, 1)];
        serve(&mut shares, 1000, &both[..1]);
        // Number 2 comes back after a thousand jobs of number 1, and number 1 goes on at once.
        assert_eq!(serve(&mut shares, 10, &both), [5, 5]);
        for _ in 0..100 {
            serve(&mut shares, 1, &both[1..]);
        }
        assert_eq!(
            serve(&mut shares, 11, &both),
            [6, 5],
            "number 2 had the last one"
        );
    }

    #[test]
    fn shares_forget_queues_that_the_others_have_caught_up_with() {
        let mut shares = FairShares::default();
        let queues: Vec<_> = (0..1000).map(|queue| contender(queue, 1)).collect();
        serve(&mut shares, 500, &queues);
        assert_eq!(shares.0.len(), 500);
        serve(&mut shares, 500, &queues);
        serve(&mut shares, 10, &queues);
        assert_eq!(shares.0.len(), 10);
        shares.rest();
        assert_eq!(shares, FairShares::default());
    }

    fn queues() -> impl Strategy<Value = Vec<QueueShare>> {
        let weights = prop::collection::vec(1u32..50, 1..8);
        weights.prop_map(|weights| {
            (1..)
                .zip(weights)
                .map(|(queue, weight)| contender(queue, weight))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn claim_shares_stay_within_one_job_of_the_queue_weights(
            queues in queues(), claims in prop::collection::vec(0usize..40, 1..60)
        ) {
            let mut shares = FairShares::default();
            let mut got = vec![0usize; queues.len()];
            let total: u64 = queues.iter().map(|queue| u64::from(queue.weight)).sum();
            for places in claims {
                for (sum, more) in got.iter_mut().zip(serve(&mut shares, places, &queues)) {
                    *sum += more;
                }
                let served: usize = got.iter().sum();
                // By stride no queue is more than one job ahead of where its weight puts it, and so
                // none lags by more than the others' leads.
                for (queue, got) in queues.iter().zip(&got) {
                    let due = served as f64 * f64::from(queue.weight) / total as f64;
                    let lag = due - *got as f64;
                    prop_assert!(lag > -1.01, "{queue:?} got {got} where {due} was its share");
                    prop_assert!(lag < queues.len() as f64, "{queue:?} got {got} where {due} was its share");
                }
            }
        }

        #[test]
        fn two_queues_stay_within_one_job_of_their_weights(
            weights in (1u32..1000, 1u32..1000), claims in prop::collection::vec(1usize..40, 1..200)
        ) {
            let queues = [contender(1, weights.0), contender(2, weights.1)];
            let mut shares = FairShares::default();
            let (mut first, mut all) = (0, 0);
            for places in claims {
                first += serve(&mut shares, places, &queues)[0];
                all += places;
                let due = all as f64 * f64::from(weights.0) / f64::from(weights.0 + weights.1);
                prop_assert!((first as f64 - due).abs() <= 1.01, "{first} of {all}, {due} is its share");
            }
        }

        #[test]
        fn every_place_is_given_while_there_is_room(
            queues in queues(), rooms in prop::collection::vec(0usize..10, 8), places in 0usize..100
        ) {
            let mut queues = queues;
            for (queue, room) in queues.iter_mut().zip(rooms) {
                queue.room = room;
            }
            let got = FairShares::default().split(places, &queues);
            let room: usize = queues.iter().map(|queue| queue.room).sum();
            prop_assert_eq!(got.iter().sum::<usize>(), places.min(room));
            prop_assert!(got.iter().zip(&queues).all(|(got, queue)| *got <= queue.room));
        }
    }
}
