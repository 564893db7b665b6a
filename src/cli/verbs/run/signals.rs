//! Signals of a runner.
//!
//! | signal | does |
//! |---|---|
//! | SIGINT, SIGTERM, SIGPWR, SIGXCPU | the first one stops the runner gracefully, the second at once |
//! | SIGHUP | the same where there is a terminal, which has been closed then; else persistent commands are replaced |
//! | SIGQUIT | stops it at once |
//! | SIGTSTP | stops the commands and the runner, until SIGCONT |
//! | SIGCHLD | reaps what the commands have left behind and this process has become the parent of |
//! | SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO | nothing |
//!
//! SIGHUP, SIGQUIT and SIGTSTP do nothing where they were ignored when the runner was started (nohup).

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jobq::handlers::exec;
use jobq::{Error, Stopper};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use signal_hook::consts::{
    SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGSTOP, SIGTERM, SIGTSTP, SIGUSR1,
    SIGUSR2, SIGVTALRM, SIGXCPU,
};
use signal_hook::iterator::backend::{Handle, SignalDelivery};
use signal_hook::iterator::exfiltrator::SignalOnly;
use signal_hook::low_level::raise;

use crate::cli::clock;
use crate::cli::render::screen::Screen;
use crate::cli::signals::{is_ignored, outlive};
use crate::cli::verbs::run::service;

/// Signals that may be sent by mistake, or to a process id that has been reused. They would
/// end this one.
const OUTLIVED: [i32; 6] = [SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO];

/// Children are reaped at most this often: with many short commands there is one that has ended at any time.
const REAP_EVERY: Duration = Duration::from_secs(1);

/// A command was just being started: the children are looked at again after this.
const REAP_AGAIN: Duration = Duration::from_millis(20);

/// Signals that are caught already and wait until they are listened to.
pub(super) struct Caught(SignalDelivery<UnixStream, SignalOnly>);

/// Listens until it is ended.
pub(super) struct SignalThread {
    handle: Handle,
    thread: JoinHandle<bool>,
}

/// Takes what would end this process by mistake for nothing.
pub(super) fn outlive_strays() -> io::Result<()> {
    OUTLIVED.into_iter().try_for_each(outlive)
}

impl Caught {
    /// From now on no signal does what it would have done by itself. To be called before the runner starts:
    /// one that came as its first commands began would leave them behind.
    pub(super) fn catch() -> io::Result<Caught> {
        if let Err(error) = exec::adopt_orphans() {
            log::debug!("what commands leave behind gets another parent: {error}");
        }
        let (reader, writer) = UnixStream::pair()?;
        let delivery = SignalDelivery::with_pipe(reader, writer, SignalOnly, caught())?;
        Ok(Caught(delivery))
    }

    /// Does what the signals say, and what they have said meanwhile.
    pub(super) fn listen(self, stopper: Stopper, screen: &Screen) -> jobq::Result<SignalThread> {
        let handle = self.0.handle();
        let mut listener = SignalListener::new(self.0, stopper, screen.clone());
        let thread = thread::Builder::new()
            .name("jobq-signals".to_owned())
            .spawn(move || {
                if let Err(error) = listener.listen() {
                    log::error!("signals are no longer heard: {error}");
                }
                listener.was_interrupted
            })
            .map_err(|error| Error::no_thread("signals", error))?;
        Ok(SignalThread { handle, thread })
    }
}

impl SignalThread {
    /// Stops listening. Whether one of the signals was Ctrl-C.
    pub(super) fn end(self) -> bool {
        self.handle.close();
        self.thread.join().unwrap_or(false)
    }
}

/// The signals that mean something to a runner.
fn caught() -> Vec<i32> {
    let mut caught = vec![SIGINT, SIGTERM, SIGXCPU, SIGCHLD];
    // LXC shuts down a container by it; elsewhere it says that the power goes.
    #[cfg(target_os = "linux")]
    caught.push(Signal::POWER.as_raw());
    let asked = [SIGHUP, SIGQUIT, SIGTSTP];
    caught.extend(asked.into_iter().filter(|signal| !is_ignored(*signal)));
    caught
}

struct SignalListener {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
    stopper: Stopper,
    screen: Screen,
    /// Whether SIGHUP says that it has been closed.
    has_terminal: bool,
    /// How many signals have asked for a stop.
    stops: usize,
    was_interrupted: bool,
    reaped_at: Option<Instant>,
    /// Set where children have ended that were not looked at yet.
    reap_at: Option<Instant>,
}

impl SignalListener {
    fn new(
        delivery: SignalDelivery<UnixStream, SignalOnly>,
        stopper: Stopper,
        screen: Screen,
    ) -> SignalListener {
        SignalListener {
            delivery,
            stopper,
            screen,
            has_terminal: File::open("/dev/tty").is_ok(),
            stops: 0,
            was_interrupted: false,
            reaped_at: None,
            reap_at: None,
        }
    }

    /// Until the delivery is closed; what came before that is heard.
    fn listen(&mut self) -> io::Result<()> {
        loop {
            let is_closed = self.delivery.handle().is_closed();
            for signal in self.delivery.pending() {
                self.hear(signal);
            }
            self.reap();
            if is_closed {
                return Ok(());
            }
            self.wait()?;
        }
    }

    fn wait(&self) -> io::Result<()> {
        let timeout = self
            .reap_at
            .and_then(|at| Timespec::try_from(at.saturating_duration_since(clock::instant())).ok());
        let bell = self.delivery.get_read().as_fd();
        let mut places = [PollFd::from_borrowed_fd(bell, PollFlags::IN)];
        match poll(&mut places, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn hear(&mut self, signal: i32) {
        match signal {
            SIGCHLD if self.reap_at.is_none() => {
                let now = clock::instant();
                let soonest = self.reaped_at.map(|at| at + REAP_EVERY);
                self.reap_at = Some(soonest.map_or(now, |soonest| soonest.max(now)));
            }
            SIGCHLD => {}
            SIGQUIT => {
                self.stops = self.stops.max(2);
                self.stop_now();
            }
            // Until SIGCONT comes. A process that cannot be stopped (the first one of a container)
            // goes on at once. To this thread: if another one took the signal, this one would go on
            // for a moment, and continue the commands.
            SIGTSTP => exec::suspend(|| {
                let _goes_on = raise(SIGSTOP);
            }),
            SIGHUP if !self.has_terminal => {
                exec::recycle();
                self.screen
                    .say("persistent commands are replaced once their jobs have ended");
            }
            _ => {
                self.was_interrupted |= signal == SIGINT;
                self.stops += 1;
                self.stop();
            }
        }
    }

    fn reap(&mut self) {
        let now = clock::instant();
        if self.reap_at.is_some_and(|at| at <= now) {
            self.reaped_at = Some(now);
            self.reap_at = (!exec::reap_orphans()).then_some(now + REAP_AGAIN);
        }
    }

    fn stop(&self) {
        match self.stops {
            1 => {
                self.stopper.stop();
                service::stopping();
                self.screen
                    .say("stopping: waiting for running jobs (Ctrl-C again to stop them now)");
            }
            2 => self.stop_now(),
            _ => {}
        }
    }

    fn stop_now(&self) {
        self.stopper.stop_now();
        service::stopping();
        self.screen
            .say("stopping now: running jobs are asked to stop; they will run again");
    }
}
