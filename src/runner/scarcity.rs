//! Running fewer jobs at a time while the system lacks resources for more.
//!
//! A handler that found no descriptors, processes or memory gives its attempt back
//! ([`Outcome::OutOfResources`](crate::Outcome::OutOfResources)). Then no more jobs run at a time than
//! were running beside it, and none is claimed for a moment. After a while without such a report the
//! limit grows by one.

use std::time::{Duration, Instant};

use crate::clock;

/// The pause in claiming after a refusal; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The limit grows by one after this long without a refusal.
const MORE_AFTER: Duration = Duration::from_secs(10);

/// The limit on running jobs, while it is below the number of workers.
#[derive(Debug, Default)]
pub(crate) struct Scarcity(Option<Limited>);

#[derive(Debug)]
struct Limited {
    jobs: usize,
    /// The handler's error message.
    reason: String,
    pause: Duration,
    /// Nothing is claimed before.
    not_before: Instant,
    /// Then the limit grows by one.
    more_at: Instant,
}

impl Scarcity {
    /// Notes that a handler lacked resources while this many others were running; returns whether that
    /// is news.
    pub(crate) fn refused(&mut self, others: usize, reason: &str, now: Instant) -> bool {
        let pause = self.0.as_ref().map_or(FIRST_PAUSE, |limited| {
            // Reports of the same moment are one refusal.
            match now < limited.not_before {
                true => limited.pause,
                false => (limited.pause * 2).min(LONGEST_PAUSE),
            }
        });
        let before = self.0.replace(Limited {
            jobs: others.max(1),
            reason: reason.to_owned(),
            pause,
            not_before: clock::after(now, pause),
            more_at: clock::after(now, MORE_AFTER),
        });
        before.is_none()
    }

    /// Notes that an attempt had the resources to run.
    pub(crate) fn has_run(&mut self, began: Instant) {
        if let Some(limited) = self
            .0
            .as_mut()
            .filter(|limited| began >= limited.not_before)
        {
            limited.pause = FIRST_PAUSE;
        }
    }

    /// Raises the limit when its time has come; returns whether there is no limit any more.
    pub(crate) fn relax(&mut self, workers: usize, now: Instant) -> bool {
        let Some(limited) = self.0.as_mut().filter(|limited| now >= limited.more_at) else {
            return false;
        };
        limited.jobs += 1;
        limited.more_at = clock::after(now, MORE_AFTER);
        let is_over = limited.jobs >= workers;
        if is_over {
            self.0 = None;
        }
        is_over
    }

    /// How many jobs may run at a time.
    pub(crate) fn jobs(&self, workers: usize) -> usize {
        self.0
            .as_ref()
            .map_or(workers, |limited| limited.jobs.min(workers))
    }

    /// Nothing is claimed before this.
    pub(crate) fn not_before(&self, now: Instant) -> Option<Instant> {
        let not_before = self.0.as_ref().map(|limited| limited.not_before);
        not_before.filter(|not_before| *not_before > now)
    }

    /// The resource that the system lacks, in a handler's words.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.0.as_ref().map(|limited| &*limited.reason)
    }

    /// When to check again.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        let more_at = self.0.as_ref().map(|limited| limited.more_at);
        self.not_before(now).or(more_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_run_than_ran_beside_the_one_that_found_too_little() {
        let (mut scarcity, now) = (Scarcity::default(), Instant::now());
        assert_eq!(scarcity.jobs(5), 5);
        assert!(scarcity.refused(4, "no descriptors", now));
        assert!(!scarcity.refused(3, "no descriptors", now));
        assert_eq!((scarcity.jobs(5), scarcity.jobs(2)), (3, 2));
        assert!(!scarcity.refused(0, "no descriptors", now));
        assert_eq!(
            (scarcity.jobs(5), scarcity.reason()),
            (1, Some("no descriptors"))
        );
    }

    #[test]
    fn the_pause_grows_while_nothing_runs_and_resets_afterwards() {
        let (mut scarcity, mut now) = (Scarcity::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..9 {
            scarcity.refused(0, "x", now);
            let not_before = scarcity.not_before(now).unwrap();
            pauses.push((not_before - now).as_millis());
            now = not_before;
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(scarcity.not_before(now), None);
        scarcity.has_run(now);
        scarcity.refused(0, "x", now);
        assert_eq!(scarcity.not_before(now).unwrap() - now, FIRST_PAUSE * 2);
    }

    #[test]
    fn one_more_is_tried_after_a_while_until_all_workers_are_used() {
        let (mut scarcity, now) = (Scarcity::default(), Instant::now());
        scarcity.refused(0, "x", now);
        assert!(!scarcity.relax(3, now + MORE_AFTER / 2));
        assert_eq!(scarcity.jobs(3), 1);
        assert!(!scarcity.relax(3, now + MORE_AFTER));
        assert_eq!(scarcity.jobs(3), 2);
        assert!(scarcity.relax(3, now + MORE_AFTER * 2));
        assert_eq!((scarcity.jobs(3), scarcity.reason()), (3, None));
    }
}
