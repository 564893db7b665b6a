//! What a queue lets through: whether it is paused, and its limits.

use crate::error::Kind as Refused;
use crate::model::state::State;
use crate::store::tests::model::acts::{Answer, DONE};
use crate::store::tests::model::ops::Cap;
use crate::store::tests::model::plain::{Job, Model};

#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    is_paused: bool,
    concurrency: Option<usize>,
    /// So many starts in so many milliseconds.
    rate: Option<(usize, i64)>,
    max_size: Option<usize>,
    /// When its jobs have begun under the present rate.
    starts: Vec<i64>,
}

impl Model {
    fn count(&self, queue: u8, which: impl Fn(&Job) -> bool) -> usize {
        let jobs = self.jobs.values();
        jobs.filter(|job| job.queue == queue && which(job)).count()
    }

    /// How many more of the queue's jobs may be claimed now.
    pub(super) fn room(&self, queue: u8, ahead: bool) -> usize {
        let limits = &self.queues[usize::from(queue)];
        if limits.is_paused || (ahead && limits.rate.is_some()) {
            return 0;
        }
        let running = self.count(queue, |job| job.state == State::Running);
        let places = limits.concurrency.unwrap_or(usize::MAX);
        let starts = limits.rate.map_or(usize::MAX, |(jobs, span_ms)| {
            let recent = |at: &&i64| **at + span_ms > self.now;
            jobs.saturating_sub(limits.starts.iter().filter(recent).count())
        });
        places.saturating_sub(running).min(starts)
    }

    pub(super) fn has_begun(&mut self, queue: u8) {
        let now = self.now;
        let limits = &mut self.queues[usize::from(queue)];
        limits.starts.extend(limits.rate.map(|_| now));
    }

    /// Whether one more job goes in.
    pub(super) fn admit(&self, queue: u8) -> Result<(), Refused> {
        let live = self.count(queue, |job| !job.state.is_final());
        match self.queues[usize::from(queue)].max_size {
            Some(max) if live >= max => Err(Refused::QueueFull),
            _ => Ok(()),
        }
    }

    pub(super) fn set_cap(&mut self, queue: u8, cap: Cap) -> Answer {
        let limits = &mut self.queues[usize::from(queue)];
        let size = |limit: u32| limit as usize;
        match cap {
            Cap::Concurrency(jobs) => limits.concurrency = jobs.map(size),
            Cap::MaxSize(jobs) => limits.max_size = jobs.map(size),
            Cap::Rate(rate) => {
                let rate = rate.map(|(jobs, seconds)| (size(jobs), i64::from(seconds) * 1000));
                if rate != limits.rate {
                    limits.rate = rate;
                    limits.starts.clear();
                }
            }
        }
        DONE
    }

    pub(super) fn set_paused(&mut self, queue: u8, is_paused: bool) -> Answer {
        self.queues[usize::from(queue)].is_paused = is_paused;
        DONE
    }

    /// Starts stay as long ago as they are.
    pub(super) fn shift_starts(&mut self, step_ms: i64) {
        for start in self.queues.iter_mut().flat_map(|queue| &mut queue.starts) {
            *start += step_ms;
        }
    }
}
