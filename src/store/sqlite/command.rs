//! A write that waits for its transaction.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crossbeam_channel::Sender;

use crate::error::Kind;
use crate::store::sqlite::backlog::Room;
use crate::store::sqlite::tx::Tx;
use crate::{Error, JobId, Result};

/// A write that waits for its transaction.
pub(crate) trait Command: Send {
    /// Runs inside a savepoint; may run again if the first transaction was lost.
    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<()>;
    /// Called once: after COMMIT, or with the reason why nothing was changed.
    fn reply(self: Box<Self>, committed: Result<()>);
    /// Its job, if no caller waits for the reply: then it can be written later.
    fn posted(&self) -> Option<Posted>;
    /// Asks its caller, who waits, to write the inbox. Returns false if none waits.
    fn ask_to_write(&self) -> bool;
}

/// Replies to all of them with an error of their transaction, except those that can be written later.
pub(crate) fn refuse(commands: &mut Vec<Box<dyn Command>>, error: &Error) {
    for command in std::mem::take(commands) {
        if command.posted().is_some() && may_be_written_later(error) {
            commands.push(command);
        } else {
            command.reply(Err(error.duplicate()));
        }
    }
}

/// Whether certainly nothing was changed, and a later try may succeed.
fn may_be_written_later(error: &Error) -> bool {
    use Kind::{NewerSchema, NotADatabase, Replaced, UnknownOutcome};
    !matches!(
        error.kind(),
        NewerSchema | NotADatabase | Replaced | UnknownOutcome
    )
}

/// Discards writes that no caller waits for; names each job once.
pub(crate) fn lose(commands: &mut Vec<Box<dyn Command>>, error: &Error) {
    let mut lost: Vec<Posted> = Vec::new();
    for command in commands.drain(..) {
        match command.posted() {
            Some(posted) if !lost.contains(&posted) => lost.push(posted),
            Some(_) => {}
            None => command.reply(Err(error.duplicate())),
        }
    }
    for posted in lost {
        posted.lost(error);
    }
}

/// A command made of a closure, whose caller waits for the answer.
pub(crate) struct Call<F, T> {
    body: F,
    answer: Option<T>,
    reply: ReplyTo<T>,
}

/// What the caller of a write is told.
pub(crate) enum Answer<T> {
    /// Its result: the last that is told.
    Done(Result<T>),
    /// Nobody else writes the inbox now, and it is not written yet.
    Write,
}

#[cfg(test)]
impl<T> Answer<T> {
    /// The result, which it must be.
    pub(crate) fn done(self) -> Result<T> {
        match self {
            Answer::Done(result) => result,
            Answer::Write => panic!("asked to write"),
        }
    }
}

/// Room for both, so that who tells never waits.
pub(crate) const ANSWERS: usize = 2;

/// The receiver of a write's result.
pub(crate) enum ReplyTo<T> {
    Caller(Sender<Answer<T>>),
    /// The log, only if the write was lost.
    Log {
        posted: Posted,
        _room: Room,
    },
}

/// A write that no caller waits for, with the name for a message that it was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Posted {
    pub(crate) job: JobId,
    /// `output`, `progress`.
    pub(crate) what: &'static str,
}

impl Posted {
    pub(crate) fn lost(self, error: &Error) {
        log::warn!("{} of job {} was lost: {error}", self.what, self.job);
    }
}

impl<F, T> Call<F, T>
where
    F: FnMut(&mut Tx<'_>) -> Result<T> + Send,
    T: Send,
{
    pub(crate) fn new(body: F, reply: ReplyTo<T>) -> Call<F, T> {
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
    /// A body may hold a caller's code: its panic must not end the thread that writes for all.
    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<()> {
        self.answer = Some(caught(|| (self.body)(tx))?);
        Ok(())
    }

    fn reply(self: Box<Self>, committed: Result<()>) {
        let Call { answer, reply, .. } = *self;
        let reply = match reply {
            ReplyTo::Caller(reply) => reply,
            ReplyTo::Log { posted, .. } => {
                if let Err(error) = committed {
                    posted.lost(&error);
                }
                return;
            }
        };
        let answer = committed.and_then(|()| answer.ok_or_else(not_saved));
        // The receiver has gone away.
        let _ = reply.send(Answer::Done(answer));
    }

    fn posted(&self) -> Option<Posted> {
        match &self.reply {
            ReplyTo::Log { posted, .. } => Some(*posted),
            ReplyTo::Caller(_) => None,
        }
    }

    fn ask_to_write(&self) -> bool {
        match &self.reply {
            ReplyTo::Log { .. } => false,
            ReplyTo::Caller(reply) => {
                // Whoever has been asked and has not looked yet will.
                if reply.is_empty() {
                    let _ = reply.send(Answer::Write);
                }
                true
            }
        }
    }
}

/// Runs what is to be written; a panic becomes an error.
pub(crate) fn caught<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        Err(Error::invalid(
            "what was to be written panicked; nothing was changed",
        ))
    })
}

pub(crate) fn not_saved() -> Error {
    Error::new(Kind::Io, "the write was not carried out")
}
