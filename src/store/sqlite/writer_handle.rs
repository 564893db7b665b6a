//! The handle to a process's writer. Without a runner, the threads that write commit in turns: one of them writes
//! what all have put into the inbox, and when it is done it asks the next that waits. What nobody waits for is written
//! by a thread of its own that ends with it. While a runner is started, its dispatcher writes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::thread::JoinHandle;

use crossbeam_channel::bounded;

use crate::doorbell::Doorbell;
use crate::error::Kind;
use crate::store::sqlite::backlog::{BACKLOG_BYTES, Backlog, Room};
use crate::store::sqlite::command::{
    ANSWERS, Answer, Call, Command, Posted, ReplyTo, caught, lose,
};
use crate::store::sqlite::connection::LONGEST_BUSY_WAIT;
use crate::store::sqlite::inbox::Inbox;
use crate::store::sqlite::ownership::read_only;
use crate::store::sqlite::tx::Tx;
use crate::store::sqlite::write_lock::WriteLock;
use crate::store::sqlite::writer::{OTHERS_CHECKPOINT_PAGES, RUNNER_CHECKPOINT_PAGES, Writer};
use crate::{Error, Result};

/// Maximum number of commands per transaction.
pub(crate) const GROUP: usize = 1024;

/// A process's access to its writer.
pub(crate) struct WriterHandle {
    database: PathBuf,
    is_read_only: bool,
    /// The writer needs it; a caller that waits for the writer must not hold it.
    write_lock: Arc<WriteLock>,
    turns: Arc<Turns>,
}

/// The inbox of the process's writer, and where the writer is.
struct Turns {
    inbox: Arc<Inbox>,
    /// Writes in the inbox and beyond that no caller waits for.
    backlog: Arc<Backlog>,
    bell: Arc<Doorbell>,
    /// Locked by whoever writes.
    seat: Mutex<Seat>,
    background: Mutex<BackgroundWriter>,
}

enum Seat {
    /// Any caller may write.
    Free(Box<FreeWriter>),
    /// The dispatcher of a runner writes; or nobody, because the file is read-only.
    Taken,
}

struct FreeWriter {
    writer: Box<Writer>,
    /// Writes that failed and can be repeated, before later ones.
    kept: Vec<Box<dyn Command>>,
    /// Whether the last transaction was of several: their callers have just been woken, and may come back.
    is_crowded: bool,
}

/// The thread that writes what nobody waits for, while there is any.
#[derive(Default)]
struct BackgroundWriter {
    is_running: bool,
    thread: Option<JoinHandle<()>>,
}

/// The writer and its inbox, on loan to a runner.
pub(crate) struct WriterLease {
    pub(crate) writer: Box<Writer>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) bell: Arc<Doorbell>,
}

impl WriterHandle {
    pub(crate) fn new(
        database: &Path,
        writer: Option<Writer>,
        write_lock: Arc<WriteLock>,
    ) -> Result<WriterHandle> {
        let is_read_only = writer.is_none();
        let seat = writer.map_or(Seat::Taken, |writer| Seat::free(Box::new(writer)));
        let turns = Turns {
            inbox: Arc::default(),
            backlog: Backlog::new(BACKLOG_BYTES),
            bell: Arc::new(Doorbell::new()?),
            seat: Mutex::new(seat),
            background: Mutex::default(),
        };
        Ok(WriterHandle {
            database: database.to_owned(),
            is_read_only,
            write_lock,
            turns: Arc::new(turns),
        })
    }

    /// Runs `body` in the next transaction and waits for its COMMIT.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        mut body: impl FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.check()?;
        if let Some(written) = self.turns.write_alone(&mut body) {
            self.turns.call_next();
            return written;
        }
        let (reply, answers) = bounded(ANSWERS);
        let command = Call::new(body, ReplyTo::Caller(reply));
        self.turns.inbox.push(Box::new(command));
        loop {
            self.turns.write_inbox();
            match answers.recv() {
                Ok(Answer::Done(result)) => return result,
                Ok(Answer::Write) => {}
                Err(_) => return Err(gone()),
            }
        }
    }

    /// Adds `body` to the next transaction and does not wait. A failed write is tried again with the next one;
    /// a lost one is logged.
    pub(crate) fn post(
        &self,
        (posted, room): (Posted, Room),
        body: impl FnMut(&mut Tx<'_>) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        self.check()?;
        let reply = ReplyTo::Log {
            posted,
            _room: room,
        };
        self.turns.inbox.push(Box::new(Call::new(body, reply)));
        self.turns.write_later();
        Ok(())
    }

    /// Whether this thread may write, and wait for that.
    fn check(&self) -> Result<()> {
        if self.is_read_only {
            return Err(read_only(&self.database));
        }
        self.write_lock.refuse_inside()
    }

    /// Between two of many transactions in a row. Moves a log that has grown into the file, which would otherwise be
    /// left to another process, and gives other processes time to take the lock.
    pub(crate) fn let_others_write(&self) {
        if let Some(mut seat) = self.turns.try_lock()
            && let Seat::Free(free) = &mut *seat
        {
            free.writer.tidy_log(RUNNER_CHECKPOINT_PAGES);
        }
        self.turns.call_next();
        thread::sleep(LONGEST_BUSY_WAIT);
    }

    pub(crate) fn backlog(&self) -> &Arc<Backlog> {
        &self.turns.backlog
    }

    /// The number of commands in the inbox.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.turns.inbox.len()
    }

    pub(crate) fn bell(&self) -> Arc<Doorbell> {
        Arc::clone(&self.turns.bell)
    }

    /// Notifies a runner of a write that did not go through its writer.
    pub(crate) fn ring(&self) {
        self.turns.bell.ring();
    }

    /// Hands the writer to a runner.
    pub(crate) fn lease(&self) -> Result<WriterLease> {
        self.check()?;
        let turns = &self.turns;
        let Seat::Free(free) = std::mem::replace(&mut *turns.lock(), Seat::Taken) else {
            return Err(
                Error::wrong_state("a runner is already started on this queue")
                    .with_hint("open the file a second time for a second runner"),
            );
        };
        let FreeWriter { writer, kept, .. } = *free;
        turns.inbox.put_first(kept);
        Ok(WriterLease {
            writer,
            inbox: Arc::clone(&turns.inbox),
            bell: self.bell(),
        })
    }

    /// Takes the writer back from a runner that has ended.
    pub(crate) fn give_back(&self, mut lease: WriterLease) {
        lease.writer.roll_back_rest();
        *self.turns.lock() = Seat::free(lease.writer);
        self.turns.call_next();
    }
}

impl Turns {
    /// Writes only this, if nobody writes and nothing else is to be written.
    fn write_alone<T>(&self, body: &mut dyn FnMut(&mut Tx<'_>) -> Result<T>) -> Option<Result<T>> {
        let mut seat = self.try_lock()?;
        let free = match &mut *seat {
            Seat::Free(free) if free.kept.is_empty() && self.inbox.is_empty() => free,
            Seat::Free(_) | Seat::Taken => return None,
        };
        let written = free
            .writer
            .transact(&mut Vec::new(), &mut |tx| caught(|| body(tx)));
        free.writer.tidy_log(OTHERS_CHECKPOINT_PAGES);
        Some(written)
    }

    /// Writes the next commands, unless somebody else is at it: who ends looks into the inbox afterwards.
    fn write_inbox(self: &Arc<Self>) {
        if let Some(mut seat) = self.try_lock()
            && let Seat::Free(free) = &mut *seat
        {
            free.write(&self.inbox, &self.backlog);
            drop(seat);
            self.call_next();
        }
        // A runner that has just taken the seat may sleep.
        self.bell.ring();
    }

    /// Call it with the seat free: whoever waits for a command in the inbox writes next.
    fn call_next(self: &Arc<Self>) {
        if !self.inbox.call_next() {
            self.write_later();
        }
    }

    /// Has the inbox written by a thread of its own, if nobody writes.
    fn write_later(self: &Arc<Self>) {
        let is_free = match self.try_lock() {
            Some(seat) => matches!(*seat, Seat::Free(_)),
            None => false,
        };
        if is_free && !self.start_background() {
            self.write_inbox();
        }
        self.bell.ring();
    }

    /// Returns false if no thread can be started.
    fn start_background(self: &Arc<Self>) -> bool {
        let mut background = self.background();
        if background.is_running {
            return true;
        }
        if let Some(ended) = background.thread.take() {
            let _ = ended.join();
        }
        let turns = Arc::clone(self);
        let started = thread::Builder::new()
            .name("jobq-writer".to_owned())
            .spawn(move || while turns.write_in_background() {});
        background.is_running = started.is_ok();
        background.thread = started.ok();
        background.is_running
    }

    /// Returns whether there is more to write; what could not be written is tried again with the next write.
    fn write_in_background(&self) -> bool {
        let is_stuck = match &mut *self.lock() {
            Seat::Free(free) => {
                free.write(&self.inbox, &self.backlog);
                !free.kept.is_empty()
            }
            Seat::Taken => true,
        };
        let mut background = self.background();
        background.is_running = !is_stuck && !self.inbox.is_empty();
        if !background.is_running {
            // Where it cannot write what nobody waits for, somebody may wait behind it.
            self.inbox.call_next();
        }
        background.is_running
    }

    /// The seat, if nobody has it.
    fn try_lock(&self) -> Option<MutexGuard<'_, Seat>> {
        match self.seat.try_lock() {
            Ok(seat) => Some(seat),
            Err(TryLockError::Poisoned(seat)) => Some(seat.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn background(&self) -> MutexGuard<'_, BackgroundWriter> {
        self.background
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    fn free(writer: Box<Writer>) -> Seat {
        Seat::Free(Box::new(FreeWriter {
            writer,
            kept: Vec::new(),
            is_crowded: false,
        }))
    }
}

impl FreeWriter {
    /// Commits the first commands of the inbox as one transaction, and replies.
    fn write(&mut self, inbox: &Inbox, backlog: &Backlog) {
        if self.is_crowded {
            // The more of them come first, the fewer syncs there are.
            thread::yield_now();
        }
        inbox.take(GROUP, &mut self.kept);
        self.is_crowded = self.kept.len() > 1;
        if self.kept.is_empty() {
            return;
        }
        // Each command has its own reply; there is no body that could fail.
        let _ = self.writer.transact(&mut self.kept, &mut |_| Ok(()));
        backlog.set_stuck(!self.kept.is_empty());
        self.writer.tidy_log(OTHERS_CHECKPOINT_PAGES);
    }
}

impl Drop for WriterHandle {
    /// Everything sent is written before it is dropped.
    fn drop(&mut self) {
        let thread = self.turns.background().thread.take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        if let Seat::Free(free) = &mut *self.turns.lock() {
            let inbox = &self.turns.inbox;
            while !inbox.is_empty() && free.kept.is_empty() {
                free.write(inbox, &self.turns.backlog);
            }
            inbox.take(usize::MAX, &mut free.kept);
            lose(&mut free.kept, &gone());
        }
    }
}

fn gone() -> Error {
    Error::new(Kind::Io, "the writer of this queue has ended")
}
