//! Lines for stderr, written by a thread of its own. A terminal that was stopped with ^S, or a pipe
//! that nobody reads, must not hold up the runner that has something to say.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};

/// Maximum number of bytes that wait for stderr; further lines are counted and left out.
const MAX_WAITING_BYTES: usize = 256 * 1024;

/// At the end of the process: a stderr that takes nothing for so long takes nothing at all.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// Hands lines to the thread that writes them. Cheap to clone.
#[derive(Clone)]
pub(super) struct Background(Arc<StderrQueue>);

struct StderrQueue {
    lines: Mutex<WaitingLines>,
    changed: Condvar,
}

#[derive(Default)]
struct WaitingLines {
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    left_out: u64,
    is_writing: bool,
    written: u64,
}

impl Background {
    /// The thread ends with the process.
    pub(super) fn start(write: impl Fn(&[u8]) + Send + 'static) -> io::Result<Background> {
        let shared = Arc::new(StderrQueue {
            lines: Mutex::default(),
            changed: Condvar::new(),
        });
        let background = Background(Arc::clone(&shared));
        thread::Builder::new()
            .name("jobq-stderr".to_owned())
            .spawn(move || shared.write_all(write))?;
        Ok(background)
    }

    /// Returns at once.
    pub(super) fn write(&self, line: &[u8]) {
        let mut lines = self.0.lock();
        if lines.waiting_bytes + line.len() > MAX_WAITING_BYTES {
            lines.left_out += 1;
        } else {
            lines.waiting_bytes += line.len();
            lines.waiting.push_back(line.to_vec());
        }
        drop(lines);
        self.0.changed.notify_all();
    }

    /// Returns when all is written, or when stderr has taken nothing for a while.
    pub(super) fn flush(&self) {
        let mut lines = self.0.lock();
        while lines.is_writing || !lines.waiting.is_empty() || lines.left_out > 0 {
            let before = lines.written;
            let waited = self.0.changed.wait_timeout(lines, STALLED_AFTER);
            let (now, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            lines = now;
            if timeout.timed_out() && lines.written == before {
                return;
            }
        }
    }
}

impl StderrQueue {
    fn lock(&self) -> MutexGuard<'_, WaitingLines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, write: impl Fn(&[u8])) {
        let mut lines = self.lock();
        loop {
            let Some(line) = lines.next() else {
                lines = self
                    .changed
                    .wait(lines)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            lines.is_writing = true;
            drop(lines);
            write(&line);
            lines = self.lock();
            lines.is_writing = false;
            lines.written += 1;
            self.changed.notify_all();
        }
    }
}

impl WaitingLines {
    /// The line that was said first; after the last, how many were left out.
    fn next(&mut self) -> Option<Vec<u8>> {
        if let Some(line) = self.waiting.pop_front() {
            self.waiting_bytes -= line.len();
            return Some(line);
        }
        let left_out = std::mem::take(&mut self.left_out);
        (left_out > 0).then(|| {
            format!("{left_out} messages were left out: stderr did not take them\n").into_bytes()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn lines_come_out_in_order_and_those_that_found_no_room_are_counted() {
        let (gate, is_open) = mpsc::channel::<()>();
        let (out, written) = mpsc::channel();
        let background = Background::start(move |line| {
            let _ = is_open.recv();
            out.send(String::from_utf8(line.to_vec()).unwrap()).unwrap();
        })
        .unwrap();
        let long = vec![b'x'; MAX_WAITING_BYTES / 2];
        background.write(b"first\n");
        for _ in 0..4 {
            background.write(&long);
        }
        drop(gate);
        background.flush();
        let written: Vec<String> = written.try_iter().collect();
        assert_eq!(written[0], "first\n");
        let last = written.last().unwrap();
        assert!(
            last.ends_with("messages were left out: stderr did not take them\n"),
            "{last}"
        );
        let left_out: usize = last.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(
            written.len() - 2 + left_out,
            4,
            "every line is written or counted"
        );
    }

    #[test]
    fn a_flush_gives_up_where_nothing_is_taken() {
        let (_gate, is_open) = mpsc::channel::<()>();
        let background = Background::start(move |_| {
            let _ = is_open.recv();
        })
        .unwrap();
        background.write(b"line\n");
        background.flush();
        assert_eq!(background.0.lock().written, 0);
    }
}
