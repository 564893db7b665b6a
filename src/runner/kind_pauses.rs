//! Kinds whose handler can run no job at the moment: none of their jobs is claimed for a while.
//!
//! A handler says so by [`Outcome::Unavailable`](crate::Outcome::Unavailable).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use crate::clock;
use crate::model::outcome::{Ending, Outcome};
use crate::runner::attempt::Report;

/// A drain does not wait for a kind that could still not run after this many pauses.
const GIVEN_UP_AFTER: u32 = 3;

/// The kinds that are paused, by id.
#[derive(Debug, Default)]
pub(crate) struct KindPauses(HashMap<i64, KindPause>);

#[derive(Debug)]
struct KindPause {
    name: Arc<str>,
    /// The handler's error message.
    reason: String,
    /// None: it has ended, and no job has run since.
    until: Option<Instant>,
    /// How many pauses there were in a row.
    pauses: u32,
}

impl KindPauses {
    /// Notes whether a handler could run the job; returns whether that is news.
    pub(crate) fn heed(&mut self, report: &Report) -> bool {
        let attempt = &report.attempt;
        let Ending::Returned {
            outcome: Outcome::Unavailable { error, pause },
            ..
        } = &report.ending
        else {
            return self.has_run(attempt.kind_id);
        };
        let until = clock::after(clock::instant(), *pause);
        let is_news = self.pause((attempt.kind_id, &attempt.kind), error, until);
        if is_news {
            log::warn!("no '{}' can run at the moment: {error}", attempt.kind);
        }
        is_news
    }

    /// Pauses a kind until then; returns whether the reason is news.
    fn pause(&mut self, (kind, name): (i64, &Arc<str>), reason: &str, until: Instant) -> bool {
        let before = self.0.remove(&kind);
        // Reports of the same moment are one pause.
        let pauses = match &before {
            Some(before) => before.pauses + u32::from(before.until.is_none()),
            None => 1,
        };
        let is_news = before.is_none_or(|before| before.reason != reason);
        let pause = KindPause {
            name: Arc::clone(name),
            reason: reason.to_owned(),
            until: Some(until),
            pauses,
        };
        self.0.insert(kind, pause);
        is_news
    }

    /// Notes that a job of the kind has run; returns whether the kind was paused before.
    fn has_run(&mut self, kind: i64) -> bool {
        self.0.remove(&kind).is_some()
    }

    /// Whether no job of the kind is to be claimed now.
    pub(crate) fn holds(&self, kind: i64, now: Instant) -> bool {
        let pause = self.0.get(&kind);
        pause.is_some_and(|pause| pause.until.is_some_and(|until| now < until))
    }

    /// Whether a drain leaves the jobs of the kind.
    pub(crate) fn is_given_up(&self, kind: i64) -> bool {
        let pause = self.0.get(&kind);
        pause.is_some_and(|pause| pause.pauses > GIVEN_UP_AFTER)
    }

    /// Ends the pauses whose time is over; returns whether there were any.
    pub(crate) fn relax(&mut self, now: Instant) -> bool {
        let is_over = |until: &mut Instant| *until <= now;
        let paused = self.0.values_mut();
        paused
            .filter_map(|pause| pause.until.take_if(is_over))
            .count()
            > 0
    }

    /// The next end of a pause.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.values().filter_map(|pause| pause.until).min()
    }

    /// The reasons by the name of the kind, until a job of it has run.
    pub(crate) fn reasons(&self) -> BTreeMap<String, String> {
        let paused = self.0.values();
        paused
            .map(|pause| (pause.name.to_string(), pause.reason.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_kind_is_paused_and_explained_until_a_job_has_run() {
        let (mut pauses, now) = (KindPauses::default(), Instant::now());
        let (name, second) = (Arc::from("resize"), Duration::from_secs(1));
        assert!(pauses.pause((1, &name), "down", now + second));
        assert!(!pauses.pause((1, &name), "down", now + second * 2));
        assert!(pauses.pause((1, &name), "gone", now + second * 2));
        assert!(pauses.holds(1, now + second) && !pauses.holds(2, now));
        assert_eq!(pauses.next(), Some(now + second * 2));
        assert!(!pauses.relax(now + second));
        assert!(pauses.relax(now + second * 2) && !pauses.relax(now + second * 2));
        assert!(!pauses.holds(1, now) && pauses.next().is_none());
        assert_eq!(pauses.reasons()["resize"], "gone");
        for number in 2..=4 {
            assert!(!pauses.is_given_up(1), "{number}");
            pauses.pause((1, &name), "gone", now);
            pauses.pause((1, &name), "gone", now);
            pauses.relax(now);
        }
        assert!(pauses.is_given_up(1));
        assert!(pauses.has_run(1) && !pauses.has_run(1));
        assert!(pauses.reasons().is_empty());
    }
}
