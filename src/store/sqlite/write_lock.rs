//! Whose turn it is to write within this process: first come, first served.
//!
//! SQLite lets writers that wait sleep and try again, and whoever tries at the right moment goes
//! first. Behind the write_lock those of one process wait in line instead and are woken in order.

use std::cell::RefCell;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::{Error, Result};

/// Lets one in at a time, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct WriteLock {
    line: Mutex<WaitingLine>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct WaitingLine {
    /// The ticket of whoever comes next.
    next: u64,
    /// The ticket of who is in, or may go in.
    serving: u64,
}

/// Being inside; ends when it is dropped, by a panic too.
pub(crate) struct WriteGuard<'g>(&'g WriteLock);

/// The application's code runs inside, on this thread.
pub(crate) struct Lent<'g>(&'g WriteLock);

thread_local! {
    /// The gates that this thread is behind with an application's code, innermost last.
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

    /// To be held by whoever is inside while the application's code runs there.
    pub(crate) fn run_user_code(&self) -> Lent<'_> {
        LENT.with_borrow_mut(|lent| lent.push(self));
        Lent(self)
    }

    /// Whether this thread runs an application's code inside.
    pub(crate) fn is_user_code_here(&self) -> bool {
        LENT.with_borrow(|lent| {
            lent.iter()
                .any(|write_lock| std::ptr::eq(*write_lock, self))
        })
    }

    /// For whatever waits for another who has to pass: from inside that would be for ever.
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

    /// Starts threads that want to go in, one after the other, while `first` is inside.
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
    fn who_is_inside_with_an_applications_code_is_told_apart_by_thread_and_gate() {
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
