//! Where the output of commands goes.

use std::fmt;
use std::sync::Arc;

use crate::Result;
use crate::handlers::exec::payload::check_output_limit;
use crate::model::id::JobId;

pub use crate::handlers::exec::capture::Stream;

/// Default maximum of output kept of an attempt.
pub const DEFAULT_OUTPUT_LIMIT_BYTES: usize = 1024 * 1024;

/// A piece of a command's output, as it arrives.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Printed<'a> {
    /// The job whose command it is.
    pub job: JobId,
    /// Its attempt.
    pub attempt: u32,
    /// The stream it was printed to.
    pub stream: Stream,
    /// Any bytes: whole lines and whole characters where possible.
    pub bytes: &'a [u8],
}

/// Receives all output of commands, also what the file does not keep.
///
/// Worker threads call it, for several jobs at a time, and it must not block: its command is unattended
/// meanwhile. While it is not ready, commands wait as for a full pipe.
pub trait OutputSink: Send + Sync + 'static {
    /// A command printed something.
    fn printed(&self, printed: Printed<'_>);

    /// An attempt has ended: its lines are complete.
    fn ended(&self, _job: JobId, _attempt: u32) {}

    /// Whether it can take more.
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
    /// Maximum output kept of an attempt, unless the job sets one.
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
