//! The connection of a client: TCP, or a socket of the file system.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::clock;

/// A connection to a client.
#[derive(Debug)]
pub(crate) enum ClientStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl ClientStream {
    pub(crate) fn set_nonblocking(&self, is_on: bool) -> io::Result<()> {
        match self {
            ClientStream::Tcp(stream) => stream.set_nonblocking(is_on),
            ClientStream::Unix(stream) => stream.set_nonblocking(is_on),
        }
    }

    pub(crate) fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            ClientStream::Tcp(stream) => stream.set_read_timeout(Some(timeout)),
            ClientStream::Unix(stream) => stream.set_read_timeout(Some(timeout)),
        }
    }

    fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            ClientStream::Tcp(stream) => stream.set_write_timeout(Some(timeout)),
            ClientStream::Unix(stream) => stream.set_write_timeout(Some(timeout)),
        }
    }

    /// No more is written: the other side sees the end, and can still send.
    pub(crate) fn end_writing(&self) {
        // It may be closed already.
        let _ = match self {
            ClientStream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            ClientStream::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

impl AsFd for ClientStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            ClientStream::Tcp(stream) => stream.as_fd(),
            ClientStream::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for &ClientStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            ClientStream::Tcp(stream) => (&mut &*stream).read(into),
            ClientStream::Unix(stream) => (&mut &*stream).read(into),
        }
    }
}

impl Write for &ClientStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            ClientStream::Tcp(stream) => (&mut &*stream).write(bytes),
            ClientStream::Unix(stream) => (&mut &*stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for ClientStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        (&mut &*self).read(into)
    }
}

impl Write for ClientStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&mut &*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The write side of a connection until a deadline: a client that reads too slowly is given up.
pub(crate) struct TimedWriter<'a> {
    stream: &'a ClientStream,
    patience: Duration,
    until: Instant,
}

impl<'a> TimedWriter<'a> {
    pub(crate) fn new(stream: &'a ClientStream, patience: Duration) -> TimedWriter<'a> {
        TimedWriter {
            stream,
            patience,
            until: clock::after(clock::instant(), patience),
        }
    }

    /// Gives the client all of the time again: for the next part of an answer that has no end yet.
    pub(crate) fn renew(&mut self) {
        self.until = clock::after(clock::instant(), self.patience);
    }
}

impl Write for TimedWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(clock::instant());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_write_timeout(left)?;
        (&mut &*self.stream).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
