//! Which jobs are meant.

use crate::model::id::JobId;
use crate::model::state::State;

/// Which kinds of jobs are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KindFilter {
    /// Every kind.
    #[default]
    All,
    /// These alone.
    Only(Vec<String>),
    /// All but these.
    AllBut(Vec<String>),
}

/// Which jobs are asked for. What is empty or none does not filter.
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
    /// The order.
    pub sort: Sort,
    /// The page after this job, for [`Sort::Newest`] and [`Sort::Oldest`].
    pub after: Option<JobId>,
    /// At most so many; none: all.
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
    /// What changed last first.
    Updated,
    /// What started last first.
    Started,
    /// What became final last first.
    Finished,
    /// What is due next first.
    Due,
    /// The most urgent first.
    Priority,
}
