//! What a job says of itself besides its work: with options on the command line, or on a line of a
//! batch.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jobq::{AttemptRef, Backoff, ChildPolicy, Jitter, JobId, NewJob, OnDuplicate, Priority, When};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::cli::exit::{CliError, CliResult};

/// What a job may say of itself. What is not said takes its default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) queue: Option<String>,
    pub(crate) priority: Option<Priority>,
    pub(crate) when: Option<When>,
    pub(crate) retries: Option<u32>,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) retry_delay: Option<Duration>,
    pub(crate) jitter: Option<Jitter>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) deadline: Option<When>,
    pub(crate) unique: Option<UniqueBy>,
    pub(crate) unique_for: Option<Duration>,
    pub(crate) on_duplicate: Option<OnDuplicate>,
    pub(crate) after: Vec<JobRef>,
    pub(crate) after_any: Vec<JobRef>,
    pub(crate) parent: Option<JobRef>,
    pub(crate) child_policy: Option<ChildPolicy>,
    pub(crate) finalize: Option<bool>,
    pub(crate) key: Option<String>,
    pub(crate) key_limit: Option<u32>,
    pub(crate) tenant: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    /// How later lines of the same batch call it.
    pub(crate) label: Option<String>,
}

/// Whether the waits between retries are lengthened at random, as files and lines say it.
pub(crate) const fn jitter(is_on: bool) -> Jitter {
    match is_on {
        true => Jitter::Tenth,
        false => Jitter::Off,
    }
}

/// What a job is unique by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UniqueBy {
    Key(String),
    KindAndPayload,
}

/// Another job: by its number, or by the label of an earlier line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JobRef {
    Id(JobId),
    /// Of an earlier line that has been added already.
    Earlier(JobId),
    Label(String),
}

impl<'de> Deserialize<'de> for JobRef {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<JobRef, D::Error> {
        value.deserialize_any(JobRefVisitor)
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
pub(crate) struct JobRefs(pub(crate) Vec<JobRef>);

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
        while let Some(job) = list.next_element()? {
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

/// Takes from `$usual` what `$own` does not say.
macro_rules! fill_in {
    ($own:ident from $usual:ident: $($field:ident)*) => {
        $($own.$field = $own.$field.or($usual.$field);)*
    };
}

/// Hands what is said to the methods of the same name.
macro_rules! say {
    ($options:ident to $job:ident: $($field:ident)*) => {
        $(if let Some(value) = $options.$field {
            $job = $job.$field(value);
        })*
    };
}

impl Options {
    /// These, and what they do not say from `usual`. Tags come together.
    #[must_use]
    pub(crate) fn or(mut self, usual: Options) -> Options {
        let mut own = std::mem::take(&mut self.tags);
        self.tags = usual.tags;
        self.tags.append(&mut own);
        if self.after.is_empty() {
            self.after = usual.after;
        }
        if self.after_any.is_empty() {
            self.after_any = usual.after_any;
        }
        fill_in!(self from usual: queue priority when retries backoff retry_delay jitter timeout deadline
            unique unique_for on_duplicate parent child_policy finalize key key_limit tenant label);
        self
    }

    /// The job with all of this said. A child that the running attempt `inside` spawns is committed
    /// with it.
    pub(crate) fn apply(self, mut job: NewJob, inside: Option<AttemptRef>) -> CliResult<NewJob> {
        self.check()?;
        let Options { retries, .. } = self;
        say!(self to job: queue priority when backoff retry_delay jitter timeout deadline unique_for
            on_duplicate child_policy key key_limit tenant label);
        if let Some(retries) = retries {
            job = job.max_retries(retries);
        }
        job = match self.unique {
            Some(UniqueBy::Key(key)) => job.unique(key),
            Some(UniqueBy::KindAndPayload) => job.unique_by_payload(),
            None => job,
        };
        for other in self.after {
            job = match other {
                JobRef::Id(id) | JobRef::Earlier(id) => job.after([id]),
                JobRef::Label(label) => job.after_label(label),
            };
        }
        for other in self.after_any {
            job = match other {
                JobRef::Id(id) | JobRef::Earlier(id) => job.after_any([id]),
                JobRef::Label(label) => job.after_any_label(label),
            };
        }
        job = match (self.parent, inside) {
            (Some(JobRef::Id(parent)), Some(attempt)) => job.spawned(parent, attempt),
            (Some(JobRef::Id(parent) | JobRef::Earlier(parent)), _) => job.parent(parent),
            (Some(JobRef::Label(label)), _) => job.parent_label(label),
            (None, _) => job,
        };
        if self.finalize == Some(true) {
            job = job.finalize();
        }
        for (name, value) in self.tags {
            job = job.tag(name, value);
        }
        Ok(job)
    }

    /// The labels that it refers to.
    pub(crate) fn labels(&self) -> impl Iterator<Item = &str> {
        let others = self.after.iter().chain(&self.after_any).chain(&self.parent);
        others.filter_map(|other| match other {
            JobRef::Id(_) | JobRef::Earlier(_) => None,
            JobRef::Label(label) => Some(&**label),
        })
    }

    /// Replaces labels of lines that have been added already.
    pub(crate) fn resolve(&mut self, known: impl Fn(&str) -> Option<JobId>) {
        let after = self.after.iter_mut().chain(&mut self.after_any);
        for other in after.chain(&mut self.parent) {
            if let JobRef::Label(label) = other
                && let Some(id) = known(label)
            {
                *other = JobRef::Earlier(id);
            }
        }
    }

    fn check(&self) -> CliResult<()> {
        if self.unique.is_some() {
            return Ok(());
        }
        let what = match (self.on_duplicate, self.unique_for) {
            (Some(what), _) => format!("on-duplicate {}", what.as_str()),
            (None, Some(_)) => "unique-for".to_owned(),
            (None, None) => return Ok(()),
        };
        Err(
            CliError::usage(format!("{what} goes with a unique key, and there is none"))
                .with_hint("say what the job is unique by: --unique KEY or --unique-by-payload"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_job_says_itself_wins_and_tags_come_together() {
        let tags = |tags: &[(&str, &str)]| {
            let tags = tags.iter();
            tags.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let own = Options {
            queue: Some("own".to_owned()),
            finalize: Some(false),
            after: vec![JobRef::Id(JobId(1))],
            tags: tags(&[("a", "own")]),
            ..Options::default()
        };
        let usual = Options {
            queue: Some("usual".to_owned()),
            tenant: Some("usual".to_owned()),
            finalize: Some(true),
            after: vec![JobRef::Id(JobId(2))],
            after_any: vec![JobRef::Id(JobId(3))],
            tags: tags(&[("a", "usual"), ("b", "usual")]),
            ..Options::default()
        };
        let both = own.or(usual);
        assert_eq!(both.queue.as_deref(), Some("own"));
        assert_eq!(both.tenant.as_deref(), Some("usual"));
        assert_eq!(both.finalize, Some(false));
        assert_eq!(both.after, [JobRef::Id(JobId(1))]);
        assert_eq!(both.after_any, [JobRef::Id(JobId(3))]);
        assert_eq!(both.tags, tags(&[("a", "own"), ("b", "usual")]));
    }

    #[test]
    fn what_happens_to_a_duplicate_is_not_asked_without_a_unique_key() {
        let options = Options {
            on_duplicate: Some(OnDuplicate::Reject),
            ..Options::default()
        };
        let error = options.clone().apply(NewJob::new("k"), None).unwrap_err();
        assert!(
            error.message().contains("on-duplicate reject"),
            "{}",
            error.message()
        );
        let with_key = Options {
            unique: Some(UniqueBy::KindAndPayload),
            ..options
        };
        assert!(with_key.apply(NewJob::new("k"), None).is_ok());
    }
}
