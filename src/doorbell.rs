//! Wakes a sleeping dispatcher from any thread, and costs one atomic exchange while it is awake.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crate::wake::Wake;
use crate::{Error, Result};

/// A bell that is rung only while somebody sleeps on it.
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

    /// To be called after the news is in its channel.
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
