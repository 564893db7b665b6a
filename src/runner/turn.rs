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
use crate::store::prune::{self, Old};
use crate::store::runners::{self, Loss};
use crate::store::schedule::{self, ClockReading};
use crate::store::settle::{self, AheadAgain, Held, Measured};
use crate::store::tx::Tx;

/// An attempt that has ended, with what becomes of its job.
pub(crate) struct Settlement {
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) verdict: Verdict,
    pub(crate) measured: Measured,
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
    pub(crate) lost: &'a [(i64, Loss)],
    pub(crate) beat: bool,
    pub(crate) stopping: bool,
    pub(crate) clock: Option<&'a ClockReading>,
    pub(crate) prune: &'a [Old],
    pub(crate) promote: usize,
    pub(crate) wishes: &'a [Wish<'a>],
    /// Kinds without a handler whose jobs are to fail.
    pub(crate) fail_kinds: Option<Wish<'a>>,
}

/// What a turn has written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// For each settlement the state its job went to; none where the claim was lost.
    pub(crate) settled: Vec<Option<State>>,
    pub(crate) claimed: Vec<ClaimedJob>,
    /// Whether each wish was granted in full: then there may be more.
    pub(crate) more: bool,
    /// False where another runner has taken this one for lost.
    pub(crate) alive: bool,
    /// The lost runners that this turn took over from, with the number of their jobs.
    pub(crate) taken_over: Vec<(i64, usize)>,
    pub(crate) pruned: usize,
    pub(crate) failed_unknown: usize,
    pub(crate) next_due_ms: Option<i64>,
}

impl Turn<'_> {
    pub(crate) fn write(&self, tx: &mut Tx<'_>) -> Result<Written> {
        let mut written = Written {
            alive: true,
            ..Written::default()
        };
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
        if let Some(clock) = self.clock {
            schedule::follow_clock(tx, clock)?;
        }
        if self.promote > 0 {
            schedule::promote_due(tx, self.promote)?;
        }
        for (runner, loss) in self.lost {
            written
                .taken_over
                .extend(runners::take_over(tx, *runner, *loss)?.map(|jobs| (*runner, jobs)));
        }
        written.alive = if self.beat {
            runners::beat(tx, self.runner)?
        } else {
            runners::is_alive(tx, self.runner)?
        };
        if self.stopping {
            runners::stopping(tx, self.runner)?;
        }
        for old in self.prune {
            written.pruned += prune::step(tx, *old)?;
            prune::forget_runners(tx, old.before_ms)?;
        }
        if written.alive {
            self.claim(tx, &mut written)?;
        }
        written.next_due_ms = schedule::next_due(tx.conn)?;
        Ok(written)
    }

    fn claim(&self, tx: &mut Tx<'_>, written: &mut Written) -> Result<()> {
        for wish in self.wishes.iter().filter(|wish| wish.jobs > 0) {
            let claimed = claim::claim(tx, wish)?;
            written.more |= claimed.len() == wish.jobs;
            written.claimed.extend(claimed);
        }
        let Some(wish) = &self.fail_kinds else {
            return Ok(());
        };
        for job in claim::claim(tx, wish)? {
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
