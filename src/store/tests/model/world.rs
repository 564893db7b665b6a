//! The file itself, in a folder of its own, and the store's operations on it.

use crate::clock::ManualClock;
use crate::model::part::NO_PARTS;
use std::collections::HashMap;
use std::time::Duration;

use rusqlite::{Connection, params};

use crate::Result;
use crate::clock::{Clock, timestamp};
use crate::model::event::{Event, EventFilter, EventId, EventKind};
use crate::model::id::JobId;
use crate::model::job::AttemptRef;
use crate::model::job::JobOptions;
use crate::model::job::NewJob;
use crate::model::job::When;
use crate::model::job::options::Priority;
use crate::model::job::update::JobUpdate;
use crate::model::limits::EnqueueLimits;
use crate::model::outcome;
use crate::model::outcome::Verdict;
use crate::model::state::State;
use crate::model::undone::Undone;
use crate::store::JOB_RULES;
use crate::store::jobs::claim::{ClaimFor, ClaimRequest, KindCapacity};
use crate::store::jobs::enqueue::Spawned;
use crate::store::jobs::fair_share::FairShares;
use crate::store::jobs::finish_attempt::{AttemptMeasures, ClaimToken, PrefetchAgain};
use crate::store::jobs::quota::QuotaLimits;
use crate::store::jobs::validate::{FamilyRules, ValidatedJob};
use crate::store::jobs::{
    cancel, claim, deadlines, enqueue, finish_attempt, remove, requeue, snooze, update,
};
use crate::store::read::events;
use crate::store::sqlite::names::Names;
use crate::store::sqlite::tx::Tx;
use crate::store::sqlite::{names, schema};
use crate::store::tests::model::action::{Action, Lost, Settling, Wanted};
use crate::store::tests::model::ops::{Delay, End, Kind};
use crate::store::tests::model::slots::{Fired, SCHEDULES};
use crate::store::tests::model::{hooks, settings, slots};
use crate::store::tests::sandbox::{SCHEMA, START_MS};
use crate::store::upkeep::prune::{PrunePass, Sweep};
use crate::store::upkeep::runners::{HeartbeatMode, Registration};
use crate::store::upkeep::schedules::ValidatedSchedule;
use crate::store::upkeep::{fire, promote, prune, runners, schedules, undo};

pub(super) struct World {
    pub(super) conn: Connection,
    names: Names,
    pub(super) clock: Clock,
    pub(super) hand: ManualClock,
    folder: tempfile::TempDir,
}

/// What an operation answered, and what it has chosen.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) said: String,
    pub(super) claimed: Vec<ClaimToken>,
    pub(super) fired: Vec<Fired>,
}

impl World {
    /// Three runners, numbered from 1, and the effects of the jobs as an application would keep them.
    pub(super) fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let conn = connect(&folder);
        conn.execute_batch(SCHEMA).unwrap();
        conn.execute(schema::SCHEMA_VERSION_SET, [schema::VERSION])
            .unwrap();
        conn.execute_batch(
            "CREATE TABLE effect (job INTEGER, attempt INTEGER, PRIMARY KEY (job, attempt))",
        )
        .unwrap();
        let hand = ManualClock::new(timestamp(START_MS));
        let mut world = World {
            conn,
            names: Names::default(),
            clock: Clock::from(&hand),
            hand,
            folder,
        };
        let registered = world.transaction(|tx| {
            for name in ["r1", "r2", "r3"] {
                runners::register(tx, &registration(name.to_owned()), &HashMap::new())?;
            }
            for queue in [0, 1] {
                tx.names.queue_id(tx.conn, &queue_name(queue))?;
            }
            for at in 0..SCHEDULES.len() {
                let job = NewJob::new(kind_name(Kind::A)).queue(queue_name(slots::QUEUE));
                let schedule = slots::schedule(at, job.priority(Priority::Low));
                let schedule = ValidatedSchedule::new(schedule, None, &EnqueueLimits::default())?;
                schedules::add(tx, &schedule)?;
            }
            Ok(())
        });
        registered.unwrap();
        world
    }

    pub(super) fn restart(&mut self) {
        self.conn = connect(&self.folder);
        self.names.forget();
    }

    /// One transaction, as the writer makes it.
    pub(super) fn transaction<T>(
        &mut self,
        body: impl FnOnce(&mut Tx<'_>) -> Result<T>,
    ) -> Result<T> {
        self.conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        let place = (&self.conn, &mut self.names);
        let mut tx = Tx::begin(place, &self.clock, (0, JOB_RULES), &mut None).unwrap();
        let finish = |tx: &mut Tx<'_>| tx.finish().and_then(|()| tx.write_numbers(0, 0));
        match body(&mut tx).and_then(|done| finish(&mut tx).map(|()| done)) {
            Ok(done) => {
                self.conn.execute_batch("COMMIT").unwrap();
                Ok(done)
            }
            Err(error) => {
                drop(tx);
                self.conn.execute_batch("ROLLBACK").unwrap();
                self.names.forget();
                Err(error)
            }
        }
    }
}

fn connect(folder: &tempfile::TempDir) -> Connection {
    let conn = Connection::open(folder.path().join("jobs.db")).unwrap();
    conn.set_prepared_statement_cache_capacity(256);
    conn.execute_batch(
        "PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY; PRAGMA foreign_keys = ON",
    )
    .unwrap();
    conn
}

fn registration(name: String) -> Registration {
    Registration {
        name,
        pid: 1,
        host: "here".to_owned(),
        workers: 3,
        kinds: Vec::new(),
        queues: None,
        heartbeat_mode: HeartbeatMode::Regular,
    }
}

pub(super) fn perform(tx: &mut Tx<'_>, action: &Action) -> Result<Reply> {
    let said = match action {
        Action::Nothing => String::new(),
        Action::Enqueue(wanted) => {
            let enqueued = enqueue::enqueue(tx, &checked(wanted, tx.now_ms)?)?;
            format!("{} {}", enqueued.id, enqueued.duplicate)
        }
        Action::Claim {
            runner,
            jobs,
            ahead,
        } => {
            return Ok(Reply {
                claimed: claim(tx, *runner, (*jobs, *ahead))?,
                ..Reply::default()
            });
        }
        Action::Settle(settling) => settle(tx, settling)?,
        Action::Unbegun(held, again) => {
            let again = if *again {
                PrefetchAgain::Yes
            } else {
                PrefetchAgain::Never
            };
            spelled(finish_attempt::return_unbegun(tx, held, again)?)
        }
        Action::Begin(held) => {
            runners::note_worker(tx, held.job, held.attempt, 1)?;
            String::new()
        }
        Action::Lose(lost) => lose(tx, *lost)?,
        Action::Cancel(job) => format!("{:?}", cancel::cancel(tx, JobId(*job))?),
        Action::Retry(job) => {
            requeue::requeue(tx, JobId(*job))?;
            String::new()
        }
        Action::UndoCancel(job) => undo_cancel(tx, *job)?,
        Action::Remove(job) => {
            while !remove::remove(tx, JobId(*job))?.is_gone {}
            String::new()
        }
        Action::Edit {
            job,
            priority,
            queue,
            delay,
        } => edit(tx, *job, (*priority, *queue), *delay)?,
        Action::Prune(state, seconds) => prune(tx, *state, (*seconds).into())?,
        Action::Turn {
            runner,
            settlings,
            lost,
            jobs,
        } => return turn(tx, (*runner, *jobs), settlings, *lost),
        setting => {
            settings::set(tx, setting)?;
            String::new()
        }
    };
    Ok(Reply {
        said,
        ..Reply::default()
    })
}

fn prune(tx: &mut Tx<'_>, state: u8, seconds: i64) -> Result<String> {
    let state = [State::Completed, State::Failed, State::Cancelled][usize::from(state) % 3];
    let before_ms = tx.now_ms - seconds * 1000;
    let kinds = names::kind_ids(tx.conn)?.into_iter();
    let mut removed = 0;
    let mut next = Some(PrunePass {
        sweeps: kinds
            .map(|kind| Sweep::new(kind, state, before_ms))
            .collect(),
        ..PrunePass::default()
    });
    while let Some(pass) = next {
        let stepped = prune::step(tx, &pass, prune::no_end())?;
        removed += stepped.removed;
        next = stepped.next;
    }
    Ok(removed.to_string())
}

fn edit(
    tx: &mut Tx<'_>,
    job: i64,
    (priority, queue): (Option<u8>, Option<u8>),
    delay: Option<Delay>,
) -> Result<String> {
    let change = JobUpdate::from(JobOptions {
        priority: priority.and_then(|code| Priority::from_code(code.into())),
        queue: queue.map(queue_name),
        when: delay.map(|delay| when(delay, tx.now_ms)),
        ..JobOptions::default()
    });
    update::edit(tx, JobId(job), &change, &EnqueueLimits::default())?;
    Ok(String::new())
}

fn spelled(state: Option<State>) -> String {
    state.map_or("dropped".to_owned(), |state| state.to_string())
}

pub(super) fn queue_name(queue: u8) -> String {
    format!("q{queue}")
}

pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::A => "a",
        Kind::B => "b",
        Kind::Group => "group",
    }
}

pub(super) fn seconds(seconds: impl Into<i64>) -> Duration {
    Duration::from_secs(seconds.into().max(0).unsigned_abs())
}

fn when(delay: Delay, now_ms: i64) -> When {
    match delay {
        Delay::Now => When::Now,
        Delay::In(after) => When::In(seconds(after)),
        Delay::At(after) => When::At(timestamp(now_ms + i64::from(after) * 1000)),
    }
}

fn checked(wanted: &Wanted, now_ms: i64) -> Result<ValidatedJob> {
    let new = &wanted.new;
    let ids = |ids: &[i64]| ids.iter().copied().map(JobId).collect::<Vec<_>>();
    let mut job = NewJob::new(kind_name(new.kind))
        .queue(queue_name(new.queue))
        .when(when(new.delay, now_ms))
        .after(ids(&wanted.after))
        .after_any(ids(&wanted.after_any))
        .on_duplicate(new.duplicate);
    job.options.priority = Priority::from_code(new.priority.into());
    job.options.child_policy = new.policy;
    job.options.finalize = Some(new.last_step);
    job.options.key = new.key.map(|key| format!("k{key}"));
    job.options.key_limit = new.places;
    job.options.unique_for = new.window.map(seconds);
    job.options.deadline = new.deadline.map(|deadline| when(deadline, now_ms));
    hooks::give(&mut job, new.hooks);
    if let Some(key) = new.unique {
        job = job.unique(format!("u{key}"));
    }
    job = match (wanted.parent, wanted.by) {
        (Some(parent), Some((by, attempt))) => {
            let job_id = JobId(by);
            job.spawned(
                JobId(parent),
                AttemptRef {
                    job: job_id,
                    attempt,
                },
            )
        }
        (Some(parent), None) => job.parent(JobId(parent)),
        _ => job,
    };
    ValidatedJob::new(job, &EnqueueLimits::default())
}

fn claim(tx: &mut Tx<'_>, runner: i64, (jobs, ahead): (usize, bool)) -> Result<Vec<ClaimToken>> {
    let kinds: Vec<KindCapacity> = names::kind_ids(tx.conn)?
        .into_iter()
        .map(KindCapacity::any)
        .collect();
    let request = ClaimRequest {
        runner,
        queues: None,
        kinds: &kinds,
        claim_for: if ahead {
            ClaimFor::Prefetch
        } else {
            ClaimFor::FreeWorker
        },
        jobs,
        aside: &NO_PARTS,
    };
    // A look sees beforehand what there is.
    tx.flush_counts()?;
    let seen = claim::has_claimable(tx.conn, &request, tx.now_ms)?;
    let claimed = claim::claim(tx, &request, &mut FairShares::default())?;
    assert!(seen || claimed.is_empty(), "it was not seen beforehand");
    assert!(
        ahead || jobs == 0 || seen != claimed.is_empty(),
        "it was seen and not claimed"
    );
    Ok(claimed.iter().map(|job| job.token(runner)).collect())
}

fn verdict(end: &End, now_ms: i64) -> Verdict {
    let error = "broken".to_owned();
    match *end {
        End::Done { .. } | End::Asked(_) => Verdict::Complete { result: None },
        End::Fail => Verdict::Fail { error },
        End::Again(after) => Verdict::Retry {
            error,
            after: seconds(after),
        },
        End::Snooze(delay) => Verdict::Snooze(match when(delay, now_ms) {
            When::Now => outcome::Snooze::For(Duration::ZERO),
            When::In(duration) => outcome::Snooze::For(duration),
            When::At(at) => outcome::Snooze::Until(at),
        }),
        End::Stop => Verdict::Cancel,
        End::Back => Verdict::GiveBack {
            why: "the runner was shut down".into(),
        },
        End::Recover => Verdict::Recover { error },
    }
}

/// Ends an attempt; one that has done its part leaves its effect in the same transaction.
fn settle(tx: &mut Tx<'_>, settling: &Settling) -> Result<String> {
    let Settling { held, end, .. } = settling;
    let jobs = settling
        .spawns
        .iter()
        .map(|wanted| Ok(checked(wanted, tx.now_ms)?.spawned()))
        .collect::<Result<_>>()?;
    let last_step = matches!(
        end,
        End::Done {
            last_step: true,
            ..
        }
    );
    let spawned = Spawned {
        jobs,
        is_parent: settling.founds,
        family: FamilyRules {
            finalize: last_step,
            ..FamilyRules::default()
        },
    };
    if let End::Asked(wait) = end
        && held.reference().is_held(tx)?
    {
        snooze::ask(tx, held.reference(), seconds(*wait))?;
    }
    let ended = (&verdict(end, tx.now_ms), &spawned);
    let state = finish_attempt::finish_with(tx, held, ended, &AttemptMeasures::default())?;
    if matches!(end, End::Done { .. }) && state.is_some() {
        let effect = params![held.job.0, held.attempt];
        tx.conn
            .execute("INSERT INTO effect (job, attempt) VALUES (?1, ?2)", effect)?;
    }
    Ok(spelled(state))
}

/// The latest cancel by hand, as its event has it.
fn undo_cancel(tx: &mut Tx<'_>, job: i64) -> Result<String> {
    let sql = "SELECT max(id) FROM jobq_log WHERE job_id = ?1 AND kind = 7
        AND data ->> 'was' IS NOT NULL AND data ->> 'of' IS NULL";
    let event = tx.conn.query_row(sql, [job], |row| row.get(0))?;
    let event = events::find(tx.conn, EventId(event))?;
    match undo::undo(tx, &event.expect("it is committed"))? {
        Undone::Cancel { state, others, .. } => Ok(format!("{state} {others}")),
        other => Ok(format!("{other:?}")),
    }
}

fn lose(tx: &mut Tx<'_>, lost: Lost) -> Result<String> {
    let Some(jobs) = runners::take_over(tx, lost.runner, lost.loss)? else {
        return Ok("it lives".to_owned());
    };
    let next: i64 = tx
        .conn
        .query_row("SELECT max(id) + 1 FROM jobq_runner", [], |row| row.get(0))?;
    let id = runners::register(tx, &registration(format!("r{next}")), &HashMap::new())?;
    Ok(format!("{jobs} by {id}"))
}

/// Which slots have got a job now, as the history tells.
fn fire(tx: &mut Tx<'_>) -> Result<Vec<Fired>> {
    let since = crate::EventId(tx.next_event_id().0 - 1);
    fire::fire_due(tx, 1000, QuotaLimits::default())?;
    tx.flush_feed()?;
    let filter = EventFilter {
        since,
        kinds: vec![EventKind::ScheduleFired],
        ..EventFilter::default()
    };
    let told = |event: &Event| {
        let data = event.data.as_ref().unwrap().as_bytes();
        let data: serde_json::Value = serde_json::from_slice(data).unwrap();
        let slot: jiff::Timestamp = data["slot"].as_str().unwrap().parse().unwrap();
        let is_it = |(name, ..): &(&str, _, _)| data["schedule"] == *name;
        Fired {
            schedule: SCHEDULES.iter().position(is_it).unwrap(),
            slot: slot.as_millisecond(),
            job: event.job.unwrap().0,
        }
    };
    Ok(events::read(tx.conn, &filter)?
        .events
        .iter()
        .map(told)
        .collect())
}

/// In the order of the dispatcher's turn.
fn turn(
    tx: &mut Tx<'_>,
    (runner, jobs): (i64, usize),
    settlings: &[Settling],
    lost: Option<Lost>,
) -> Result<Reply> {
    let mut said = Vec::new();
    tx.pending.runner_hooks = hooks::of_runner(runner);
    for settling in settlings {
        said.push(settle(tx, settling)?);
    }
    deadlines::cancel_late(tx, 1000)?;
    promote::promote_due(tx, 1000)?;
    let fired = fire(tx)?;
    if let Some(lost) = lost {
        said.push(lose(tx, lost)?);
    }
    tx.follow()?;
    // Other commands of this transaction are not the runner's.
    tx.pending.runner_hooks = None;
    let claimed = claim(tx, runner, (jobs, false))?;
    Ok(Reply {
        said: said.join(", "),
        claimed,
        fired,
    })
}
