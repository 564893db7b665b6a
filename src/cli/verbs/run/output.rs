//! `run --output`: prints the output of the jobs' commands, line by line.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use jobq::JobId;
use jobq::api::json::{Time, write_line};
use jobq::handlers::exec::{OutputSink, Printed, Stream};

use crate::cli::clock::now;
use crate::cli::exit::CliResult;
use crate::cli::render::Format;
use crate::cli::render::log::LogJson;
use crate::cli::render::screen::Screen;

/// Maximum number of bytes that wait to be written; beyond it commands wait, as for a full pipe.
const WAITING_MAX_BYTES: usize = 4 * 1024 * 1024;

/// A line that has become so long is written without its end.
const LINE_MAX_BYTES: usize = 64 * 1024;

enum OutputMessage {
    Piece {
        job: JobId,
        attempt: u32,
        stream: Stream,
        bytes: Vec<u8>,
    },
    AttemptEnded(JobId),
    End,
}

/// Takes what commands print; a thread of its own writes it.
pub(super) struct Sink {
    messages: Sender<OutputMessage>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl OutputSink for Sink {
    fn printed(&self, printed: Printed<'_>) {
        let bytes = printed.bytes.len();
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let piece = OutputMessage::Piece {
            job: printed.job,
            attempt: printed.attempt,
            stream: printed.stream,
            bytes: printed.bytes.to_vec(),
        };
        if self.messages.send(piece).is_err() {
            // The printer is gone, so nothing waits for it.
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    fn ended(&self, job: JobId, _: u32) {
        let _nobody_prints = self.messages.send(OutputMessage::AttemptEnded(job));
    }

    fn is_ready(&self) -> bool {
        self.waiting_bytes.load(Ordering::Relaxed) < WAITING_MAX_BYTES
    }
}

/// Writes what commands print to stdout and stderr.
pub(super) struct OutputPrinter {
    sink: Arc<Sink>,
    thread: JoinHandle<()>,
}

impl OutputPrinter {
    pub(super) fn start(format: Format, screen: &Screen) -> CliResult<OutputPrinter> {
        let (messages, from_jobs) = channel();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let mut writer = OutputWriter {
            lines: OpenLines::default(),
            format,
            screen: screen.clone(),
            waiting_bytes: Arc::clone(&waiting_bytes),
            ready: [Vec::new(), Vec::new()],
            has_reader: [true, true],
        };
        let thread = thread::Builder::new()
            .name("jobq-output".to_owned())
            .spawn(move || writer.follow(&from_jobs))
            .map_err(|error| jobq::Error::no_thread("output", error))?;
        let sink = Arc::new(Sink {
            messages,
            waiting_bytes,
        });
        Ok(OutputPrinter { sink, thread })
    }

    pub(super) fn sink(&self) -> Arc<Sink> {
        Arc::clone(&self.sink)
    }

    /// Returns when all that has been printed is written.
    pub(super) fn end(self) {
        if self.sink.messages.send(OutputMessage::End).is_ok() && self.thread.join().is_err() {
            log::warn!("the output of the last jobs was not shown");
        }
    }
}

struct OutputWriter {
    lines: OpenLines,
    format: Format,
    screen: Screen,
    waiting_bytes: Arc<AtomicUsize>,
    /// The next output for stdout and for stderr.
    ready: [Vec<u8>; 2],
    /// Whether stdout and stderr still have readers.
    has_reader: [bool; 2],
}

impl OutputWriter {
    fn follow(&mut self, messages: &Receiver<OutputMessage>) {
        while let Ok(first) = messages.recv() {
            let mut taken_bytes = 0;
            let mut is_over = false;
            for message in [first].into_iter().chain(messages.try_iter()) {
                match message {
                    OutputMessage::Piece {
                        job,
                        attempt,
                        stream,
                        bytes,
                    } => {
                        taken_bytes += bytes.len();
                        for line in self.lines.add((job, stream), &bytes) {
                            self.prepare(job, Some(attempt), stream, &line);
                        }
                    }
                    OutputMessage::AttemptEnded(job) => self.end_lines_of(job),
                    OutputMessage::End => is_over = true,
                }
                if taken_bytes >= LINE_MAX_BYTES {
                    break;
                }
            }
            self.write();
            self.waiting_bytes.fetch_sub(taken_bytes, Ordering::Relaxed);
            if is_over {
                return;
            }
        }
    }

    fn end_lines_of(&mut self, job: JobId) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(line) = self.lines.take((job, stream)) {
                self.prepare(job, None, stream, &line);
            }
        }
    }

    fn prepare(&mut self, job: JobId, attempt: Option<u32>, stream: Stream, line: &[u8]) {
        let name = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        if self.format == Format::Json {
            if !self.has_reader[0] {
                return;
            }
            let json = LogJson {
                at: Time(now()),
                job: Some(job),
                attempt,
                stream: name,
                level: None,
                message: String::from_utf8_lossy(line),
                fields: None,
            };
            // It is written into memory.
            let _written = write_line(&mut self.ready[0], &json);
            return;
        }
        if !self.has_reader[stream as usize] {
            return;
        }
        let out = &mut self.ready[stream as usize];
        out.extend_from_slice(format!("[{job}] ").as_bytes());
        out.extend_from_slice(line);
        out.push(b'\n');
    }

    /// Without a reader the runner and its jobs go on: their output is kept in the file.
    fn write(&mut self) {
        let [out, err] = &mut self.ready;
        let written = match out.is_empty() {
            true => Ok(()),
            false => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(out).and_then(|()| stdout.flush())
            }
        };
        if !err.is_empty() {
            let written = io::stderr().lock().write_all(err);
            self.has_reader[1] = !is_reader_gone(&written);
        }
        out.clear();
        err.clear();
        if is_reader_gone(&written) && std::mem::take(&mut self.has_reader[0]) {
            self.screen.say(
                "the reader of the jobs' output has gone away: the runner goes on, and `jobq logs` has the output",
            );
        }
    }
}

fn is_reader_gone(written: &io::Result<()>) -> bool {
    matches!(written, Err(error) if error.kind() == ErrorKind::BrokenPipe)
}

/// The lines that have begun and not ended.
#[derive(Default)]
struct OpenLines(HashMap<(JobId, Stream), Vec<u8>>);

impl OpenLines {
    /// Takes what a stream goes on with; the lines that are whole with it, without their ends.
    fn add(&mut self, of: (JobId, Stream), bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut whole = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let open = self.0.entry(of).or_default();
            match part.strip_suffix(b"\n") {
                Some(end) => {
                    open.extend_from_slice(end);
                    whole.extend(self.0.remove(&of));
                }
                None => {
                    open.extend_from_slice(part);
                    if open.len() >= LINE_MAX_BYTES {
                        whole.extend(self.0.remove(&of));
                    }
                }
            }
        }
        whole
    }

    fn take(&mut self, of: (JobId, Stream)) -> Option<Vec<u8>> {
        self.0.remove(&of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_they_come_in() {
        let mut lines = OpenLines::default();
        let of = |job| (JobId(job), Stream::Stdout);
        assert!(lines.add(of(1), b"a").is_empty());
        assert!(lines.add(of(2), b"x").is_empty());
        assert_eq!(lines.add(of(1), b"b\n\nc"), [b"ab".to_vec(), Vec::new()]);
        assert_eq!(lines.take(of(1)).as_deref(), Some(&b"c"[..]));
        assert_eq!(lines.take(of(1)), None);
        assert_eq!(
            lines.add(of(2), &[b'x'; LINE_MAX_BYTES])[0].len(),
            LINE_MAX_BYTES + 1
        );
    }
}
