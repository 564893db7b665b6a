//! The cost of single operations of the store, for the benchmarks.

use std::thread;
use std::time::Duration;

use crate::model::event::EventKind;
use crate::model::flags::JobFlags;
use crate::model::id::JobId;
use crate::model::outcome::Verdict;
use crate::model::part::NO_PARTS;
use crate::model::queue::DEFAULT_QUEUE;
use crate::model::state::State;
use crate::store::Store;
use crate::store::jobs::claim::{ClaimFor, ClaimRequest, KindCapacity};
use crate::store::jobs::fair_share::FairShares;
use crate::store::jobs::finish_attempt::{AttemptMeasures, ClaimToken, PrefetchAgain};
use crate::store::jobs::{claim, claim_queues, finish_attempt, queues, requeue, take};
use crate::store::sqlite::connection::LONGEST_BUSY_WAIT;
use crate::store::sqlite::tx::Tx;
use crate::store::sqlite::writer::{RUNNER_CHECKPOINT_PAGES, Writer};
use crate::store::sqlite::{StatementStatus, params, tx};
use crate::store::upkeep::prune;
use crate::store::upkeep::prune::PrunePass;
use crate::{Error, Result, clock};

/// Everything that a claim runs between BEGIN and COMMIT, but for the counters.
const CLAIM: [&str; 6] = [
    queues::ALL_IS_PAUSED,
    claim_queues::QUEUES_CLAIMABLE,
    claim::JOBS_CLAIMABLE,
    take::JOBS_TO_CLAIM,
    take::JOBS_CLAIM_IF_PENDING,
    tx::feed::FEED_APPEND,
];

/// The id of a runner that is not in the file.
const RUNNER: i64 = i64::MAX;

/// Claims jobs and returns them; measures the claim in steps of SQLite's virtual machine and in time.
pub(crate) fn of_claim(store: &Store, kind: &'static str, jobs: usize) -> Result<(i64, Duration)> {
    store.write(move |tx| {
        let kinds = [KindCapacity::any(tx.names.kind_id(tx.conn, kind)?)];
        let request = ClaimRequest {
            runner: RUNNER,
            queues: None,
            kinds: &kinds,
            claim_for: ClaimFor::FreeWorker,
            jobs,
            aside: &NO_PARTS,
        };
        take_vm_steps(tx)?;
        let began = clock::instant();
        let claimed = claim::claim(tx, &request, &mut FairShares::default())?;
        tx.flush_feed()?;
        let took = began.elapsed();
        let vm_steps = take_vm_steps(tx)?;
        if claimed.len() != jobs {
            return Err(Error::wrong_state("there are not so many jobs to claim"));
        }
        for job in claimed {
            let held = job.token(RUNNER);
            finish_attempt::return_unbegun(tx, &held, PrefetchAgain::Yes)?;
        }
        Ok((vm_steps, took))
    })
}

fn take_vm_steps(tx: &Tx<'_>) -> Result<i64> {
    let mut steps = 0;
    for sql in CLAIM {
        let statement = tx.conn.prepare_cached(sql)?;
        steps += i64::from(statement.reset_status(StatementStatus::VmStep));
    }
    Ok(steps)
}

/// What [`of_changes`] does to each job: claim, finish, put back.
pub(crate) const CHANGES: usize = 3;

/// Takes pending jobs through a whole round of states, without reading their payloads; returns the time, with
/// COMMIT.
pub(crate) fn of_changes(store: &Store, kind: &'static str, jobs: &[JobId]) -> Result<Duration> {
    let jobs = jobs.to_vec();
    let began = clock::instant();
    store.write(move |tx| {
        let queue = tx.names.queue_id(tx.conn, DEFAULT_QUEUE)?;
        let kind = tx.names.kind_id(tx.conn, kind)?;
        for job in &jobs {
            change(tx, *job, (queue, kind))?;
        }
        Ok(())
    })?;
    Ok(began.elapsed())
}

fn change(tx: &mut Tx<'_>, job: JobId, (queue, kind): (i64, i64)) -> Result<()> {
    let claimed = tx
        .conn
        .prepare_cached(take::JOBS_CLAIM_IF_PENDING)?
        .execute(params![
            job.0,
            job.0,
            ClaimFor::FreeWorker.code(),
            RUNNER,
            tx.now_ms,
            tx.next_event_id().0
        ])?;
    if claimed != 1 {
        return Err(Error::wrong_state(format!("job {job} is not pending")));
    }
    let attempt = tx
        .conn
        .prepare_cached(finish_attempt::JOB_ATTEMPT)?
        .query_row([job.0], |row| row.get(0))?;
    tx.note(EventKind::Started, job, attempt)?;
    tx.counts.moved(queue, State::Pending, State::Running);
    let held = ClaimToken {
        job,
        attempt,
        queue,
        kind,
        runner: RUNNER,
        flags: JobFlags::NONE,
        parent: None,
        waited: None,
    };
    let verdict = Verdict::Complete { result: None };
    finish_attempt::finish(tx, &held, &verdict, &AttemptMeasures::default())?;
    requeue::requeue(tx, job)
}

/// Removes all final jobs and gives back their space, as `Queue::prune` does; returns how many there were, and how
/// long each transaction was open.
pub(crate) fn of_prune(store: &Store) -> Result<(u64, Vec<Duration>)> {
    let mut lease = store.writer.lease()?;
    let pruned = prune_all(&mut lease.writer, store.config.clock.now_ms() + 1);
    store.writer.give_back(lease);
    pruned
}

fn prune_all(writer: &mut Writer, now_ms: i64) -> Result<(u64, Vec<Duration>)> {
    let (conn, names) = writer.split()?;
    let all = [State::Completed, State::Failed, State::Cancelled]
        .map(|state| (state, Some(Duration::ZERO)));
    let mut pass = Some(PrunePass::over(conn, names, now_ms, &|_| all)?);
    let (mut removed, mut took) = (0, Vec::new());
    while let Some(next) = pass {
        let stepped = timed(writer, &mut took, |tx| {
            prune::step(tx, &next, prune::end_of_step())
        })?;
        removed += stepped.removed;
        pass = stepped.next;
    }
    while timed(writer, &mut took, |tx| {
        prune::give_back_space(tx.conn, prune::end_of_step())
    })? {}
    Ok((removed, took))
}

/// Notes how long the transaction is open, from after BEGIN until after COMMIT.
fn timed<T>(
    writer: &mut Writer,
    took: &mut Vec<Duration>,
    body: impl Fn(&mut Tx<'_>) -> Result<T>,
) -> Result<T> {
    let mut began = clock::instant();
    let done = writer.transact(&mut Vec::new(), &mut |tx| {
        began = clock::instant();
        body(tx)
    })?;
    took.push(began.elapsed());
    writer.tidy_log(RUNNER_CHECKPOINT_PAGES);
    thread::sleep(LONGEST_BUSY_WAIT);
    Ok(done)
}

/// Moves all of the log into the file.
pub(crate) fn checkpoint(store: &Store) -> Result<()> {
    let mut lease = store.writer.lease()?;
    let done = lease.writer.conn().and_then(|conn| {
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(Error::from)
    });
    store.writer.give_back(lease);
    done
}
