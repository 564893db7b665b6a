//! Wakes a sleeping dispatcher from any thread, and costs one atomic exchange while it is awake.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crate::{Error, Result};

/// A bell that is rung only while a thread sleeps on it.
#[derive(Debug)]
pub(crate) struct Doorbell {
    asleep: AtomicBool,
    wake: Wake,
}

impl Doorbell {
    pub(crate) fn new() -> Result<Doorbell> {
        let wake = Wake::new()
            .map_err(|error| Error::io("the writer's wake-up descriptor cannot be made", error))?;
        Ok(Doorbell {
            asleep: AtomicBool::new(false),
            wake,
        })
    }

    /// Call it after the message is in its channel.
    pub(crate) fn ring(&self) {
        // Pairs with the fence in `fall_asleep`: either the sleeper sees the news or we see it asleep.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            self.wake.ring();
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
        self.wake.reset();
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// A descriptor that becomes readable when the bell is rung, from any thread.
#[derive(Debug)]
pub(crate) struct Wake {
    reader: OwnedFd,
    /// The other end of the pipe, where there is no eventfd.
    #[cfg(not(target_os = "linux"))]
    writer: OwnedFd,
}

impl Wake {
    #[cfg(target_os = "linux")]
    pub(crate) fn new() -> io::Result<Wake> {
        use rustix::event::{EventfdFlags, eventfd};
        Ok(Wake {
            reader: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn new() -> io::Result<Wake> {
        let (reader, writer) = io::pipe()?;
        let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
        rustix::io::ioctl_fionbio(&reader, true)?;
        rustix::io::ioctl_fionbio(&writer, true)?;
        Ok(Wake { reader, writer })
    }

    /// Ends the wait that is under way, or else the next one.
    pub(crate) fn ring(&self) {
        #[cfg(target_os = "linux")]
        let writer = &self.reader;
        #[cfg(not(target_os = "linux"))]
        let writer = &self.writer;
        // It can fail only where the bell has been rung already and nobody has come yet.
        let _already_rung = rustix::io::write(writer, &1_u64.to_ne_bytes());
    }

    /// Takes back what has rung so far; returns false if nothing has.
    pub(crate) fn reset(&self) -> bool {
        let (mut rung, mut has_rung) = ([0_u8; 64], false);
        while let Ok(count) = rustix::io::read(&self.reader, &mut rung) {
            has_rung = true;
            if count < rung.len() {
                break;
            }
        }
        has_rung
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
