//! Ends a command that follows something as soon as nobody reads what it prints, rather than with the next
//! line that it writes.

use std::io;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::exit::Exit;

/// Watches stdout, where that is a pipe, a socket or a terminal, and ends the process with `exit` once the
/// other end is closed. For commands that only look: nothing of theirs is lost.
pub(super) fn watch(exit: Exit) {
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
