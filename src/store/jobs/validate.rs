//! Validation of new jobs: they are complete and consistent.

use std::collections::BTreeMap;

use crate::clock::millis;
use crate::model::family::{ChildPolicy, GROUP_KIND, PrerequisiteRule};
use crate::model::flags::JobFlags;
use crate::model::hook::{EXEC_KIND, HookEvent, HookTrigger};
use crate::model::id::JobId;
use crate::model::job::options::Priority;
use crate::model::job::template::JobTemplate;
use crate::model::job::{
    AttemptRef, Due, JobOptions, JobRef, Labels, NewJob, OnDuplicate, Traceparent, When,
};
use crate::model::limits::EnqueueLimits;
use crate::model::queue::{DEFAULT_QUEUE, check_name};
use crate::model::remedy::Remedy;
use crate::model::retry::RetryPolicy;
use crate::model::schedule::JobOrigin;
use crate::store::jobs::quota::QuotaLimits;
use crate::{Error, Result};

/// A validated job.
#[derive(Clone, Debug)]
pub(crate) struct ValidatedJob {
    pub(crate) kind: String,
    pub(crate) queue: String,
    pub(crate) payload: String,
    pub(crate) priority: Priority,
    pub(crate) when: When,
    pub(crate) retry: RetryPolicy,
    pub(crate) timeout_ms: Option<i64>,
    /// None: it goes in however full its queue and the file are.
    pub(crate) bounds: Option<QuotaLimits>,
    /// None for a job that stands alone.
    pub(crate) rules: Option<Box<Rules>>,
}

/// Whose child a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) job: JobId,
    /// The attempt that spawns it: it must complete, or the child is discarded.
    pub(crate) spawned_by: Option<AttemptRef>,
}

/// The rules that tie a job to other jobs and to time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) deadline: Option<When>,
    pub(crate) unique: Option<UniqueRule>,
    pub(crate) prerequisites: BTreeMap<JobId, PrerequisiteRule>,
    pub(crate) parent: Option<Parent>,
    pub(crate) family: Option<FamilyRules>,
    pub(crate) key: Option<String>,
    pub(crate) key_limit: Option<u32>,
    pub(crate) tenant: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    /// The schedule that enqueues it.
    pub(crate) origin: Option<JobOrigin>,
    /// Its hooks, each with its job as it is stored.
    pub(crate) hooks: Vec<(HookTrigger, String)>,
    /// What the hook is for that enqueues it.
    pub(crate) hook_of: Option<HookEvent>,
    pub(crate) traceparent: Option<Traceparent>,
}

#[derive(Clone, Debug)]
pub(crate) struct UniqueRule {
    pub(crate) key: String,
    pub(crate) for_ms: Option<i64>,
    pub(crate) on_duplicate: OnDuplicate,
    /// The job that has the key and has begun: this one gets it afterwards.
    pub(crate) rerun_of: Option<JobId>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FamilyRules {
    pub(crate) policy: ChildPolicy,
    pub(crate) finalize: bool,
}

impl ValidatedJob {
    pub(crate) fn new(job: NewJob, limits: &EnqueueLimits) -> Result<ValidatedJob> {
        // The file knows no labels: those of others must have become ids.
        let job = Labels::default().resolve(job)?;
        job.options.check()?;
        let rules = Rules::of(&job, limits)?;
        let NewJob {
            kind,
            payload,
            options,
            ..
        } = job;
        check_name("kind", &kind)?;
        let retry = options.retry_policy(&limits.retry);
        let queue = options.queue.unwrap_or_else(|| DEFAULT_QUEUE.to_owned());
        let payload = check_payload(&format!("the payload of the '{kind}' job"), payload, limits)?;
        Ok(ValidatedJob {
            kind,
            queue,
            payload,
            priority: options.priority.unwrap_or_default(),
            when: options.when.unwrap_or_default(),
            retry,
            timeout_ms: options.timeout.map(millis),
            bounds: Some(QuotaLimits::of(limits)),
            rules,
        })
    }

    /// A job as a schedule or a hook has it, for which there must be room. It was checked when it was stored.
    pub(crate) fn stored(json: &str, bounds: Option<QuotaLimits>) -> Result<ValidatedJob> {
        let limits = EnqueueLimits {
            max_payload_bytes: usize::MAX,
            ..EnqueueLimits::default()
        };
        let job = ValidatedJob::new(NewJob::from(JobTemplate::from_json(json)?), &limits)?;
        Ok(ValidatedJob { bounds, ..job })
    }

    /// The same, to be added with the completion of the attempt that spawns it: what has been done
    /// must not be lost because there is no room for what follows.
    pub(crate) fn spawned(self) -> ValidatedJob {
        ValidatedJob {
            bounds: None,
            ..self
        }
    }

    /// The same, enqueued by a schedule.
    pub(crate) fn of_schedule(mut self, origin: JobOrigin) -> ValidatedJob {
        self.rules.get_or_insert_default().origin = Some(origin);
        self
    }

    /// The same, enqueued by a hook of a job with this trace.
    pub(crate) fn of_hook(
        mut self,
        event: &HookEvent,
        traceparent: Option<Traceparent>,
    ) -> ValidatedJob {
        // A command gets the event in its environment: text in a line for a shell would be code.
        if self.kind != EXEC_KIND {
            self.payload = event.fill_in(self.payload);
        }
        let rules = self.rules.get_or_insert_default();
        (rules.hook_of, rules.traceparent) = (Some(event.clone()), traceparent);
        self
    }

    /// Whether it may run at once and has nothing out of the ordinary.
    pub(crate) fn is_plain(&self) -> bool {
        self.rules.is_none()
            && self.timeout_ms.is_none()
            && self.when == When::default()
            && self.retry.delays.is_empty()
    }

    pub(crate) fn is_group(&self) -> bool {
        self.kind == GROUP_KIND
    }
}

impl Rules {
    fn of(job: &NewJob, limits: &EnqueueLimits) -> Result<Option<Box<Rules>>> {
        let options = &job.options;
        let mut prerequisites = BTreeMap::new();
        for id in ids(&options.after_any) {
            prerequisites.insert(id, PrerequisiteRule::Final);
        }
        // Who is named twice must complete.
        for id in ids(&options.after) {
            prerequisites.insert(id, PrerequisiteRule::Completed);
        }
        let finalize = options.finalize.unwrap_or_default();
        let is_parent = job.kind == GROUP_KIND || options.child_policy.is_some() || finalize;
        let rules = Rules {
            deadline: options.deadline,
            unique: unique(job)?,
            prerequisites,
            parent: ids(&options.parent).next().map(|parent| Parent {
                job: parent,
                spawned_by: job.spawned_by,
            }),
            family: is_parent.then(|| FamilyRules {
                policy: options.child_policy.unwrap_or_default(),
                finalize,
            }),
            key: options.key.clone(),
            key_limit: options.key_limit,
            tenant: options.tenant.clone(),
            tags: options.tags.clone(),
            origin: None,
            hooks: hooks(options, limits)?,
            hook_of: None,
            traceparent: options.traceparent,
        };
        rules.check(job)?;
        Ok(Some(rules).filter(Rules::is_any).map(Box::new))
    }

    fn is_any(&self) -> bool {
        self.flags() != JobFlags::NONE || self.tenant.is_some()
    }

    /// The same for a job that runs once more after the one that has its unique key.
    pub(crate) fn once_more_after(&self, holder: JobId) -> Rules {
        let mut rules = self.clone();
        let prerequisites = &mut rules.prerequisites;
        prerequisites
            .entry(holder)
            .or_insert(PrerequisiteRule::Final);
        if let Some(unique) = &mut rules.unique {
            unique.rerun_of = Some(holder);
        }
        rules
    }

    /// The bits of a new job under these rules.
    pub(crate) fn flags(&self) -> JobFlags {
        JobFlags::NONE
            .and(JobFlags::CHILD, self.parent.is_some())
            .and(JobFlags::FAMILY, self.family.is_some())
            .and(JobFlags::KEY, self.key.is_some())
            .and(JobFlags::UNIQUE, self.unique.is_some())
            .and(JobFlags::WAITS, !self.prerequisites.is_empty())
            .and(JobFlags::DEADLINE, self.deadline.is_some())
            .and(
                JobFlags::DEADLINE_MOVES,
                matches!(self.deadline, Some(When::In(_))),
            )
            .and(JobFlags::TAGS, !self.tags.is_empty())
            .and(JobFlags::SCHEDULED, self.origin.is_some())
            .and(JobFlags::HOOKS, !self.hooks.is_empty())
            .and(JobFlags::HOOK_JOB, self.hook_of.is_some())
            .and(JobFlags::TRACED, self.traceparent.is_some())
    }

    /// The moment of the deadline, for a job that is enqueued now.
    pub(crate) fn deadline_ms(&self, now_ms: i64) -> Option<i64> {
        Some(Due::moment(self.deadline?, now_ms).run_at_ms)
    }

    fn check(&self, job: &NewJob) -> Result<()> {
        if job.options.unique_for.is_some() && self.unique.is_none() {
            return Err(
                Error::invalid("a time for which the job stays unique needs a unique key")
                    .with_remedy(Remedy::GiveUniqueKey),
            );
        }
        if self.key_limit.is_some() && self.key.is_none() {
            return Err(Error::invalid("a key limit belongs to a concurrency key")
                .with_remedy(Remedy::GiveKey));
        }
        if job.kind == GROUP_KIND && self.key.is_some() {
            return Err(Error::invalid(
                "a group has no work of its own that a concurrency key could limit",
            )
            .with_hint("give the key to its children"));
        }
        Ok(())
    }
}

fn hooks(options: &JobOptions, limits: &EnqueueLimits) -> Result<Vec<(HookTrigger, String)>> {
    let stored = |(hook, job): (HookTrigger, &NewJob)| Ok((hook, hook_job(job, hook, limits)?));
    options.hooks().map(stored).collect()
}

/// A hook's job as it is stored.
pub(crate) fn hook_job(job: &NewJob, hook: HookTrigger, limits: &EnqueueLimits) -> Result<String> {
    let checked = || {
        ValidatedJob::new(job.clone(), limits)?;
        JobTemplate::of_hook(job.clone(), &limits.retry)?.to_json()
    };
    checked().map_err(|error| error.context(format_args!("hook '{hook}'")))
}

/// Of labels there are none left.
fn ids<'a>(jobs: impl IntoIterator<Item = &'a JobRef>) -> impl Iterator<Item = JobId> {
    jobs.into_iter().filter_map(|job| match job {
        JobRef::Id(id) => Some(*id),
        JobRef::Label(_) => None,
    })
}

fn unique(job: &NewJob) -> Result<Option<UniqueRule>> {
    let options = &job.options;
    let Some(unique) = &options.unique else {
        return Ok(None);
    };
    let payload = job.payload.as_deref().unwrap_or_default();
    Ok(Some(UniqueRule {
        key: unique.text(&job.kind, payload),
        for_ms: options.unique_for.map(millis),
        on_duplicate: options.on_duplicate.unwrap_or_default(),
        rerun_of: None,
    }))
}

/// JSON text that is not too long.
pub(crate) fn check_payload(
    name: &str,
    json: Result<String, String>,
    limits: &EnqueueLimits,
) -> Result<String> {
    let json = json.map_err(|error| Error::invalid(format!("{name} is not JSON: {error}")))?;
    if json.len() > limits.max_payload_bytes {
        return Err(Error::invalid(format!(
            "{name} is {} bytes long, at most {} are allowed",
            json.len(),
            limits.max_payload_bytes
        ))
        .with_hint("put the data into a file and its path into the payload"));
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::job::options::MAX_KEY_LIMIT;
    use std::time::Duration;

    fn rules(job: NewJob) -> Rules {
        *ValidatedJob::new(job, &EnqueueLimits::default())
            .unwrap()
            .rules
            .unwrap()
    }

    #[test]
    fn a_job_that_stands_alone_has_no_rules() {
        let job = ValidatedJob::new(NewJob::new("send").queue("mail"), &EnqueueLimits::default())
            .unwrap();
        assert!(job.rules.is_none());
    }

    #[test]
    fn a_derived_key_depends_on_kind_and_payload_not_on_spelling() {
        let key = |kind: &str, payload: &str| {
            let job = NewJob::new(kind).payload_json(payload).unique_by_payload();
            rules(job).unique.unwrap().key
        };
        assert_eq!(
            key("send", r#"{"to":"a", "n": 1}"#),
            key("send", r#"{"n":1,"to":"a"}"#)
        );
        assert_eq!(
            key("send", r#"[{"b":1,"a":{"d":2,"c":3}}]"#),
            key("send", r#"[{"a":{"c":3,"d":2},"b":1}]"#)
        );
        assert_eq!(key("send", r#""\u0061""#), key("send", r#""a""#));
        for (one, other) in [
            ("1", "2"),
            (
                r#"{"id":123456789012345678901}"#,
                r#"{"id":123456789012345678902}"#,
            ),
            ("0.1234567890123456789", "0.1234567890123456788"),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        ] {
            assert_ne!(key("send", one), key("send", other));
        }
        assert_ne!(key("send", "1"), key("fetch", "1"));
        assert_eq!(
            key("send", "1"),
            "send:fnv1a128:d228cb693f1a8caf78912b704e4a4e54:1",
            "it is in files"
        );
    }

    #[test]
    fn who_is_named_in_both_ways_must_complete() {
        let job = NewJob::new("send")
            .after([JobId(3)])
            .after_any([JobId(3), JobId(4)]);
        let found = rules(job).prerequisites;
        assert_eq!(found[&JobId(3)], PrerequisiteRule::Completed);
        assert_eq!(found[&JobId(4)], PrerequisiteRule::Final);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let bad = [
            NewJob::new("send").unique(""),
            NewJob::new("send").unique("k".repeat(1001)),
            NewJob::new("send").unique_for(Duration::from_secs(1)),
            NewJob::new("send").key(""),
            NewJob::new("send").key_limit(2),
            NewJob::new("send").key("k").key_limit(0),
            NewJob::new("send").key("k").key_limit(MAX_KEY_LIMIT + 1),
            NewJob::new("send").tenant(""),
            NewJob::new("send").tag("", "x"),
            NewJob::new("send").unique("k\u{1b}[31m"),
            NewJob::new("send").key("k\n"),
            NewJob::new("send").tenant("t\u{9b}"),
            NewJob::new("send").tag("n\t", "x"),
            NewJob::new("send").tag("n", "\0"),
            NewJob::new(GROUP_KIND).key("k"),
        ];
        for job in bad {
            let error = ValidatedJob::new(job.clone(), &EnqueueLimits::default()).unwrap_err();
            assert!(error.is_invalid_input(), "{job:?}: {error}");
        }
    }
}
