//! The options of a job as lines of a batch and tables of the config file have them: named as on the command
//! line, with underscores.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::{Jitter, JobId, JobOptions, JobRef, UniqueKey, When};
use jiff::Timestamp;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::api::values;
use crate::{Error, Result};

/// Declares a struct for serde with keys of its own and the options of a job. It keeps serde's own errors for
/// unknown keys, which a flattened struct would lose.
#[doc(hidden)]
#[macro_export]
macro_rules! with_job_options {
    ($(#[$meta:meta])* $vis:vis struct $Name:ident $(<$life:lifetime>)? { $($own:tt)* }) => {
        $(#[$meta])*
        $vis struct $Name $(<$life>)? {
            $($own)*
            $vis queue: Option<String>,
            $vis priority: Option<$crate::Priority>,
            $vis retries: Option<u32>,
            $vis backoff: Option<$crate::Backoff>,
            #[serde(default, deserialize_with = "jobq::api::options::duration")]
            $vis retry_delay: Option<std::time::Duration>,
            #[serde(default, deserialize_with = "jobq::api::options::durations")]
            $vis retry_delays: Option<Vec<std::time::Duration>>,
            $vis jitter: Option<bool>,
            #[serde(default, deserialize_with = "jobq::api::options::duration")]
            $vis timeout: Option<std::time::Duration>,
            #[serde(default, deserialize_with = "jobq::api::options::deadline")]
            $vis deadline: Option<$crate::When>,
            $vis tenant: Option<String>,
            $vis tags: Option<std::collections::BTreeMap<String, String>>,
            $vis key: Option<String>,
            $vis key_limit: Option<u32>,
            $vis unique: Option<String>,
            $vis unique_by_payload: Option<bool>,
            #[serde(default, deserialize_with = "jobq::api::options::duration")]
            $vis unique_for: Option<std::time::Duration>,
            $vis on_duplicate: Option<$crate::OnDuplicate>,
            $vis child_policy: Option<$crate::ChildPolicy>,
            $vis finalize: Option<bool>,
            #[serde(default)]
            $vis on_success: Option<$crate::api::hooks::HookField>,
            #[serde(default)]
            $vis on_failure: Option<$crate::api::hooks::HookField>,
            #[serde(default)]
            $vis on_end: Option<$crate::api::hooks::HookField>,
        }

        impl $(<$life>)? $Name $(<$life>)? {
            /// The options that it gives.
            $vis fn options(&self) -> $crate::Result<$crate::JobOptions> {
                Ok($crate::JobOptions {
                    queue: self.queue.clone(),
                    priority: self.priority,
                    max_retries: self.retries,
                    backoff: self.backoff,
                    retry_delay: self.retry_delay,
                    retry_delays: self.retry_delays.clone(),
                    jitter: self.jitter.map($crate::api::options::jitter),
                    timeout: self.timeout,
                    deadline: self.deadline,
                    tenant: self.tenant.clone(),
                    tags: self.tags.clone().unwrap_or_default(),
                    key: self.key.clone(),
                    key_limit: self.key_limit,
                    unique: $crate::api::options::unique(
                        self.unique.as_deref(),
                        self.unique_by_payload,
                    )?,
                    unique_for: self.unique_for,
                    on_duplicate: self.on_duplicate,
                    child_policy: self.child_policy,
                    finalize: self.finalize,
                    on_success: $crate::api::hooks::of_field(self.on_success.as_ref())?,
                    on_failure: $crate::api::hooks::of_field(self.on_failure.as_ref())?,
                    on_end: $crate::api::hooks::of_field(self.on_end.as_ref())?,
                    ..$crate::JobOptions::default()
                })
            }
        }
    };
}

pub use with_job_options;

/// Whether the delays between retries are lengthened at random, as files and lines say it.
pub const fn jitter(is_on: bool) -> Jitter {
    match is_on {
        true => Jitter::Tenth,
        false => Jitter::Off,
    }
}

pub fn unique(key: Option<&str>, by_payload: Option<bool>) -> Result<Option<UniqueKey>> {
    match (key, by_payload == Some(true)) {
        (Some(_), true) => Err(Error::invalid(
            "it has both 'unique' and 'unique_by_payload'; one is wanted",
        )),
        (Some(key), false) => Ok(Some(UniqueKey::Named(key.to_owned()))),
        (None, true) => Ok(Some(UniqueKey::KindAndPayload)),
        (None, false) => Ok(None),
    }
}

/// Options where they are not given from a table. What the table says of its own keys is not said of others.
pub fn fill_in(options: JobOptions, table: &JobOptions) -> JobOptions {
    let mut table = Cow::Borrowed(table);
    if options.key.is_some() && table.key.is_some() && options.key != table.key {
        table.to_mut().key_limit = None;
    }
    if options.unique.is_some() && table.unique.is_some() && options.unique != table.unique {
        let table = table.to_mut();
        (table.unique_for, table.on_duplicate) = (None, None);
    }
    options.or(&table)
}

/// Refuses an answer to duplicates where nothing can be one.
pub fn check_unique(options: &JobOptions) -> Result<()> {
    if options.unique.is_some() {
        return Ok(());
    }
    let what = match (options.on_duplicate, options.unique_for) {
        (Some(what), _) => format!("on-duplicate {}", what.as_str()),
        (None, Some(_)) => "unique-for".to_owned(),
        (None, None) => return Ok(()),
    };
    Err(
        Error::invalid(format!("{what} goes with a unique key, and there is none"))
            .with_hint("say what the job is unique by: --unique KEY or --unique-by-payload"),
    )
}

pub fn duration<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Duration>, D::Error> {
    text(value, "duration", values::duration)
}

pub fn durations<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Vec<Duration>>, D::Error> {
    let Some(list) = Option::<Vec<String>>::deserialize(value)? else {
        return Ok(None);
    };
    let each = list
        .iter()
        .map(|text| parsed(text, "duration", values::duration));
    each.collect::<Result<_, _>>().map(Some)
}

pub fn time<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Timestamp>, D::Error> {
    text(value, "time", values::time)
}

pub fn deadline<'de, D: Deserializer<'de>>(value: D) -> Result<Option<When>, D::Error> {
    text(value, "deadline", values::deadline)
}

fn text<'de, D: Deserializer<'de>, T>(
    value: D,
    what: &str,
    parse: fn(&str) -> Result<T, String>,
) -> Result<Option<T>, D::Error> {
    let Some(text) = Option::<String>::deserialize(value)? else {
        return Ok(None);
    };
    parsed(&text, what, parse).map(Some)
}

fn parsed<T, E: serde::de::Error>(
    text: &str,
    what: &str,
    parse: fn(&str) -> Result<T, String>,
) -> Result<T, E> {
    parse(text).map_err(|why| E::custom(format_args!("invalid {what} '{text}': {why}")))
}

/// One other job.
pub struct JobRefField(pub JobRef);

impl<'de> Deserialize<'de> for JobRefField {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<JobRefField, D::Error> {
        value.deserialize_any(JobRefVisitor).map(JobRefField)
    }
}

struct JobRefVisitor;

impl Visitor<'_> for JobRefVisitor {
    type Value = JobRef;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a job's number, or the label of an earlier line")
    }

    fn visit_u64<E: serde::de::Error>(self, id: u64) -> Result<JobRef, E> {
        let id = i64::try_from(id).ok().filter(|id| *id > 0);
        id.map(|id| JobRef::Id(JobId(id)))
            .ok_or_else(|| E::custom("no job has this id"))
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<JobRef, E> {
        Err(E::custom("no job has a negative id"))
    }

    fn visit_str<E: serde::de::Error>(self, label: &str) -> Result<JobRef, E> {
        Ok(JobRef::Label(label.to_owned()))
    }
}

/// One other job, or a list of them.
#[derive(Default)]
pub struct JobRefs(pub Vec<JobRef>);

impl<'de> Deserialize<'de> for JobRefs {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<JobRefs, D::Error> {
        value.deserialize_any(JobRefsVisitor)
    }
}

struct JobRefsVisitor;

impl<'de> Visitor<'de> for JobRefsVisitor {
    type Value = JobRefs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("jobs' numbers, or labels of earlier lines")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<JobRefs, A::Error> {
        let mut jobs = Vec::new();
        while let Some(JobRefField(job)) = list.next_element()? {
            jobs.push(job);
        }
        Ok(JobRefs(jobs))
    }

    fn visit_u64<E: serde::de::Error>(self, id: u64) -> Result<JobRefs, E> {
        JobRefVisitor.visit_u64(id).map(|job| JobRefs(vec![job]))
    }

    fn visit_i64<E: serde::de::Error>(self, id: i64) -> Result<JobRefs, E> {
        JobRefVisitor.visit_i64(id).map(|job| JobRefs(vec![job]))
    }

    fn visit_str<E: serde::de::Error>(self, label: &str) -> Result<JobRefs, E> {
        JobRefVisitor.visit_str(label).map(|job| JobRefs(vec![job]))
    }

    /// `null` is as nothing said, as for the other options.
    fn visit_unit<E: serde::de::Error>(self) -> Result<JobRefs, E> {
        Ok(JobRefs::default())
    }
}

#[cfg(test)]
mod tests {
    use crate::OnDuplicate;

    use super::*;

    #[test]
    fn the_duplicate_policy_is_unused_without_a_unique_key() {
        let options = JobOptions {
            on_duplicate: Some(OnDuplicate::Reject),
            ..JobOptions::default()
        };
        let error = check_unique(&options).unwrap_err();
        assert!(
            error.to_string().contains("on-duplicate reject"),
            "{}",
            error.to_string()
        );
        let with_key = JobOptions {
            unique: Some(UniqueKey::KindAndPayload),
            ..options
        };
        assert!(check_unique(&with_key).is_ok());
    }

    #[test]
    fn what_a_table_says_of_a_key_is_not_said_of_another() {
        let table = || JobOptions {
            key: Some("usual".to_owned()),
            key_limit: Some(2),
            unique: Some(UniqueKey::KindAndPayload),
            unique_for: Some(Duration::from_secs(1)),
            on_duplicate: Some(OnDuplicate::Reject),
            ..JobOptions::default()
        };
        assert_eq!(fill_in(JobOptions::default(), &table()), table());
        let same = JobOptions {
            key: table().key,
            unique: table().unique,
            ..JobOptions::default()
        };
        assert_eq!(fill_in(same, &table()), table());
        let own = JobOptions {
            key: Some("own".to_owned()),
            unique: Some(UniqueKey::Named("own".to_owned())),
            ..JobOptions::default()
        };
        assert_eq!(fill_in(own.clone(), &table()), own);
    }
}
