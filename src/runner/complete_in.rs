//! Completing a job together with what its handler writes to the same file.

use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::model::outcome::{CancelReason, Verdict};
use crate::model::state::State;
use crate::queue::Transaction;
use crate::runner::context::{Completing, Context};
use crate::runner::handler::{Failure, result_json};
use crate::store::{AttemptMeasures, Tx};
use crate::{Error, clock, store};

/// Why nothing was committed.
enum Refused {
    /// The attempt no longer holds its job.
    ClaimLost,
    Failed(Failure),
}

impl Context {
    /// Completes the job in the same transaction in which `body` writes its effect to the application's
    /// own tables in the same file: both are committed, or neither is. However often the job is tried
    /// and whatever crashes, the effect happens exactly once.
    ///
    /// What `body` returns is the job's result. Return it from the handler as it is:
    ///
    /// ```
    /// use jobq::{Context, Failure, Job, Queue, Until};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Payment { order: i64, cents: i64 }
    ///
    /// impl Job for Payment {
    ///     const KIND: &'static str = "payment";
    ///     type Output = i64; // the number of the booking
    /// }
    ///
    /// fn book(payment: Payment, ctx: &Context) -> Result<i64, Failure> {
    ///     // Whatever takes long comes before this: while it runs, nobody else writes to the file.
    ///     ctx.complete_in(|tx| {
    ///         let values = [payment.order, payment.cents];
    ///         let conn = tx.connection();
    ///         conn.execute("INSERT INTO booking (order_id, cents) VALUES (?1, ?2)", values)?;
    ///         Ok(conn.last_insert_rowid())
    ///     })
    /// }
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let queue = Queue::open(folder.path().join("app.db"))?;
    /// # let table = "CREATE TABLE booking (id INTEGER PRIMARY KEY, order_id INTEGER, cents INTEGER)";
    /// # queue.transaction(|tx| -> jobq::Result<()> { Ok(tx.connection().execute_batch(table)?) })?;
    /// let job = queue.enqueue(Payment { order: 7, cents: 1250 })?;
    /// queue.runner().job(book).until(Until::Drained).start()?.wait()?;
    /// assert_eq!(job.output()?, Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Logs and progress of the attempt up to then are saved before; what it logs inside is saved with
    /// the effect, and without it if the effect fails. Afterwards the job is completed, even if
    /// somebody has asked to cancel it (a parent is cancelled with its children then, and its own phase
    /// is done): whatever else the handler does or returns, a panic included, no longer counts, and its
    /// log takes no more entries.
    ///
    /// # Errors
    /// Nothing was written and the job is not completed: pass the failure on, or try once more.
    /// - What `body` returns; an error of SQLite's or of jobq's becomes a [`Failure`] by `?`.
    /// - The attempt no longer holds its job, as another runner has taken it over: whatever the
    ///   handler does then changes nothing.
    /// - The job was completed by an earlier call in the same attempt: that stands.
    /// - The transaction could not be committed: the disk is full, the file busy. Where the disk fails in a
    ///   way that leaves open whether the commit landed, the failure says so. Passed on it is
    ///   right either way: the job is tried again unless it turns out to be completed.
    pub fn complete_in<T: Serialize>(
        &self,
        body: impl FnOnce(&mut Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if self.attempt.finished().is_some() {
            return Err(Failure::permanent(
                "complete_in was called again although it has completed the job",
            ));
        }
        self.flush();
        let completing = self.begin_completing();
        self.save_posted()?;
        let completed = self
            .queue
            .store
            .write_alone(|tx| self.complete_with(tx, &completing, body));
        match completed {
            Ok((answer, state)) => {
                self.attempt.set_finished(state);
                completing.forget();
                Ok(answer)
            }
            Err(Refused::ClaimLost) => {
                self.attempt.cancellation.cancel(CancelReason::ClaimLost);
                Err(Failure::cancelled())
            }
            Err(Refused::Failed(failure)) => Err(failure),
        }
    }

    /// Saves earlier log entries first, so that the history has them before the completion.
    fn save_posted(&self) -> crate::Result<()> {
        if self.posted.swap(false, Ordering::SeqCst)
            && let Err(error) = self.queue.store.write(|_| Ok(()))
        {
            self.posted.store(true, Ordering::SeqCst);
            return Err(error);
        }
        Ok(())
    }

    /// Writes everything in the one transaction.
    fn complete_with<T: Serialize>(
        &self,
        tx: &mut Tx<'_>,
        completing: &Completing<'_>,
        body: impl FnOnce(&mut Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<(T, State), Refused> {
        let attempt = self.attempt.reference();
        // It stays held to the end: nobody else writes meanwhile.
        if !attempt.is_held(tx)? {
            return Err(Refused::ClaimLost);
        }
        let of = (Some(attempt), self.traceparent());
        let answer = Transaction::run(tx, &self.queue.limits, of, |tx| {
            body(tx).map_err(Refused::Failed)
        })?;
        let result = result_json(&answer).map_err(Refused::Failed)?;
        let verdict = Verdict::Complete {
            result: result.map(|json| self.masked_json(json)),
        };
        self.flush_progress();
        completing.write(tx)?;
        let ended = (&verdict, &*self.spawned());
        tx.pending
            .runner_hooks
            .clone_from(&self.attempt.runner_hooks);
        let state = store::finish_attempt_with(tx, &self.attempt.claim, ended, &self.measured())?;
        Ok((answer, state.ok_or(Refused::ClaimLost)?))
    }

    fn measured(&self) -> AttemptMeasures {
        let began = self
            .attempt
            .running_on()
            .map_or(self.attempt.claimed_at, |(_, began)| began);
        let took = clock::instant().duration_since(began);
        self.attempt.measured(self.worker, took)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        Refused::Failed(error.into())
    }
}
