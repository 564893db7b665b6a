//! Threads of handlers that outlive an attempt.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Starts a thread; whoever starts it ends it, too.
pub(crate) fn start_thread(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(run)
}
