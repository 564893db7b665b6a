//! The handle to a process's writer: it is idle, in a writer thread, or in the dispatcher of a runner.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::doorbell::Doorbell;
use crate::error::Kind;
use crate::store::sqlite::backlog::{BACKLOG_BYTES, Backlog, Room};
use crate::store::sqlite::command::{Call, Command, Posted, ReplyTo, lose};
use crate::store::sqlite::ownership::read_only;
use crate::store::sqlite::tx::Tx;
use crate::store::sqlite::write_lock::WriteLock;
use crate::store::sqlite::writer::{OTHERS_CHECKPOINT_PAGES, Writer};
use crate::{Error, Result};

/// Maximum number of commands in the inbox before callers wait.
const INBOX: usize = 4096;
/// Maximum number of commands per transaction.
pub(crate) const GROUP: usize = 1024;

pub(crate) enum Message {
    Write(Box<dyn Command>),
    /// Asks the writer thread to end and to hand over the writer.
    HandOver(Sender<Writer>),
}

/// The inbox of the process's writer, and where the writer is.
pub(crate) struct WriterHandle {
    database: PathBuf,
    /// None if the file is read-only: nothing would empty it.
    inbox: Option<Sender<Message>>,
    outbox: Receiver<Message>,
    /// Writes in the inbox and beyond that no caller waits for.
    backlog: Arc<Backlog>,
    bell: Arc<Doorbell>,
    /// The writer needs it; a caller that waits for the writer must not hold it.
    write_lock: Arc<WriteLock>,
    seat: Mutex<Seat>,
}

enum Seat {
    /// A caller writes in its own thread.
    Idle(Box<Writer>),
    /// Several threads have written at once: a writer thread commits the inbox.
    Thread(JoinHandle<()>),
    /// The dispatcher of a runner writes.
    Runner,
    /// The file is read-only.
    Closed,
}

/// The writer and its inbox, on loan to a runner.
pub(crate) struct WriterLease {
    pub(crate) writer: Box<Writer>,
    pub(crate) outbox: Receiver<Message>,
    pub(crate) bell: Arc<Doorbell>,
}

impl WriterHandle {
    pub(crate) fn new(
        database: &Path,
        writer: Option<Writer>,
        write_lock: Arc<WriteLock>,
    ) -> Result<WriterHandle> {
        let (inbox, outbox) = bounded(INBOX);
        let inbox = writer.is_some().then_some(inbox);
        let seat = writer.map_or(Seat::Closed, |writer| Seat::Idle(Box::new(writer)));
        let bell = Arc::new(Doorbell::new()?);
        Ok(WriterHandle {
            database: database.to_owned(),
            inbox,
            outbox,
            backlog: Backlog::new(BACKLOG_BYTES),
            bell,
            write_lock,
            seat: Mutex::new(seat),
        })
    }

    /// Runs `body` in the next transaction and waits for its COMMIT.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        body: impl FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = bounded(1);
        let call = Box::new(Call::new(body, ReplyTo::Caller(reply)));
        if let Some(call) = self.write_here(call)? {
            self.send(call)?;
        }
        answer.recv().map_err(|_| gone())?
    }

    /// The same, always by the writer thread, which frees the memory of a large write while the caller goes
    /// on.
    pub(crate) fn write_by_thread<T: Send + 'static>(
        &self,
        body: impl FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = bounded(1);
        self.send(Box::new(Call::new(body, ReplyTo::Caller(reply))))?;
        answer.recv().map_err(|_| gone())?
    }

    /// Writes in the caller's thread if no other writes in this process, which saves starting a thread.
    /// Returns the command if another does.
    fn write_here(&self, command: Box<dyn Command>) -> Result<Option<Box<dyn Command>>> {
        self.write_lock.refuse_inside()?;
        let mut seat = match self.seat.try_lock() {
            Ok(seat) => Some(seat),
            Err(TryLockError::Poisoned(seat)) => Some(seat.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        match seat.as_deref_mut() {
            Some(Seat::Idle(writer)) if self.outbox.is_empty() => {
                write_all(writer, &mut vec![command], &self.backlog);
                Ok(None)
            }
            _ => Ok(Some(command)),
        }
    }

    /// Adds `body` to the next transaction and does not wait. A failed write is tried again with the next one;
    /// a lost one is logged.
    pub(crate) fn post(
        &self,
        (posted, room): (Posted, Room),
        body: impl FnMut(&mut Tx<'_>) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let reply = ReplyTo::Log {
            posted,
            _room: room,
        };
        self.send(Box::new(Call::new(body, reply)))
    }

    pub(crate) fn backlog(&self) -> &Arc<Backlog> {
        &self.backlog
    }

    pub(crate) fn bell(&self) -> Arc<Doorbell> {
        Arc::clone(&self.bell)
    }

    fn send(&self, command: Box<dyn Command>) -> Result<()> {
        let Some(inbox) = &self.inbox else {
            return Err(read_only(&self.database));
        };
        self.write_lock.refuse_inside()?;
        inbox.send(Message::Write(command)).map_err(|_| gone())?;
        // After the send: a runner that ends meanwhile either sees the command or leaves the writer idle.
        self.sit(&mut self.lock())?;
        self.bell.ring();
        Ok(())
    }

    /// Notifies a runner of a write that did not go through its writer.
    pub(crate) fn ring(&self) {
        self.bell.ring();
    }

    /// Ensures that a thread writes the inbox.
    fn sit(&self, seat: &mut Seat) -> Result<()> {
        match std::mem::replace(seat, Seat::Closed) {
            Seat::Idle(writer) => {
                // Start the thread first: a writer moved into one that cannot be started would be lost.
                let (hand, take) = bounded::<Writer>(1);
                let (outbox, backlog) = (self.outbox.clone(), Arc::clone(&self.backlog));
                let started =
                    thread::Builder::new()
                        .name("jobq-writer".to_owned())
                        .spawn(move || {
                            if let Ok(writer) = take.recv() {
                                write_what_comes(writer, &outbox, &backlog);
                            }
                        });
                match started {
                    Ok(thread) => {
                        let _ = hand.send(*writer);
                        *seat = Seat::Thread(thread);
                        Ok(())
                    }
                    Err(error) => {
                        *seat = Seat::Idle(writer);
                        Err(Error::no_thread("writer", error))
                    }
                }
            }
            Seat::Closed => Err(read_only(&self.database)),
            other => {
                *seat = other;
                Ok(())
            }
        }
    }

    /// Hands the writer to a runner.
    pub(crate) fn lease(&self) -> Result<WriterLease> {
        self.write_lock.refuse_inside()?;
        let mut seat = self.lock();
        let writer = match std::mem::replace(&mut *seat, Seat::Runner) {
            Seat::Idle(writer) => writer,
            Seat::Thread(thread) => {
                let (hand, take) = bounded(1);
                let inbox = self.inbox.as_ref().ok_or_else(gone)?;
                inbox.send(Message::HandOver(hand)).map_err(|_| gone())?;
                let writer = take.recv().map_err(|_| gone())?;
                let _ = thread.join();
                Box::new(writer)
            }
            Seat::Runner => {
                return Err(
                    Error::wrong_state("a runner is already started on this queue")
                        .with_hint("open the file a second time for a second runner"),
                );
            }
            Seat::Closed => {
                *seat = Seat::Closed;
                return Err(read_only(&self.database));
            }
        };
        Ok(WriterLease {
            writer,
            outbox: self.outbox.clone(),
            bell: Arc::clone(&self.bell),
        })
    }

    /// Takes the writer back from a runner that has ended.
    pub(crate) fn give_back(&self, mut lease: WriterLease) {
        lease.writer.roll_back_rest();
        let mut seat = self.lock();
        *seat = Seat::Idle(lease.writer);
        if !self.outbox.is_empty()
            && let Err(error) = self.sit(&mut seat)
        {
            log::error!("{error}");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WriterHandle {
    /// Everything sent is written before it is dropped.
    fn drop(&mut self) {
        drop(self.inbox.take());
        if let Seat::Thread(thread) = std::mem::replace(&mut *self.lock(), Seat::Closed) {
            let _ = thread.join();
        }
    }
}

fn gone() -> Error {
    Error::new(Kind::Io, "the writer of this queue has ended")
}

fn write_what_comes(mut writer: Writer, outbox: &Receiver<Message>, backlog: &Backlog) {
    // Failed writes stay in here, before later ones.
    let mut commands: Vec<Box<dyn Command>> = Vec::new();
    while let Ok(first) = outbox.recv() {
        let mut next = Some(first);
        let mut hand = None;
        while let Some(message) = next.take() {
            match message {
                Message::Write(command) => commands.push(command),
                Message::HandOver(to) => {
                    hand = Some(to);
                    break;
                }
            }
            if commands.len() < GROUP {
                next = outbox.try_recv().ok();
            }
        }
        write_all(&mut writer, &mut commands, backlog);
        if let Some(hand) = hand {
            lose(&mut commands, &gone());
            let _ = hand.send(writer);
            return;
        }
    }
    write_all(&mut writer, &mut commands, backlog);
    lose(&mut commands, &gone());
}

fn write_all(writer: &mut Writer, commands: &mut Vec<Box<dyn Command>>, backlog: &Backlog) {
    if commands.is_empty() {
        return;
    }
    // Each command has its own reply; there is no body that could fail.
    let _ = writer.transact(commands, &mut |_| Ok(()));
    backlog.set_stuck(!commands.is_empty());
    writer.tidy_log(OTHERS_CHECKPOINT_PAGES);
}
