//! A runner's log is copied into the file while its jobs go on starting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::store::sqlite::read_pool::ReadPool;
use crate::store::sqlite::writer::{
    OTHERS_CHECKPOINT_PAGES, RUNNER_CHECKPOINT_PAGES, Writer, log_pages,
};

/// When a runner copies its log into the file.
#[derive(Debug, Default)]
pub(crate) struct LogCopies {
    /// The copy that goes on; true when it has ended.
    running: Option<Arc<AtomicBool>>,
    next_at_pages: i32,
}

impl LogCopies {
    #[cfg(test)]
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Copies a log that has grown: on the readers' thread first, which keeps nobody from writing. What is
    /// written meanwhile is little, and copied by the writer; then the log begins anew. While all workers have
    /// work no job could start sooner, and the writer copies all of it, as it does when the log grows on.
    pub(crate) fn tidy(&mut self, readers: &ReadPool, writer: &mut Writer, is_busy: bool) {
        let pages = log_pages();
        if let Some(ended) = &self.running {
            if ended.load(Ordering::Acquire) {
                self.running = None;
                self.next_at_pages = pages + RUNNER_CHECKPOINT_PAGES;
                return writer.checkpoint_passively();
            }
        } else if is_busy {
            return writer.tidy_log(RUNNER_CHECKPOINT_PAGES);
        } else if pages < RUNNER_CHECKPOINT_PAGES {
            self.next_at_pages = RUNNER_CHECKPOINT_PAGES;
        } else if pages >= self.next_at_pages {
            self.next_at_pages = pages + RUNNER_CHECKPOINT_PAGES;
            // Where there is no reader to be had, the writer does it later.
            self.running = readers.copy_log().ok();
        }
        writer.tidy_log(OTHERS_CHECKPOINT_PAGES);
    }
}
