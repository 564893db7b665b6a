//! Ctrl-C, SIGTERM and SIGHUP for a verb that has to tidy up before it ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::exit::Exit;

/// Notes the first signal in place of ending the process.
pub(super) struct Signal(Arc<AtomicUsize>);

impl Signal {
    pub(super) fn listen() -> io::Result<Signal> {
        let came = Signal(Arc::default());
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register_usize(signal, Arc::clone(&came.0), signal.unsigned_abs() as usize)?;
        }
        Ok(came)
    }

    /// Asks whether none has come yet.
    pub(super) fn has_not_come(&self) -> impl FnMut() -> bool + Send + use<> {
        let came = Arc::clone(&self.0);
        move || came.load(Ordering::SeqCst) == 0
    }

    /// How the process is to end where one has come: as a shell reports it.
    pub(super) fn exit(&self) -> Option<Exit> {
        match u8::try_from(self.0.load(Ordering::SeqCst)) {
            Ok(0) | Err(_) => None,
            Ok(signal) if i32::from(signal) == SIGINT => Some(Exit::Interrupted),
            Ok(signal) => Some(Exit::Code(128 + signal)),
        }
    }
}
