//! The bytes of a batch: read line by line, twice, and never in memory as a whole.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jobq::MAX_PAYLOAD_BYTES;

#[cfg(target_os = "linux")]
use rustix::fs::OFlags;

/// A line may be so long: room for the largest payload, its options and its escapes.
const MAX_LINE_BYTES: u64 = 2 * MAX_PAYLOAD_BYTES as u64;

/// A batch that can be read as often as one likes.
#[derive(Debug)]
pub(super) struct BatchInput {
    file: File,
    start: u64,
    length: u64,
    /// Ends a line.
    separator: u8,
}

/// Where a line begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LinePlace {
    /// Bytes before it.
    pub(super) offset: u64,
    /// Lines before it, blank ones too.
    pub(super) lines: u64,
}

impl BatchInput {
    /// Opens a file, or stdin for `-`. What cannot be read twice is copied first. What is appended
    /// to the file from now on does not belong to the batch.
    pub(super) fn open(path: &Path, separator: u8) -> io::Result<BatchInput> {
        let mut file = if path == Path::new("-") {
            File::from(io::stdin().as_fd().try_clone_to_owned()?)
        } else {
            File::open(path)?
        };
        if file.metadata()?.is_file() {
            let start = file.stream_position()?;
            let length = file.metadata()?.len().saturating_sub(start);
            return Ok(BatchInput {
                file,
                start,
                length,
                separator,
            });
        }
        let mut copy = unlinked_file()?;
        let length = io::copy(&mut file, &mut copy)?;
        Ok(BatchInput {
            file: copy,
            start: 0,
            length,
            separator,
        })
    }

    /// In bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The lines from this place on.
    pub(super) fn lines(&self, from: LinePlace) -> io::Result<BatchLines<'_>> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.start + from.offset))?;
        let rest = file.take(self.length.saturating_sub(from.offset));
        Ok(BatchLines {
            reader: BufReader::with_capacity(64 * 1024, rest),
            place: from,
            line: Vec::new(),
            separator: self.separator,
        })
    }
}

/// A file that only this process can reach, and that is gone when it ends, however it does.
fn unlinked_file() -> io::Result<File> {
    let folder = env::temp_dir();
    // Without a name from the start, where that is possible: a kill leaves nothing.
    #[cfg(target_os = "linux")]
    {
        let nameless = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::TMPFILE.bits().cast_signed())
            .mode(0o600)
            .open(&folder);
        if let Ok(file) = nameless {
            return Ok(file);
        }
    }
    loop {
        let name = format!("jobq-batch-{:016x}", fastrand::u64(..));
        let path = folder.join(name);
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        match opened {
            Ok(file) => {
                fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads line after line into one buffer.
pub(super) struct BatchLines<'a> {
    reader: BufReader<io::Take<&'a File>>,
    place: LinePlace,
    line: Vec<u8>,
    separator: u8,
}

impl BatchLines<'_> {
    /// The next line, blank or not, with what ends it. None at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        let read = (&mut self.reader)
            .take(MAX_LINE_BYTES + 1)
            .read_until(self.separator, &mut self.line)? as u64;
        if read == 0 {
            return Ok(None);
        }
        self.place.offset += read;
        self.place.lines += 1;
        if read > MAX_LINE_BYTES {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                format!("the line is longer than {MAX_LINE_BYTES} bytes"),
            ));
        }
        Ok(Some(&self.line))
    }

    /// The line that was read last.
    pub(super) fn line(&self) -> &[u8] {
        &self.line
    }

    /// The place after the last line that was read; its number is that of the line.
    pub(super) fn place(&self) -> LinePlace {
        self.place
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn input(text: &[u8]) -> BatchInput {
        let mut file = unlinked_file().unwrap();
        file.write_all(text).unwrap();
        BatchInput {
            file,
            start: 0,
            length: text.len() as u64,
            separator: b'\n',
        }
    }

    fn read(input: &BatchInput, from: LinePlace) -> Vec<(u64, String)> {
        let mut lines = input.lines(from).unwrap();
        let mut read = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            let line = String::from_utf8(line.to_vec()).unwrap();
            read.push((lines.place().lines, line));
        }
        read
    }

    #[test]
    fn lines_are_read_as_often_as_one_likes_from_any_place() {
        let input = input(b"one\n\nthree");
        let all = [(1, "one\n"), (2, "\n"), (3, "three")];
        let all = all.map(|(number, line)| (number, line.to_owned()));
        assert_eq!(read(&input, LinePlace::default()), all);
        assert_eq!(read(&input, LinePlace::default()), all);
        let second = LinePlace {
            offset: 4,
            lines: 1,
        };
        assert_eq!(read(&input, second), all[1..]);
    }

    #[test]
    fn what_is_appended_later_does_not_belong_to_the_batch() {
        let input = input(b"one\n");
        (&input.file).write_all(b"two\n").unwrap();
        assert_eq!(
            read(&input, LinePlace::default()),
            [(1, "one\n".to_owned())]
        );
    }

    #[test]
    fn a_line_without_an_end_is_not_taken_into_memory() {
        let file = unlinked_file().unwrap();
        file.set_len(10 * MAX_LINE_BYTES).unwrap();
        let input = BatchInput {
            file,
            start: 0,
            length: 10 * MAX_LINE_BYTES,
            separator: b'\n',
        };
        let mut lines = input.lines(LinePlace::default()).unwrap();
        assert!(lines.next().unwrap_err().to_string().contains("longer"));
        assert!(lines.line.len() as u64 <= MAX_LINE_BYTES + 1);
    }
}
