//! Parts of the file that a runner leaves alone because their data cannot be read or written.
//!
//! A busy or full file is tried again until it works. Damage stays: a part that fails twice is set
//! aside, logged once, and tried again after a minute, in case somebody has repaired it. Everything
//! else goes on.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::model::part::{Part, Parts};
use crate::{Error, clock};

/// A part is left alone for this long before it is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// More parts than this are no longer single rows.
const MAX_PARTS: usize = 2000;
/// This many failures without a known part within [`TRY_AGAIN`] end the runner.
const HOPELESS: u32 = 4;

/// The consequence of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Try once more, at once.
    Again,
    /// The part is left alone from now on; `is_news` the first time.
    SetAside { is_news: bool },
    /// No part is known to be the cause: try again after a while.
    Unclear,
    /// That has happened too often.
    Hopeless,
}

/// The parts that are left alone, and those that have failed once.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    parts: Parts,
    until: HashMap<Part, Instant>,
    suspects: HashMap<Part, u32>,
    /// Every part that was ever set aside, with the reason.
    reasons: BTreeMap<Part, String>,
    unclear: Vec<Instant>,
}

impl Aside {
    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    pub(crate) fn is_any(&self) -> bool {
        !self.until.is_empty()
    }

    pub(crate) fn has_jobs(&self) -> bool {
        self.until.keys().any(|part| matches!(part, Part::Job(_)))
    }

    /// Every part that was ever set aside, with the reason.
    pub(crate) fn reasons(&self) -> &BTreeMap<Part, String> {
        &self.reasons
    }

    /// Judges a failure that the data of the file have caused.
    pub(crate) fn failed(&mut self, error: &Error, now: Instant) -> Judgement {
        let known = error.part().filter(|part| !self.parts.has(*part));
        let Some(part) = known.filter(|_| self.until.len() < MAX_PARTS) else {
            self.unclear
                .retain(|at| now.duration_since(*at) < TRY_AGAIN);
            self.unclear.push(now);
            return match self.unclear.len() as u32 >= HOPELESS {
                true => Judgement::Hopeless,
                false => Judgement::Unclear,
            };
        };
        let failures = self.suspects.entry(part).or_default();
        *failures += 1;
        if *failures < 2 {
            return Judgement::Again;
        }
        self.until.insert(part, clock::after(now, TRY_AGAIN));
        let is_news = self.reasons.insert(part, error.to_string()).is_none();
        self.parts = self.until.keys().copied().collect();
        Judgement::SetAside { is_news }
    }

    /// Ends the time of parts that have been left alone long enough: one more failure sets them aside
    /// again. Returns whether there are any.
    pub(crate) fn try_again(&mut self, now: Instant) -> bool {
        if self.until.values().all(|until| *until > now) {
            return false;
        }
        self.until.retain(|_, until| *until > now);
        self.parts = self.until.keys().copied().collect();
        true
    }

    /// When the next part is tried again.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.until.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::model::id::JobId;

    fn damaged(part: Part) -> Error {
        Error::new(Kind::Sqlite, "x").of(part)
    }

    #[test]
    fn what_fails_twice_is_set_aside_and_tried_again_after_a_minute() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        let part = Part::Job(JobId(3));
        assert_eq!(aside.failed(&damaged(part), now), Judgement::Again);
        assert!(!aside.parts().has(part));
        let news = Judgement::SetAside { is_news: true };
        assert_eq!(aside.failed(&damaged(part), now), news);
        assert!(aside.parts().has(part));
        aside.try_again(now + TRY_AGAIN / 2);
        assert!(aside.parts().has(part));
        aside.try_again(now + TRY_AGAIN);
        assert!(!aside.parts().has(part));
        let again = Judgement::SetAside { is_news: false };
        assert_eq!(aside.failed(&damaged(part), now + TRY_AGAIN), again);
    }

    #[test]
    fn what_nothing_can_be_set_aside_for_is_hopeless_soon() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        let error = Error::new(Kind::Corrupt, "x");
        for _ in 1..HOPELESS {
            assert_eq!(aside.failed(&error, now), Judgement::Unclear);
        }
        assert_eq!(aside.failed(&error, now), Judgement::Hopeless);
        let later = now + TRY_AGAIN * 2;
        assert_eq!(aside.failed(&error, later), Judgement::Unclear);
    }
}
