//! Writing a backup: compressed if so wanted, with its checksum, and read again to see that it is right.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use sha2::{Digest, Sha256};
use zstd::{Decoder, Encoder};

use crate::model::hex::hex;

/// How a backup is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BackupCompression {
    /// With zstd.
    Zstd,
    /// Not at all.
    None,
}

const LEVEL: i32 = 3;
pub(super) const CHUNK: usize = 128 * 1024;

/// The size of a file and its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// What is written to it is counted and hashed on its way.
pub(super) struct Hashing<T> {
    inner: T,
    hash: Sha256,
    bytes: u64,
}

impl<T> Hashing<T> {
    fn new(inner: T) -> Hashing<T> {
        Hashing {
            inner,
            hash: Sha256::new(),
            bytes: 0,
        }
    }

    fn saw(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn fingerprint(self) -> Fingerprint {
        let hash = self.hash.finalize();
        Fingerprint {
            bytes: self.bytes,
            sha256: hex(&hash),
        }
    }
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.saw(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.saw(&bytes[..read]);
        Ok(read)
    }
}

/// Where a backup is written to.
pub(super) enum BackupSink<'a> {
    Plain(BufWriter<Hashing<&'a mut File>>),
    Zstd(Encoder<'static, BufWriter<Hashing<&'a mut File>>>),
}

impl<'a> BackupSink<'a> {
    pub(super) fn new(file: &'a mut File, compress: BackupCompression) -> io::Result<Self> {
        let file = BufWriter::with_capacity(CHUNK, Hashing::new(file));
        Ok(match compress {
            BackupCompression::None => BackupSink::Plain(file),
            BackupCompression::Zstd => {
                let mut encoder = Encoder::new(file, LEVEL)?;
                encoder.include_checksum(true)?;
                BackupSink::Zstd(encoder)
            }
        })
    }

    pub(super) fn finish(self) -> io::Result<Fingerprint> {
        let file = match self {
            BackupSink::Plain(file) => file,
            BackupSink::Zstd(encoder) => encoder.finish()?,
        };
        let file = file.into_inner().map_err(|error| error.into_error())?;
        Ok(file.fingerprint())
    }
}

impl Write for BackupSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            BackupSink::Plain(file) => file.write(bytes),
            BackupSink::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            BackupSink::Plain(file) => file.flush(),
            BackupSink::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// Reads a file from its beginning, and unpacks it if it is compressed: zstd then compares its own checksum of
/// the content.
pub(super) fn read_again(
    file: &mut File,
    compress: BackupCompression,
    goes_on: impl Fn() -> bool,
) -> io::Result<Fingerprint> {
    file.rewind()?;
    let mut read = Hashing::new(Asking(file, goes_on));
    match compress {
        BackupCompression::None => io::copy(&mut read, &mut io::sink())?,
        BackupCompression::Zstd => {
            let mut content = Decoder::with_buffer(BufReader::with_capacity(CHUNK, &mut read))?;
            io::copy(&mut content, &mut io::sink())?
        }
    };
    Ok(read.fingerprint())
}

/// A reader that ends with an error as soon as it is not to go on.
pub(super) struct Asking<R, F>(pub(super) R, pub(super) F);

impl<R: Read, F: Fn() -> bool> Read for Asking<R, F> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match (self.1)() {
            true => self.0.read(bytes),
            false => Err(io::Error::other("it was told to stop")),
        }
    }
}
