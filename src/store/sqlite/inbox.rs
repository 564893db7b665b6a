//! The inbox of a process's writer: commands that wait for the next transaction, in the order in which they came.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::store::sqlite::command::Command;

/// Maximum number of commands before callers wait.
const CAPACITY: usize = 4096;

#[derive(Default)]
pub(crate) struct Inbox {
    commands: Mutex<VecDeque<Box<dyn Command>>>,
    taken: Condvar,
}

impl Inbox {
    /// Adds a command; waits while the inbox is full.
    pub(crate) fn push(&self, command: Box<dyn Command>) {
        let full = |commands: &mut VecDeque<_>| commands.len() >= CAPACITY;
        let commands = self.taken.wait_while(self.lock(), full);
        let mut commands = commands.unwrap_or_else(PoisonError::into_inner);
        commands.push_back(command);
    }

    /// Moves up to so many of the first commands to the end of `to`.
    pub(crate) fn take(&self, most: usize, to: &mut Vec<Box<dyn Command>>) {
        let mut commands = self.lock();
        let was_full = commands.len() >= CAPACITY;
        let count = most.min(commands.len());
        to.extend(commands.drain(..count));
        if was_full && count > 0 {
            self.taken.notify_all();
        }
    }

    /// Puts commands before all others.
    pub(crate) fn put_first(&self, first: Vec<Box<dyn Command>>) {
        let mut commands = self.lock();
        for command in first.into_iter().rev() {
            commands.push_front(command);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Asks the caller of the first command that anybody waits for to write. Returns false if there are commands
    /// and nobody waits for any of them.
    pub(crate) fn call_next(&self) -> bool {
        let commands = self.lock();
        commands.is_empty() || commands.iter().any(|command| command.ask_to_write())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Box<dyn Command>>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
