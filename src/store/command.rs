//! A write that waits for its transaction.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crossbeam_channel::Sender;

use super::tx::Tx;
use crate::error::Kind;
use crate::{Error, Result};

/// A write that waits for its transaction.
pub(crate) trait Command: Send {
    /// Runs inside a savepoint; may run a second time where the first transaction was lost.
    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<()>;
    /// Called once, after COMMIT, or with the reason why nothing was changed.
    fn reply(self: Box<Self>, committed: Result<()>);
}

/// A command made of a closure, whose caller waits for the answer.
pub(crate) struct Call<F, T> {
    body: F,
    answer: Option<T>,
    reply: Option<Sender<Result<T>>>,
}

impl<F, T> Call<F, T>
where
    F: FnMut(&mut Tx<'_>) -> Result<T> + Send,
    T: Send,
{
    pub(crate) fn new(body: F, reply: Option<Sender<Result<T>>>) -> Call<F, T> {
        Call {
            body,
            answer: None,
            reply,
        }
    }
}

impl<F, T> Command for Call<F, T>
where
    F: FnMut(&mut Tx<'_>) -> Result<T> + Send,
    T: Send,
{
    /// A body may hold a caller's code: its panic must not take down the thread that writes for all.
    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<()> {
        let answer = catch_unwind(AssertUnwindSafe(|| (self.body)(tx)));
        self.answer = Some(answer.unwrap_or_else(|_| {
            Err(Error::invalid(
                "what was to be written panicked; nothing was changed",
            ))
        })?);
        Ok(())
    }

    fn reply(self: Box<Self>, committed: Result<()>) {
        let Call { answer, reply, .. } = *self;
        let Some(reply) = reply else {
            if let Err(error) = committed {
                log::warn!("a write that nobody waits for was not saved: {error}");
            }
            return;
        };
        let answer = committed.and_then(|()| answer.ok_or_else(not_saved));
        // Who no longer listens has gone away.
        let _ = reply.send(answer);
    }
}

pub(crate) fn not_saved() -> Error {
    Error::new(Kind::Io, "the write was not carried out")
}
