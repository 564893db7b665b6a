//! One turn of the dispatcher inside its transaction: everything it writes, in order.
//!
//! A turn may be run a second time where its first transaction was lost, so it changes nothing
//! outside the transaction; what follows from it happens after the COMMIT.

use std::sync::Arc;

use super::attempt::Attempt;
use crate::Result;
use crate::outcome::Verdict;
use crate::state::State;
use crate::store::claim::{self, ClaimedJob, Wish};
use crate::store::due::{self, ClockReading};
use crate::store::prune::{self, Pass, Stepped};
use crate::store::runners::{self, Loss};
use crate::store::settle::{self, AheadAgain, Held, Measured};
use crate::store::shares::Shares;
use crate::store::tx::Tx;

/// An attempt that has ended, with what becomes of its job.
pub(crate) struct Settlement {
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) verdict: Verdict,
    pub(crate) measured: Measured,
}

/// A runner that is lost, and what its workers had noted of their processes.
pub(crate) struct Lost {
    pub(crate) runner: i64,
    pub(crate) loss: Loss,
    pub(crate) marks: Vec<String>,
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
    pub(crate) runner: i64,
    pub(crate) settlements: &'a [Settlement],
    pub(crate) care: Care,
    /// Taken back from the channel.
    pub(crate) returns: &'a [Arc<Attempt>],
    /// Jobs that the file says this runner holds and it knows nothing of.
    pub(crate) strays: &'a [Held],
    /// Workers to be noted on their jobs.
    pub(crate) workers: &'a [(Arc<Attempt>, u32)],
    pub(crate) lost: &'a [Lost],
    pub(crate) beat: bool,
    pub(crate) stopping: bool,
    pub(crate) clock: Option<&'a ClockReading>,
    pub(crate) prune: Option<&'a Pass>,
    pub(crate) promote: usize,
    pub(crate) wishes: &'a [Wish<'a>],
    pub(crate) shares: &'a Shares,
    /// Kinds without a handler whose jobs are to fail.
    pub(crate) fail_kinds: Option<Wish<'a>>,
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
    /// False where another runner has taken this one for lost.
    pub(crate) alive: bool,
    /// The lost runners that this turn took over from, with the number of their jobs.
    pub(crate) taken_over: Vec<(i64, usize)>,
    /// Jobs that failed because they had taken down too many runners.
    pub(crate) failed_by_loss: u64,
    pub(crate) pruned: Stepped,
    pub(crate) failed_unknown: usize,
    pub(crate) next_due_ms: Option<i64>,
}

impl Turn<'_> {
    pub(crate) fn write(&self, tx: &mut Tx<'_>) -> Result<Written> {
        let mut written = Written {
            alive: true,
            ..Written::default()
        };
        // Before anything that waits for a duration is written: that is given by the new clock.
        if let Some(clock) = self.clock {
            aside(tx, "the waits cannot follow the clock", |tx| {
                due::follow_clock(tx, clock)
            })?;
        }
        for settlement in self.settlements {
            written.settled.push(self.settle(tx, settlement)?);
        }
        for attempt in self.returns {
            settle::return_unbegun(tx, &attempt.held, AheadAgain::Yes)?;
        }
        for held in self.strays {
            settle::return_unbegun(tx, held, AheadAgain::Yes)?;
        }
        for (attempt, worker) in self.workers {
            runners::note_worker(tx, attempt.job(), attempt.held.attempt, *worker)?;
        }
        if self.promote > 0 {
            due::promote_due(tx, self.promote)?;
        }
        self.take_over(tx, &mut written)?;
        written.alive = if self.beat {
            runners::beat(tx, self.runner)?
        } else {
            runners::is_alive(tx, self.runner)?
        };
        if self.stopping {
            runners::stopping(tx, self.runner)?;
        }
        if let Some(pass) = self.prune {
            let stepped = aside(tx, "old jobs cannot be removed", |tx| prune::step(tx, pass))?;
            written.pruned = stepped.unwrap_or_else(|| Stepped {
                removed: 0,
                next: pass.after_failure(),
            });
        }
        if written.alive {
            self.claim(tx, &mut written)?;
        }
        // What waits for a rate is found by the counters.
        tx.flush_counts()?;
        written.next_due_ms = due::next_moment(tx.conn, tx.now_ms)?;
        Ok(written)
    }

    fn take_over(&self, tx: &mut Tx<'_>, written: &mut Written) -> Result<()> {
        let failed_before = tx.counts.change(State::Failed);
        for lost in self.lost {
            let Some(jobs) = runners::take_over(tx, lost.runner, lost.loss)? else {
                continue;
            };
            if matches!(lost.loss, Loss::Hung { .. }) {
                // Only now is it sure that it hangs, and this transaction keeps it from beating.
                end_leftovers(&lost.marks);
            }
            written.taken_over.push((lost.runner, jobs));
        }
        let failed = tx.counts.change(State::Failed) - failed_before;
        written.failed_by_loss = u64::try_from(failed).unwrap_or(0);
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
            let kind = tx.names.kind_name(tx.conn, job.kind)?;
            let held = Held {
                job: job.id,
                attempt: job.attempt,
                queue: job.queue,
                runner: self.runner,
            };
            let verdict = Verdict::Fail {
                error: format!("no handler for kind '{kind}' on this runner"),
            };
            settle::settle(tx, &held, &verdict, &Measured::default())?;
            written.failed_unknown += 1;
        }
        Ok(())
    }

    fn settle(&self, tx: &mut Tx<'_>, settlement: &Settlement) -> Result<Option<State>> {
        let Settlement {
            attempt,
            verdict,
            measured,
        } = settlement;
        if self.care == Care::Usual {
            return settle::settle(tx, &attempt.held, verdict, measured);
        }
        let own = tx.savepoint(|tx| settle::settle(tx, &attempt.held, verdict, measured));
        let Err(error) = own else { return own };
        if tx.conn.is_autocommit() || error.is_full() || error.is_busy() {
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

/// Upkeep that fails is told and left: it must not keep reports and claims from being saved.
fn aside<T>(
    tx: &mut Tx<'_>,
    what: &str,
    body: impl FnOnce(&mut Tx<'_>) -> Result<T>,
) -> Result<Option<T>> {
    match tx.savepoint(body) {
        Ok(done) => Ok(Some(done)),
        Err(error) if tx.conn.is_autocommit() || error.is_full() || error.is_busy() => Err(error),
        Err(error) => {
            log::error!("{what}: {error}");
            Ok(None)
        }
    }
}

/// Ends what a lost runner's commands left running, before they run again.
pub(crate) fn end_leftovers(marks: &[String]) {
    for mark in marks {
        #[cfg(feature = "exec")]
        crate::handlers::exec::end_leftover(mark);
        #[cfg(not(feature = "exec"))]
        log::debug!("a lost runner had noted {mark}");
    }
}
