//! Signals of every verb, their inherited settings, and a reader of stdout that goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::{io, thread};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;

use crate::cli::exit::Exit;

/// Takes the signal that comes where a file would become too large (`ulimit -f`): then the write fails, and
/// its error can be told, as of a full disk. What is caught, unlike what is ignored, is as usual again in
/// the commands of jobs.
pub(crate) fn outlive_file_limit() -> io::Result<()> {
    outlive(SIGXFSZ)
}

/// Takes a signal for nothing.
pub(crate) fn outlive(signal: i32) -> io::Result<()> {
    flag::register(signal, Arc::new(AtomicBool::new(false))).map(|_| ())
}

/// Whether the parent of this process had the signal ignored, as nohup(1) does with SIGHUP. To
/// be asked before it is caught.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_ignored_by(&status, signal)
}

fn is_ignored_by(status: &str, signal: i32) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Ctrl-C, SIGTERM and SIGHUP for a verb that has to tidy up before it ends: notes the first of them in
/// place of ending the process.
pub(crate) struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    pub(crate) fn listen() -> io::Result<Interrupt> {
        let came = Interrupt(Arc::default());
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register_usize(signal, Arc::clone(&came.0), signal.unsigned_abs() as usize)?;
        }
        Ok(came)
    }

    /// Asks whether none has come yet.
    pub(crate) fn has_not_come(&self) -> impl FnMut() -> bool + Send + use<> {
        let came = Arc::clone(&self.0);
        move || came.load(Ordering::SeqCst) == 0
    }

    /// How the process is to end where one has come: as a shell reports it.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match u8::try_from(self.0.load(Ordering::SeqCst)) {
            Ok(0) | Err(_) => None,
            Ok(signal) if i32::from(signal) == SIGINT => Some(Exit::Interrupted),
            Ok(signal) => Some(Exit::Code(128 + signal)),
        }
    }
}

/// Ends a command that follows something as soon as the reader of its output has gone, not with the
/// next line that it writes. Watches stdout, where that is a pipe, a socket or a terminal, and ends the
/// process with `exit` once the other end is closed. For commands that only look: nothing of theirs is lost.
pub(crate) fn end_when_reader_is_gone(exit: Exit) {
    let watching = thread::Builder::new()
        .name("jobq-reader".to_owned())
        .spawn(move || wait_and_end(exit));
    // Without it the next write tells.
    if let Err(error) = watching {
        log::debug!("stdout is not watched: {error}");
    }
}

fn wait_and_end(exit: Exit) {
    let stdout = io::stdout();
    let gone = PollFlags::ERR | PollFlags::HUP;
    loop {
        let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
        match poll(&mut fds, None) {
            Ok(_) if fds[0].revents().intersects(gone) => std::process::exit(exit.code().into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_signal_is_read_off_the_mask() {
        let status = "Name:\tjobq\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        let ignored: Vec<i32> = (1..=64).filter(|it| is_ignored_by(status, *it)).collect();
        assert_eq!(ignored, [1, 13]);
        assert!(!is_ignored_by("", 1));
    }
}
