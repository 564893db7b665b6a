//! A command's output on its way from the pipes to the history.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;

use crate::clock;
use crate::handlers::exec::exit::last_words;
use crate::handlers::exec::kept::Kept;
use crate::model::mask::{Mask, MaskedStream};

/// Maximum size of a piece that is handed on at once.
pub(crate) const CHUNK_MAX_BYTES: usize = 64 * 1024;

/// How long output is held back so that more can join it.
const HOLD: Duration = Duration::from_millis(100);

/// How much of the end of stderr is remembered for the error message.
const TAIL_BYTES: usize = 1024;

/// One of the two streams that a command prints to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Both, in the order in which they are read.
    pub(super) const ALL: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

    pub(super) fn other(self) -> Stream {
        match self {
            Stream::Stdout => Stream::Stderr,
            Stream::Stderr => Stream::Stdout,
        }
    }
}

/// Follows a command from its start to its end.
pub(crate) trait Watcher {
    /// It has been started, as the leader of the process group `pid`.
    fn spawned(&mut self, _pid: i32) {}

    /// Whether it can take what the command prints. While it cannot, nothing is read.
    fn is_ready(&self) -> bool {
        true
    }

    /// It has printed `bytes`: any bytes, at most [`CHUNK_MAX_BYTES`], whole lines and whole
    /// characters where that is possible.
    fn printed(&mut self, _stream: Stream, _bytes: &[u8]) {}

    /// Of what it has printed, `bytes` are kept, within the limit: pieces as for
    /// [`printed`](Watcher::printed).
    fn output(&mut self, stream: Stream, bytes: &[u8]);

    /// What the stream goes on with comes at the end of the attempt, as far as it is kept.
    fn holds_back(&mut self, _stream: Stream) {}
}

/// Where the streams' buffers come from, so that a worker's next command finds them ready.
#[derive(Default)]
pub(super) struct Buffers([Vec<u8>; 2]);

/// The streams of one command: holds output back for a moment so that lines stay whole and chunks
/// are few, leaves to [`Kept`] what is kept, and remembers the end of stderr.
///
/// The order is that of reading, where a line counts when it is complete. So at most one stream
/// holds complete lines: they are handed on before the other stream's.
pub(super) struct Capture {
    /// Where the command knows secrets.
    masked: Option<[MaskedStream; 2]>,
    held: [UnsentOutput; 2],
    kept: Kept,
    stderr_tail: Vec<u8>,
}

/// What has been read of one stream and not been handed on.
struct UnsentOutput {
    bytes: Vec<u8>,
    /// How many of `bytes` are complete lines.
    lines_len: usize,
    /// When the oldest complete line came.
    lines_since: Instant,
    /// When the incomplete line behind them began.
    partial_since: Instant,
}

impl Capture {
    pub(super) fn new(
        buffers: Buffers,
        (limit_bytes, mask): (usize, &Mask),
        now: Instant,
    ) -> Capture {
        let [stdout, stderr] = buffers.0;
        let held = [
            UnsentOutput::new(stdout, now),
            UnsentOutput::new(stderr, now),
        ];
        let stderr_tail = Vec::new();
        let masked = || [(); 2].map(|()| MaskedStream::new(mask.clone()));
        Capture {
            masked: (!mask.is_empty()).then(masked),
            held,
            kept: Kept::new(limit_bytes),
            stderr_tail,
        }
    }

    /// Reads once from a stream's pipe; it must be readable. How many bytes came: 0 is its end.
    pub(super) fn read(
        &mut self,
        stream: Stream,
        pipe: &OwnedFd,
        now: Instant,
        watcher: &mut dyn Watcher,
    ) -> io::Result<usize> {
        let bytes = &mut self.held[stream as usize].bytes;
        let free = CHUNK_MAX_BYTES - bytes.len();
        let Some(masked) = &mut self.masked else {
            bytes.reserve_exact(free);
            let read = rustix::io::retry_on_intr(|| rustix::io::read(pipe, spare_capacity(bytes)));
            let count = read?;
            self.took(stream, count, now, watcher);
            return Ok(count);
        };
        let masked = &mut masked[stream as usize];
        let mut piece = vec![0; free - masked.held_len()];
        let count = rustix::io::retry_on_intr(|| rustix::io::read(pipe, &mut piece[..]))?;
        let before = bytes.len();
        match count {
            0 => masked.finish(bytes),
            _ => masked.take(&piece[..count], bytes),
        }
        let came = bytes.len() - before;
        self.took(stream, came, now, watcher);
        Ok(count)
    }

    /// Reads what is in a pipe at this moment, and no more.
    pub(super) fn read_rest(
        &mut self,
        stream: Stream,
        pipe: &OwnedFd,
        now: Instant,
        watcher: &mut dyn Watcher,
    ) {
        let mut left = rustix::io::ioctl_fionread(pipe).unwrap_or(0);
        while left > 0 {
            match self.read(stream, pipe, now, watcher) {
                Ok(count @ 1..) => left = left.saturating_sub(count as u64),
                _ => break,
            }
        }
    }

    /// Takes what has been read of a stream elsewhere.
    pub(super) fn print(
        &mut self,
        stream: Stream,
        mut bytes: &[u8],
        (now, watcher): (Instant, &mut dyn Watcher),
    ) {
        while !bytes.is_empty() {
            let held = &mut self.held[stream as usize].bytes;
            let masked = self.masked.as_mut();
            let masked = masked.map(|masked| &mut masked[stream as usize]);
            let masked_len = masked.as_ref().map_or(0, |masked| masked.held_len());
            let free = CHUNK_MAX_BYTES - held.len() - masked_len;
            let (piece, rest) = bytes.split_at(bytes.len().min(free));
            let before = held.len();
            match masked {
                Some(masked) => masked.take(piece, held),
                None => held.extend_from_slice(piece),
            }
            let came = held.len() - before;
            self.took(stream, came, now, watcher);
            bytes = rest;
        }
    }

    /// When [`pass_due`](Capture::pass_due) has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.held
            .iter()
            .filter_map(UnsentOutput::since)
            .min()
            .map(|since| since + HOLD)
    }

    /// Hands on what has been held back for long enough.
    pub(super) fn pass_due(&mut self, now: Instant, watcher: &mut dyn Watcher) {
        for stream in Stream::ALL {
            let held = &mut self.held[stream as usize];
            let is_due = |since: Instant| now >= since + HOLD;
            if held.partial_len() > 0 && is_due(held.partial_since) {
                held.partial_since = now;
                let tail = cut_char_len(&held.bytes);
                // Half a character that has waited alone will not become a whole one.
                let tail = if tail == held.partial_len() { 0 } else { tail };
                self.pass(
                    stream,
                    self.held[stream as usize].bytes.len() - tail,
                    watcher,
                );
            } else if held.lines_len > 0 && is_due(held.lines_since) {
                let lines_len = held.lines_len;
                self.pass(stream, lines_len, watcher);
            }
        }
    }

    /// Hands on all that is left, and gives the buffers back.
    pub(super) fn finish(mut self, watcher: &mut dyn Watcher) -> (Option<String>, Buffers) {
        for (stream, mut masked) in Stream::ALL
            .into_iter()
            .zip(self.masked.take().into_iter().flatten())
        {
            let bytes = &mut self.held[stream as usize].bytes;
            let before = bytes.len();
            masked.finish(bytes);
            let came = bytes.len() - before;
            self.took(stream, came, clock::instant(), watcher);
        }
        for stream in Stream::ALL {
            self.pass(stream, self.held[stream as usize].lines_len, watcher);
        }
        for stream in Stream::ALL {
            self.pass(stream, self.held[stream as usize].bytes.len(), watcher);
        }
        self.kept.finish(watcher);
        let last_words = last_words(&self.stderr_tail);
        (last_words, Buffers(self.held.map(|held| held.bytes)))
    }

    /// Takes note of `count` bytes that have been appended to a stream's buffer.
    fn took(&mut self, stream: Stream, count: usize, now: Instant, watcher: &mut dyn Watcher) {
        let held = &mut self.held[stream as usize];
        let new = &held.bytes[held.bytes.len() - count..];
        if stream == Stream::Stderr {
            keep_tail(&mut self.stderr_tail, new);
        }
        let line_end = new.iter().rposition(|byte| *byte == b'\n');
        if held.partial_len() == count || line_end.is_some() {
            held.partial_since = now;
        }
        if let Some(position) = line_end {
            if held.lines_len == 0 {
                held.lines_since = now;
            }
            held.lines_len = held.bytes.len() - count + position + 1;
            let other = stream.other();
            self.pass(other, self.held[other as usize].lines_len, watcher);
        }
        self.pass_full(stream, watcher);
    }

    /// Makes room in a buffer that has none.
    fn pass_full(&mut self, stream: Stream, watcher: &mut dyn Watcher) {
        let held = &self.held[stream as usize];
        let masked = self.masked.as_ref();
        let masked_len = masked.map_or(0, |masked| masked[stream as usize].held_len());
        if held.bytes.len() + masked_len >= CHUNK_MAX_BYTES {
            let len = match held.lines_len {
                0 => held.bytes.len() - cut_char_len(&held.bytes),
                lines_len => lines_len,
            };
            self.pass(stream, len, watcher);
        }
    }

    /// Hands on the first `len` bytes that a stream holds.
    fn pass(&mut self, stream: Stream, len: usize, watcher: &mut dyn Watcher) {
        let held = &mut self.held[stream as usize];
        if len == 0 {
            return;
        }
        let bytes = &held.bytes[..len];
        watcher.printed(stream, bytes);
        self.kept.take(stream, bytes, watcher);
        held.bytes.drain(..len);
        held.lines_len = held.lines_len.saturating_sub(len);
    }
}

impl UnsentOutput {
    fn new(mut bytes: Vec<u8>, now: Instant) -> UnsentOutput {
        bytes.clear();
        let (lines_since, partial_since) = (now, now);
        UnsentOutput {
            bytes,
            lines_len: 0,
            lines_since,
            partial_since,
        }
    }

    fn partial_len(&self) -> usize {
        self.bytes.len() - self.lines_len
    }

    /// Since when the oldest byte has been held.
    fn since(&self) -> Option<Instant> {
        let lines = (self.lines_len > 0).then_some(self.lines_since);
        let partial = (self.partial_len() > 0).then_some(self.partial_since);
        lines.into_iter().chain(partial).min()
    }
}

/// How many bytes at the end are the beginning of a UTF-8 character whose rest is missing.
pub(super) fn cut_char_len(bytes: &[u8]) -> usize {
    for (back, byte) in bytes.iter().rev().take(3).enumerate() {
        let char_len = match byte {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        return if char_len > back + 1 { back + 1 } else { 0 };
    }
    0
}

fn keep_tail(tail: &mut Vec<u8>, new: &[u8]) {
    tail.extend_from_slice(&new[new.len().saturating_sub(TAIL_BYTES)..]);
    if tail.len() > TAIL_BYTES {
        tail.drain(..tail.len() - TAIL_BYTES);
    }
}

#[cfg(test)]
mod tests;
