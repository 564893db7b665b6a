//! One turn of the dispatcher inside its transaction: everything it writes, in order.
//!
//! A turn may be run a second time where its first transaction was lost, so it changes nothing
//! outside the transaction; what follows from it happens after the COMMIT.

use std::path::Path;
use std::sync::Arc;

use super::attempt::{Attempt, Report};
use super::dispatcher::PROMOTE;
use super::handle::RunStats;
use crate::error::Kind;
use crate::job::{AttemptRef, JobId};
use crate::outcome::{Verdict, judge};
use crate::part::{Of, Part, Parts};
use crate::state::State;
use crate::store::claim::{self, ClaimedJob, Wish};
use crate::store::deadlines;
use crate::store::fire;
use crate::store::promote::{self, Schedules};
use crate::store::prune::{self, Pass, Stepped};
use crate::store::room::Bounds;
use crate::store::runners::{self, Loss};
use crate::store::settle::{self, AheadAgain, Held, Measured};
use crate::store::shares::Shares;
use crate::store::spawned::Spawned;
use crate::store::tx::Tx;
use crate::store::unowned;
use crate::{Error, Result};

/// An attempt that has ended, with what becomes of its job.
pub(crate) struct Settlement {
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) verdict: Verdict,
    pub(crate) measured: Measured,
    pub(crate) spawned: Option<Box<Spawned>>,
}

impl Settlement {
    /// What a report means; `chance` is a random number in `0.0..1.0`.
    pub(crate) fn of(report: Report, chance: f64) -> Settlement {
        let Report { attempt, .. } = report;
        Settlement {
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

/// How careful a turn is after one has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Care {
    Usual,
    /// Each settlement on its own; one that cannot be saved as it is fails its job.
    OneByOne,
}

/// What a turn has to write.
pub(crate) struct Turn<'a> {
    /// The path of the file.
    pub(crate) database: &'a Path,
    pub(crate) runner: i64,
    pub(crate) settlements: &'a [Settlement],
    pub(crate) care: Care,
    /// What is left alone.
    pub(crate) aside: &'a Parts,
    /// Taken back from the channel.
    pub(crate) returns: &'a [Arc<Attempt>],
    /// Jobs that the file says this runner holds and it knows nothing of.
    pub(crate) strays: &'a [Held],
    /// Workers to be noted on their jobs.
    pub(crate) workers: &'a [(Arc<Attempt>, u32)],
    pub(crate) lost: &'a [Lost],
    /// Jobs whose runners have ended without them.
    pub(crate) unowned: &'a [JobId],
    pub(crate) beat: bool,
    pub(crate) stopping: bool,
    /// What the system has too little of; empty: nothing any more.
    pub(crate) short_of: Option<&'a String>,
    pub(crate) prune: Option<&'a Pass>,
    pub(crate) promote: usize,
    pub(crate) schedules: Schedules,
    /// So many of those whose slot has come.
    pub(crate) fire: usize,
    /// What there must be room for.
    pub(crate) bounds: Bounds,
    pub(crate) wishes: &'a [Wish<'a>],
    pub(crate) shares: &'a Shares,
    /// Kinds without a handler whose jobs are to fail.
    pub(crate) fail_kinds: Option<Wish<'a>>,
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
        [completed, failed, cancelled - tx.called_off]
    }
}

/// What a turn has written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// For each settlement the state its job went to; none where the claim was lost.
    pub(crate) settled: Vec<Option<State>>,
    pub(crate) claimed: Vec<ClaimedJob>,
    /// As they are after these claims; none where nothing could be claimed.
    pub(crate) shares: Option<Shares>,
    /// Whether each wish was granted in full: then there may be more.
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

impl Written {
    /// What a turn with these settlements has done.
    pub(crate) fn stats(&self, settlements: &[Settlement]) -> RunStats {
        let is_retry = |(settlement, state): &(&Settlement, &Option<State>)| {
            **state == Some(State::Scheduled) && matches!(settlement.verdict, Verdict::Retry { .. })
        };
        let retried = settlements.iter().zip(&self.settled).filter(is_retry);
        let mut stats = RunStats {
            completed: self.ended.completed,
            failed: self.ended.failed + self.failed_unknown as u64,
            cancelled: self.ended.cancelled,
            retried: retried.count() as u64,
            ..RunStats::default()
        };
        // Completed by their handlers, in transactions of their own.
        for state in settlements
            .iter()
            .filter_map(|settlement| settlement.attempt.settled())
        {
            stats.count(state);
        }
        stats
    }
}

impl Turn<'_> {
    pub(crate) fn write(&self, tx: &mut Tx<'_>) -> Result<Written> {
        let mut written = Written {
            alive: true,
            ..Written::default()
        };
        tx.aside = self.aside.clone();
        let before = EndedJobs::so_far(tx);
        if !tx.is_aside(Part::Clock) {
            tx.clock_followed()?;
        }
        self.attempts(tx, &mut written)?;
        // Looked at in every turn: this one may have waited long for the lock.
        deadlines::cancel_late(tx, PROMOTE)?;
        if self.promote > 0 {
            promote::promote_due(tx, self.promote)?;
        }
        if self.fire > 0 && self.schedules == Schedules::Fire {
            fire::fire_due(tx, self.fire, self.bounds)?;
        }
        self.take_over(tx, &mut written)?;
        // What has ended releases others, which may be claimed at once.
        tx.follow()?;
        written.ended = EndedJobs::since(tx, before);
        written.alive = if self.beat {
            runners::beat(tx, self.runner)?
        } else {
            runners::is_alive(tx, self.runner)?
        };
        if let Some(short_of) = self.short_of {
            runners::set_short_of(tx, self.runner, short_of)?;
        }
        if self.stopping {
            runners::stopping(tx, self.runner)?;
        }
        if let Some(pass) = self.prune.filter(|_| !tx.is_aside(Part::Retention)) {
            // What cannot be removed holds up nothing else.
            let stepped = tx.savepoint(|tx| prune::step(tx, pass));
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
        written.late_left = deadlines::is_any_late(tx)?;
        if written.alive && !written.late_left {
            self.claim(tx, &mut written)?;
        }
        // What failed for want of a handler has followers, too.
        tx.follow()?;
        written.asked_to_stop = tx.asked_to_stop;
        written.has_moved = State::ALL.iter().any(|state| tx.counts.change(*state) != 0);
        // What waits for a rate is found by the counters.
        tx.flush_counts()?;
        written.saw_due = self.promote > 0 && self.fire > 0;
        written.next_due_ms =
            promote::next_moment(tx.conn, tx.now_ms, (self.schedules, self.aside))?;
        Ok(written)
    }

    /// What has become of this runner's own attempts.
    fn attempts(&self, tx: &mut Tx<'_>, written: &mut Written) -> Result<()> {
        for settlement in self.settlements {
            let part = Part::Job(settlement.attempt.job());
            written.settled.push(match tx.is_aside(part) {
                true => None,
                false => self.settle(tx, settlement).of(part)?,
            });
        }
        let returned = self.returns.iter().map(|attempt| &attempt.held);
        for held in returned.chain(self.strays) {
            let part = Part::Job(held.job);
            if !tx.is_aside(part) {
                settle::return_unbegun(tx, held, AheadAgain::Yes).of(part)?;
            }
        }
        for (attempt, worker) in self.workers {
            let part = Part::Job(attempt.job());
            if !tx.is_aside(part) {
                let number = attempt.held.attempt;
                runners::note_worker(tx, attempt.job(), number, *worker).of(part)?;
            }
        }
        Ok(())
    }

    fn take_over(&self, tx: &mut Tx<'_>, written: &mut Written) -> Result<()> {
        for lost in self.lost {
            let part = Part::Runner(lost.runner);
            if tx.is_aside(part) {
                continue;
            }
            let held = runners::attempts_of(tx.conn, lost.runner).of(part)?;
            let taken = runners::take_over(tx, lost.runner, lost.loss).of(part)?;
            let Some(jobs) = taken else {
                continue;
            };
            if matches!(lost.loss, Loss::Hung { .. }) {
                // Only now is it sure that it hangs, and this transaction keeps it from beating.
                end_leftovers(self.database, held, lost.started);
            }
            written.taken_over.push((lost.runner, jobs));
        }
        for job in self.unowned {
            let part = Part::Job(*job);
            if !tx.is_aside(part) && unowned::take_over(tx, *job).of(part)? {
                written.owned_again.push(*job);
            }
        }
        Ok(())
    }

    fn claim(&self, tx: &mut Tx<'_>, written: &mut Written) -> Result<()> {
        let mut shares = self.shares.clone();
        for wish in self.wishes.iter().filter(|wish| wish.jobs > 0) {
            let claimed = claim::claim(tx, wish, &mut shares)?;
            written.more |= claimed.len() == wish.jobs;
            written.claimed.extend(claimed);
        }
        written.shares = Some(shares);
        let Some(wish) = &self.fail_kinds else {
            return Ok(());
        };
        for job in claim::claim(tx, wish, &mut Shares::default())? {
            let part = Part::Job(job.id);
            let kind = tx.names.kind_name(tx.conn, job.kind).of(part)?;
            let held = job.held(self.runner);
            let verdict = Verdict::Fail {
                error: format!("no handler for kind '{kind}' on this runner"),
            };
            settle::settle(tx, &held, &verdict, &Measured::default()).of(part)?;
            written.failed_unknown += 1;
        }
        Ok(())
    }

    fn settle(&self, tx: &mut Tx<'_>, settlement: &Settlement) -> Result<Option<State>> {
        let Settlement {
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
        if self.care == Care::Usual && spawned.is_none() {
            return settle::settle_with(tx, &attempt.held, ended, measured);
        }
        let own = tx.savepoint(|tx| settle::settle_with(tx, &attempt.held, ended, measured));
        let Err(error) = own else { return own };
        let own_part = Part::Job(attempt.job());
        let again = self.care == Care::Usual && !is_refusal(&error)
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
        settle::settle(tx, &attempt.held, &verdict, &Measured::default())
    }
}

/// Whether it is what was spawned that could not be added, and would not be the next time either.
fn is_refusal(error: &Error) -> bool {
    use Kind::{Duplicate, Invalid, NotFound, WrongState};
    matches!(error.kind(), Duplicate | Invalid | NotFound | WrongState)
}

/// Ends what the commands of these attempts, of a lost runner, have left running, before they run again.
#[cfg(feature = "exec")]
pub(crate) fn end_leftovers(database: &Path, which: Vec<AttemptRef>, started: Option<u64>) {
    crate::handlers::exec::Attempts::of(database, which, started).end();
}

/// Without commands there is nothing.
#[cfg(not(feature = "exec"))]
pub(crate) fn end_leftovers(_: &Path, _: Vec<AttemptRef>, _: Option<u64>) {}
