//! A job that is enqueued again and again: as JSON, with every field named and durations as `…_ms`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::millis;
use crate::model::family::ChildPolicy;
use crate::model::job::new::{NewJob, OnDuplicate, UniqueKey, When};
use crate::model::name::DEFAULT_QUEUE;
use crate::model::priority::Priority;
use crate::model::retry::{Backoff, Jitter, RetryPolicy};
use crate::{Error, Result};

/// A [`NewJob`] without what makes sense only once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct JobTemplate {
    kind: String,
    payload: Box<RawValue>,
    #[serde(default = "default_queue")]
    queue: String,
    #[serde(default)]
    priority: Priority,
    retries: Option<u32>,
    backoff: Option<Backoff>,
    retry_delay_ms: Option<u64>,
    jitter: Option<Jitter>,
    timeout_ms: Option<u64>,
    /// From its slot's enqueueing on.
    deadline_ms: Option<u64>,
    tenant: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    key: Option<String>,
    #[serde(alias = "places")]
    key_limit: Option<u32>,
    unique: Option<UniqueTemplate>,
    unique_for_ms: Option<u64>,
    #[serde(default)]
    on_duplicate: OnDuplicate,
    child_policy: Option<ChildPolicy>,
    #[serde(default)]
    #[serde(alias = "final_step")]
    finalize: bool,
}

/// `{"key":"nightly"}`, or `"payload"`: by kind and payload.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum UniqueTemplate {
    Key(String),
    Payload,
}

fn default_queue() -> String {
    DEFAULT_QUEUE.to_owned()
}

impl JobTemplate {
    /// The template of a job; how it is retried is filled in from `usual` where the job does not say.
    pub(crate) fn new(job: NewJob, usual: &RetryPolicy) -> Result<JobTemplate> {
        check_repeatable(&job)?;
        let invalid = |error: &dyn std::fmt::Display| {
            Error::invalid(format!(
                "the payload of the '{}' job is not JSON: {error}",
                job.kind
            ))
        };
        let payload = job.payload.as_ref().map_err(|error| invalid(error))?;
        let payload = RawValue::from_string(payload.clone()).map_err(|error| invalid(&error))?;
        let own_delay = job.backoff.map(Backoff::default_delay);
        let delay = job.retry_delay.or(own_delay).unwrap_or(usual.delay);
        Ok(JobTemplate {
            payload,
            retries: job.max_retries.or(Some(usual.max_retries)),
            backoff: job.backoff.or(Some(usual.backoff)),
            retry_delay_ms: Some(whole_ms(delay)),
            jitter: job.jitter.or(Some(usual.jitter)),
            timeout_ms: job.timeout.map(whole_ms),
            deadline_ms: job.deadline.and_then(|deadline| match deadline {
                When::In(wait) => Some(whole_ms(wait)),
                When::Now | When::At(_) => None,
            }),
            unique: job.unique.map(|unique| match unique {
                UniqueKey::Named(key) => UniqueTemplate::Key(key),
                UniqueKey::KindAndPayload => UniqueTemplate::Payload,
            }),
            unique_for_ms: job.unique_for.map(whole_ms),
            kind: job.kind,
            queue: job.queue,
            priority: job.priority,
            tenant: job.tenant,
            tags: job.tags,
            key: job.key,
            key_limit: job.key_limit,
            on_duplicate: job.on_duplicate,
            child_policy: job.child_policy,
            finalize: job.finalize,
        })
    }

    pub(crate) fn from_json(json: &str) -> Result<JobTemplate> {
        serde_json::from_str(json)
            .map_err(|error| Error::invalid(format!("the stored job cannot be read: {error}")))
    }

    pub(crate) fn to_json(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|error| Error::invalid(format!("the job cannot be written: {error}")))
    }
}

impl From<JobTemplate> for NewJob {
    fn from(template: JobTemplate) -> NewJob {
        let duration = |ms: Option<u64>| ms.map(Duration::from_millis);
        NewJob {
            payload: Ok(String::from(Box::<str>::from(template.payload))),
            queue: template.queue,
            priority: template.priority,
            max_retries: template.retries,
            backoff: template.backoff,
            retry_delay: duration(template.retry_delay_ms),
            jitter: template.jitter,
            timeout: duration(template.timeout_ms),
            deadline: duration(template.deadline_ms).map(When::In),
            unique: template.unique.map(|unique| match unique {
                UniqueTemplate::Key(key) => UniqueKey::Named(key),
                UniqueTemplate::Payload => UniqueKey::KindAndPayload,
            }),
            unique_for: duration(template.unique_for_ms),
            on_duplicate: template.on_duplicate,
            child_policy: template.child_policy,
            finalize: template.finalize,
            key: template.key,
            key_limit: template.key_limit,
            tenant: template.tenant,
            tags: template.tags,
            ..NewJob::new(template.kind)
        }
    }
}

fn check_repeatable(job: &NewJob) -> Result<()> {
    let (what, why) = if job.when != When::Now {
        ("a time of its own", "the schedule's rule says when it runs")
    } else if matches!(job.deadline, Some(When::Now | When::At(_))) {
        (
            "a deadline at one moment",
            "it would be over at all later slots; give a duration, as 2h",
        )
    } else if job.parent.is_some() {
        (
            "a parent",
            "a parent ends once, and the schedule goes on; let the job itself be a parent",
        )
    } else if !(job.after.is_empty() && job.after_any.is_empty()) {
        (
            "jobs to wait for",
            "they end once, and the schedule goes on; let the job itself enqueue what follows",
        )
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!("a schedule's job cannot have {what}")).with_hint(why))
}

fn whole_ms(duration: Duration) -> u64 {
    millis(duration).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::JobId;

    fn back(job: NewJob) -> (String, NewJob) {
        let template = JobTemplate::new(job, &RetryPolicy::default()).unwrap();
        let json = template.to_json().unwrap();
        let job = NewJob::from(JobTemplate::from_json(&json).unwrap());
        (json, job)
    }

    #[test]
    fn a_job_with_every_option_comes_back_as_it_was() {
        let job = NewJob::new("send")
            .payload_json("{\"b\" : 1, \"a\":1.0}")
            .queue("mail")
            .priority(Priority::High)
            .max_retries(7)
            .backoff(Backoff::Linear)
            .retry_delay(Duration::from_millis(1500))
            .jitter(Jitter::Off)
            .timeout(Duration::from_secs(90))
            .deadline(Duration::from_secs(7200))
            .unique("k")
            .unique_for(Duration::from_secs(60))
            .on_duplicate(OnDuplicate::Replace)
            .child_policy(ChildPolicy::FailFast)
            .finalize()
            .key("disk")
            .key_limit(2)
            .tenant("acme")
            .tag("a", "b");
        let (json, read) = back(job.clone());
        assert_eq!(format!("{read:?}"), format!("{job:?}"));
        for part in [
            r#""payload":{"b" : 1, "a":1.0}"#,
            r#""retry_delay_ms":1500"#,
            r#""timeout_ms":90000"#,
            r#""unique":{"key":"k"}"#,
            r#""unique_for_ms":60000"#,
        ] {
            assert!(json.contains(part), "{part} is not in {json}");
        }
    }

    /// Schedules that were added before these two had their names of today.
    #[test]
    fn a_template_of_an_earlier_version_reads_as_it_was_meant() {
        let job = NewJob::new("send").key("disk").key_limit(2).finalize();
        let (json, _) = back(job.clone());
        let earlier = json.replace("key_limit", "places");
        let earlier = earlier.replace("finalize", "final_step");
        assert_ne!(earlier, json);
        let read = NewJob::from(JobTemplate::from_json(&earlier).unwrap());
        assert_eq!((read.key_limit, read.finalize), (Some(2), true));
    }

    #[test]
    fn how_it_is_retried_is_settled_when_it_is_added() {
        let (_, job) = back(
            NewJob::new("send")
                .backoff(Backoff::Quadratic)
                .unique_by_payload(),
        );
        assert_eq!(job.max_retries, Some(RetryPolicy::default().max_retries));
        assert_eq!(job.retry_delay, Some(Backoff::Quadratic.default_delay()));
        assert_eq!(job.unique, Some(UniqueKey::KindAndPayload));
        let (_, job) = back(NewJob::new("send"));
        assert_eq!(job.retry_delay, Some(RetryPolicy::default().delay));
    }

    #[test]
    fn what_makes_sense_only_once_is_refused_and_told_why() {
        let job = || NewJob::new("send");
        for (job, what) in [
            (job().delay(Duration::from_secs(1)), "a time of its own"),
            (
                job().deadline(jiff::Timestamp::UNIX_EPOCH),
                "a deadline at one moment",
            ),
            (job().parent(JobId(1)), "a parent"),
            (job().after([JobId(1)]), "jobs to wait for"),
            (job().after_any([JobId(1)]), "jobs to wait for"),
        ] {
            let error = JobTemplate::new(job, &RetryPolicy::default()).unwrap_err();
            assert!(error.is_invalid_input());
            assert!(error.to_string().contains(what), "{error}");
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn a_payload_that_is_no_json_is_refused() {
        let job = NewJob::new("send").payload_json("{");
        assert!(JobTemplate::new(job, &RetryPolicy::default()).is_err());
        assert!(JobTemplate::from_json("{}").is_err());
    }
}
