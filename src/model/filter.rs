//! Selections of jobs.

use crate::model::id::JobId;
use crate::model::state::State;

/// A selection of kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KindFilter {
    /// Every kind.
    #[default]
    All,
    /// Only these.
    Only(Vec<String>),
    /// All but these.
    AllBut(Vec<String>),
}

/// A selection of jobs. Fields that are empty or none do not filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// In one of these states.
    pub states: Vec<State>,
    /// In one of these queues.
    pub queues: Vec<String>,
    /// Of one of these kinds.
    pub kinds: Vec<String>,
    /// Of this tenant.
    pub tenant: Option<String>,
    /// With all of these tags, each a name and a value.
    pub tags: Vec<(String, String)>,
    /// Children of this job.
    pub parent: Option<JobId>,
    /// Enqueued by this schedule.
    pub schedule: Option<String>,
    /// Enqueued at or after this moment.
    pub since: Option<jiff::Timestamp>,
    /// With this text in the payload, the result, the error or the name of the kind; upper and lower case of ASCII
    /// letters are the same.
    pub text: Option<String>,
    /// The order.
    pub sort: Sort,
    /// The page after this job, for [`Sort::Newest`] and [`Sort::Oldest`].
    pub after: Option<JobId>,
    /// Maximum number of jobs; none: all.
    pub limit: Option<usize>,
}

/// The order of a listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sort {
    /// The newest job first: the order in which listings can be paged.
    #[default]
    Newest,
    /// The oldest job first; can be paged as well.
    Oldest,
    /// The most recently changed first.
    Updated,
    /// The most recently started first.
    Started,
    /// The most recently finished first.
    Finished,
    /// The next due first.
    Due,
    /// The most urgent first.
    Priority,
}

words!(Sort, "order", "orders" {
    Newest = "newest",
    Oldest = "oldest",
    Updated = "updated",
    Started = "started",
    Finished = "finished",
    Due = "due",
    Priority = "priority",
});
