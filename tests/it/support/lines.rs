//! Files of lines that several processes append to and that any of them may be killed at.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// A write that crosses the border of a page can be seen, or cut off by a kill, in its middle. Lines
/// of this length never do.
const LINE_BYTES: usize = 256;

/// A file that is opened for appending: lines of several processes do not mix.
pub(crate) struct Lines(File);

impl Lines {
    pub(crate) fn open(path: &Path) -> Lines {
        Lines(
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .unwrap(),
        )
    }

    /// Appends a line in one write; what is too long of it is cut off.
    pub(crate) fn append(&mut self, text: &str) {
        let mut line = [b' '; LINE_BYTES];
        let length = text.len().min(LINE_BYTES - 1);
        line[..length].copy_from_slice(&text.as_bytes()[..length]);
        line[LINE_BYTES - 1] = b'\n';
        self.0.write_all(&line).unwrap();
    }
}

pub(crate) fn read(path: &Path) -> Vec<String> {
    let text = std::fs::read(path).unwrap_or_default();
    let lines = text.chunks_exact(LINE_BYTES);
    lines
        .map(|line| String::from_utf8_lossy(line).trim_end().to_owned())
        .collect()
}

pub(crate) fn count(path: &Path) -> usize {
    let bytes = std::fs::metadata(path).map_or(0, |file| file.len());
    usize::try_from(bytes).unwrap() / LINE_BYTES
}
