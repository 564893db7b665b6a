//! The lines that a runner and a persistent command say to each other. `help.txt` describes them for users.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::event::Level;
use crate::model::family::Phase;
use crate::model::hook::HookEvent;
use crate::model::id::JobId;
use crate::model::job::{NewJob, Progress, Traceparent};
use crate::model::outcome::{Outcome, Snooze};
use crate::runner::context::Context;

/// Maximum length of a message, without its newline.
pub(super) const MESSAGE_MAX_BYTES: usize = 1024 * 1024;

/// The key by which a line is a message.
const KEY: &[u8] = b"\"jobq\"";

/// The error of an attempt whose command gave none.
const NO_REASON: &str = "its handler gave no reason";

/// A job, as its command gets it.
#[derive(Serialize)]
struct JobLine<'a> {
    job: JobId,
    attempt: u32,
    kind: &'a str,
    payload: &'a RawValue,
    timeout_ms: Option<u128>,
    phase: &'static str,
    idempotency_key: &'a str,
    schedule: Option<&'a str>,
    slot: Option<String>,
    hook: Option<&'a HookEvent>,
    traceparent: Option<Traceparent>,
}

/// The line that gives a command a job.
pub(super) fn job_line(ctx: &Context, idempotency_key: &str) -> serde_json::Result<Vec<u8>> {
    // Between its tokens JSON may have newlines, and nowhere else.
    let payload = ctx.payload().replace(['\n', '\r'], " ");
    let payload = RawValue::from_string(payload)?;
    let mut line = serde_json::to_vec(&JobLine {
        job: ctx.job_id(),
        attempt: ctx.attempt(),
        kind: ctx.kind(),
        payload: &payload,
        timeout_ms: ctx.time_left().map(|time| time.as_millis()),
        phase: match ctx.phase() {
            Phase::Run => "run",
            Phase::Finalize => "finalize",
        },
        idempotency_key,
        schedule: ctx.schedule(),
        slot: ctx.slot().map(|slot| format!("{slot:.3}")),
        hook: ctx.hook(),
        traceparent: ctx.traceparent(),
    })?;
    line.push(b'\n');
    Ok(line)
}

/// The line that asks a command to stop working on its job.
pub(super) fn cancel_line(job: JobId) -> Vec<u8> {
    format!("{{\"cancel\":{job}}}\n").into_bytes()
}

/// Whether a line, or its beginning, may be a message.
pub(super) fn may_be_message(line: &[u8]) -> bool {
    line.first() == Some(&b'{')
}

/// Whether a line, or its beginning, has the key of a message.
pub(super) fn has_key(line: &[u8]) -> bool {
    may_be_message(line) && line.windows(KEY.len()).any(|window| window == KEY)
}

/// A message, as it is written. What does not belong to its word is ignored.
#[derive(Deserialize)]
pub(super) struct Message {
    jobq: Word,
    /// The job that it is about.
    pub(super) job: Option<JobId>,
    /// The attempt that it is about.
    pub(super) attempt: Option<u32>,
    /// The command wants no more jobs.
    #[serde(default)]
    pub(super) recycle: bool,
    result: Option<Box<RawValue>>,
    error: Option<String>,
    after_ms: Option<u64>,
    for_ms: Option<u64>,
    percent: Option<f64>,
    processed: Option<u64>,
    total: Option<u64>,
    message: Option<String>,
    level: Option<Level>,
    fields: Option<serde_json::Value>,
    kind: Option<String>,
    payload: Option<Box<RawValue>>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Word {
    Ready,
    Progress,
    Log,
    Spawn,
    Done,
    Retry,
    Fail,
    Snooze,
}

impl Message {
    /// The message of a line that has the key.
    pub(super) fn parse(line: &[u8]) -> serde_json::Result<Message> {
        serde_json::from_slice(line)
    }

    /// Whether it ends an attempt.
    pub(super) fn is_answer(&self) -> bool {
        !matches!(
            self.jobq,
            Word::Ready | Word::Progress | Word::Log | Word::Spawn
        )
    }

    /// Does what it says. Returns the outcome if it is an answer, or if it spawns a job that is refused.
    pub(super) fn apply(self, ctx: &Context) -> Option<Outcome> {
        let error = self.error.unwrap_or_else(|| NO_REASON.to_owned());
        Some(match self.jobq {
            Word::Ready => return None,
            Word::Progress => {
                let counted = self.processed.zip(self.total);
                let counted = counted.map(|(processed, total)| Progress::of(processed, total));
                let progress = match self.percent {
                    Some(percent) => Progress::percent(percent),
                    None => counted.unwrap_or_default(),
                };
                ctx.progress(Progress {
                    processed: self.processed,
                    total: self.total,
                    message: self.message,
                    ..progress
                });
                return None;
            }
            Word::Log => {
                let (level, text) = (self.level.unwrap_or_default(), self.message);
                let text = text.unwrap_or_default();
                match self.fields {
                    Some(fields) => ctx.log_fields(level, text, fields),
                    None => ctx.log(level, text),
                }
                return None;
            }
            Word::Spawn => {
                let child = NewJob::new(self.kind.as_deref().unwrap_or(ctx.kind()));
                let payload = self.payload.as_deref().map_or("null", RawValue::get);
                let spawned = ctx.spawn_child(child.payload_json(payload));
                return spawned.err().map(Outcome::from);
            }
            Word::Done => {
                let result = self.result.as_deref().map(RawValue::get);
                Outcome::Done(result.filter(|result| *result != "null").map(str::to_owned))
            }
            Word::Retry => Outcome::Retry {
                error,
                after: self.after_ms.map(Duration::from_millis),
            },
            Word::Fail => Outcome::Fail { error },
            Word::Snooze => {
                let wait = Duration::from_millis(self.for_ms.unwrap_or(0));
                Outcome::Snooze(Snooze::For(wait))
            }
        })
    }
}
