//! The options that an edit has changed, as its event keeps them, so that the edit can be undone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::timestamp;
use crate::model::flags::JobFlags;
use crate::model::id::JobId;
use crate::model::job::options::Priority;
use crate::model::job::update::{ClearOption, JobUpdate};
use crate::model::job::{JobOptions, UniqueKey, When};
use crate::model::limits::Update;
use crate::model::retry::{Backoff, Jitter};
use crate::store::jobs::job_row::JobRow;
use crate::store::jobs::{concurrency_slots, retry_delays};
use crate::store::sqlite::statement::{statements, text};
use crate::store::sqlite::tx::Tx;
use crate::{Error, Result};

statements! {
    hot JOB_OPTIONS = "SELECT q.name, j.priority, j.max_retries, j.backoff, j.retry_delay_ms, j.jitter, j.timeout_ms,
            j.tenant, j.key, j.unique_key, j.unique_for_ms, j.deadline, j.run_at, j.wait_fixed, p.payload
        FROM jobq_job j JOIN jobq_queue q ON q.id = j.queue_id LEFT JOIN jobq_payload p ON p.job_id = j.id
        WHERE j.id = ?1";
    hot TAGS_OF_JOB = "SELECT name, value FROM jobq_tag WHERE job_id = ?1";
}

/// The options of a job, and what belongs to them.
struct JobNow {
    options: JobOptions,
    deadline_ms: Option<i64>,
    run_at_ms: Option<i64>,
    is_wait_fixed: bool,
    payload: String,
}

impl JobNow {
    fn read(tx: &Tx<'_>, (id, row): (JobId, &JobRow)) -> Result<JobNow> {
        let millis = |ms: Option<u64>| ms.map(Duration::from_millis);
        let mut job = tx.one(JOB_OPTIONS, [id.0], |row| {
            let jitter = match row.get(5)? {
                true => Jitter::Tenth,
                false => Jitter::Off,
            };
            Ok(JobNow {
                options: JobOptions {
                    queue: text(row.get_ref(0)?),
                    priority: Priority::from_code(row.get(1)?),
                    max_retries: row.get(2)?,
                    backoff: Backoff::from_code(row.get(3)?),
                    retry_delay: millis(row.get(4)?),
                    jitter: Some(jitter),
                    timeout: millis(row.get(6)?),
                    tenant: text(row.get_ref(7)?),
                    key: text(row.get_ref(8)?),
                    unique: text(row.get_ref(9)?).map(UniqueKey::Named),
                    unique_for: millis(row.get(10)?),
                    ..JobOptions::default()
                },
                deadline_ms: row.get(11)?,
                run_at_ms: row.get(12)?,
                is_wait_fixed: row.get::<_, Option<bool>>(13)? != Some(false),
                payload: text(row.get_ref(14)?).unwrap_or_default(),
            })
        })?;
        job.options.retry_delays = Some(retry_delays::of_job(tx, id, row.flags)?);
        let tags = tx.all(TAGS_OF_JOB, [id.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
        job.options.tags = tags.into_iter().collect();
        Ok(job)
    }
}

/// Maximum length of a payload that an event keeps.
const MAX_KEPT_BYTES: usize = 64 * 1024;

/// The options that an edit has changed, as they were before it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct EditedOptions {
    #[serde(flatten)]
    set: JobOptions,
    /// What the job had none of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    clear: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_at: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_at: Option<Moment>,
    /// Its payload was too long to be kept.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_lost: bool,
}

/// A moment, and whether it follows steps of the clock.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Moment {
    ms: i64,
    moves: bool,
}

impl Moment {
    fn of(ms: Option<i64>, moves: bool) -> Option<Moment> {
        Some(Moment { ms: ms?, moves })
    }

    /// None if it has passed.
    fn when(self, now_ms: i64) -> Option<When> {
        let left = u64::try_from(self.ms - now_ms)
            .ok()
            .filter(|left| *left > 0)?;
        Some(match self.moves {
            true => When::In(Duration::from_millis(left)),
            false => When::At(timestamp(self.ms)),
        })
    }
}

impl EditedOptions {
    /// A job that is about to be edited.
    pub(super) fn of(
        tx: &Tx<'_>,
        (id, row): (JobId, &JobRow),
        edit: &JobUpdate,
    ) -> Result<EditedOptions> {
        let job = JobNow::read(tx, (id, row))?;
        let mut before = EditedOptions::default();
        before.note_columns(&job.options, edit);
        before.note_rules(&job.options, edit);
        let changes_deadline = edit.of(&edit.set.deadline, &ClearOption::Deadline) != Update::Keep;
        if changes_deadline {
            let moves = row.flags.has(JobFlags::DEADLINE_MOVES);
            before.deadline_at = Moment::of(job.deadline_ms, moves);
            before.clear_unless(before.deadline_at.is_some(), "deadline");
        }
        if edit.set.key_limit.is_some()
            && let Some((key, _)) = concurrency_slots::key_of(tx.conn, id)?
        {
            let number = concurrency_slots::number(tx.conn, edit.set.key.as_ref().unwrap_or(&key))?;
            before.set.key_limit = u32::try_from(number).ok();
        }
        if edit.set.when.is_some() {
            before.run_at = Moment::of(job.run_at_ms, !job.is_wait_fixed);
        }
        if edit.payload.is_some() || !edit.payload_fields.is_empty() {
            before.is_lost = job.payload.len() > MAX_KEPT_BYTES;
            before.payload = Some(job.payload).filter(|_| !before.is_lost);
        }
        Ok(before)
    }

    /// What was there is set again, what was not is cleared.
    fn clear_unless(&mut self, is_set: bool, name: impl Into<String>) {
        if !is_set {
            self.clear.push(name.into());
        }
    }

    fn note_columns(&mut self, job: &JobOptions, edit: &JobUpdate) {
        let (set, own) = (&edit.set, &mut self.set);
        own.queue = set.queue.as_ref().and(job.queue.clone());
        own.priority = set.priority.and(job.priority);
        let are_retries = set.max_retries.is_some()
            || set.has_backoff()
            || set.retry_delays.is_some()
            || set.jitter.is_some();
        if are_retries {
            own.max_retries = job.max_retries;
            own.backoff = job.backoff;
            own.retry_delay = job.retry_delay;
            own.retry_delays.clone_from(&job.retry_delays);
            own.jitter = job.jitter;
        }
        if edit.of(&set.timeout, &ClearOption::Timeout) != Update::Keep {
            own.timeout = job.timeout;
            self.clear_unless(job.timeout.is_some(), "timeout");
        }
    }

    fn note_rules(&mut self, job: &JobOptions, edit: &JobUpdate) {
        let set = &edit.set;
        if edit.of(&set.tenant, &ClearOption::Tenant) != Update::Keep {
            self.set.tenant.clone_from(&job.tenant);
            self.clear_unless(job.tenant.is_some(), "tenant");
        }
        if edit.of(&set.key, &ClearOption::Key) != Update::Keep {
            self.set.key.clone_from(&job.key);
            self.clear_unless(job.key.is_some(), "key");
        }
        if edit.of(&set.unique, &ClearOption::Unique) != Update::Keep {
            self.set.unique.clone_from(&job.unique);
            self.clear_unless(job.unique.is_some(), "unique");
        }
        if edit.of(&set.unique_for, &ClearOption::UniqueFor) != Update::Keep {
            self.set.unique_for = job.unique_for;
            self.clear_unless(job.unique_for.is_some(), "unique_for");
        }
        let cleared = edit.clear.iter().filter_map(|option| match option {
            ClearOption::Tag(name) => Some(name),
            _ => None,
        });
        for name in set.tags.keys().chain(cleared) {
            match job.tags.get(name) {
                Some(value) => drop(self.set.tags.insert(name.clone(), value.clone())),
                None => self.clear.push(format!("tag:{name}")),
            }
        }
    }

    /// As an event keeps it, without what is not said.
    pub(super) fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::to_value(self).unwrap_or_default();
        if let Some(fields) = json.as_object_mut() {
            fields.retain(|name, value| {
                let is_empty =
                    value.is_null() || (name == "tags" && *value == serde_json::json!({}));
                !is_empty
            });
        }
        json
    }

    fn cleared(&self) -> Vec<ClearOption> {
        let known = self.clear.iter().filter_map(|name| match name.as_str() {
            "timeout" => Some(ClearOption::Timeout),
            "deadline" => Some(ClearOption::Deadline),
            "tenant" => Some(ClearOption::Tenant),
            "key" => Some(ClearOption::Key),
            "unique" => Some(ClearOption::Unique),
            "unique_for" => Some(ClearOption::UniqueFor),
            name => Some(ClearOption::Tag(name.strip_prefix("tag:")?.to_owned())),
        });
        known.collect()
    }

    /// The edit that gives the options back.
    pub(super) fn update(&self, now_ms: i64) -> Result<JobUpdate> {
        let moment = |of: Option<Moment>, what: &str| match of.map(|moment| moment.when(now_ms)) {
            Some(None) => Err(Error::wrong_state(format!(
                "the edit cannot be undone: {what} that the job had has passed"
            ))),
            Some(when) => Ok(when),
            None => Ok(None),
        };
        Ok(JobUpdate {
            set: JobOptions {
                when: moment(self.run_at, "the time")?,
                deadline: moment(self.deadline_at, "the deadline")?,
                ..self.set.clone()
            },
            clear: self.cleared(),
            payload: self.payload.clone(),
            payload_fields: Vec::new(),
        })
    }
}
