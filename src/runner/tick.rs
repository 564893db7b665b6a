//! One tick of a runner inside its transaction: everything it writes, in order.
//!
//! A tick may run a second time after its first transaction was lost, so it changes nothing outside the
//! transaction; its consequences in memory follow after the COMMIT.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Kind, Of};
use crate::model::id::JobId;
use crate::model::job::AttemptRef;
use crate::model::outcome::{Verdict, judge};
use crate::model::part::{Part, Parts};
use crate::model::runner::RunStats;
use crate::model::runner_hook::RunnerHooks;
use crate::model::state::State;
use crate::runner::attempt::{Attempt, Report};
use crate::store::{
    AttemptMeasures, ClaimRequest, ClaimToken, ClaimedJob, FairShares, Loss, PrefetchAgain,
    PrunePass, QuotaLimits, Schedules, Spawned, Stepped, Tx,
};
use crate::{Error, Result, store};

/// An attempt that has ended, with the verdict on its job.
pub(crate) struct FinishedAttempt {
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) verdict: Verdict,
    pub(crate) measured: AttemptMeasures,
    pub(crate) spawned: Option<Box<Spawned>>,
}

impl FinishedAttempt {
    /// Judges a report; `chance` is a random number in `0.0..1.0`.
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
    /// When its process was started, if known: none of its commands is older.
    pub(crate) started: Option<u64>,
}

/// How finished attempts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grouping {
    Together,
    /// After a failure: each in its own savepoint. An attempt whose outcome cannot be saved fails its
    /// job.
    OneByOne,
}

/// Maximum number of due jobs that one tick promotes.
const PROMOTE: usize = 1000;
/// Maximum number of schedules that one tick fires.
const FIRE: usize = 100;
/// Maximum number of reports that one tick writes.
pub(crate) const REPORTS: usize = 4096;

/// What a runner writes in one transaction. It is taken out of the pending work, and put back if the
/// transaction fails.
#[derive(Default)]
pub(crate) struct Tick {
    pub(crate) finished: Vec<FinishedAttempt>,
    /// Attempts taken back from the channel.
    pub(crate) returns: Vec<Arc<Attempt>>,
    /// Claims of this runner, according to the file, that are not in flight.
    pub(crate) unknown_claims: Vec<ClaimToken>,
    /// Workers to be recorded with their jobs.
    pub(crate) workers: Vec<(Arc<Attempt>, u32)>,
    pub(crate) lost: Vec<Lost>,
    /// Jobs that run according to the file although their runners have ended.
    pub(crate) unowned: Vec<JobId>,
    pub(crate) prune: Option<PrunePass>,
    pub(crate) heartbeat: bool,
    pub(crate) stopping: bool,
    /// The resource that this runner lacks, for its row; an empty text clears it.
    pub(crate) short_of: Option<String>,
    /// The kinds whose handlers can run no job at the moment, for the runner's row.
    pub(crate) unavailable: Option<BTreeMap<String, String>>,
    /// Opens the transaction, which then follows the step of the clock.
    pub(crate) clock_stepped: bool,
}

/// The conditions of a tick.
pub(crate) struct TickContext<'a> {
    /// The path of the file.
    pub(crate) database: &'a Path,
    pub(crate) runner: i64,
    pub(crate) grouping: Grouping,
    /// Parts of the file that are left alone.
    pub(crate) aside: &'a Parts,
    /// Whether due jobs are promoted and due schedules fired.
    pub(crate) is_due: bool,
    pub(crate) schedules: Schedules,
    pub(crate) quota: QuotaLimits,
    pub(crate) hooks: &'a RunnerHooks,
    pub(crate) requests: &'a [ClaimRequest<'a>],
    pub(crate) shares: &'a FairShares,
    /// Kinds without a handler whose jobs are to fail.
    pub(crate) fail_kinds: Option<ClaimRequest<'a>>,
}

/// How many jobs have ended, by final state.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EndedJobs {
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
}

impl EndedJobs {
    /// Jobs that the transaction has ended since the counts were `before`.
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
    /// For each finished attempt the state of its job; none if the claim was lost.
    pub(crate) states: Vec<Option<State>>,
    pub(crate) claimed: Vec<ClaimedJob>,
    /// The shares after these claims; none if nothing could be claimed.
    pub(crate) shares: Option<FairShares>,
    /// Whether a request was granted in full: then there may be more.
    pub(crate) more: bool,
    /// Jobs are past their deadlines that this tick has not cancelled yet: nothing was claimed, as one
    /// of them might have been.
    pub(crate) late_left: bool,
    /// False if another runner has declared this one lost.
    pub(crate) alive: bool,
    /// The lost runners that this tick took over from, with their numbers of jobs.
    pub(crate) taken_over: Vec<(i64, usize)>,
    /// The jobs that this tick took over from runners that had ended before.
    pub(crate) owned_again: Vec<JobId>,
    /// The jobs that this tick has ended, by any rule.
    pub(crate) ended: EndedJobs,
    pub(crate) pruned: Stepped,
    pub(crate) failed_unknown: usize,
    /// Any job has changed its state, was added or was removed.
    pub(crate) has_moved: bool,
    /// Running attempts were asked to stop; some may be this runner's.
    pub(crate) asked_to_stop: bool,
    pub(crate) next_due_ms: Option<i64>,
    /// Everything due was looked at: what is still due did not move.
    pub(crate) saw_due: bool,
}

impl TickResult {
    /// The statistics of a tick with these finished attempts.
    pub(crate) fn stats(&self, finished: &[FinishedAttempt]) -> RunStats {
        let is_retry = |(finished, state): &(&FinishedAttempt, &Option<State>)| {
            **state == Some(State::Scheduled) && matches!(finished.verdict, Verdict::Retry { .. })
        };
        let retried = finished.iter().zip(&self.states).filter(is_retry);
        let mut stats = RunStats {
            completed: self.ended.completed,
            failed: self.ended.failed + self.failed_unknown as u64,
            cancelled: self.ended.cancelled,
            retried: retried.count() as u64,
            ..RunStats::default()
        };
        // Jobs completed by their handlers, in transactions of their own.
        for state in finished
            .iter()
            .filter_map(|finished| finished.attempt.finished())
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
            unavailable,
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
            && unavailable.is_none()
            && !(*heartbeat || *stopping || *clock_stepped)
    }

    /// May run a second time if its first transaction was lost.
    pub(crate) fn write(&self, tx: &mut Tx<'_>, context: &TickContext<'_>) -> Result<TickResult> {
        let mut written = TickResult {
            alive: true,
            ..TickResult::default()
        };
        tx.aside = context.aside.clone();
        tx.pending.runner_hooks.clone_from(context.hooks);
        tx.is_one_by_one = context.grouping == Grouping::OneByOne;
        let before = EndedJobs::so_far(tx);
        if !tx.is_aside(Part::Clock) {
            tx.clock_followed()?;
        }
        self.attempts(tx, context, &mut written)?;
        // Checked in every tick: this one may have waited long for the lock.
        store::cancel_late(tx, PROMOTE)?;
        if context.is_due {
            store::promote_due(tx, PROMOTE)?;
            if context.schedules == Schedules::Fire {
                store::fire_schedules(tx, FIRE, context.quota)?;
            }
        }
        self.take_over(tx, context, &mut written)?;
        // Jobs that ended release others, which may be claimed at once.
        tx.follow()?;
        written.ended = EndedJobs::since(tx, before);
        written.alive = if self.heartbeat {
            store::write_heartbeat(tx, context.runner)?
        } else {
            store::is_runner_alive(tx, context.runner)?
        };
        if let Some(short_of) = &self.short_of {
            store::set_short_of(tx, context.runner, short_of)?;
        }
        if let Some(reasons) = &self.unavailable {
            store::set_unavailable_kinds(tx, context.runner, reasons)?;
        }
        if self.stopping {
            store::mark_stopping(tx, context.runner)?;
        }
        self.prune(tx, &mut written)?;
        // The rest is cancelled by the next tick, which follows at once.
        written.late_left = store::has_late(tx)?;
        if written.alive && !written.late_left {
            claim(tx, context, &mut written)?;
        }
        // Jobs that failed for want of a handler have dependents, too.
        tx.follow()?;
        written.asked_to_stop = tx.asked_to_stop;
        written.has_moved = State::ALL.iter().any(|state| tx.counts.change(*state) != 0);
        // The search for jobs that wait for a rate uses the counters.
        tx.flush_counts()?;
        written.saw_due = context.is_due;
        written.next_due_ms =
            store::next_moment(tx.conn, tx.now_ms, (context.schedules, context.aside))?;
        Ok(written)
    }

    /// Removes old jobs. Jobs that cannot be removed hold up nothing else.
    fn prune(&self, tx: &mut Tx<'_>, written: &mut TickResult) -> Result<()> {
        let due = self.prune.as_ref();
        let Some(pass) = due.filter(|_| !tx.is_aside(Part::Retention)) else {
            return Ok(());
        };
        let stepped = tx.savepoint(|tx| store::prune_step(tx, pass, store::end_of_prune_step()));
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
        Ok(())
    }

    /// Writes what became of this runner's own attempts.
    fn attempts(
        &self,
        tx: &mut Tx<'_>,
        context: &TickContext<'_>,
        written: &mut TickResult,
    ) -> Result<()> {
        for finished in &self.finished {
            let part = Part::Job(finished.attempt.job());
            written.states.push(match tx.is_aside(part) {
                true => None,
                false => finish(tx, finished, context.grouping).of(part)?,
            });
        }
        let returned = self.returns.iter().map(|attempt| &attempt.claim);
        for claim in returned.chain(&self.unknown_claims) {
            let part = Part::Job(claim.job);
            if !tx.is_aside(part) {
                store::return_unbegun(tx, claim, PrefetchAgain::Yes).of(part)?;
            }
        }
        for (attempt, worker) in &self.workers {
            let part = Part::Job(attempt.job());
            if !tx.is_aside(part) {
                let number = attempt.claim.attempt;
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
            let attempts = store::attempts_of_runner(tx.conn, lost.runner).of(part)?;
            let taken = store::take_over(tx, lost.runner, lost.loss).of(part)?;
            let Some(jobs) = taken else {
                continue;
            };
            if matches!(lost.loss, Loss::Hung { .. }) {
                // Only now is it certain that the runner hangs; this transaction keeps it from writing
                // a heartbeat.
                end_leftovers(context.database, (lost.runner, attempts), lost.started);
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
        let token = job.token(context.runner);
        let verdict = Verdict::Fail {
            error: format!("no handler for kind '{kind}' on this runner"),
        };
        store::finish_attempt(tx, &token, &verdict, &AttemptMeasures::default()).of(part)?;
        written.failed_unknown += 1;
    }
    Ok(())
}

fn finish(
    tx: &mut Tx<'_>,
    finished: &FinishedAttempt,
    grouping: Grouping,
) -> Result<Option<State>> {
    let FinishedAttempt {
        attempt,
        verdict,
        measured,
        spawned,
    } = finished;
    // The handler completed the job after its attempt was abandoned.
    if let Some(state) = attempt.finished() {
        return Ok(Some(state));
    }
    let nothing = Spawned::default();
    let ended = (verdict, spawned.as_deref().unwrap_or(&nothing));
    // A spawned job may be refused, which must not affect other attempts.
    if grouping == Grouping::Together && spawned.is_none() {
        return store::finish_attempt_with(tx, &attempt.claim, ended, measured);
    }
    let own = tx.savepoint(|tx| store::finish_attempt_with(tx, &attempt.claim, ended, measured));
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
    store::finish_attempt(tx, &attempt.claim, &verdict, &AttemptMeasures::default())
}

/// Whether a spawned job was refused for a reason that a second try would not change.
fn is_refusal(error: &Error) -> bool {
    use Kind::{Duplicate, Invalid, NotFound, WrongState};
    matches!(error.kind(), Duplicate | Invalid | NotFound | WrongState)
}

/// Ends the processes that commands of these attempts of a lost runner and its persistent commands have left,
/// before the jobs run again.
#[cfg(feature = "exec")]
pub(crate) fn end_leftovers(database: &Path, lost: (i64, Vec<AttemptRef>), started: Option<u64>) {
    crate::runner::leftovers::Attempts::of(database, lost, started).end();
}

/// Without commands there are no leftovers.
#[cfg(not(feature = "exec"))]
pub(crate) fn end_leftovers(_: &Path, _: (i64, Vec<AttemptRef>), _: Option<u64>) {}
