//! The file itself, in a folder of its own, and the store's operations on it.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::super::sandbox::{SCHEMA, START_MS};
use super::action::{Action, Lost, Settling, Wanted};
use super::ops::{Cap, Delay, End, Kind};
use crate::Result;
use crate::clock::{Clock, timestamp};
use crate::job::{AttemptRef, JobId, NewJob, Priority, When};
use crate::limit::{Change, QueueLimits, Rate};
use crate::outcome::{self, Verdict};
use crate::state::State;
use crate::store::checked::{CheckedJob, FamilyRules, Limits};
use crate::store::claim::{self, ClaimFor, KindRoom, Wish};
use crate::store::due;
use crate::store::edit::{self, Edit};
use crate::store::names::{self, Names};
use crate::store::prune::{self, Pass, Sweep};
use crate::store::queues::{self, Which};
use crate::store::runners::{self, Beats, Registration};
use crate::store::settle::{self, AheadAgain, Held, Measured, Spawned};
use crate::store::shares::Shares;
use crate::store::tx::Tx;
use crate::store::{deadlines, ended, enqueue, places, requeue, upkeep};

pub(super) struct World {
    pub(super) conn: Connection,
    names: Names,
    pub(super) clock: Clock,
    folder: tempfile::TempDir,
}

/// What an operation answered: in words, and the jobs that it claimed.
pub(super) type Reply = (String, Vec<Held>);

impl World {
    /// Three runners, numbered from 1, and the effects of the jobs as an application would keep them.
    pub(super) fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let conn = connect(&folder);
        conn.execute_batch(SCHEMA).unwrap();
        conn.execute_batch(
            "CREATE TABLE effect (job INTEGER, attempt INTEGER, PRIMARY KEY (job, attempt))",
        )
        .unwrap();
        let mut world = World {
            conn,
            names: Names::default(),
            clock: Clock::manual(timestamp(START_MS)),
            folder,
        };
        let registered = world.transaction(|tx| {
            for name in ["r1", "r2", "r3"] {
                runners::register(tx, &registration(name.to_owned()))?;
            }
            for queue in [0, 1] {
                tx.names.queue_id(tx.conn, &queue_name(queue))?;
            }
            Ok(())
        });
        registered.unwrap();
        world
    }

    pub(super) fn restart(&mut self) {
        self.conn = connect(&self.folder);
        self.names = Names::default();
    }

    /// One transaction, as the writer makes it.
    pub(super) fn transaction<T>(
        &mut self,
        body: impl FnOnce(&mut Tx<'_>) -> Result<T>,
    ) -> Result<T> {
        self.conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        let now_ms = self.clock.now_ms();
        let mut tx = Tx::new(&self.conn, &mut self.names, now_ms).with_clock(&self.clock);
        match body(&mut tx).and_then(|done| tx.finish().map(|()| done)) {
            Ok(done) => {
                self.conn.execute_batch("COMMIT").unwrap();
                self.names.committed();
                Ok(done)
            }
            Err(error) => {
                self.conn.execute_batch("ROLLBACK").unwrap();
                self.names = Names::default();
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
        beats: Beats::Regularly,
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
            tx.follow_clock()?;
            return Ok((String::new(), claim(tx, *runner, (*jobs, *ahead))?));
        }
        Action::Settle(settling) => settle(tx, settling)?,
        Action::Unbegun(held, again) => {
            let again = if *again {
                AheadAgain::Yes
            } else {
                AheadAgain::Never
            };
            spelled(settle::return_unbegun(tx, held, again)?)
        }
        Action::Begin(held) => {
            runners::note_worker(tx, held.job, held.attempt, 1)?;
            String::new()
        }
        Action::Lose(lost) => lose(tx, *lost)?,
        Action::Cancel(job) => format!("{:?}", edit::cancel(tx, JobId(*job))?),
        Action::Retry(job) => {
            requeue::requeue(tx, JobId(*job))?;
            String::new()
        }
        Action::Remove(job) => {
            edit::remove(tx, JobId(*job))?;
            String::new()
        }
        Action::Edit {
            job,
            priority,
            queue,
            delay,
        } => edit(tx, *job, (*priority, *queue), *delay)?,
        Action::Prune(state, seconds) => prune(tx, *state, (*seconds).into())?,
        Action::Places(key, number) => {
            places::set_number(tx, &format!("k{key}"), *number)?;
            String::new()
        }
        Action::Limit(queue, cap) => {
            queues::set_limits(tx, &queue_name(*queue), &limits(*cap))?;
            String::new()
        }
        Action::Repair => {
            upkeep::recount(tx)?;
            String::new()
        }
        Action::SetPaused(queue, is_paused) => set_paused(tx, *queue, *is_paused)?,
        Action::Turn {
            runner,
            settlings,
            lost,
            jobs,
        } => return turn(tx, (*runner, *jobs), settlings, *lost),
    };
    Ok((said, Vec::new()))
}

fn prune(tx: &mut Tx<'_>, state: u8, seconds: i64) -> Result<String> {
    let state = [State::Completed, State::Failed, State::Cancelled][usize::from(state) % 3];
    let before_ms = tx.now_ms - seconds * 1000;
    let kinds = names::kind_ids(tx.conn)?.into_iter();
    let pass = Pass {
        sweeps: kinds
            .map(|kind| Sweep::new(kind, state, before_ms))
            .collect(),
        ..Pass::default()
    };
    Ok(prune::step(tx, &pass)?.removed.to_string())
}

fn edit(
    tx: &mut Tx<'_>,
    job: i64,
    (priority, queue): (Option<u8>, Option<u8>),
    delay: Option<Delay>,
) -> Result<String> {
    let change = Edit {
        priority: priority.and_then(|code| Priority::from_code(code.into())),
        queue: queue.map(queue_name),
        when: delay.map(|delay| when(delay, tx.now_ms)),
        ..Edit::default()
    };
    edit::edit(tx, JobId(job), &change)?;
    Ok(String::new())
}

fn set_paused(tx: &mut Tx<'_>, queue: u8, is_paused: bool) -> Result<String> {
    let queue = Which::Named(queue_name(queue));
    if is_paused {
        queues::pause(tx, &queue)?;
    } else {
        queues::resume(tx, &queue)?;
    }
    Ok(String::new())
}

fn limits(cap: Cap) -> QueueLimits {
    fn to<T>(limit: Option<T>) -> Change<T> {
        limit.map_or(Change::Clear, Change::Set)
    }
    let none = QueueLimits::default();
    match cap {
        Cap::Concurrency(jobs) => QueueLimits {
            concurrency: to(jobs),
            ..none
        },
        Cap::MaxSize(jobs) => QueueLimits {
            max_size: to(jobs.map(u64::from)),
            ..none
        },
        Cap::Rate(rate) => QueueLimits {
            rate: to(rate.map(|(jobs, span)| Rate {
                jobs,
                per: seconds(span),
            })),
            ..none
        },
    }
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

fn seconds(seconds: impl Into<i64>) -> Duration {
    Duration::from_secs(seconds.into().max(0).unsigned_abs())
}

fn when(delay: Delay, now_ms: i64) -> When {
    match delay {
        Delay::Now => When::Now,
        Delay::In(after) => When::In(seconds(after)),
        Delay::At(after) => When::At(timestamp(now_ms + i64::from(after) * 1000)),
    }
}

fn checked(wanted: &Wanted, now_ms: i64) -> Result<CheckedJob> {
    let new = &wanted.new;
    let ids = |ids: &[i64]| ids.iter().copied().map(JobId).collect::<Vec<_>>();
    let mut job = NewJob::new(kind_name(new.kind))
        .queue(queue_name(new.queue))
        .when(when(new.delay, now_ms))
        .after(ids(&wanted.after))
        .after_any(ids(&wanted.after_any))
        .on_duplicate(new.duplicate);
    job.priority = Priority::from_code(new.priority.into()).unwrap();
    job.child_policy = new.policy;
    job.final_step = new.last_step;
    job.key = new.key.map(|key| format!("k{key}"));
    job.places = new.places;
    job.unique_for = new.window.map(seconds);
    job.deadline = new
        .deadline
        .map(|after| timestamp(now_ms + i64::from(after) * 1000));
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
    CheckedJob::new(job, &Limits::default())
}

fn claim(tx: &mut Tx<'_>, runner: i64, (jobs, ahead): (usize, bool)) -> Result<Vec<Held>> {
    let kinds: Vec<KindRoom> = names::kind_ids(tx.conn)?
        .into_iter()
        .map(KindRoom::any)
        .collect();
    let wish = Wish {
        runner,
        queues: None,
        kinds: &kinds,
        claim_for: if ahead {
            ClaimFor::Ahead
        } else {
            ClaimFor::FreeWorker
        },
        jobs,
    };
    // A look sees beforehand what there is.
    tx.flush_counts()?;
    let seen = claim::anything(tx.conn, &wish, tx.now_ms)?;
    let claimed = claim::claim(tx, &wish, &mut Shares::default())?;
    assert!(seen || claimed.is_empty(), "it was not seen beforehand");
    assert!(
        ahead || jobs == 0 || seen != claimed.is_empty(),
        "it was seen and not claimed"
    );
    Ok(claimed.iter().map(|job| job.held(runner)).collect())
}

fn verdict(end: &End, now_ms: i64) -> Verdict {
    let error = "broken".to_owned();
    match *end {
        End::Done { .. } => Verdict::Complete { result: None },
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
            why: "the runner was shut down",
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
        founds_family: settling.founds,
        family: FamilyRules {
            final_step: last_step,
            ..FamilyRules::default()
        },
    };
    let ended = (&verdict(end, tx.now_ms), &spawned);
    let state = settle::settle_with(tx, held, ended, &Measured::default())?;
    if matches!(state, Some(State::Completed | State::Waiting)) {
        let effect = params![held.job.0, held.attempt];
        tx.conn
            .execute("INSERT INTO effect (job, attempt) VALUES (?1, ?2)", effect)?;
    }
    Ok(spelled(state))
}

fn lose(tx: &mut Tx<'_>, lost: Lost) -> Result<String> {
    let Some(jobs) = runners::take_over(tx, lost.runner, lost.loss)? else {
        return Ok("it lives".to_owned());
    };
    let next: i64 = tx
        .conn
        .query_row("SELECT max(id) + 1 FROM jobq_runner", [], |row| row.get(0))?;
    let id = runners::register(tx, &registration(format!("r{next}")))?;
    Ok(format!("{jobs} by {id}"))
}

/// In the order of the dispatcher's turn.
fn turn(
    tx: &mut Tx<'_>,
    (runner, jobs): (i64, usize),
    settlings: &[Settling],
    lost: Option<Lost>,
) -> Result<Reply> {
    tx.follow_clock()?;
    let mut said = Vec::new();
    for settling in settlings {
        said.push(settle(tx, settling)?);
    }
    deadlines::cancel_late(tx, 1000)?;
    due::promote_due(tx, 1000)?;
    if let Some(lost) = lost {
        said.push(lose(tx, lost)?);
    }
    ended::follow(tx)?;
    let claimed = claim(tx, runner, (jobs, false))?;
    Ok((said.join(", "), claimed))
}
