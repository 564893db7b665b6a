//! Who writes for this process: nobody yet, a thread of its own, or the dispatcher of a runner.

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

/// So many commands may wait before callers do.
const INBOX: usize = 4096;
/// So many commands go into one transaction.
pub(crate) const GROUP: usize = 1024;

pub(crate) enum Message {
    Write(Box<dyn Command>),
    /// The writing thread is to end and to hand the writer over.
    HandOver(Sender<Writer>),
}

/// The inbox of the process's writer, and the seat that the writer sits on.
pub(crate) struct WriterHandle {
    database: PathBuf,
    /// None where the file is read-only: nobody would ever empty it.
    inbox: Option<Sender<Message>>,
    outbox: Receiver<Message>,
    /// What waits in the inbox, and behind it, without anybody waiting for it.
    backlog: Arc<Backlog>,
    bell: Arc<Doorbell>,
    /// What the writer has to pass, and whoever waits for it must not hold.
    write_lock: Arc<WriteLock>,
    seat: Mutex<Seat>,
}

enum Seat {
    /// Whoever writes does so himself.
    Idle(Box<Writer>),
    /// Several threads have written at once: a thread of its own commits what comes in.
    Thread(JoinHandle<()>),
    /// A runner's dispatcher does.
    Runner,
    /// The file is read-only.
    Closed,
}

/// What a runner takes with it: the writer and where its commands come in.
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

    /// The same by the thread in any case, which frees what a large write holds while the caller goes on.
    pub(crate) fn write_by_thread<T: Send + 'static>(
        &self,
        body: impl FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = bounded(1);
        self.send(Box::new(Call::new(body, ReplyTo::Caller(reply))))?;
        answer.recv().map_err(|_| gone())?
    }

    /// Where nobody else in this process writes the caller does: a thread would have to be started, and
    /// waited for. Gives the command back where somebody else writes.
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

    /// Puts `body` into the next transaction and does not wait. What cannot be written is tried again
    /// with what comes next; what is lost is logged.
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
        // After the send: a runner that ends meanwhile either sees the command or leaves the seat idle.
        self.sit(&mut self.lock())?;
        self.bell.ring();
        Ok(())
    }

    /// Tells a runner that something was written past its writer.
    pub(crate) fn ring(&self) {
        self.bell.ring();
    }

    /// Sees to it that somebody writes.
    fn sit(&self, seat: &mut Seat) -> Result<()> {
        match std::mem::replace(seat, Seat::Closed) {
            Seat::Idle(writer) => {
                // The thread first: a writer that went into one that cannot be started would be lost.
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
    /// What was sent is written before the process goes on.
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
    // What could not be written stays in here, before what comes next.
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
