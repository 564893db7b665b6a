//! The runners in the file: registration, heartbeats, their end, and taking over from lost ones; and running jobs
//! that no runner in the file holds.

use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use serde_json::Value;

use crate::clock::Clock;
use crate::error::{Kind, Of};
use crate::model::event::EventKind;
use crate::model::id::JobId;
use crate::model::job::AttemptRef;
use crate::model::outcome::{Budget, Ending, Verdict, judge};
use crate::model::part::Part;
use crate::store::jobs::claim::ClaimFor;
use crate::store::jobs::finish_attempt;
use crate::store::jobs::finish_attempt::{AttemptMeasures, ClaimToken, PrefetchAgain};
use crate::store::jobs::take::budget;
use crate::store::sqlite::error::inserted;
use crate::store::sqlite::process_locks::Lock;
use crate::store::sqlite::statement::{Statements, statements, text};
use crate::store::sqlite::tx::{NewEvent, Tx};
use crate::store::sqlite::{Connection, Row, RowResult, params, process_locks};
use crate::{Error, Result};

statements! {
    hot RUNNER_SET_KINDS = "UPDATE jobq_runner SET kinds = ?2 WHERE id = ?1";
    hot RUNNER_KINDS = "SELECT kinds FROM jobq_runner WHERE id = ?1";
    hot RUNNER_INSERT = "INSERT INTO jobq_runner (name, pid, host, workers, kinds, queues, state, started_at, heartbeat_at, beat, boot)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?7, ?8, ?9)";
    /// No row changed: another runner has declared this one lost.
    hot RUNNER_HEARTBEAT_IF_ALIVE = "UPDATE jobq_runner SET beat = beat + 1, heartbeat_at = ?2 WHERE id = ?1 AND state <= 2";
    hot RUNNER_IS_ALIVE = "SELECT 1 FROM jobq_runner WHERE id = ?1 AND state <= 2";
    hot RUNNER_SET_SHORT_OF = "UPDATE jobq_runner SET short_of = nullif(?2, '') WHERE id = ?1";
    hot RUNNER_STOPPING_IF_ALIVE = "UPDATE jobq_runner SET state = 2 WHERE id = ?1 AND state = 1";
    hot RUNNER_STOPPED_IF_ALIVE = "UPDATE jobq_runner SET state = 3, ended_at = ?2 WHERE id = ?1 AND state <= 2";
    /// Its state when it was lost, and the boot id of the machine at its start.
    hot RUNNER_CIRCUMSTANCES = "SELECT state, boot FROM jobq_runner WHERE id = ?1";
    /// Its lock is free: the process is dead whatever its heartbeat is.
    hot RUNNER_LOSE_IF_ALIVE = "UPDATE jobq_runner SET state = 4, ended_at = ?2 WHERE id = ?1 AND state <= 2";
    /// It hangs, unless its heartbeat is no longer the one that was seen.
    hot RUNNER_LOSE_IF_HEARTBEAT = "UPDATE jobq_runner SET state = 4, ended_at = ?2 WHERE id = ?1 AND state <= 2 AND beat = ?3";
    /// The partial index holds only runners that have not ended.
    hot RUNNERS_ALIVE = "SELECT id, name, beat FROM jobq_runner WHERE state <= 2 ORDER BY id";
    hot JOBS_CLAIMED_BY = "SELECT id, queue_id, attempt, claim, retries, crashes, max_retries, backoff, retry_delay_ms,
            jitter, timeout_ms, cancel, links, parent_id, kind_id
        FROM jobq_job WHERE state = 3 AND runner_id = ?1";
    hot JOBS_TO_CANCEL = "SELECT id, attempt FROM jobq_job WHERE state = 3 AND runner_id = ?1 AND cancel = 1";
    /// A job that was claimed ahead has begun and runs for a while: from now on a crash counts against it.
    hot JOB_WORKER_IF_HELD = "UPDATE jobq_job SET worker = ?3, claim = 0 WHERE id = ?1 AND state = 3 AND attempt = ?2";
    cold RUNNERS_FORGET = "DELETE FROM jobq_runner WHERE state >= 3 AND ended_at < ?1";
    /// By the index of what runs, over all runners: as many rows as there are workers, and some ahead.
    hot JOBS_UNOWNED = "SELECT j.id FROM jobq_job j INDEXED BY jobq_job_running WHERE j.state = 3 AND NOT EXISTS
        (SELECT 1 FROM jobq_runner r WHERE r.id = j.runner_id AND r.state <= 2)";
    hot JOB_UNOWNED = "SELECT j.id, j.queue_id, j.attempt, j.claim, j.retries, j.crashes, j.max_retries, j.backoff,
            j.retry_delay_ms, j.jitter, j.timeout_ms, j.cancel, j.links, j.parent_id, j.kind_id, j.runner_id
        FROM jobq_job j WHERE j.id = ?1 AND j.state = 3 AND NOT EXISTS
        (SELECT 1 FROM jobq_runner r WHERE r.id = j.runner_id AND r.state <= 2)";
}

/// What a runner registers with.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) name: String,
    pub(crate) pid: u32,
    pub(crate) host: String,
    pub(crate) workers: usize,
    pub(crate) kinds: Vec<String>,
    pub(crate) queues: Option<Vec<String>>,
    pub(crate) heartbeat_mode: HeartbeatMode,
}

/// Whether a runner writes heartbeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeartbeatMode {
    Regular,
    /// Its one thread runs its handlers: only its lock shows that it lives, and it cannot be declared
    /// hung.
    None,
}

/// The state of a runner that was asked to stop.
const STOPPING: i64 = 2;

/// The value of the heartbeat column for a runner without heartbeats.
const NO_HEARTBEAT: i64 = -1;

/// `limits` are the limits of kinds in this runner.
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
        RunnerKinds::new(&registration.kinds, limits).json(),
        registration.queues.as_deref().map(json_array),
        tx.now_ms,
        match registration.heartbeat_mode {
            HeartbeatMode::Regular => 0,
            HeartbeatMode::None => NO_HEARTBEAT,
        },
        tx.boot
    ]);
    let id = inserted(tx.conn, id)?;
    tx.append(NewEvent {
        runner: Some(id),
        ..NewEvent::new(EventKind::RunnerStarted)
    })?;
    Ok(id)
}

/// Changes the handlers of a running runner.
pub(crate) fn set_kinds(
    tx: &mut Tx<'_>,
    runner: i64,
    kinds: &[String],
    limits: &HashMap<String, usize>,
) -> Result<()> {
    let kinds = RunnerKinds::new(kinds, limits);
    tx.run(RUNNER_SET_KINDS, params![runner, kinds.json()])?;
    Ok(())
}

fn json_array(names: &[String]) -> String {
    Value::from(names).to_string()
}

/// Sets the kinds whose handlers can run no job at the moment, with the reasons.
pub(crate) fn set_unavailable(
    tx: &mut Tx<'_>,
    runner: i64,
    reasons: &BTreeMap<String, String>,
) -> Result<()> {
    let json: Option<String> = tx.optional(RUNNER_KINDS, [runner], |row| row.get(0))?;
    let kinds = RunnerKinds {
        unavailable: reasons.clone(),
        ..read_kinds(&json.unwrap_or_default())
    };
    tx.run(RUNNER_SET_KINDS, params![runner, kinds.json()])?;
    Ok(())
}

/// The kinds of a runner, as its row has them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RunnerKinds {
    pub(crate) names: Vec<String>,
    pub(crate) limits: BTreeMap<String, u64>,
    /// Why the handler of a kind can run no job at the moment.
    pub(crate) unavailable: BTreeMap<String, String>,
}

impl RunnerKinds {
    fn new(names: &[String], limits: &HashMap<String, usize>) -> RunnerKinds {
        let limits = limits.iter();
        RunnerKinds {
            names: names.to_vec(),
            limits: limits
                .map(|(kind, at_once)| (kind.clone(), *at_once as u64))
                .collect(),
            unavailable: BTreeMap::new(),
        }
    }

    /// A kind of which there is more to say is an object: `{"kind":"resize","at_once":2}`.
    fn json(&self) -> String {
        let kinds = self.names.iter().map(|kind| {
            let at_once = self.limits.get(kind).map(|at_once| Value::from(*at_once));
            let unavailable = self.unavailable.get(kind).map(|why| why.as_str().into());
            let known = [("at_once", at_once), ("unavailable", unavailable)];
            let known: Vec<(&str, Value)> = known
                .into_iter()
                .filter_map(|(key, value)| Some((key, value?)))
                .collect();
            if known.is_empty() {
                return Value::from(kind.as_str());
            }
            let name = ("kind", Value::from(kind.as_str()));
            [name].into_iter().chain(known).collect()
        });
        kinds.collect::<Value>().to_string()
    }
}

/// Parses the kinds.
pub(crate) fn read_kinds(json: &str) -> RunnerKinds {
    let entries: Vec<Value> = serde_json::from_str(json).unwrap_or_default();
    let mut kinds = RunnerKinds::default();
    for entry in entries {
        let Some(kind) = entry.as_str().or(entry["kind"].as_str()) else {
            continue;
        };
        if let Some(at_once) = entry["at_once"].as_u64() {
            kinds.limits.insert(kind.to_owned(), at_once);
        }
        if let Some(why) = entry["unavailable"].as_str() {
            kinds.unavailable.insert(kind.to_owned(), why.to_owned());
        }
        kinds.names.push(kind.to_owned());
    }
    kinds
}

/// Writes a heartbeat; false if the runner was declared lost.
pub(crate) fn write_heartbeat(tx: &Tx<'_>, runner: i64) -> Result<bool> {
    Ok(tx.run(RUNNER_HEARTBEAT_IF_ALIVE, params![runner, tx.now_ms])? == 1)
}

/// Whether a runner that claims in this tick without a heartbeat still counts as alive: nobody would
/// ever take over jobs that a lost runner claims.
pub(crate) fn is_alive(tx: &Tx<'_>, runner: i64) -> Result<bool> {
    tx.has_row(RUNNER_IS_ALIVE, [runner])
}

/// Sets the resource that the system lacks for as many jobs at once as the runner has workers; an empty text
/// clears it.
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
    pub(crate) heartbeat: i64,
}

impl Alive {
    pub(crate) fn heartbeat_mode(&self) -> HeartbeatMode {
        match self.heartbeat {
            NO_HEARTBEAT => HeartbeatMode::None,
            _ => HeartbeatMode::Regular,
        }
    }
}

pub(crate) fn alive(conn: &Connection) -> Result<Vec<Alive>> {
    conn.all(RUNNERS_ALIVE, [], |row| {
        Ok(Alive {
            id: row.get(0)?,
            // Without a name there is no lock to check: only its beat counts.
            name: text(row.get_ref(1)?).unwrap_or_default(),
            heartbeat: row.get_ref(2)?.as_i64().unwrap_or(0),
        })
    })
}

/// Why a runner is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Its lock is free.
    Dead,
    /// Its heartbeat is still this one.
    Hung { heartbeat: i64 },
}

/// Takes over the jobs of a lost runner; none if another runner was faster or it lives after all.
pub(crate) fn take_over(tx: &mut Tx<'_>, runner: i64, loss: Loss) -> Result<Option<usize>> {
    let excuse = excuse(tx, runner)?;
    let lost = match loss {
        Loss::Dead => tx.run(RUNNER_LOSE_IF_ALIVE, params![runner, tx.now_ms])?,
        Loss::Hung { heartbeat } => tx.run(
            RUNNER_LOSE_IF_HEARTBEAT,
            params![runner, tx.now_ms, heartbeat],
        )?,
    };
    if lost == 0 {
        return Ok(None);
    }
    let claims = claims_of(tx.conn, runner)?;
    for job in &claims {
        let part = Part::Job(job.claim.job);
        if !tx.is_aside(part) {
            recover(tx, job, excuse).of(part)?;
        }
    }
    let why = if loss == Loss::Dead { "dead" } else { "hung" };
    let data = format!(r#"{{"why":"{why}","jobs":{}}}"#, claims.len());
    let event = NewEvent {
        runner: Some(runner),
        ..NewEvent::new(EventKind::RunnerLost)
    };
    tx.append(event.text(Some(data)))?;
    Ok(Some(claims.len()))
}

/// A claim of a runner, according to the file.
#[derive(Clone, Debug)]
pub(crate) struct RunningClaim {
    pub(crate) claim: ClaimToken,
    claimed_for: ClaimFor,
    budget: Budget,
    cancel: bool,
}

pub(crate) fn claims_of(conn: &Connection, runner: i64) -> Result<Vec<RunningClaim>> {
    conn.all(JOBS_CLAIMED_BY, [runner], |row| decode_claim(row, runner))
}

/// The jobs that a runner holds, begun or not.
pub(crate) fn attempts_of(conn: &Connection, runner: i64) -> Result<Vec<AttemptRef>> {
    let claims = claims_of(conn, runner)?.into_iter();
    Ok(claims.map(|job| job.claim.reference()).collect())
}

pub(super) fn decode_claim(row: &Row<'_>, runner: i64) -> RowResult<RunningClaim> {
    let claimed_for = if row.get_ref(3)?.as_i64().unwrap_or(0) == 0 {
        ClaimFor::FreeWorker
    } else {
        ClaimFor::Prefetch
    };
    Ok(RunningClaim {
        claim: ClaimToken {
            job: JobId(row.get(0)?),
            attempt: row.get(2).unwrap_or(0),
            queue: row.get(1).unwrap_or(0),
            kind: row.get(14).unwrap_or(0),
            runner,
            flags: row.get(12).unwrap_or_default(),
            parent: row.get_ref(13)?.as_i64().ok().map(JobId),
            waited: None,
        },
        claimed_for,
        budget: budget(row, 4),
        cancel: row.get_ref(11)?.as_i64().is_ok(),
    })
}

/// A reason for the loss of a runner that is not its jobs' fault: the crash does not count against
/// them.
///
/// It was stopping, and whoever asked it to stop did not wait (Docker waits for 10 s), or the machine
/// was shut down; or the machine was started again since, as after a power cut.
fn excuse(tx: &Tx<'_>, runner: i64) -> Result<Option<&'static str>> {
    let found = tx.optional(RUNNER_CIRCUMSTANCES, [runner], |row| {
        // A value of another type tells nothing.
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

pub(super) fn recover(
    tx: &mut Tx<'_>,
    job: &RunningClaim,
    excuse: Option<&'static str>,
) -> Result<()> {
    let verdict = match (job.cancel, job.claimed_for) {
        (true, _) => Verdict::Cancel,
        (false, ClaimFor::Prefetch) => {
            return finish_attempt::return_unbegun(tx, &job.claim, PrefetchAgain::Never)
                .map(|_| ());
        }
        (false, ClaimFor::FreeWorker | ClaimFor::NoWorker) => {
            judge(Ending::RunnerLost { excuse }, &job.budget, 0.0)
        }
    };
    finish_attempt::finish(tx, &job.claim, &verdict, &AttemptMeasures::default())?;
    Ok(())
}

/// The jobs of a runner that are to be cancelled.
pub(crate) fn to_cancel(conn: &Connection, runner: i64) -> Result<Vec<(JobId, u32)>> {
    let mut statement = conn.prepare_cached(JOBS_TO_CANCEL)?;
    // An attempt number of another type matches no attempt.
    let rows = statement.query_map([runner], |row| {
        Ok((JobId(row.get(0)?), row.get(1).unwrap_or(0)))
    })?;
    Ok(rows.collect::<RowResult<_>>()?)
}

pub(crate) fn note_worker(tx: &Tx<'_>, job: JobId, attempt: u32, worker: u32) -> Result<()> {
    tx.run(JOB_WORKER_IF_HELD, params![job.0, attempt, worker])?;
    Ok(())
}

/// The runners that have not ended and are dead, according to their locks in the folder `locks`. A
/// missing file proves nothing, unless the runner writes no heartbeats.
pub(crate) fn find_dead(conn: &Connection, locks: &Path) -> Result<Vec<i64>> {
    let mut runners = alive(conn)?;
    runners.retain(|runner| match process_locks::look(locks, &runner.name) {
        Lock::Free => true,
        Lock::Missing => runner.heartbeat_mode() == HeartbeatMode::None,
        Lock::Held => false,
    });
    Ok(runners.into_iter().map(|runner| runner.id).collect())
}

/// A file that is younger may belong to a runner that is not in the database yet.
const UNUSED_AFTER_MS: i64 = 60_000;
const NAME_CHARS: usize = 32;

/// Removes lock files without a runner in the database: of a runner that was killed before it was
/// registered, or whose jobs were taken over. Returns how many.
pub(crate) fn remove_unused_locks(conn: &Connection, folder: &Path) -> Result<usize> {
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
        found.is_file() && Clock::default().now_ms() - found.mtime() * 1000 > UNUSED_AFTER_MS
    });
    is_old && file.try_lock().is_ok()
}

/// Why the attempt does not count against the job.
const EXCUSE: &str = "its runner had set it aside, as its row was damaged";

pub(crate) fn find_unowned(conn: &Connection) -> Result<Vec<JobId>> {
    conn.all(JOBS_UNOWNED, [], |row| row.get(0).map(JobId))
}

pub(crate) fn is_unowned(conn: &Connection, job: JobId) -> Result<bool> {
    conn.has_row(JOB_UNOWNED, [job.0])
}

/// Ends the attempt of an unowned job; returns false if it is not one.
pub(crate) fn take_over_unowned(tx: &mut Tx<'_>, job: JobId) -> Result<bool> {
    let held = tx.optional(JOB_UNOWNED, [job.0], |row| {
        let runner = row.get_ref(15)?.as_i64().unwrap_or(0);
        decode_claim(row, runner)
    })?;
    let Some(held) = held else {
        return Ok(false);
    };
    recover(tx, &held, Some(EXCUSE))?;
    if is_unowned(tx.conn, job)? {
        let error = "it runs without a runner, and its row does not say which attempt that is";
        return Err(Error::new(Kind::Sqlite, error));
    }
    Ok(true)
}
