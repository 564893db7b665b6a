//! Ctrl-C and SIGTERM: the first one stops the runner gracefully, the second hurries it.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use jobq::Stopper;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{SigId, flag, low_level};

use super::service;
use crate::cli::screen::Screen;

/// Listens until it is ended.
pub(super) struct Signals {
    interrupted: Arc<AtomicBool>,
    registered: Vec<SigId>,
    thread: JoinHandle<()>,
}

impl Signals {
    pub(super) fn listen(stopper: Stopper, screen: &Screen) -> io::Result<Signals> {
        let (mut bell, ringer) = UnixStream::pair()?;
        let interrupted = Arc::new(AtomicBool::new(false));
        // In this order: whoever hears the bell finds the flag set.
        let registered = vec![
            flag::register(SIGINT, Arc::clone(&interrupted))?,
            low_level::pipe::register(SIGINT, ringer.try_clone()?)?,
            low_level::pipe::register(SIGTERM, ringer)?,
        ];
        let screen = screen.clone();
        let thread = thread::Builder::new()
            .name("jobq-signals".to_owned())
            .spawn(move || {
                let mut signals = 0u64;
                // One byte a signal; no more come once the signals are registered no longer.
                while bell.read_exact(&mut [0]).is_ok() {
                    signals += 1;
                    obey(signals, &stopper, &screen);
                }
            })?;
        Ok(Signals {
            interrupted,
            registered,
            thread,
        })
    }

    /// Stops listening. Whether one of the signals was Ctrl-C.
    pub(super) fn end(self) -> bool {
        for signal in self.registered {
            low_level::unregister(signal);
        }
        // It has only said what there was to say.
        let _ = self.thread.join();
        self.interrupted.load(Ordering::SeqCst)
    }
}

fn obey(signals: u64, stopper: &Stopper, screen: &Screen) {
    match signals {
        1 => {
            stopper.stop();
            service::stopping();
            screen.say("stopping: waiting for running jobs (Ctrl-C again to hurry)");
        }
        2 => {
            stopper.hurry();
            screen.say("hurrying: running jobs are told to stop; they will run again");
        }
        _ => {}
    }
}
