//! The options of a job: their one list, and their types.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::family::ChildPolicy;
use crate::model::hook::HookTrigger;
use crate::model::id::JobId;
use crate::model::job::Traceparent;
use crate::model::job::new::{NewJob, OnDuplicate, UniqueKey, When};
use crate::model::queue::check_name;
use crate::model::retry::{Backoff, Jitter};
use crate::{Error, Result};

/// Options of a job, wherever they are given: for one job, for all of a type or of a kind, for those of a
/// schedule. One that is none was not given.
///
/// They are serialized as a schedule stores them: `max_retries` as `retries`, durations as `…_ms`, without what
/// can be given only once (when, after, parent, label). A deadline at one moment cannot be serialized.
///
/// ```
/// use jobq::{JobOptions, NewJob, Priority};
///
/// let urgent = JobOptions { priority: Some(Priority::High), ..JobOptions::default() };
/// let job = NewJob::new("send").with_options(urgent);
/// assert_eq!(job.options().priority, Some(Priority::High));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobOptions {
    /// The queue; by default `default`.
    pub queue: Option<String>,
    /// The priority within the queue; by default normal.
    pub priority: Option<Priority>,
    /// When it may run; by default at once.
    #[serde(skip)]
    pub when: Option<When>,
    /// Maximum retries after the first attempt; by default 3, or as many as there are retry delays.
    #[serde(rename = "retries")]
    pub max_retries: Option<u32>,
    /// How the delay between retries grows; by default exponentially.
    pub backoff: Option<Backoff>,
    /// The first delay between retries; by default that of the backoff.
    #[serde(rename = "retry_delay_ms", with = "milliseconds")]
    pub retry_delay: Option<Duration>,
    /// A delay for each retry, in place of a backoff and its retry delay; the last one repeats.
    #[serde(
        rename = "retry_delays_ms",
        with = "milliseconds_each",
        skip_serializing_if = "Option::is_none"
    )]
    pub retry_delays: Option<Vec<Duration>>,
    /// Whether delays between retries are lengthened at random; by default they are, unless they are given as a list.
    pub jitter: Option<Jitter>,
    /// Maximum duration of one attempt; by default that of the kind or the runner.
    #[serde(rename = "timeout_ms", with = "milliseconds")]
    pub timeout: Option<Duration>,
    /// The job is cancelled unless an attempt has begun by then.
    #[serde(rename = "deadline_ms", with = "milliseconds_from_now")]
    pub deadline: Option<When>,
    /// The tenant that owns the job.
    pub tenant: Option<String>,
    /// Tags, by which jobs can be selected.
    pub tags: BTreeMap<String, String>,
    /// The concurrency key.
    pub key: Option<String>,
    /// How many jobs with the concurrency key run at once from now on, at most 1000; by default 1.
    #[serde(alias = "places")]
    pub key_limit: Option<u32>,
    /// What the job is unique by.
    pub unique: Option<UniqueKey>,
    /// How long the unique key stays taken after the job has ended.
    #[serde(rename = "unique_for_ms", with = "milliseconds")]
    pub unique_for: Option<Duration>,
    /// What happens when the unique key is taken; by default the job that has it is kept.
    pub on_duplicate: Option<OnDuplicate>,
    /// What a child's failure means for this job; by default it fails once all children are final.
    pub child_policy: Option<ChildPolicy>,
    /// Whether the handler is called once more when all children are final.
    #[serde(alias = "final_step")]
    pub finalize: Option<bool>,
    /// The job that is enqueued each time this one completes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_success: Option<Box<NewJob>>,
    /// The job that is enqueued each time this one fails for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<Box<NewJob>>,
    /// The job that is enqueued each time this one is final.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_end: Option<Box<NewJob>>,
    /// The jobs that must have completed before.
    #[serde(skip)]
    pub after: Vec<JobRef>,
    /// The jobs that must be final before, however they ended.
    #[serde(skip)]
    pub after_any: Vec<JobRef>,
    /// The job whose child it is.
    #[serde(skip)]
    pub parent: Option<JobRef>,
    /// The name of the job for later ones of the same call.
    #[serde(skip)]
    pub label: Option<String>,
    /// The trace that it belongs to.
    #[serde(skip)]
    pub traceparent: Option<Traceparent>,
}

/// Maximum limit of a concurrency key: taking a slot counts those that are taken.
pub(crate) const MAX_KEY_LIMIT: u32 = 1000;

/// Maximum length of keys, tenants and tags, in bytes: they are in indexes.
const MAX_KEY_BYTES: usize = 1000;

fn check_key(what: &str, text: Option<&str>) -> Result<()> {
    let Some(text) = text else { return Ok(()) };
    if text.is_empty() {
        return Err(Error::invalid(format!("the {what} is empty")));
    }
    if text.len() > MAX_KEY_BYTES {
        return Err(Error::invalid(format!(
            "the {what} is {} bytes long, at most {MAX_KEY_BYTES} are allowed",
            text.len()
        )));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "the {what} {text:?} holds a control character"
        )));
    }
    Ok(())
}

/// Another job: by its id, or by the [label](crate::NewJob::label) of an earlier one of the same call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobRef {
    /// By its id.
    Id(JobId),
    /// By its label.
    Label(String),
}

impl JobRef {
    pub(crate) fn label(&self) -> Option<&str> {
        match self {
            JobRef::Id(_) => None,
            JobRef::Label(label) => Some(label),
        }
    }
}

impl From<JobId> for JobRef {
    fn from(id: JobId) -> JobRef {
        JobRef::Id(id)
    }
}

/// What is taken from elsewhere where an option is not given.
trait FillIn {
    fn fill_in(&mut self, usual: &Self);
}

impl<T: Clone> FillIn for Option<T> {
    fn fill_in(&mut self, usual: &Option<T>) {
        if self.is_none() {
            self.clone_from(usual);
        }
    }
}

impl<T: Clone> FillIn for Vec<T> {
    fn fill_in(&mut self, usual: &Vec<T>) {
        if self.is_empty() {
            self.clone_from(usual);
        }
    }
}

/// Both together; its own values win.
impl FillIn for BTreeMap<String, String> {
    fn fill_in(&mut self, usual: &BTreeMap<String, String>) {
        for (name, value) in usual {
            if !self.contains_key(name) {
                self.insert(name.clone(), value.clone());
            }
        }
    }
}

/// Takes each option that is not given from `$usual`; it does not compile if one is not named.
macro_rules! fill_in {
    ($own:ident from $usual:ident: $($name:ident)*) => {
        let JobOptions { $($name),* } = $usual;
        $($own.$name.fill_in($name);)*
    };
}

impl JobOptions {
    /// These options, and those that are not given from `usual`. Tags are joined. With a list of retry delays nothing
    /// else about retries is taken from `usual`; with a backoff or a retry delay no list is taken.
    #[must_use]
    pub fn or(mut self, usual: &JobOptions) -> JobOptions {
        let listed = self.retry_delays.is_some().then_some((
            self.max_retries,
            self.backoff,
            self.retry_delay,
            self.jitter,
        ));
        let has_backoff = self.has_backoff();
        fill_in!(self from usual:
            queue priority when max_retries backoff retry_delay retry_delays jitter timeout deadline tenant tags key
            key_limit unique unique_for on_duplicate child_policy finalize on_success on_failure on_end after after_any
            parent label traceparent);
        if let Some(own) = listed {
            (
                self.max_retries,
                self.backoff,
                self.retry_delay,
                self.jitter,
            ) = own;
        } else if has_backoff {
            self.retry_delays = None;
        }
        self
    }

    /// Checks each option by itself.
    ///
    /// # Errors
    /// An option has a value that no job may have.
    pub fn check(&self) -> Result<()> {
        if let Some(queue) = &self.queue {
            check_name("queue's name", queue)?;
        }
        if self.timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(Error::invalid("a timeout of zero leaves no time to run"));
        }
        self.check_retry_delays()?;
        check_key("concurrency key", self.key.as_deref())?;
        check_key("tenant", self.tenant.as_deref())?;
        if let Some(UniqueKey::Named(key)) = &self.unique {
            check_key("unique key", Some(key))?;
        }
        for (name, value) in &self.tags {
            check_key("tag's name", Some(name))?;
            check_key(
                "tag's value",
                Some(value.as_str()).filter(|value| !value.is_empty()),
            )?;
        }
        match self.key_limit {
            Some(0) => Err(Error::invalid(
                "a key limit of 0 would block its jobs forever",
            )),
            Some(limit) if limit > MAX_KEY_LIMIT => Err(Error::invalid(format!(
                "a key limit is at most {MAX_KEY_LIMIT}, not {limit}"
            ))
            .with_hint("without a key only the workers limit how many jobs run at once")),
            _ => Ok(()),
        }
    }

    /// The jobs of its hooks.
    #[doc(hidden)]
    pub fn has_hooks(&self) -> bool {
        self.hooks().next().is_some()
    }

    /// The jobs of its hooks, with what they are for.
    pub(crate) fn hooks(&self) -> impl Iterator<Item = (HookTrigger, &NewJob)> {
        let all = [
            (HookTrigger::Completed, &self.on_success),
            (HookTrigger::Failed, &self.on_failure),
            (HookTrigger::Ended, &self.on_end),
        ];
        let all = all.into_iter();
        all.filter_map(|(hook, job)| Some((hook, job.as_deref()?)))
    }

    #[doc(hidden)]
    pub fn hooks_mut(&mut self) -> impl Iterator<Item = &mut NewJob> {
        let all = [&mut self.on_success, &mut self.on_failure, &mut self.on_end];
        all.into_iter().filter_map(|job| job.as_deref_mut())
    }

    /// Puts ids in place of the labels that are known.
    #[doc(hidden)]
    pub fn resolve(&mut self, known: impl Fn(&str) -> Option<JobId>) {
        let after = self.after.iter_mut().chain(&mut self.after_any);
        for other in after.chain(&mut self.parent) {
            if let Some(id) = other.label().and_then(&known) {
                *other = JobRef::Id(id);
            }
        }
    }

    /// The labels of the other jobs that it names.
    #[doc(hidden)]
    pub fn referenced_labels(&self) -> impl Iterator<Item = &str> {
        let others = self.after.iter().chain(&self.after_any).chain(&self.parent);
        others.filter_map(JobRef::label)
    }
}

mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::clock::millis;

    pub(super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(millis).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        value: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(value)?.map(Duration::from_millis))
    }
}

mod milliseconds_each {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::clock::millis;

    pub(super) fn serialize<S: Serializer>(
        durations: &Option<Vec<Duration>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let each = |durations: &Vec<Duration>| -> Vec<i64> {
            durations.iter().copied().map(millis).collect()
        };
        durations.as_ref().map(each).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        value: D,
    ) -> Result<Option<Vec<Duration>>, D::Error> {
        let each = Option::<Vec<u64>>::deserialize(value)?;
        Ok(each.map(|each| each.into_iter().map(Duration::from_millis).collect()))
    }
}

mod milliseconds_from_now {
    use serde::ser::Error as _;
    use serde::{Deserializer, Serializer};

    use super::{When, milliseconds};

    pub(super) fn serialize<S: Serializer>(when: &Option<When>, to: S) -> Result<S::Ok, S::Error> {
        match when {
            None => milliseconds::serialize(&None, to),
            Some(When::In(wait)) => milliseconds::serialize(&Some(*wait), to),
            // It would be over the next time.
            Some(When::Now | When::At(_)) => Err(S::Error::custom("a deadline at one moment")),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        value: D,
    ) -> Result<Option<When>, D::Error> {
        Ok(milliseconds::deserialize(value)?.map(When::In))
    }
}

/// The priority of a job within its queue. Jobs of equal priority run oldest first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Priority {
    /// After everything else.
    Low = 0,
    /// The default.
    #[default]
    Normal = 1,
    /// Before normal.
    High = 2,
    /// Before everything else.
    Urgent = 3,
}

words!(Priority, "priority", "priorities" {
    Low = "low",
    Normal = "normal",
    High = "high",
    Urgent = "urgent",
});
codes!(Priority);

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(tags: &[(&str, &str)]) -> BTreeMap<String, String> {
        let tags = tags.iter();
        tags.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn what_is_given_wins_and_tags_are_joined() {
        let own = JobOptions {
            queue: Some("own".to_owned()),
            finalize: Some(false),
            after: vec![JobId(1).into()],
            tags: tags(&[("a", "own")]),
            ..JobOptions::default()
        };
        let usual = JobOptions {
            queue: Some("usual".to_owned()),
            tenant: Some("usual".to_owned()),
            finalize: Some(true),
            after: vec![JobId(2).into()],
            after_any: vec![JobId(3).into()],
            tags: tags(&[("a", "usual"), ("b", "usual")]),
            ..JobOptions::default()
        };
        let both = own.or(&usual);
        assert_eq!(both.queue.as_deref(), Some("own"));
        assert_eq!(both.tenant.as_deref(), Some("usual"));
        assert_eq!(both.finalize, Some(false));
        assert_eq!(both.after, [JobRef::Id(JobId(1))]);
        assert_eq!(both.after_any, [JobRef::Id(JobId(3))]);
        assert_eq!(both.tags, tags(&[("a", "own"), ("b", "usual")]));
    }
}
