//! Wakes a sleeping dispatcher from any thread, and costs one atomic exchange while it is awake.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crate::{Error, Result};

/// A pipe that is written to only while somebody sleeps on it.
#[derive(Debug)]
pub(crate) struct Doorbell {
    asleep: AtomicBool,
    reader: PipeReader,
    writer: PipeWriter,
}

impl Doorbell {
    pub(crate) fn new() -> Result<Doorbell> {
        let failed = |error| Error::io("a pipe cannot be made", error);
        let (reader, writer) = std::io::pipe().map_err(failed)?;
        rustix::io::ioctl_fionbio(&reader, true).map_err(|error| failed(error.into()))?;
        rustix::io::ioctl_fionbio(&writer, true).map_err(|error| failed(error.into()))?;
        Ok(Doorbell {
            asleep: AtomicBool::new(false),
            reader,
            writer,
        })
    }

    /// To be called after the news is in its channel.
    pub(crate) fn ring(&self) {
        // Pairs with the fence in `fall_asleep`: either the sleeper sees the news or we see it asleep.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            // A full pipe wakes as well.
            let _ = (&self.writer).write(&[1]);
        }
    }

    /// Announces that the caller is about to sleep on [`Doorbell::as_fd`]. It must look for news
    /// once more after this.
    pub(crate) fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
        let mut rung = [0; 16];
        while matches!((&self.reader).read(&mut rung), Ok(read) if read > 0) {}
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
