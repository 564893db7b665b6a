//! Changes to a job.

use crate::model::job::options::JobOptions;
use crate::model::job::{NewJob, UniqueKey};
use crate::model::limits::Update;
use crate::{Error, Result};

/// Changes to a job that is not running.
#[derive(Clone, Debug, Default)]
pub struct JobUpdate {
    /// Options to set; those that are not given stay, and so do other tags. A unique key must be free. What
    /// ties a job to others (after, parent, child policy, finalize, hooks) and what was decided when it was enqueued
    /// (what happens to a duplicate) cannot be changed.
    pub set: JobOptions,
    /// Options to take away. One that is also set is set; a tag that is, is an error.
    pub clear: Vec<ClearOption>,
    /// Another payload: JSON text. A unique key that was derived from the payload follows it.
    pub payload: Option<String>,
    /// Fields of an object payload: each is set to JSON text, or removed if none; others stay. A longer
    /// path names a field of a nested object.
    pub payload_fields: Vec<(Vec<String>, Option<String>)>,
}

impl From<JobOptions> for JobUpdate {
    fn from(set: JobOptions) -> JobUpdate {
        JobUpdate {
            set,
            ..JobUpdate::default()
        }
    }
}

impl JobUpdate {
    /// A new job with the options to set, which is valid if they are.
    pub(crate) fn as_new_job(&self) -> Result<NewJob> {
        let mut options = self.set.clone();
        let is_by_payload = options.unique == Some(UniqueKey::KindAndPayload);
        let waits = !(options.after.is_empty() && options.after_any.is_empty());
        let for_children = options.child_policy.is_some() || options.finalize.is_some();
        let fixed = [
            (
                waits,
                "the jobs that it waits for are tied to it when it is enqueued",
            ),
            (
                options.parent.is_some(),
                "its parent has counted it as a child",
            ),
            (
                for_children,
                "child_policy and finalize hold for children that may have ended already",
            ),
            (
                options.on_duplicate.is_some() || options.label.is_some(),
                "on_duplicate and label are for the call that enqueues it",
            ),
            (
                options.traceparent.is_some(),
                "its trace is that of the call that enqueued it",
            ),
            (
                options.hooks().next().is_some(),
                "its hooks are given when it is enqueued",
            ),
            (
                is_by_payload,
                "a unique key that was derived from the payload follows it by itself",
            ),
        ];
        if let Some((_, why)) = fixed.iter().find(|(is_given, _)| *is_given) {
            return Err(Error::invalid(format!("an edit cannot change this: {why}"))
                .with_hint("cancel the job, and enqueue it anew"));
        }
        if options.key_limit.is_some() && options.key.is_none() {
            if self.clear.contains(&ClearOption::Key) {
                return Err(Error::invalid("a key limit belongs to a concurrency key"));
            }
            // Of the key that the job has.
            options.key = Some("key".to_owned());
        }
        if options.unique_for.is_some() {
            let key = || UniqueKey::Named("key".to_owned());
            options.unique.get_or_insert_with(key);
        }
        for option in &self.clear {
            if let ClearOption::Tag(name) = option
                && options.tags.insert(name.clone(), String::new()).is_some()
            {
                return Err(Error::invalid(format!(
                    "the tag '{name}' is to be set and to be removed"
                )));
            }
        }
        Ok(NewJob::new("edited").with_options(options))
    }

    /// What becomes of an option that is `set` in [`JobUpdate::set`], or not.
    pub(crate) fn of<'a, T>(&self, set: &'a Option<T>, clear: &ClearOption) -> Update<&'a T> {
        match set {
            Some(value) => Update::Set(value),
            None if self.clear.contains(clear) => Update::Clear,
            None => Update::Keep,
        }
    }
}

/// An option that a job may be without.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClearOption {
    /// The time limit of an attempt.
    Timeout,
    /// The deadline.
    Deadline,
    /// The tenant.
    Tenant,
    /// The concurrency key.
    Key,
    /// The unique key.
    Unique,
    /// How long the unique key stays taken after the job has ended.
    UniqueFor,
    /// The tag with this name.
    Tag(String),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::id::JobId;

    fn refused(options: JobOptions) -> String {
        let job = JobUpdate::from(options).as_new_job();
        job.unwrap_err().to_string()
    }

    #[test]
    fn what_ties_a_job_to_others_cannot_be_changed() {
        let none = JobOptions::default;
        for (options, what) in [
            (
                JobOptions {
                    after: vec![JobId(1).into()],
                    ..none()
                },
                "waits for",
            ),
            (
                JobOptions {
                    parent: Some(JobId(1).into()),
                    ..none()
                },
                "its parent",
            ),
            (
                JobOptions {
                    finalize: Some(false),
                    ..none()
                },
                "finalize",
            ),
            (
                JobOptions {
                    unique: Some(UniqueKey::KindAndPayload),
                    ..none()
                },
                "derived from the payload",
            ),
        ] {
            let error = refused(options);
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn what_goes_with_a_key_goes_with_the_one_that_the_job_has() {
        let with_keys = JobOptions {
            key_limit: Some(2),
            unique_for: Some(Duration::from_secs(1)),
            ..JobOptions::default()
        };
        let mut change = JobUpdate::from(with_keys);
        let job = change.as_new_job().unwrap();
        assert!(job.options.key.is_some() && job.options.unique.is_some());
        change.clear.push(ClearOption::Key);
        assert!(change.as_new_job().unwrap_err().is_invalid_input());
    }
}
