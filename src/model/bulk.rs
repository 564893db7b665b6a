//! Changes to all jobs that match a filter.

use serde::{Deserialize, Serialize};

use crate::model::event::EventId;
use crate::model::filter::Filter;
use crate::model::id::JobId;
use crate::model::job::JobSummary;
use crate::model::state::State;

/// A change to all jobs that match a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum BulkAction {
    /// [`Queue::cancel`](crate::Queue::cancel) those that are not final.
    Cancel,
    /// [`Queue::retry`](crate::Queue::retry) the final ones; if the filter names no state, the failed ones.
    Retry,
    /// [`Queue::remove`](crate::Queue::remove) the final ones.
    Remove,
}

words!(BulkAction, "action", "actions" {
    Cancel = "cancel",
    Retry = "retry",
    Remove = "remove",
});

impl BulkAction {
    /// Whether it is for jobs in this state.
    pub fn is_for(self, state: State) -> bool {
        match self {
            BulkAction::Cancel => !state.is_final(),
            BulkAction::Retry | BulkAction::Remove => state.is_final(),
        }
    }

    /// The filter with the states that it is for; none if it names only others.
    pub(crate) fn narrow(self, filter: &Filter) -> Option<Filter> {
        let mut filter = filter.clone();
        if filter.states.is_empty() {
            filter.states = match self {
                BulkAction::Retry => vec![State::Failed],
                _ => State::ALL.to_vec(),
            };
        }
        filter.states.retain(|state| self.is_for(*state));
        (!filter.states.is_empty()).then_some(filter)
    }
}

/// The result of a change to all jobs that match a filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkReport {
    /// How many jobs were changed; without those that were changed as a consequence, as children are
    /// cancelled with their parent.
    pub jobs: u64,
    /// The jobs that could not be retried because another job has their unique key, each with the reason.
    pub refused: Vec<(JobId, String)>,
    /// All matching jobs up to this one are changed; with it as [`Filter::after`] another call continues. None: all are.
    pub searched_to: Option<JobId>,
}

impl BulkReport {
    /// Whether all matching jobs are changed.
    pub fn is_complete(&self) -> bool {
        self.searched_to.is_none()
    }
}

/// What a change to all jobs that match a filter would change.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct BulkPreview {
    /// The number of jobs that were found.
    pub jobs: u64,
    /// The first of them, oldest first, at most ten.
    pub sample: Vec<JobSummary>,
    /// The newest event at the time of the preview. With it as [`Filter::as_of`] no job is changed that was enqueued
    /// since.
    pub as_of: EventId,
    /// How far the file was searched, if the time was up; with it as [`Filter::after`] another call continues. None:
    /// these are all jobs.
    pub searched_to: Option<JobId>,
}

impl BulkPreview {
    /// Whether all matching jobs are counted.
    pub fn is_complete(&self) -> bool {
        self.searched_to.is_none()
    }

    /// Adds what a call has found that continued this one.
    pub fn add(&mut self, more: BulkPreview) {
        self.jobs += more.jobs;
        let left = MAX_SAMPLE.saturating_sub(self.sample.len());
        self.sample.extend(more.sample.into_iter().take(left));
        self.searched_to = more.searched_to;
    }
}

/// Maximum number of jobs shown in a preview.
pub(crate) const MAX_SAMPLE: usize = 10;
