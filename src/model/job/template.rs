//! A job that is enqueued again and again: as JSON, with every field named and durations as `…_ms`.

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::model::job::new::{NewJob, When};
use crate::model::job::options::{JobOptions, Priority};
use crate::model::queue::DEFAULT_QUEUE;
use crate::model::retry::RetryPolicy;
use crate::{Error, Result};

/// A [`NewJob`] without what makes sense only once.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct JobTemplate {
    kind: String,
    payload: Box<RawValue>,
    #[serde(flatten)]
    options: JobOptions,
}

/// The part of it that serde cannot read together with flattened options.
#[derive(Deserialize)]
struct KindAndPayload {
    kind: String,
    payload: Box<RawValue>,
}

impl JobTemplate {
    /// The template of a schedule's job. Options with a default are filled in, so that a later default does not change
    /// it; how it is retried from `usual`.
    pub(crate) fn new(job: NewJob, usual: &RetryPolicy) -> Result<JobTemplate> {
        check_repeatable("a schedule's job", &job.options)?;
        JobTemplate::settled(job, usual)
    }

    /// The same for a hook's job. Each end has one of its own, and it fires no hooks.
    pub(crate) fn of_hook(job: NewJob, usual: &RetryPolicy) -> Result<JobTemplate> {
        const WHOSE: &str = "a hook's job";
        check_repeatable(WHOSE, &job.options)?;
        let options = &job.options;
        let (what, why) = if options.hooks().next().is_some() {
            ("hooks", "they would never end")
        } else if options.unique.is_some() {
            ("a unique key", "each end has a job of its own")
        } else {
            return JobTemplate::settled(job, usual);
        };
        Err(Error::invalid(format!("{WHOSE} cannot have {what}")).with_hint(why))
    }

    fn settled(mut job: NewJob, usual: &RetryPolicy) -> Result<JobTemplate> {
        let retry = job.options.retry_policy(usual);
        let has_list = !retry.delays.is_empty();
        let defaults = JobOptions {
            queue: Some(DEFAULT_QUEUE.to_owned()),
            priority: Some(Priority::default()),
            finalize: Some(false),
            ..JobOptions::default()
        };
        let settle = |hook: Option<Box<NewJob>>| -> Result<Option<Box<NewJob>>> {
            let template = hook
                .map(|job| JobTemplate::of_hook(*job, usual))
                .transpose()?;
            Ok(template.map(|template| Box::new(template.into())))
        };
        let own = std::mem::take(&mut job.options);
        job.options = JobOptions {
            max_retries: Some(retry.max_retries),
            backoff: (!has_list).then_some(retry.backoff),
            retry_delay: (!has_list).then_some(retry.delay),
            retry_delays: has_list.then_some(retry.delays),
            jitter: Some(retry.jitter),
            on_duplicate: Some(own.on_duplicate.unwrap_or_default()),
            on_success: settle(own.on_success.clone())?,
            on_failure: settle(own.on_failure.clone())?,
            on_end: settle(own.on_end.clone())?,
            ..own.or(&defaults)
        };
        JobTemplate::of(&job)
    }

    /// The job as it is.
    pub(crate) fn of(job: &NewJob) -> Result<JobTemplate> {
        let invalid = |error: &dyn std::fmt::Display| {
            Error::invalid(format!(
                "the payload of the '{}' job is not JSON: {error}",
                job.kind
            ))
        };
        let payload = job.payload.clone().map_err(|error| invalid(&error))?;
        Ok(JobTemplate {
            kind: job.kind.clone(),
            payload: RawValue::from_string(payload).map_err(|error| invalid(&error))?,
            options: job.options.clone(),
        })
    }

    pub(crate) fn from_json(json: &str) -> Result<JobTemplate> {
        let read = || -> serde_json::Result<JobTemplate> {
            let KindAndPayload { kind, payload } = serde_json::from_str(json)?;
            Ok(JobTemplate {
                kind,
                payload,
                options: serde_json::from_str(json)?,
            })
        };
        read().map_err(|error| Error::invalid(format!("the stored job cannot be read: {error}")))
    }

    pub(crate) fn to_json(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|error| Error::invalid(format!("the job cannot be written: {error}")))
    }
}

impl From<JobTemplate> for NewJob {
    fn from(template: JobTemplate) -> NewJob {
        let payload = String::from(Box::<str>::from(template.payload));
        NewJob::new(template.kind)
            .payload_json(payload)
            .with_options(template.options)
    }
}

/// As JSON, as a schedule stores its job. What can be given only once is left out.
impl Serialize for NewJob {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        JobTemplate::of(self)
            .map_err(S::Error::custom)?
            .serialize(to)
    }
}

impl<'de> Deserialize<'de> for NewJob {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<NewJob, D::Error> {
        let json = Box::<RawValue>::deserialize(value)?;
        let template = JobTemplate::from_json(json.get());
        template.map(NewJob::from).map_err(D::Error::custom)
    }
}

/// Refuses what makes sense only once.
fn check_repeatable(whose: &str, options: &JobOptions) -> Result<()> {
    let (what, why) = if options.when.is_some_and(|when| when != When::Now) {
        ("a time of its own", "it is enqueued when it may run")
    } else if matches!(options.deadline, Some(When::Now | When::At(_))) {
        (
            "a deadline at one moment",
            "it would be over the next time; give a duration, as 2h",
        )
    } else if options.parent.is_some() {
        (
            "a parent",
            "a parent ends once; let the job itself be a parent",
        )
    } else if !(options.after.is_empty() && options.after_any.is_empty()) {
        (
            "jobs to wait for",
            "they end once; let the job itself enqueue what follows",
        )
    } else if options.traceparent.is_some() {
        (
            "a traceparent",
            "a trace ends once; each job begins its own",
        )
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!("{whose} cannot have {what}")).with_hint(why))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::family::ChildPolicy;
    use crate::model::id::JobId;
    use crate::model::job::{OnDuplicate, UniqueKey};
    use crate::model::retry::{Backoff, Jitter};

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

    /// A runner compares the schedules of its config file with what the file has, letter for letter.
    #[test]
    fn it_is_written_as_it_always_was() {
        let (json, _) = back(NewJob::new("k").payload_json("{\"a\": 1}"));
        let expected = r#"{"kind":"k","payload":{"a": 1},"queue":"default","priority":"normal","retries":3,"backoff":"exponential","retry_delay_ms":5000,"jitter":"tenth","timeout_ms":null,"deadline_ms":null,"tenant":null,"tags":{},"key":null,"key_limit":null,"unique":null,"unique_for_ms":null,"on_duplicate":"keep","child_policy":null,"finalize":false}"#;
        assert_eq!(json, expected);
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
        assert_eq!(read.options.key_limit, Some(2));
        assert_eq!(read.options.finalize, Some(true));
    }

    #[test]
    fn how_it_is_retried_is_settled_when_it_is_added() {
        let (_, job) = back(
            NewJob::new("send")
                .backoff(Backoff::Quadratic)
                .unique_by_payload(),
        );
        assert_eq!(
            job.options.max_retries,
            Some(RetryPolicy::default().max_retries)
        );
        assert_eq!(
            job.options.retry_delay,
            Some(Backoff::Quadratic.default_delay())
        );
        assert_eq!(job.options.unique, Some(UniqueKey::KindAndPayload));
        let (_, job) = back(NewJob::new("send"));
        assert_eq!(job.options.retry_delay, Some(RetryPolicy::default().delay));
    }

    #[test]
    fn a_list_of_retry_delays_comes_back_in_place_of_a_backoff() {
        let delays = [5, 300].map(Duration::from_secs);
        let (json, job) = back(NewJob::new("send").retry_delays(delays));
        assert!(json.contains(r#""retries":2,"backoff":null,"retry_delay_ms":null,"retry_delays_ms":[5000,300000]"#), "{json}");
        assert_eq!(job.options.retry_delays.as_deref(), Some(&delays[..]));
        assert_eq!(job.options.jitter, Some(Jitter::Off));
        job.options.check().unwrap();
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
            (
                job().traceparent(
                    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
                        .parse()
                        .unwrap(),
                ),
                "a traceparent",
            ),
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
