//! What schedules may do: one job for each slot, none for a slot that has not come.

use crate::model::job::NewJob;
use std::collections::BTreeSet;

use crate::model::schedule::{Missed, Overlap, Schedule};
use crate::store::tests::model::action::Wanted;
use crate::store::tests::model::acts::{Answer, DONE};
use crate::store::tests::model::ops::New;
use crate::store::tests::model::plain::Model;

/// Every minute has three slots.
const RULE: &str = "*/20 * * * * *";
const PERIOD_MS: i64 = 20_000;

/// The queue of their jobs, which nothing limits.
pub(super) const QUEUE: u8 = 2;

/// The two that there are: what they do about slots that were missed, and while their last job lives.
pub(super) const SCHEDULES: [(&str, Missed, Overlap); 2] = [
    ("every", Missed::All, Overlap::Allow),
    ("one", Missed::Once, Overlap::Skip),
];

pub(super) fn schedule(at: usize, job: NewJob) -> Schedule {
    let (name, missed, overlap) = SCHEDULES[at];
    Schedule::new(name, RULE, job)
        .timezone("UTC")
        .missed(missed)
        .overlap(overlap)
}

/// A job that stands for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fired {
    pub(super) schedule: usize,
    pub(super) slot: i64,
    pub(super) job: i64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    is_paused: bool,
    /// The slots after this moment are owed.
    owed_after: i64,
    /// Those that have a job, since the clock was last set.
    fired: BTreeSet<i64>,
    last_slot: i64,
    last_job: Option<i64>,
}

impl Slots {
    pub(super) fn new(now: i64) -> Slots {
        Slots {
            owed_after: now,
            ..Slots::default()
        }
    }
}

impl Model {
    /// Takes the jobs that the file has added for schedules, which must be allowed and enough.
    pub(super) fn fire(&mut self, fired: &[Fired]) -> Answer {
        for one in fired {
            let (_, _, overlap) = SCHEDULES[one.schedule];
            let slots = &self.schedules[one.schedule];
            let lives = slots.last_job.is_some_and(|job| self.is_live(job));
            let is_slot = one.slot % PERIOD_MS == 0 && one.slot <= self.now;
            let is_new = !slots.fired.contains(&one.slot);
            if slots.is_paused || !is_slot || !is_new || (lives && overlap == Overlap::Skip) {
                return Ok(format!("nothing of {one:?} by {slots:?}"));
            }
            let new = New {
                queue: QUEUE,
                ..New::default()
            };
            let added = self.enqueue(&Wanted::alone(new))?;
            if added != format!("{} false", one.job) {
                return Ok(format!("job {added} of {one:?}"));
            }
            self.follow();
            let slots = &mut self.schedules[one.schedule];
            slots.fired.insert(one.slot);
            slots.last_slot = slots.last_slot.max(one.slot);
            slots.last_job = Some(one.job);
        }
        let slots = &self.schedules[0];
        let first = (slots.owed_after.div_euclid(PERIOD_MS) + 1) * PERIOD_MS;
        let mut owed = (first..=self.now).step_by(PERIOD_MS as usize);
        if let Some(slot) = owed.find(|slot| !slots.is_paused && !slots.fired.contains(slot)) {
            return Ok(format!("a job for {slot} by {slots:?}"));
        }
        DONE
    }

    /// What had its slot by the old clock has had it, and it may come again where it went back.
    pub(super) fn clock_was_set(&mut self) {
        let now = self.now;
        for slots in &mut self.schedules {
            slots.owed_after = slots.owed_after.max(slots.last_slot).max(now);
            slots.fired.clear();
        }
    }

    pub(super) fn pause_schedules(&mut self, is_paused: bool) -> Answer {
        let now = self.now;
        for slots in &mut self.schedules {
            if slots.is_paused && !is_paused {
                slots.owed_after = now;
                slots.fired.clear();
            }
            slots.is_paused = is_paused;
        }
        DONE
    }
}
