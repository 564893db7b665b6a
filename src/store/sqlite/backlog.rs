//! The backlog: writes that no caller waits for, such as output, log entries and progress.
//!
//! While the file can be written, a sender waits for capacity. While it cannot, because the disk is full or
//! another process keeps the lock, writes stay in memory; beyond the capacity they are lost, and the sender
//! says so.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Maximum size of the backlog of a process.
pub(crate) const BACKLOG_BYTES: usize = 64 * 1024 * 1024;
/// Overhead of a write besides its bytes.
const EACH_BYTES: usize = 256;

#[derive(Debug)]
pub(crate) struct Backlog {
    limit_bytes: usize,
    level: Mutex<FillLevel>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct FillLevel {
    bytes: usize,
    /// The last transaction could not be written.
    is_stuck: bool,
}

/// Reserved capacity of the backlog, until it is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    backlog: Arc<Backlog>,
    bytes: usize,
}

impl Backlog {
    pub(crate) fn new(limit_bytes: usize) -> Arc<Backlog> {
        Arc::new(Backlog {
            limit_bytes,
            level: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Reserves capacity for a write; waits for it while the file can be written. None: the file cannot be
    /// written, and the backlog is full.
    pub(crate) fn room(self: &Arc<Backlog>, bytes: usize) -> Option<Room> {
        let bytes = bytes + EACH_BYTES;
        let is_full =
            |level: &mut FillLevel| level.bytes > 0 && level.bytes + bytes > self.limit_bytes;
        let waited = self
            .changed
            .wait_while(self.lock(), |level| !level.is_stuck && is_full(level));
        let mut level = waited.unwrap_or_else(PoisonError::into_inner);
        if is_full(&mut level) {
            return None;
        }
        Some(self.take(level, bytes))
    }

    /// Reserves capacity without waiting, for small writes that must not be lost or cannot wait.
    pub(crate) fn room_anyway(self: &Arc<Backlog>, bytes: usize) -> Room {
        self.take(self.lock(), bytes + EACH_BYTES)
    }

    /// Whether the backlog could not be written.
    pub(crate) fn set_stuck(&self, is_stuck: bool) {
        self.lock().is_stuck = is_stuck;
        self.changed.notify_all();
    }

    fn take(self: &Arc<Backlog>, mut level: MutexGuard<'_, FillLevel>, bytes: usize) -> Room {
        level.bytes += bytes;
        Room {
            backlog: Arc::clone(self),
            bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, FillLevel> {
        self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.backlog.lock().bytes -= self.bytes;
        self.backlog.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_backlog_waits_if_the_file_is_writable_else_refuses() {
        let backlog = Backlog::new(1000);
        let first = backlog.room(700).unwrap();
        let waiting = {
            let backlog = Arc::clone(&backlog);
            std::thread::spawn(move || backlog.room(100).is_some())
        };
        backlog.set_stuck(true);
        assert!(!waiting.join().unwrap());
        assert!(backlog.room(100).is_none());
        drop(backlog.room_anyway(100));
        backlog.set_stuck(false);
        let waiting = {
            let backlog = Arc::clone(&backlog);
            std::thread::spawn(move || backlog.room(100).is_some())
        };
        drop(first);
        assert!(waiting.join().unwrap());
        backlog.set_stuck(true);
        assert!(backlog.room(100).is_some());
        assert_eq!(backlog.lock().bytes, 0);
    }

    #[test]
    fn one_that_is_larger_than_all_the_room_goes_alone() {
        let backlog = Backlog::new(1000);
        let large = backlog.room(5000).unwrap();
        backlog.set_stuck(true);
        assert!(backlog.room(0).is_none());
        drop(large);
        assert!(backlog.room(0).is_some());
    }
}
