//! Ctrl-C and SIGTERM: nothing is left behind.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use jobq::bench::Scratch;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use crate::cli::exit::Exit;

/// What a shell reports of a process that SIGTERM has ended.
const TERMINATED: u8 = 128 + 15;

/// Removes the folder and ends the process when a signal comes.
pub(super) struct Tidy {
    /// The exit code for the signal; zero where none has come.
    code: Arc<AtomicUsize>,
}

impl Tidy {
    pub(super) fn on_signals(folder: &Path) -> io::Result<Tidy> {
        let (mut bell, ringer) = UnixStream::pair()?;
        let tidy = Tidy {
            code: Arc::default(),
        };
        let codes = [(SIGINT, Exit::Interrupted.code()), (SIGTERM, TERMINATED)];
        for (signal, code) in codes {
            // In this order: whoever hears the bell finds the code.
            flag::register_usize(signal, Arc::clone(&tidy.code), code.into())?;
            low_level::pipe::register(signal, ringer.try_clone()?)?;
        }
        let (folder, code) = (folder.to_owned(), Arc::clone(&tidy.code));
        thread::Builder::new()
            .name("jobq-signals".to_owned())
            .spawn(move || {
                if bell.read_exact(&mut [0]).is_ok() {
                    Scratch::remove(&folder);
                    // A measurement may take long and has nothing to save.
                    std::process::exit(i32::from(exit_of(&code).map_or(0, Exit::code)));
                }
            })?;
        Ok(tidy)
    }

    /// How the process is to end where a signal has come: what was measured is in vain.
    pub(super) fn exit(&self) -> Option<Exit> {
        exit_of(&self.code)
    }
}

fn exit_of(code: &AtomicUsize) -> Option<Exit> {
    match u8::try_from(code.load(Ordering::SeqCst)) {
        Ok(0) | Err(_) => None,
        Ok(code) if code == Exit::Interrupted.code() => Some(Exit::Interrupted),
        Ok(code) => Some(Exit::Code(code)),
    }
}
