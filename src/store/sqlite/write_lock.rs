//! The write lock of a process: first come, first served.
//!
//! SQLite lets waiting writers sleep and try again, and the first to try at the right moment wins. With this
//! lock the writers of a process wait in line and are woken in order.

use std::cell::RefCell;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::{Error, Result};

/// A lock with one holder at a time, granted in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct WriteLock {
    line: Mutex<WaitingLine>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct WaitingLine {
    /// The ticket of the next to arrive.
    next: u64,
    /// The ticket of the holder, or of the next to hold it.
    serving: u64,
}

/// Holds the lock until it is dropped, also by a panic.
pub(crate) struct WriteGuard<'g>(&'g WriteLock);

/// Marks that application code runs on this thread under the lock.
pub(crate) struct Lent<'g>(&'g WriteLock);

thread_local! {
    /// The locks that this thread holds for application code, innermost last.
    static LENT: RefCell<Vec<*const WriteLock>> = const { RefCell::new(Vec::new()) };
}

impl WriteLock {
    pub(crate) fn enter(&self) -> WriteGuard<'_> {
        let mut line = self.line();
        let ticket = line.next;
        line.next += 1;
        while line.serving != ticket {
            line = self
                .moved
                .wait(line)
                .unwrap_or_else(PoisonError::into_inner);
        }
        WriteGuard(self)
    }

    /// Hold it while application code runs under the lock.
    pub(crate) fn run_user_code(&self) -> Lent<'_> {
        LENT.with_borrow_mut(|lent| lent.push(self));
        Lent(self)
    }

    /// Whether this thread runs application code under the lock.
    pub(crate) fn is_user_code_here(&self) -> bool {
        LENT.with_borrow(|lent| {
            lent.iter()
                .any(|write_lock| std::ptr::eq(*write_lock, self))
        })
    }

    /// Refuses to wait for another writer under the lock: it would wait forever.
    pub(crate) fn refuse_inside(&self) -> Result<()> {
        if !self.is_user_code_here() {
            return Ok(());
        }
        Err(Error::wrong_state(
            "this thread is inside a transaction on the same queue, and would wait for itself",
        )
        .with_hint("write through the transaction that the closure was given"))
    }

    fn line(&self) -> MutexGuard<'_, WaitingLine> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> u64 {
        let line = self.line();
        (line.next - line.serving).saturating_sub(1)
    }
}

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        let mut line = self.0.line();
        line.serving += 1;
        let is_awaited = line.serving != line.next;
        drop(line);
        if is_awaited {
            self.0.moved.notify_all();
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        LENT.with_borrow_mut(|lent| {
            if let Some(at) = lent
                .iter()
                .rposition(|write_lock| std::ptr::eq(*write_lock, self.0))
            {
                lent.remove(at);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    use super::*;

    /// Starts threads that want the lock, one after the other, while `first` holds it.
    fn go_in_after<'s>(
        scope: &'s thread::Scope<'s, '_>,
        (write_lock, order): (&'s WriteLock, &'s Mutex<Vec<&'static str>>),
        names: &[&'static str],
    ) {
        for name in names.iter().copied() {
            let before = write_lock.waiting();
            let comer = scope.spawn(move || {
                let _pass = write_lock.enter();
                order.lock().unwrap().push(name);
            });
            while write_lock.waiting() == before && !comer.is_finished() {
                thread::yield_now();
            }
            assert!(!comer.is_finished(), "{name} went in to somebody else");
        }
    }

    #[test]
    fn those_who_wait_go_in_in_the_order_in_which_they_came() {
        let (write_lock, order) = (WriteLock::default(), Mutex::default());
        thread::scope(|scope| {
            let pass = write_lock.enter();
            go_in_after(scope, (&write_lock, &order), &["first", "second", "third"]);
            assert!(order.lock().unwrap().is_empty());
            drop(pass);
        });
        assert_eq!(*order.lock().unwrap(), ["first", "second", "third"]);
        assert_eq!(write_lock.waiting(), 0);
    }

    #[test]
    fn who_comes_back_at_once_does_not_overtake_who_waits() {
        let (write_lock, order) = (WriteLock::default(), Mutex::default());
        thread::scope(|scope| {
            for _ in 0..100 {
                let pass = write_lock.enter();
                go_in_after(scope, (&write_lock, &order), &["other"]);
                drop(pass);
                let _pass = write_lock.enter();
                order.lock().unwrap().push("own");
            }
        });
        assert_eq!(*order.lock().unwrap(), ["other", "own"].repeat(100));
    }

    #[test]
    fn a_panic_inside_lets_the_next_one_in() {
        let write_lock = WriteLock::default();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _pass = write_lock.enter();
            let _lent = write_lock.run_user_code();
            panic!("inside");
        }));
        assert!(panicked.is_err());
        assert!(!write_lock.is_user_code_here());
        let _pass = write_lock.enter();
    }

    #[test]
    fn user_code_is_distinguished_by_thread_and_write_lock() {
        let (write_lock, other) = (WriteLock::default(), WriteLock::default());
        let lent = write_lock.run_user_code();
        let inner = other.run_user_code();
        assert!(write_lock.refuse_inside().unwrap_err().is_wrong_state());
        assert!(other.is_user_code_here());
        thread::scope(|scope| {
            scope.spawn(|| write_lock.refuse_inside().unwrap());
        });
        drop(inner);
        assert!(write_lock.is_user_code_here() && !other.is_user_code_here());
        drop(lent);
        write_lock.refuse_inside().unwrap();
    }
}
