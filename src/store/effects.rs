//! The application's own writes: one transaction at a time, alone, on a connection of their own.

use std::sync::{Arc, Mutex, PoisonError};

use super::connection::OpenConfig;
use super::gate::Gate;
use super::tx::{Hooks, Tx};
use super::writer::{OTHERS_CHECKPOINT_PAGES, Writer};
use crate::{Error, Result};

/// The connection that is lent to applications, opened when one first needs it.
pub(crate) struct Effects {
    /// Where those who want the connection wait; a mutex would let them overtake each other.
    line: Gate,
    /// Shared with the writer of the process.
    gate: Arc<Gate>,
    writer: Mutex<Writer>,
}

impl Effects {
    pub(crate) fn new(config: OpenConfig, hooks: Hooks) -> Effects {
        let gate = Arc::new(Gate::default());
        Effects {
            line: Gate::default(),
            writer: Mutex::new(Writer::to_lend((config, hooks), Arc::clone(&gate))),
            gate,
        }
    }

    pub(crate) fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate)
    }

    pub(crate) fn is_lent_here(&self) -> bool {
        self.gate.is_lent_here()
    }

    pub(crate) fn write<T, E: From<Error>>(
        &self,
        body: impl FnOnce(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.gate.refuse_inside()?;
        let _pass = self.line.enter();
        // A panic in a body has been dealt with where the body ran.
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let done = writer.lend(body);
        writer.tidy_log(OTHERS_CHECKPOINT_PAGES);
        done
    }
}
