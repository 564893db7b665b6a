//! One tick of a runner inside its transaction: everything it writes, in order.
//!
//! A tick may be run a second time where its first transaction was lost, so it changes nothing
//! outside the transaction; what follows from it happens after the COMMIT.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Kind, Of};
use crate::model::id::JobId;
use crate::model::job::AttemptRef;
use crate::model::outcome::{Verdict, judge};
use crate::model::part::{Part, Parts};
use crate::model::state::State;
use crate::runner::attempt::{Attempt, Report};
use crate::runner::handle::RunStats;
use crate::store::{
    AttemptMeasures, ClaimRequest, ClaimToken, ClaimedJob, FairShares, Loss, PrefetchAgain,
    PrunePass, QuotaLimits, Schedules, Spawned, Stepped, Tx,
};
use crate::{Error, Result, store};

/// An attempt that has ended, with what becomes of its job.
pub(crate) struct FinishedAttempt {
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) verdict: Verdict,
    pub(crate) measured: AttemptMeasures,
    pub(crate) spawned: Option<Box<Spawned>>,
}

impl FinishedAttempt {
    /// What a report means; `chance` is a random number in `0.0..1.0`.
    pub(crate) fn of(report: Report, chance: f64) -> FinishedAttempt {
        let Report { attempt, .. } = report;
        FinishedAttempt {
            verdict: judge(report.ending, &attempt.budget, chance),
            measured: attempt.measured(report.worker, report.took),
            spawned: report.spawned,
            attempt,
        }
    }
}

/// A runner that is lost.
pub(crate) struct Lost {
    pub(crate) runner: i64,
    pub(crate) loss: Loss,
    /// When its process was started, if that is known: none of its commands was before.
    pub(crate) started: Option<u64>,
}

/// How finished attempts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grouping {
    Together,
    /// After a failure: each on its own; one that cannot be saved as it is fails its job.
    OneByOne,
}

/// Maximum number of due jobs that one tick promotes.
pub(crate) const PROMOTE: usize = 1000;

/// What a runner writes in one transaction. It is taken out of what is pending, and put back where the
/// transaction failed.
#[derive(Default)]
pub(crate) struct Tick {
    pub(crate) finished: Vec<FinishedAttempt>,
    /// Taken back from the channel.
    pub(crate) returns: Vec<Arc<Attempt>>,
    /// Claims that the file says this runner holds, and that are not in flight.
    pub(crate) unknown_claims: Vec<ClaimToken>,
    /// Workers to be noted on their jobs.
    pub(crate) workers: Vec<(Arc<Attempt>, u32)>,
    pub(crate) lost: Vec<Lost>,
    /// Jobs that run according to the file, and whose runners have ended without them.
    pub(crate) unowned: Vec<JobId>,
    pub(crate) prune: Option<PrunePass>,
    pub(crate) heartbeat: bool,
    pub(crate) stopping: bool,
    /// What the file is to say that this runner is short of; nothing of an empty text.
    pub(crate) short_of: Option<String>,
    /// Any transaction follows a step of the clock.
    pub(crate) clock_stepped: bool,
}

/// What a tick goes by.
pub(crate) struct TickContext<'a> {
    /// The path of the file.
    pub(crate) database: &'a Path,
    pub(crate) runner: i64,
    pub(crate) grouping: Grouping,
    /// What is left alone.
    pub(crate) aside: &'a Parts,
    /// Maximum number of due jobs to promote.
    pub(crate) promote: usize,
    pub(crate) schedules: Schedules,
    /// Maximum number of schedules to fire.
    pub(crate) fire: usize,
    pub(crate) quota: QuotaLimits,
    pub(crate) requests: &'a [ClaimRequest<'a>],
    pub(crate) shares: &'a FairShares,
    /// Kinds without a handler whose jobs are to fail.
    pub(crate) fail_kinds: Option<ClaimRequest<'a>>,
}

/// How many jobs have come to each end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EndedJobs {
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
}

impl EndedJobs {
    /// What a transaction has ended since it had ended `before` of them.
    fn since(tx: &Tx<'_>, before: [i64; 3]) -> EndedJobs {
        let [completed, failed, cancelled] = EndedJobs::so_far(tx);
        let more = |now: i64, before: i64| u64::try_from(now - before).unwrap_or(0);
        EndedJobs {
            completed: more(completed, before[0]),
            failed: more(failed, before[1]),
            cancelled: more(cancelled, before[2]),
        }
    }

    fn so_far(tx: &Tx<'_>) -> [i64; 3] {
        let [completed, failed, cancelled] = [State::Completed, State::Failed, State::Cancelled]
            .map(|state| tx.counts.change(state));
        [completed, failed, cancelled - tx.discarded]
    }
}

/// What a tick has written.
#[derive(Debug, Default)]
pub(crate) struct TickResult {
    /// For each settlement the state its job went to; none where the claim was lost.
    pub(crate) settled: Vec<Option<State>>,
    pub(crate) claimed: Vec<ClaimedJob>,
    /// As they are after these claims; none where nothing could be claimed.
    pub(crate) shares: Option<FairShares>,
    /// Whether each request was granted in full: then there may be more.
    pub(crate) more: bool,
    /// Jobs are late that this turn has not cancelled yet: nothing was claimed, or one of them might
    /// have been.
    pub(crate) late_left: bool,
    /// False where another runner has taken this one for lost.
    pub(crate) alive: bool,
    /// The lost runners that this turn took over from, with the number of their jobs.
    pub(crate) taken_over: Vec<(i64, usize)>,
    /// The jobs that this turn took over from runners that had ended before.
    pub(crate) owned_again: Vec<JobId>,
    /// The jobs that this turn has ended, by whatever rule.
    pub(crate) ended: EndedJobs,
    pub(crate) pruned: Stepped,
    pub(crate) failed_unknown: usize,
    /// Any job has changed its state, was added or was removed.
    pub(crate) has_moved: bool,
    /// Running attempts were asked to stop, perhaps some of this runner's.
    pub(crate) asked_to_stop: bool,
    pub(crate) next_due_ms: Option<i64>,
    /// What was due has been looked at: what still is did not move.
    pub(crate) saw_due: bool,
}

impl TickResult {
    /// What a turn with these settlements has done.
    pub(crate) fn stats(&self, finished: &[FinishedAttempt]) -> RunStats {
        let is_retry = |(settlement, state): &(&FinishedAttempt, &Option<State>)| {
            **state == Some(State::Scheduled) && matches!(settlement.verdict, Verdict::Retry { .. })
        };
        let retried = finished.iter().zip(&self.settled).filter(is_retry);
        let mut stats = RunStats {
            completed: self.ended.completed,
            failed: self.ended.failed + self.failed_unknown as u64,
            cancelled: self.ended.cancelled,
            retried: retried.count() as u64,
            ..RunStats::default()
        };
        // Completed by their handlers, in transactions of their own.
        for state in finished
            .iter()
            .filter_map(|settlement| settlement.attempt.settled())
        {
            stats.count(state);
        }
        stats
    }
}

impl Tick {
    pub(crate) fn of(finished: FinishedAttempt) -> Tick {
        Tick {
            finished: vec![finished],
            ..Tick::default()
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        let Tick {
            finished,
            returns,
            unknown_claims,
            workers,
            lost,
            unowned,
            prune,
            heartbeat,
            stopping,
            short_of,
            clock_stepped,
        } = self;
        finished.is_empty()
            && returns.is_empty()
            && unknown_claims.is_empty()
            && workers.is_empty()
            && lost.is_empty()
            && unowned.is_empty()
            && prune.is_none()
            && short_of.is_none()
            && !(*heartbeat || *stopping || *clock_stepped)
    }

    /// May run a second time where its first transaction was lost.
    pub(crate) fn write(&self, tx: &mut Tx<'_>, context: &TickContext<'_>) -> Result<TickResult> {
        let mut written = TickResult {
            alive: true,
            ..TickResult::default()
        };
        tx.aside = context.aside.clone();
        let before = EndedJobs::so_far(tx);
        if !tx.is_aside(Part::Clock) {
            tx.clock_followed()?;
        }
        self.attempts(tx, context, &mut written)?;
        // Looked at in every turn: this one may have waited long for the lock.
        store::cancel_late(tx, PROMOTE)?;
        if context.promote > 0 {
            store::promote_due(tx, context.promote)?;
        }
        if context.fire > 0 && context.schedules == Schedules::Fire {
            store::fire_schedules(tx, context.fire, context.quota)?;
        }
        self.take_over(tx, context, &mut written)?;
        // What has ended releases others, which may be claimed at once.
        tx.follow()?;
        written.ended = EndedJobs::since(tx, before);
        written.alive = if self.heartbeat {
            store::beat(tx, context.runner)?
        } else {
            store::is_runner_alive(tx, context.runner)?
        };
        if let Some(short_of) = &self.short_of {
            store::set_short_of(tx, context.runner, short_of)?;
        }
        if self.stopping {
            store::mark_stopping(tx, context.runner)?;
        }
        if let Some(pass) = self
            .prune
            .as_ref()
            .filter(|_| !tx.is_aside(Part::Retention))
        {
            // What cannot be removed holds up nothing else.
            let stepped = tx.savepoint(|tx| store::prune_step(tx, pass));
            written.pruned = match stepped {
                Err(error) if tx.conn.is_autocommit() || error.is_corrupt() => {
                    return Err(error.of(Part::Retention));
                }
                Err(error) if error.blames_data() => {
                    log::error!("old jobs cannot be removed: {error}");
                    Stepped {
                        removed: 0,
                        next: pass.after_failure(),
                    }
                }
                stepped => stepped?,
            };
        }
        // Those that are left are cancelled by the next turn, which follows at once.
        written.late_left = store::has_late(tx)?;
        if written.alive && !written.late_left {
            claim(tx, context, &mut written)?;
        }
        // What failed for want of a handler has followers, too.
        tx.follow()?;
        written.asked_to_stop = tx.asked_to_stop;
        written.has_moved = State::ALL.iter().any(|state| tx.counts.change(*state) != 0);
        // What waits for a rate is found by the counters.
        tx.flush_counts()?;
        written.saw_due = context.promote > 0 && context.fire > 0;
        written.next_due_ms =
            store::next_moment(tx.conn, tx.now_ms, (context.schedules, context.aside))?;
        Ok(written)
    }

    /// What has become of this runner's own attempts.
    fn attempts(
        &self,
        tx: &mut Tx<'_>,
        context: &TickContext<'_>,
        written: &mut TickResult,
    ) -> Result<()> {
        for settlement in &self.finished {
            let part = Part::Job(settlement.attempt.job());
            written.settled.push(match tx.is_aside(part) {
                true => None,
                false => finish(tx, settlement, context.grouping).of(part)?,
            });
        }
        let returned = self.returns.iter().map(|attempt| &attempt.held);
        for held in returned.chain(&self.unknown_claims) {
            let part = Part::Job(held.job);
            if !tx.is_aside(part) {
                store::return_unbegun(tx, held, PrefetchAgain::Yes).of(part)?;
            }
        }
        for (attempt, worker) in &self.workers {
            let part = Part::Job(attempt.job());
            if !tx.is_aside(part) {
                let number = attempt.held.attempt;
                store::note_worker(tx, attempt.job(), number, *worker).of(part)?;
            }
        }
        Ok(())
    }

    fn take_over(
        &self,
        tx: &mut Tx<'_>,
        context: &TickContext<'_>,
        written: &mut TickResult,
    ) -> Result<()> {
        for lost in &self.lost {
            let part = Part::Runner(lost.runner);
            if tx.is_aside(part) {
                continue;
            }
            let held = store::attempts_of_runner(tx.conn, lost.runner).of(part)?;
            let taken = store::take_over(tx, lost.runner, lost.loss).of(part)?;
            let Some(jobs) = taken else {
                continue;
            };
            if matches!(lost.loss, Loss::Hung { .. }) {
                // Only now is it sure that it hangs, and this transaction keeps it from beating.
                end_leftovers(context.database, held, lost.started);
            }
            written.taken_over.push((lost.runner, jobs));
        }
        for job in &self.unowned {
            let part = Part::Job(*job);
            if !tx.is_aside(part) && store::take_over_unowned(tx, *job).of(part)? {
                written.owned_again.push(*job);
            }
        }
        Ok(())
    }
}

fn claim(tx: &mut Tx<'_>, context: &TickContext<'_>, written: &mut TickResult) -> Result<()> {
    let mut shares = context.shares.clone();
    for request in context.requests.iter().filter(|request| request.jobs > 0) {
        let claimed = store::claim(tx, request, &mut shares)?;
        written.more |= claimed.len() == request.jobs;
        written.claimed.extend(claimed);
    }
    written.shares = Some(shares);
    let Some(request) = &context.fail_kinds else {
        return Ok(());
    };
    for job in store::claim(tx, request, &mut FairShares::default())? {
        let part = Part::Job(job.id);
        let kind = tx.names.kind_name(tx.conn, job.kind).of(part)?;
        let held = job.held(context.runner);
        let verdict = Verdict::Fail {
            error: format!("no handler for kind '{kind}' on this runner"),
        };
        store::finish_attempt(tx, &held, &verdict, &AttemptMeasures::default()).of(part)?;
        written.failed_unknown += 1;
    }
    Ok(())
}

fn finish(
    tx: &mut Tx<'_>,
    settlement: &FinishedAttempt,
    grouping: Grouping,
) -> Result<Option<State>> {
    let FinishedAttempt {
        attempt,
        verdict,
        measured,
        spawned,
    } = settlement;
    // Given up while its handler was at it.
    if let Some(state) = attempt.settled() {
        return Ok(Some(state));
    }
    let nothing = Spawned::default();
    let ended = (verdict, spawned.as_deref().unwrap_or(&nothing));
    // What is spawned may be refused, and that is nobody else's trouble.
    if grouping == Grouping::Together && spawned.is_none() {
        return store::finish_attempt_with(tx, &attempt.held, ended, measured);
    }
    let own = tx.savepoint(|tx| store::finish_attempt_with(tx, &attempt.held, ended, measured));
    let Err(error) = own else { return own };
    let own_part = Part::Job(attempt.job());
    let again = grouping == Grouping::Together && !is_refusal(&error)
        || error.part().is_some_and(|part| part != own_part);
    if tx.conn.is_autocommit() || error.is_disk_full() || error.is_busy() || again {
        return Err(error);
    }
    log::error!(
        "what became of job {} cannot be saved: {error}",
        attempt.job()
    );
    let verdict = Verdict::Fail {
        error: format!("its outcome could not be saved: {error}"),
    };
    store::finish_attempt(tx, &attempt.held, &verdict, &AttemptMeasures::default())
}

/// Whether it is what was spawned that could not be added, and would not be the next time either.
fn is_refusal(error: &Error) -> bool {
    use Kind::{Duplicate, Invalid, NotFound, WrongState};
    matches!(error.kind(), Duplicate | Invalid | NotFound | WrongState)
}

/// Ends what the commands of these attempts, of a lost runner, have left running, before they run again.
#[cfg(feature = "exec")]
pub(crate) fn end_leftovers(database: &Path, which: Vec<AttemptRef>, started: Option<u64>) {
    crate::runner::leftovers::Attempts::of(database, which, started).end();
}

/// Without commands there is nothing.
#[cfg(not(feature = "exec"))]
pub(crate) fn end_leftovers(_: &Path, _: Vec<AttemptRef>, _: Option<u64>) {}
