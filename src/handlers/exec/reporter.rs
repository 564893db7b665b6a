//! Takes a command's output into the history.

use crate::handlers::exec::capture::Watcher;
use crate::handlers::exec::kept::grouped;
use crate::handlers::exec::output::{OutputSink, Printed, Stream};
use crate::model::event::EventKind;
use crate::runner::context::Context;

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
