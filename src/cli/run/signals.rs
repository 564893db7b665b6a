//! What a runner does on signals.
//!
//! | signal | does |
//! |---|---|
//! | SIGINT, SIGTERM, SIGHUP, SIGPWR, SIGXCPU | the first one stops the runner gracefully, the second hurries it |
//! | SIGQUIT | hurries it at once |
//! | SIGTSTP | stops the commands and the runner, until SIGCONT |
//! | SIGCHLD | reaps what the commands have left behind and this process has become the parent of |
//! | SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO | nothing |
//!
//! SIGHUP, SIGQUIT and SIGTSTP do nothing where they were ignored when the runner was started (nohup).

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jobq::Stopper;
use jobq::handlers::exec;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::{
    SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2,
    SIGVTALRM, SIGXCPU,
};
use signal_hook::{SigId, flag, low_level};

use super::service;
use crate::cli::clock;
use crate::cli::screen::Screen;
use crate::cli::signal::{is_ignored, outlive};

/// Signals that somebody sends by mistake, or to whatever has the number of a process that is gone. They would
/// end this one.
const OUTLIVED: [i32; 6] = [SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO];

/// Children are reaped at most this often: with many short commands there is one that has ended at any time.
const REAP_EVERY: Duration = Duration::from_secs(1);

/// A command was just being started: the children are looked at again after this.
const REAP_AGAIN: Duration = Duration::from_millis(20);

/// Signals that are caught already and wait for somebody who listens.
pub(super) struct Caught {
    interrupted: Arc<AtomicBool>,
    registered: Vec<SigId>,
    bells: Bells,
    ringers: Ringers,
}

/// Listens until it is ended.
pub(super) struct Signals {
    interrupted: Arc<AtomicBool>,
    registered: Vec<SigId>,
    /// A bell that nobody rings has not ended.
    ringers: Ringers,
    thread: JoinHandle<()>,
}

/// A byte comes out for each signal of its sort; they end when nothing is registered any more.
struct Bells {
    stop: UnixStream,
    hurry: UnixStream,
    suspend: UnixStream,
    child: UnixStream,
}

/// Where the bytes go in.
struct Ringers {
    stop: UnixStream,
    hurry: UnixStream,
    suspend: UnixStream,
    child: UnixStream,
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
        let (bells, ringers) = bells()?;
        let interrupted = Arc::new(AtomicBool::new(false));
        let registered = register(&ringers, &interrupted)?;
        Ok(Caught {
            interrupted,
            registered,
            bells,
            ringers,
        })
    }

    /// Does what the signals say, and what they have said meanwhile.
    pub(super) fn listen(self, stopper: Stopper, screen: &Screen) -> io::Result<Signals> {
        let Caught {
            interrupted,
            registered,
            bells,
            ringers,
        } = self;
        let screen = screen.clone();
        let thread = thread::Builder::new()
            .name("jobq-signals".to_owned())
            .spawn(move || {
                let ended = Listener::new(bells, stopper, screen).listen();
                if let Err(error) = ended {
                    log::error!("signals are no longer heard: {error}");
                }
            })?;
        Ok(Signals {
            interrupted,
            registered,
            ringers,
            thread,
        })
    }
}

impl Signals {
    /// Stops listening. Whether one of the signals was Ctrl-C.
    pub(super) fn end(self) -> bool {
        for signal in self.registered {
            low_level::unregister(signal);
        }
        drop(self.ringers);
        // It has only said what there was to say.
        let _ = self.thread.join();
        self.interrupted.load(Ordering::SeqCst)
    }
}

fn register(ringers: &Ringers, interrupted: &Arc<AtomicBool>) -> io::Result<Vec<SigId>> {
    // Before the bell: whoever hears it finds the flag set.
    let mut registered = vec![flag::register(SIGINT, Arc::clone(interrupted))?];
    let mut bind = |signal, ringer: &UnixStream| -> io::Result<()> {
        registered.push(low_level::pipe::register(signal, ringer.try_clone()?)?);
        Ok(())
    };
    for signal in [SIGINT, SIGTERM, SIGXCPU] {
        bind(signal, &ringers.stop)?;
    }
    // LXC shuts down a container by it; elsewhere it says that the power goes.
    #[cfg(target_os = "linux")]
    bind(Signal::POWER.as_raw(), &ringers.stop)?;
    for (signal, ringer) in [
        (SIGHUP, &ringers.stop),
        (SIGQUIT, &ringers.hurry),
        (SIGTSTP, &ringers.suspend),
    ] {
        if !is_ignored(signal) {
            bind(signal, ringer)?;
        }
    }
    bind(SIGCHLD, &ringers.child)?;
    Ok(registered)
}

fn bells() -> io::Result<(Bells, Ringers)> {
    let [stop, hurry, suspend, child] = [
        UnixStream::pair()?,
        UnixStream::pair()?,
        UnixStream::pair()?,
        UnixStream::pair()?,
    ];
    for (bell, _) in [&stop, &hurry, &suspend, &child] {
        bell.set_nonblocking(true)?;
    }
    let bells = Bells {
        stop: stop.0,
        hurry: hurry.0,
        suspend: suspend.0,
        child: child.0,
    };
    let ringers = Ringers {
        stop: stop.1,
        hurry: hurry.1,
        suspend: suspend.1,
        child: child.1,
    };
    Ok((bells, ringers))
}

struct Listener {
    bells: Bells,
    stopper: Stopper,
    screen: Screen,
    /// How many signals have asked for a stop.
    stops: usize,
    reaped_at: Option<Instant>,
    /// Set where children have ended that were not looked at yet.
    reap_at: Option<Instant>,
}

impl Listener {
    fn new(bells: Bells, stopper: Stopper, screen: Screen) -> Listener {
        Listener {
            bells,
            stopper,
            screen,
            stops: 0,
            reaped_at: None,
            reap_at: None,
        }
    }

    /// Until nothing is registered any more.
    fn listen(mut self) -> io::Result<()> {
        while let Some(stops) = self.wait()? {
            for _ in 0..stops {
                self.stops += 1;
                self.stop();
            }
            if rung(&mut self.bells.hurry)?.is_some_and(|rings| rings > 0) {
                self.stops = self.stops.max(2);
                self.hurry();
            }
            if rung(&mut self.bells.suspend)?.is_some_and(|rings| rings > 0) {
                // Until somebody sends SIGCONT. One that may not be stopped (the first process of a container)
                // goes on at once.
                exec::suspend(|| {
                    let _goes_on = kill_process(getpid(), Signal::STOP);
                });
            }
            self.reap()?;
        }
        Ok(())
    }

    /// How many more stops were asked for; none where that was the last.
    fn wait(&mut self) -> io::Result<Option<usize>> {
        let timeout = self
            .reap_at
            .and_then(|at| Timespec::try_from(at.saturating_duration_since(clock::instant())).ok());
        let place = |bell| PollFd::from_borrowed_fd(bell, PollFlags::IN);
        let Bells {
            stop,
            hurry,
            suspend,
            child,
        } = &self.bells;
        let mut places = vec![
            place(stop.as_fd()),
            place(hurry.as_fd()),
            place(suspend.as_fd()),
        ];
        if self.reap_at.is_none() {
            places.push(place(child.as_fd()));
        }
        match poll(&mut places, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => rung(&mut self.bells.stop),
            Err(error) => Err(error.into()),
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        let now = clock::instant();
        if self.reap_at.is_none() && rung(&mut self.bells.child)?.is_some_and(|rings| rings > 0) {
            let soonest = self.reaped_at.map(|at| at + REAP_EVERY);
            self.reap_at = Some(soonest.map_or(now, |soonest| soonest.max(now)));
        }
        if self.reap_at.is_some_and(|at| at <= now) {
            self.reaped_at = Some(now);
            self.reap_at = (!exec::reap_orphans()).then_some(now + REAP_AGAIN);
        }
        Ok(())
    }

    fn stop(&self) {
        match self.stops {
            1 => {
                self.stopper.stop();
                service::stopping();
                self.screen
                    .say("stopping: waiting for running jobs (Ctrl-C again to hurry)");
            }
            2 => self.hurry(),
            _ => {}
        }
    }

    fn hurry(&self) {
        self.stopper.hurry();
        service::stopping();
        self.screen
            .say("hurrying: running jobs are told to stop; they will run again");
    }
}

/// How often a bell has rung since the last look; none where it never will again.
fn rung(bell: &mut UnixStream) -> io::Result<Option<usize>> {
    let mut rings = [0; 64];
    match bell.read(&mut rings) {
        Ok(0) => Ok(None),
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Some(0)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Some(0)),
        Err(error) => Err(error),
    }
}
