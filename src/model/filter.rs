//! Selections of jobs.

use std::time::Duration;

use crate::model::event::EventId;
use crate::model::id::JobId;
use crate::model::state::State;
use crate::{Error, Result};

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
    /// With an id from the first to the second, both included.
    pub ids: Option<(JobId, JobId)>,
    /// Enqueued at or after this moment.
    pub since: Option<jiff::Timestamp>,
    /// Enqueued before this moment.
    pub until: Option<jiff::Timestamp>,
    /// Enqueued no later than this event: what a [preview](crate::Queue::preview) has counted, without the jobs that
    /// were enqueued since.
    pub as_of: Option<EventId>,
    /// With more attempts than these.
    pub more_attempts_than: Option<u32>,
    /// Whose latest attempt took longer, or has been running for longer.
    pub took_longer_than: Option<Duration>,
    /// That waited longer for their first start, counted from when they were enqueued. A job that has not started
    /// waits until now, or has waited until it became final. A delay that it was enqueued with counts as well.
    pub waited_longer_than: Option<Duration>,
    /// With this text in the payload, the result, the error or the name of the kind; upper and lower case of ASCII
    /// letters are the same.
    pub text: Option<String>,
    /// With this text in the error; upper and lower case of ASCII letters are the same.
    pub error: Option<String>,
    /// With an error of this [group](crate::ErrorGroup::id).
    pub error_group: Option<String>,
    /// The order.
    pub sort: Sort,
    /// The page after this job, for [`Sort::Newest`] and [`Sort::Oldest`].
    pub after: Option<JobId>,
    /// Maximum number of jobs; none: all.
    pub limit: Option<usize>,
}

impl Filter {
    /// The filter that jobs match which match both. Of states, queues and kinds those stay that both have, and tags
    /// are joined.
    ///
    /// # Errors
    /// Nothing can match both, or they differ in what a filter has only one of.
    pub fn and(mut self, other: Filter) -> Result<Filter> {
        // Every field is named: a new one must not be ignored here.
        let Filter {
            states,
            queues,
            kinds,
            tenant,
            tags,
            parent,
            schedule,
            ids,
            since,
            until,
            as_of,
            more_attempts_than,
            took_longer_than,
            waited_longer_than,
            text,
            error,
            error_group,
            sort,
            after,
            limit,
        } = other;
        common("states", &mut self.states, states)?;
        common("queues", &mut self.queues, queues)?;
        common("kinds", &mut self.kinds, kinds)?;
        let more = tags.into_iter().filter(|tag| !self.tags.contains(tag));
        let more: Vec<(String, String)> = more.collect();
        self.tags.extend(more);
        same("tenant", &mut self.tenant, tenant)?;
        same("parent", &mut self.parent, parent)?;
        same("schedule", &mut self.schedule, schedule)?;
        same("ids", &mut self.ids, ids)?;
        same("since", &mut self.since, since)?;
        same("until", &mut self.until, until)?;
        same("event", &mut self.as_of, as_of)?;
        same(
            "number of attempts",
            &mut self.more_attempts_than,
            more_attempts_than,
        )?;
        same("run time", &mut self.took_longer_than, took_longer_than)?;
        same(
            "waiting time",
            &mut self.waited_longer_than,
            waited_longer_than,
        )?;
        same("text", &mut self.text, text)?;
        same("text of the error", &mut self.error, error)?;
        same("group of errors", &mut self.error_group, error_group)?;
        let mut own = Some(self.sort).filter(|sort| *sort != Sort::default());
        same(
            "order",
            &mut own,
            Some(sort).filter(|sort| *sort != Sort::default()),
        )?;
        self.sort = own.unwrap_or_default();
        same("place to continue after", &mut self.after, after)?;
        same("limit", &mut self.limit, limit)?;
        Ok(self)
    }
}

fn common<T: PartialEq>(what: &str, own: &mut Vec<T>, other: Vec<T>) -> Result<()> {
    if own.is_empty() {
        *own = other;
    } else if !other.is_empty() {
        own.retain(|value| other.contains(value));
        if own.is_empty() {
            return Err(twice(what));
        }
    }
    Ok(())
}

fn same<T: PartialEq>(what: &str, own: &mut Option<T>, other: Option<T>) -> Result<()> {
    match (own.as_ref(), other) {
        (Some(value), Some(other)) if *value != other => Err(twice(what)),
        (None, other) => {
            *own = other;
            Ok(())
        }
        _ => Ok(()),
    }
}

fn twice(what: &str) -> Error {
    Error::invalid(format!("the filter has the {what} twice, and they differ"))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn only(set: impl FnOnce(&mut Filter)) -> Filter {
        let mut filter = Filter::default();
        set(&mut filter);
        filter
    }

    #[test]
    fn two_filters_together_are_what_both_allow() {
        let tag = |value: &str| ("env".to_owned(), value.to_owned());
        let one = only(|filter| {
            filter.states = vec![State::Failed, State::Pending];
            filter.tags = vec![tag("prod")];
            filter.sort = Sort::Oldest;
        });
        let other = only(|filter| {
            filter.states = vec![State::Failed, State::Cancelled];
            filter.tags = vec![tag("prod"), tag("eu")];
            filter.tenant = Some("acme".to_owned());
        });
        let both = only(|filter| {
            filter.states = vec![State::Failed];
            filter.tags = vec![tag("prod"), tag("eu")];
            filter.tenant = Some("acme".to_owned());
            filter.sort = Sort::Oldest;
        });
        assert_eq!(one.clone().and(other.clone()).unwrap(), both);
        assert_eq!(both.clone().and(Filter::default()).unwrap(), both);
        assert_eq!(Filter::default().and(both.clone()).unwrap(), both);
        assert_eq!(both.clone().and(both.clone()).unwrap(), both);
    }

    #[test]
    fn filters_that_contradict_each_other_are_refused() {
        let tenant = |name: &str| only(|filter| filter.tenant = Some(name.to_owned()));
        let error = tenant("a").and(tenant("b")).unwrap_err();
        assert!(error.is_invalid_input() && error.to_string().contains("the tenant twice"));
        let state = |state| only(|filter| filter.states = vec![state]);
        assert!(state(State::Failed).and(state(State::Pending)).is_err());
    }
}
