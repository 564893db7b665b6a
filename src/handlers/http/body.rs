//! What a request sends.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// What a request sends. It may have to be sent twice.
pub(crate) enum HttpBody {
    None,
    Bytes(Vec<u8>),
    File(FileBody),
}

impl HttpBody {
    pub(super) fn len(&self) -> u64 {
        match self {
            HttpBody::None => 0,
            HttpBody::Bytes(bytes) => bytes.len() as u64,
            HttpBody::File(file) => file.len(),
        }
    }
}

/// A file, as long as it was when it was opened.
pub(crate) struct FileBody {
    file: File,
    length: u64,
}

impl FileBody {
    pub(crate) fn new(file: File) -> io::Result<FileBody> {
        let length = file.metadata()?.len();
        Ok(FileBody { file, length })
    }

    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// Reads it from its beginning, until the attempt is over.
    pub(crate) fn reader<'b>(
        &'b mut self,
        is_over: &'b dyn Fn() -> bool,
    ) -> io::Result<FileReader<'b>> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(FileReader {
            file: &self.file,
            left: self.length,
            is_over,
        })
    }
}

/// Gives as many bytes as were promised, or an error.
pub(crate) struct FileReader<'b> {
    file: &'b File,
    left: u64,
    is_over: &'b dyn Fn() -> bool,
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.is_over)() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let read = self.file.take(self.left).read(buffer)?;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::other("the file became shorter"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}
