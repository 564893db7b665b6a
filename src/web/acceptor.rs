//! One thread holds all connections that wait for a head, so that slow ones keep no thread; a request whose head is
//! there gets a thread of its own, and its connection comes back when it is answered.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::clock;
use crate::doorbell::Wake;
use crate::web::connection::{self, ConnectionEnd};
use crate::web::head::{self, MAX_HEAD_BYTES, Parsed};
use crate::web::incoming::IncomingRequest;
use crate::web::listen::ServerSocket;
use crate::web::problem::Problem;
use crate::web::request_slots::RequestSlots;
use crate::web::response::{Response, WriteHow};
use crate::web::state::ServerState;
use crate::web::stream::ClientStream;

/// How long a head may take in all.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may wait for its next request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the rest of a refused request is read and thrown away, so that the client reads the answer before the end.
const LEAVING_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum number of connections that wait: beyond it the one that has waited longest goes.
const MAX_WAITING: usize = 512;

/// How often one connection is read before the others have their turn: as often as the longest head needs.
const READS_AT_ONCE: usize = 8;

/// How long nothing is accepted after the system had no descriptor for it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection without a whole head.
struct WaitingConnection {
    stream: ClientStream,
    /// What has come of the head.
    bytes: Vec<u8>,
    stage: WaitStage,
    until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitStage {
    /// Nothing has come since the last answer.
    Idle,
    /// A head is on its way.
    Arriving,
    /// It is answered; what it still sends is thrown away.
    Leaving,
}

/// Where connections come back to.
#[derive(Clone)]
pub(crate) struct ReturnQueue(Arc<ReturnQueueParts>);

struct ReturnQueueParts {
    returned: Mutex<Vec<ConnectionEnd>>,
    wake: Wake,
}

impl ReturnQueue {
    pub(crate) fn new() -> io::Result<ReturnQueue> {
        Ok(ReturnQueue(Arc::new(ReturnQueueParts {
            returned: Mutex::default(),
            wake: Wake::new()?,
        })))
    }

    /// Takes back a connection whose request is answered.
    pub(crate) fn push(&self, ended: ConnectionEnd) {
        let mut returned = self
            .0
            .returned
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        returned.push(ended);
        drop(returned);
        self.0.wake.ring();
    }

    /// Ends a wait, so that a stop is noticed.
    pub(crate) fn wake(&self) {
        self.0.wake.ring();
    }
}

/// The connections that wait, oldest first.
pub(crate) struct Acceptor {
    socket: ServerSocket,
    state: Arc<ServerState>,
    returns: ReturnQueue,
    slots: RequestSlots,
    waiting: VecDeque<WaitingConnection>,
    accepts_after: Option<Instant>,
}

impl Acceptor {
    pub(crate) fn new(
        socket: ServerSocket,
        state: Arc<ServerState>,
        (returns, slots): (ReturnQueue, RequestSlots),
    ) -> Acceptor {
        Acceptor {
            socket,
            state,
            returns,
            slots,
            waiting: VecDeque::new(),
            accepts_after: None,
        }
    }

    /// Serves until the server is stopped.
    pub(crate) fn run(mut self) {
        while !self.state.is_stopped() {
            let ready = self.wait();
            self.returns.0.wake.reset();
            self.read_waiting(&ready);
            self.take_in();
            self.accept();
            let now = clock::instant();
            self.waiting.retain(|connection| connection.until > now);
        }
    }

    /// Sleeps until something has come, or the time of a connection is up; returns which connections have sent something.
    fn wait(&self) -> Vec<bool> {
        let now = clock::instant();
        let until = self.waiting.iter().map(|connection| connection.until);
        let until = until.chain(self.accepts_after).min();
        let timeout = until.map(|until| {
            // The time is up, and not nearly up, when the wait ends.
            let left = until.saturating_duration_since(now) + Duration::from_millis(1);
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        let listens = match self.accepts_after {
            None => PollFlags::IN,
            Some(_) => PollFlags::empty(),
        };
        let (socket, wake) = (self.socket.as_fd(), self.returns.0.wake.as_fd());
        let mut fds = vec![
            PollFd::from_borrowed_fd(socket, listens),
            PollFd::from_borrowed_fd(wake, PollFlags::IN),
        ];
        let waiting = self.waiting.iter();
        fds.extend(
            waiting.map(|connection| {
                PollFd::from_borrowed_fd(connection.stream.as_fd(), PollFlags::IN)
            }),
        );
        // Whatever ends it, all is looked at.
        let _ = poll(&mut fds, timeout.as_ref());
        fds[2..].iter().map(|fd| !fd.revents().is_empty()).collect()
    }

    fn read_waiting(&mut self, ready: &[bool]) {
        let waiting = std::mem::take(&mut self.waiting);
        for (at, connection) in waiting.into_iter().enumerate() {
            match ready.get(at) {
                Some(true) => self.read(connection),
                _ => self.waiting.push_back(connection),
            }
        }
    }

    /// Reads what has come of a head; a whole one gets its thread.
    fn read(&mut self, mut connection: WaitingConnection) {
        let mut buffer = [0; 4096];
        // A client that sends faster than this reads would keep all others waiting.
        for _ in 0..READS_AT_ONCE {
            match connection.stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(_) if connection.stage == WaitStage::Leaving => {}
                Ok(count) => {
                    connection.bytes.extend_from_slice(&buffer[..count]);
                    // What is more than a head waits in the system.
                    if connection.bytes.len() >= MAX_HEAD_BYTES {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
        if connection.stage == WaitStage::Leaving {
            self.waiting.push_back(connection);
        } else {
            self.look_at(connection);
        }
    }

    fn look_at(&mut self, mut connection: WaitingConnection) {
        match head::parse(&connection.bytes) {
            Parsed::Part => {
                if connection.stage == WaitStage::Idle && !connection.bytes.is_empty() {
                    connection.stage = WaitStage::Arriving;
                    connection.until = clock::instant() + HEAD_TIMEOUT;
                }
                self.waiting.push_back(connection);
            }
            Parsed::Whole(head, used) => {
                let rest = connection.bytes.split_off(used);
                self.start(IncomingRequest {
                    stream: connection.stream,
                    head: *head,
                    rest,
                });
            }
            Parsed::Refused(problem) => self.refuse(connection.stream, *problem),
        }
    }

    /// Gives a request a thread, or refuses it where all are busy.
    fn start(&mut self, work: IncomingRequest) {
        let Some(slot) = self.slots.take() else {
            let many = Problem::new(
                "too-many",
                "the server answers as many requests at once as it may",
            );
            return self.refuse(work.stream, many.with_header("Retry-After", "1"));
        };
        let (state, returns) = (Arc::clone(&self.state), self.returns.clone());
        let started = thread::Builder::new()
            .name("jobq-web".to_owned())
            .spawn(move || {
                let ended = connection::serve(&state, work, slot);
                returns.push(ended);
            });
        // The connection has gone with the closure.
        if let Err(error) = started {
            log::error!("a request cannot be answered: no thread: {error}");
        }
    }

    /// Answers without reading on: as much as the system takes at once.
    fn refuse(&mut self, stream: ClientStream, problem: Problem) {
        let how = WriteHow {
            is_1_1: true,
            is_head: false,
            keeps_alive: false,
        };
        if Response::from(problem).write(&stream, how).is_ok() {
            self.let_leave(stream);
        }
    }

    /// Closes one direction; the client may read the answer while it goes on sending.
    fn let_leave(&mut self, stream: ClientStream) {
        stream.end_writing();
        self.waiting.push_back(WaitingConnection {
            stream,
            bytes: Vec::new(),
            stage: WaitStage::Leaving,
            until: clock::instant() + LEAVING_TIMEOUT,
        });
    }

    /// The connections that come back.
    fn take_in(&mut self) {
        let returned = {
            let mut returned = self
                .returns
                .0
                .returned
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *returned)
        };
        for ended in returned {
            match ended {
                ConnectionEnd::Kept(stream, bytes) if stream.set_nonblocking(true).is_ok() => {
                    self.look_at(WaitingConnection {
                        stream,
                        bytes,
                        stage: WaitStage::Idle,
                        until: clock::instant() + IDLE_TIMEOUT,
                    });
                }
                ConnectionEnd::Refused(stream) if stream.set_nonblocking(true).is_ok() => {
                    self.let_leave(stream)
                }
                ConnectionEnd::Kept(..) | ConnectionEnd::Refused(_) | ConnectionEnd::Closed => {}
            }
        }
    }

    fn accept(&mut self) {
        let now = clock::instant();
        if self.accepts_after.is_some_and(|after| after > now) {
            return;
        }
        self.accepts_after = None;
        // A crowd that connects at once is taken in turns with those that have sent something.
        const AT_ONCE: usize = 64;
        for _ in 0..AT_ONCE {
            match self.socket.accept() {
                Ok(None) => return,
                Ok(Some(stream)) => {
                    if self.waiting.len() >= MAX_WAITING {
                        self.waiting.pop_front();
                    }
                    // Most have sent their head already.
                    self.read(WaitingConnection {
                        stream,
                        bytes: Vec::new(),
                        stage: WaitStage::Arriving,
                        until: now + HEAD_TIMEOUT,
                    });
                }
                Err(error) => {
                    log::warn!("a connection cannot be accepted: {error}");
                    self.waiting.pop_front();
                    self.accepts_after = Some(now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }
}
