//! The application's own write transactions: one at a time, on their own connection.

use std::sync::{Arc, Mutex, PoisonError};

use crate::Result;
use crate::store::sqlite::connection::OpenConfig;
use crate::store::sqlite::tx::{JobRules, Tx};
use crate::store::sqlite::write_lock::WriteLock;
use crate::store::sqlite::writer::{OTHERS_CHECKPOINT_PAGES, Writer};

/// The connection that is lent to applications, opened when one first needs it.
pub(crate) struct UserTransactions {
    /// Where callers wait for the connection in order; a mutex would let them overtake each other.
    line: WriteLock,
    /// Shared with the writer of the process.
    write_lock: Arc<WriteLock>,
    writer: Mutex<Writer>,
}

impl UserTransactions {
    pub(crate) fn new(config: OpenConfig, rules: JobRules) -> UserTransactions {
        let write_lock = Arc::new(WriteLock::default());
        UserTransactions {
            line: WriteLock::default(),
            writer: Mutex::new(Writer::for_user_code(
                (config, rules),
                Arc::clone(&write_lock),
            )),
            write_lock,
        }
    }

    pub(crate) fn write_lock(&self) -> Arc<WriteLock> {
        Arc::clone(&self.write_lock)
    }

    pub(crate) fn is_user_code_here(&self) -> bool {
        self.write_lock.is_user_code_here()
    }

    /// Refuses what writes from inside a lent transaction, on its thread.
    pub(crate) fn refuse_inside(&self) -> Result<()> {
        self.write_lock.refuse_inside()
    }

    /// The outer error is the transaction's own.
    pub(crate) fn write<T, E>(
        &self,
        body: impl FnOnce(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<Result<T, E>> {
        self.refuse_inside()?;
        let _pass = self.line.enter();
        // A panic in a body was handled where the body ran.
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let done = writer.run_user_code(body);
        writer.tidy_log(OTHERS_CHECKPOINT_PAGES);
        done
    }
}
