//! The runners in the file: registering, beating, ending, and taking over from those that are lost.

use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use serde_json::Value;

use crate::Result;
use crate::clock::Clock;
use crate::error::Of;
use crate::model::event::EventKind;
use crate::model::id::JobId;
use crate::model::job::AttemptRef;
use crate::model::outcome::{Budget, Ending, Verdict, judge};
use crate::model::part::Part;
use crate::store::jobs::claim::{ClaimFor, budget};
use crate::store::jobs::finish_attempt;
use crate::store::jobs::finish_attempt::{AttemptMeasures, ClaimToken, PrefetchAgain};
use crate::store::sqlite::process_locks::Lock;
use crate::store::sqlite::statement::{Statements, statements, text};
use crate::store::sqlite::tx::{NewEvent, Tx};
use crate::store::sqlite::{Connection, Row, RowResult, params, process_locks, row_ids};

statements! {
    hot RUNNER_SET_KINDS = "UPDATE jobq_runner SET kinds = ?2 WHERE id = ?1";
    hot RUNNER_INSERT = "INSERT INTO jobq_runner (name, pid, host, workers, kinds, queues, state, started_at, heartbeat_at, beat, boot)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?7, ?8, ?9)";
    /// No row changed: another runner has taken this one for lost.
    hot RUNNER_BEAT_IF_ALIVE = "UPDATE jobq_runner SET beat = beat + 1, heartbeat_at = ?2 WHERE id = ?1 AND state <= 2";
    hot RUNNER_IS_ALIVE = "SELECT 1 FROM jobq_runner WHERE id = ?1 AND state <= 2";
    hot RUNNER_SET_SHORT_OF = "UPDATE jobq_runner SET short_of = nullif(?2, '') WHERE id = ?1";
    hot RUNNER_STOPPING_IF_ALIVE = "UPDATE jobq_runner SET state = 2 WHERE id = ?1 AND state = 1";
    hot RUNNER_STOPPED_IF_ALIVE = "UPDATE jobq_runner SET state = 3, ended_at = ?2 WHERE id = ?1 AND state <= 2";
    /// How far it was when it was lost, and in which start of the machine.
    hot RUNNER_CIRCUMSTANCES = "SELECT state, boot FROM jobq_runner WHERE id = ?1";
    /// Its lock is free: the process is gone whatever its beat says.
    hot RUNNER_LOSE_IF_ALIVE = "UPDATE jobq_runner SET state = 4, ended_at = ?2 WHERE id = ?1 AND state <= 2";
    /// It hangs, unless its beat is no longer the one that was seen.
    hot RUNNER_LOSE_IF_BEAT = "UPDATE jobq_runner SET state = 4, ended_at = ?2 WHERE id = ?1 AND state <= 2 AND beat = ?3";
    /// The index of the living holds but a few.
    hot RUNNERS_ALIVE = "SELECT id, name, beat FROM jobq_runner WHERE state <= 2 ORDER BY id";
    hot JOBS_HELD_BY = "SELECT id, queue_id, attempt, claim, retries, crashes, max_retries, backoff, retry_delay_ms,
            jitter, timeout_ms, cancel, links, parent_id
        FROM jobq_job WHERE state = 3 AND runner_id = ?1";
    hot JOBS_TO_CANCEL = "SELECT id, attempt FROM jobq_job WHERE cancel = 1 AND runner_id = ?1";
    /// A job that was claimed ahead has begun and goes on for a while: from now on a crash charges it.
    hot JOB_WORKER_IF_HELD = "UPDATE jobq_job SET worker = ?3, claim = 0 WHERE id = ?1 AND state = 3 AND attempt = ?2";
    cold RUNNERS_FORGET = "DELETE FROM jobq_runner WHERE state >= 3 AND ended_at < ?1";
}

/// What a runner says of itself when it registers.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) name: String,
    pub(crate) pid: u32,
    pub(crate) host: String,
    pub(crate) workers: usize,
    pub(crate) kinds: Vec<String>,
    pub(crate) queues: Option<Vec<String>>,
    pub(crate) beats: Beats,
}

/// Whether a runner beats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beats {
    Regularly,
    /// Its one thread is its handlers': only its lock tells that it lives, and it cannot be taken
    /// for hung.
    Never,
}

/// The state of a runner that was asked to end.
const STOPPING: i64 = 2;

/// What stands in place of a beat where there never is one.
const NO_BEAT: i64 = -1;

/// `limits` are those of kinds, in this runner.
pub(crate) fn register(
    tx: &mut Tx<'_>,
    registration: &Registration,
    limits: &HashMap<String, usize>,
) -> Result<i64> {
    let id = tx.conn.prepare_cached(RUNNER_INSERT)?.insert(params![
        registration.name,
        registration.pid,
        registration.host,
        registration.workers as i64,
        kinds_json(&registration.kinds, limits),
        registration.queues.as_deref().map(json_array),
        tx.now_ms,
        match registration.beats {
            Beats::Regularly => 0,
            Beats::Never => NO_BEAT,
        },
        tx.boot
    ]);
    let id = row_ids::inserted(tx.conn, id)?;
    tx.append(NewEvent {
        runner: Some(id),
        ..NewEvent::new(EventKind::RunnerStarted)
    })?;
    Ok(id)
}

/// A runner that runs has other handlers from now on.
pub(crate) fn set_kinds(
    tx: &mut Tx<'_>,
    runner: i64,
    kinds: &[String],
    limits: &HashMap<String, usize>,
) -> Result<()> {
    tx.run(RUNNER_SET_KINDS, params![runner, kinds_json(kinds, limits)])?;
    Ok(())
}

fn json_array(names: &[String]) -> String {
    Value::from(names).to_string()
}

/// A kind with a limit is an object: `{"kind":"resize","at_once":2}`.
fn kinds_json(kinds: &[String], limits: &HashMap<String, usize>) -> String {
    let kinds = kinds.iter().map(|kind| match limits.get(kind) {
        Some(at_once) => serde_json::json!({ "kind": kind, "at_once": at_once }),
        None => kind.as_str().into(),
    });
    kinds.collect::<Value>().to_string()
}

/// The kinds, and the limits of those that have one.
pub(crate) fn read_kinds(json: &str) -> (Vec<String>, BTreeMap<String, u64>) {
    let entries: Vec<Value> = serde_json::from_str(json).unwrap_or_default();
    let (mut kinds, mut limits) = (Vec::new(), BTreeMap::new());
    for entry in entries {
        let Some(kind) = entry.as_str().or(entry["kind"].as_str()) else {
            continue;
        };
        if let Some(at_once) = entry["at_once"].as_u64() {
            limits.insert(kind.to_owned(), at_once);
        }
        kinds.push(kind.to_owned());
    }
    (kinds, limits)
}

/// Whether the runner still counts as alive.
pub(crate) fn beat(tx: &Tx<'_>, runner: i64) -> Result<bool> {
    Ok(tx.run(RUNNER_BEAT_IF_ALIVE, params![runner, tx.now_ms])? == 1)
}

/// The same without a beat, for a turn that claims: from a runner that was taken for lost nobody
/// would ever take a job over.
pub(crate) fn is_alive(tx: &Tx<'_>, runner: i64) -> Result<bool> {
    tx.has_row(RUNNER_IS_ALIVE, [runner])
}

/// What the system has too little of for as many jobs at a time as the runner has workers; an empty text:
/// nothing any more.
pub(crate) fn set_short_of(tx: &Tx<'_>, runner: i64, short_of: &str) -> Result<()> {
    tx.run(RUNNER_SET_SHORT_OF, params![runner, short_of])?;
    Ok(())
}

pub(crate) fn stopping(tx: &Tx<'_>, runner: i64) -> Result<()> {
    tx.run(RUNNER_STOPPING_IF_ALIVE, [runner])?;
    Ok(())
}

pub(crate) fn stopped(tx: &mut Tx<'_>, runner: i64) -> Result<()> {
    if tx.run(RUNNER_STOPPED_IF_ALIVE, params![runner, tx.now_ms])? == 1 {
        tx.append(NewEvent {
            runner: Some(runner),
            ..NewEvent::new(EventKind::RunnerStopped)
        })?;
    }
    Ok(())
}

/// A runner that has not ended, as others see it.
#[derive(Clone, Debug)]
pub(crate) struct Alive {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) beat: i64,
}

impl Alive {
    pub(crate) fn beats(&self) -> Beats {
        match self.beat {
            NO_BEAT => Beats::Never,
            _ => Beats::Regularly,
        }
    }
}

pub(crate) fn alive(conn: &Connection) -> Result<Vec<Alive>> {
    conn.all(RUNNERS_ALIVE, [], |row| {
        Ok(Alive {
            id: row.get(0)?,
            // Without a name there is no lock to look at: its beat tells, or that there is none.
            name: text(row.get_ref(1)?).unwrap_or_default(),
            beat: row.get_ref(2)?.as_i64().unwrap_or(0),
        })
    })
}

/// Why a runner is taken for lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Its lock is free.
    Dead,
    /// It has not beaten since this beat.
    Hung { beat: i64 },
}

/// Takes over what a lost runner held; none where somebody else was faster or it lives after all.
pub(crate) fn take_over(tx: &mut Tx<'_>, runner: i64, loss: Loss) -> Result<Option<usize>> {
    let excuse = excuse(tx, runner)?;
    let lost = match loss {
        Loss::Dead => tx.run(RUNNER_LOSE_IF_ALIVE, params![runner, tx.now_ms])?,
        Loss::Hung { beat } => tx.run(RUNNER_LOSE_IF_BEAT, params![runner, tx.now_ms, beat])?,
    };
    if lost == 0 {
        return Ok(None);
    }
    let held = held_by(tx.conn, runner)?;
    for job in &held {
        let part = Part::Job(job.held.job);
        if !tx.is_aside(part) {
            recover(tx, job, excuse).of(part)?;
        }
    }
    let why = if loss == Loss::Dead { "dead" } else { "hung" };
    let data = format!(r#"{{"why":"{why}","jobs":{}}}"#, held.len());
    let event = NewEvent {
        runner: Some(runner),
        ..NewEvent::new(EventKind::RunnerLost)
    };
    tx.append(event.text(Some(data)))?;
    Ok(Some(held.len()))
}

/// A job that a runner holds according to the file.
#[derive(Clone, Debug)]
pub(crate) struct HeldJob {
    pub(crate) held: ClaimToken,
    claimed_for: ClaimFor,
    budget: Budget,
    cancel: bool,
}

pub(crate) fn held_by(conn: &Connection, runner: i64) -> Result<Vec<HeldJob>> {
    conn.all(JOBS_HELD_BY, [runner], |row| decode_held(row, runner))
}

/// What a runner holds, begun or not.
pub(crate) fn attempts_of(conn: &Connection, runner: i64) -> Result<Vec<AttemptRef>> {
    let held = held_by(conn, runner)?.into_iter();
    let attempts = held.map(|job| AttemptRef {
        job: job.held.job,
        attempt: job.held.attempt,
    });
    Ok(attempts.collect())
}

pub(super) fn decode_held(row: &Row<'_>, runner: i64) -> RowResult<HeldJob> {
    let claimed_for = if row.get_ref(3)?.as_i64().unwrap_or(0) == 0 {
        ClaimFor::FreeWorker
    } else {
        ClaimFor::Prefetch
    };
    Ok(HeldJob {
        held: ClaimToken {
            job: JobId(row.get(0)?),
            attempt: row.get(2).unwrap_or(0),
            queue: row.get(1).unwrap_or(0),
            runner,
            flags: row.get(12).unwrap_or_default(),
            parent: row.get_ref(13)?.as_i64().ok().map(JobId),
        },
        claimed_for,
        budget: budget(row, 4),
        cancel: row.get_ref(11)?.as_i64().is_ok(),
    })
}

/// What explains the loss of a runner without its jobs: they are not charged for it.
///
/// It was stopping: whoever asked it to end did not wait until it had (Docker waits for 10 s), or the
/// machine was shut down. Or the machine has been started again since: its power was cut.
fn excuse(tx: &Tx<'_>, runner: i64) -> Result<Option<&'static str>> {
    let found = tx.optional(RUNNER_CIRCUMSTANCES, [runner], |row| {
        // Another type than text there says nothing.
        let boot = row.get_ref(1)?.as_str().ok().map(str::to_owned);
        Ok((row.get::<_, i64>(0)?, boot))
    })?;
    let Some((state, boot)) = found else {
        return Ok(None);
    };
    let is_another = |boot: String| tx.boot.is_some_and(|own| own != boot);
    Ok(match state {
        STOPPING => Some("its runner was killed while it was stopping"),
        _ if boot.is_some_and(is_another) => Some("the machine was restarted while it ran"),
        _ => None,
    })
}

pub(super) fn recover(tx: &mut Tx<'_>, job: &HeldJob, excuse: Option<&'static str>) -> Result<()> {
    let verdict = match (job.cancel, job.claimed_for) {
        (true, _) => Verdict::Cancel,
        (false, ClaimFor::Prefetch) => {
            return finish_attempt::return_unbegun(tx, &job.held, PrefetchAgain::Never).map(|_| ());
        }
        (false, ClaimFor::FreeWorker | ClaimFor::NoWorker) => {
            judge(Ending::RunnerLost { excuse }, &job.budget, 0.0)
        }
    };
    finish_attempt::finish(tx, &job.held, &verdict, &AttemptMeasures::default())?;
    Ok(())
}

/// The jobs of a runner that somebody wants cancelled.
pub(crate) fn to_cancel(conn: &Connection, runner: i64) -> Result<Vec<(JobId, u32)>> {
    let mut statement = conn.prepare_cached(JOBS_TO_CANCEL)?;
    // An attempt that is no number is nobody's.
    let rows = statement.query_map([runner], |row| {
        Ok((JobId(row.get(0)?), row.get(1).unwrap_or(0)))
    })?;
    Ok(rows.collect::<RowResult<_>>()?)
}

pub(crate) fn note_worker(tx: &Tx<'_>, job: JobId, attempt: u32, worker: u32) -> Result<()> {
    tx.run(JOB_WORKER_IF_HELD, params![job.0, attempt, worker])?;
    Ok(())
}

/// The runners that have not ended and are gone, as their locks tell in the folder `locks`. A missing
/// file proves nothing, but of a runner that never beats: of that there is nothing else.
pub(crate) fn gone(conn: &Connection, locks: &Path) -> Result<Vec<i64>> {
    let mut runners = alive(conn)?;
    runners.retain(|runner| match process_locks::look(locks, &runner.name) {
        Lock::Free => true,
        Lock::Missing => runner.beats() == Beats::Never,
        Lock::Held => false,
    });
    Ok(runners.into_iter().map(|runner| runner.id).collect())
}

/// A file that is younger may belong to a runner that is not in the database yet.
const STRAY_AFTER_MS: i64 = 60_000;
const NAME_CHARS: usize = 32;

/// Removes the lock files that no runner of the database is behind: of one that was killed before it was
/// in there, or of which somebody has taken over. How many.
pub(crate) fn remove_stray_locks(conn: &Connection, folder: &Path) -> Result<usize> {
    let alive = alive(conn)?;
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(0);
    };
    let mut removed = 0;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_str().and_then(|name| name.strip_suffix(".lock"));
        let is_ours = |name: &&str| {
            name.len() == NAME_CHARS && name.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let Some(name) = name.filter(is_ours) else {
            continue;
        };
        let is_known = alive.iter().any(|runner| runner.name == name);
        if !is_known && is_old_and_free(&entry.path()) {
            removed += usize::from(std::fs::remove_file(entry.path()).is_ok());
        }
    }
    Ok(removed)
}

fn is_old_and_free(path: &Path) -> bool {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path);
    let Ok(file) = opened else { return false };
    let is_old = file.metadata().is_ok_and(|found| {
        found.is_file() && Clock::default().now_ms() - found.mtime() * 1000 > STRAY_AFTER_MS
    });
    is_old && file.try_lock().is_ok()
}
