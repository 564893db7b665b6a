//! What becomes of what commands print.

use std::fmt;
use std::sync::Arc;

use crate::Result;
use crate::handlers::exec::payload::check_output_limit;
use crate::model::id::JobId;

pub use crate::handlers::exec::capture::Stream;

/// How much of an attempt's output is kept where nothing else is said.
pub const DEFAULT_OUTPUT_LIMIT_BYTES: usize = 1024 * 1024;

/// A piece of what a command prints, as it comes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Printed<'a> {
    /// The job whose command it is.
    pub job: JobId,
    /// Its attempt.
    pub attempt: u32,
    /// Where it was printed to.
    pub stream: Stream,
    /// Any bytes: whole lines and whole characters where that is possible.
    pub bytes: &'a [u8],
}

/// Sees what commands print, all of it, besides what is kept in the file.
///
/// It is called by the threads of the workers, for several jobs at a time, and must not block: while
/// it does, nobody looks after its command. While it is not ready, commands wait for it as for a pipe
/// that is full.
pub trait OutputSink: Send + Sync + 'static {
    /// A command has printed something.
    fn printed(&self, printed: Printed<'_>);

    /// An attempt has ended: nothing goes on with its lines.
    fn ended(&self, _job: JobId, _attempt: u32) {}

    /// Whether it has room for more.
    fn is_ready(&self) -> bool {
        true
    }
}

/// What a handler does with the output of its commands.
#[derive(Clone, Default)]
pub(super) struct OutputOptions {
    limit_bytes: Option<usize>,
    pub(super) sink: Option<Arc<dyn OutputSink>>,
}

impl OutputOptions {
    /// Keeps so much of an attempt's output where the job does not say otherwise.
    pub(super) fn limit(&mut self, bytes: u64) -> Result<()> {
        self.limit_bytes = Some(check_output_limit(bytes)?);
        Ok(())
    }

    pub(super) fn limit_bytes(&self) -> usize {
        self.limit_bytes.unwrap_or(DEFAULT_OUTPUT_LIMIT_BYTES)
    }
}

impl fmt::Debug for OutputOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutputOptions")
            .field("limit_bytes", &self.limit_bytes)
            .field("has_sink", &self.sink.is_some())
            .finish()
    }
}
