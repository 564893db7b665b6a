//! Where the output of commands goes: into the history, and to the application's sink.

use std::fmt;
use std::sync::Arc;

use crate::Result;
pub use crate::handlers::exec::capture::Stream;
use crate::handlers::exec::capture::Watcher;
use crate::handlers::exec::kept::grouped;
use crate::handlers::exec::payload::check_output_limit;
use crate::model::event::EventKind;
use crate::model::id::JobId;
use crate::runner::context::Context;

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

pub(super) struct Reporter<'a> {
    ctx: &'a Context,
    sink: Option<&'a dyn OutputSink>,
    streams: [WrittenOutput; 2],
}

/// What has become of one stream's output.
#[derive(Clone, Copy, Debug, Default)]
struct WrittenOutput {
    /// What was handed on last ended no line.
    is_mid_line: bool,
    /// So much could not be handed on since: it could not be written, and too much waited already.
    lost_bytes: usize,
}

impl WrittenOutput {
    /// What stands in place of what was lost.
    fn mark(self) -> String {
        let line_break = if self.is_mid_line { "\n" } else { "" };
        let bytes = grouped(self.lost_bytes as u64);
        format!("{line_break}[… {bytes} bytes lost: they could not be written …]\n")
    }
}

impl<'a> Reporter<'a> {
    pub(super) fn new(ctx: &'a Context, sink: Option<&'a dyn OutputSink>) -> Reporter<'a> {
        let streams = Default::default();
        Reporter { ctx, sink, streams }
    }

    /// Marks what was lost at the end.
    pub(super) fn finish(self) {
        for stream in Stream::ALL {
            let written = self.streams[stream as usize];
            if written.lost_bytes > 0 {
                let mark = written.mark();
                let room = self.ctx.backlog().room_anyway(mark.len());
                self.ctx.output(kind(stream), mark.into_bytes(), room);
                self.warn(written);
            }
        }
    }

    fn keep(&mut self, stream: Stream, bytes: &[u8]) {
        let written = &mut self.streams[stream as usize];
        let mark = match written.lost_bytes {
            0 => String::new(),
            _ => written.mark(),
        };
        let Some(room) = self.ctx.backlog().room(mark.len() + bytes.len()) else {
            written.lost_bytes += bytes.len();
            return;
        };
        let before = std::mem::take(written);
        written.is_mid_line = bytes.last().is_some_and(|byte| *byte != b'\n');
        let bytes = [mark.as_bytes(), bytes].concat();
        self.ctx.output(kind(stream), bytes, room);
        if before.lost_bytes > 0 {
            self.warn(before);
        }
    }

    fn warn(&self, written: WrittenOutput) {
        let (job, bytes) = (self.ctx.job_id(), grouped(written.lost_bytes as u64));
        log::warn!(
            "{bytes} bytes of the output of job {job} were lost: they could not be written, and too much waited already"
        );
    }
}

impl Watcher for Reporter<'_> {
    fn is_ready(&self) -> bool {
        self.sink.is_none_or(OutputSink::is_ready)
    }

    fn printed(&mut self, stream: Stream, bytes: &[u8]) {
        if let Some(sink) = self.sink {
            sink.printed(Printed {
                job: self.ctx.job_id(),
                attempt: self.ctx.attempt(),
                stream,
                bytes,
            });
        }
    }

    fn output(&mut self, stream: Stream, bytes: &[u8]) {
        self.keep(stream, bytes);
    }

    /// A piece with nothing in it marks the place: who follows may say so, and an attempt that ends
    /// without a piece behind it has lost what was held back.
    fn holds_back(&mut self, stream: Stream) {
        let room = self.ctx.backlog().room_anyway(0);
        self.ctx.output(kind(stream), Vec::new(), room);
    }
}

fn kind(stream: Stream) -> EventKind {
    match stream {
        Stream::Stdout => EventKind::Stdout,
        Stream::Stderr => EventKind::Stderr,
    }
}
