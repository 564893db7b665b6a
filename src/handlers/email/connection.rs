//! The connection to a server: every phase has a deadline, and a cancel ends it at once.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection, StreamOwned};
use rustls_platform_verifier::Verifier;

use crate::clock;
use crate::handlers::email::error::SmtpError;
use crate::handlers::email::settings::EmailServer;
use crate::runner::cancellation::Cancellation;

/// A TCP stream whose reads and writes end at the deadline.
pub(super) struct TimedStream {
    stream: Arc<TcpStream>,
    deadline: Instant,
}

impl TimedStream {
    /// How much time is left.
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.deadline.checked_duration_since(clock::instant()) {
            Some(left) if !left.is_zero() => Ok(Some(left)),
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Linux says `WouldBlock` where the time of a read or write is over.
fn timed<T>(done: io::Result<T>) -> io::Result<T> {
    done.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    })
}

impl Read for TimedStream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        timed((&*self.stream).read(bytes))
    }
}

impl Write for TimedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        timed((&*self.stream).write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection, in clear or in TLS.
pub(super) enum SmtpConnection {
    Plain(TimedStream),
    Tls(Box<StreamOwned<ClientConnection, TimedStream>>),
}

impl SmtpConnection {
    /// Connects to the first address of the server that answers. Until the end of the attempt a cancel shuts the
    /// connection down.
    pub(super) fn open(
        server: &EmailServer,
        cancellation: &Cancellation,
    ) -> Result<SmtpConnection, SmtpError> {
        let (host, port) = (server.host.clone(), server.port());
        let timeout = server.command_timeout;
        let target = format!("{host}:{port}");
        let broken = |why: &dyn std::fmt::Display| {
            SmtpError::Broken(format!("no connection to {target}: {why}"))
        };
        let connected = cancellation.wait_for(timeout, move || connect(&host, port, timeout));
        let stream = match connected {
            Ok(Some(stream)) => stream.map_err(|error| broken(&error))?,
            Ok(None) => return Err(broken(&"no answer in time")),
            Err(error) => return Err(broken(&error)),
        };
        // Without it the dot that ends a message would wait for the acknowledgement of what came before.
        stream.set_nodelay(true).map_err(|error| broken(&error))?;
        let stream = Arc::new(stream);
        let cancelled = Arc::downgrade(&stream);
        cancellation.on_cancel(move || {
            if let Some(stream) = cancelled.upgrade() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
        let deadline = clock::after(clock::instant(), timeout);
        Ok(SmtpConnection::Plain(TimedStream { stream, deadline }))
    }

    /// The connection in TLS, when the handshake has succeeded by the deadline.
    pub(super) fn secure(self, server: &EmailServer) -> Result<SmtpConnection, SmtpError> {
        let SmtpConnection::Plain(mut stream) = self else {
            return Ok(self);
        };
        let unfit = |why: &dyn std::fmt::Display| {
            SmtpError::Unfit(format!("TLS with {}: {why}", server.host))
        };
        let config = config(server).map_err(|why| unfit(&why))?;
        let name = ServerName::try_from(server.host.clone()).map_err(|error| unfit(&error))?;
        let mut session = ClientConnection::new(config, name).map_err(|error| unfit(&error))?;
        while session.is_handshaking() {
            session
                .complete_io(&mut stream)
                .map_err(|error| handshake_error(&error, server))?;
        }
        Ok(SmtpConnection::Tls(Box::new(StreamOwned::new(
            session, stream,
        ))))
    }

    pub(super) fn set_deadline(&mut self, timeout: Duration) {
        self.stream().deadline = clock::after(clock::instant(), timeout);
    }

    /// Says that nothing more comes: a server complains of a TLS that just ends.
    pub(super) fn close(&mut self) -> io::Result<()> {
        if let SmtpConnection::Tls(session) = self {
            session.conn.send_close_notify();
        }
        self.flush()
    }

    pub(super) fn local_address(&mut self) -> io::Result<SocketAddr> {
        self.stream().stream.local_addr()
    }

    fn stream(&mut self) -> &mut TimedStream {
        match self {
            SmtpConnection::Plain(stream) => stream,
            SmtpConnection::Tls(session) => &mut session.sock,
        }
    }
}

/// Each address gets its share of the time.
fn connect(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let share = timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    for address in addresses {
        match TcpStream::connect_timeout(&address, share) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Made once: it reads the system's certificates.
fn config(server: &EmailServer) -> Result<Arc<ClientConfig>, String> {
    if let Some(config) = server.verified_by.get() {
        return Ok(Arc::clone(config));
    }
    let mut extra = Vec::new();
    if let Some(path) = &server.ca_file {
        let refused =
            |error: &dyn std::fmt::Display| format!("ca_file {}: {error}", path.display());
        let found = CertificateDer::pem_file_iter(path).map_err(|error| refused(&error))?;
        extra = found
            .collect::<Result<_, _>>()
            .map_err(|error| refused(&error))?;
        if extra.is_empty() {
            return Err(refused(&"it has no certificate"));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new_with_extra_roots(extra, Arc::clone(&provider));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier.map_err(|error| error.to_string())?))
        .with_no_client_auth();
    Ok(Arc::clone(
        server.verified_by.get_or_init(|| Arc::new(config)),
    ))
}

fn handshake_error(error: &io::Error, server: &EmailServer) -> SmtpError {
    let found = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<rustls::Error>());
    let why = format!("TLS with {}: {error}", server.host);
    match found {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            SmtpError::Unfit(format!(
                "{why}; the certificate of a private authority goes into ca_file"
            ))
        }
        Some(rustls::Error::InvalidCertificate(_)) => SmtpError::Unfit(why),
        Some(rustls::Error::InvalidMessage(_)) => SmtpError::Broken(format!(
            "{why}; a port that begins in clear needs tls = \"starttls\""
        )),
        _ => SmtpError::Broken(match error.kind() {
            io::ErrorKind::TimedOut => format!("TLS with {}: no answer in time", server.host),
            _ => why,
        }),
    }
}

impl Read for SmtpConnection {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            SmtpConnection::Plain(stream) => stream.read(bytes),
            SmtpConnection::Tls(session) => session.read(bytes),
        }
    }
}

impl Write for SmtpConnection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            SmtpConnection::Plain(stream) => stream.write(bytes),
            SmtpConnection::Tls(session) => session.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            SmtpConnection::Plain(stream) => stream.flush(),
            SmtpConnection::Tls(session) => session.flush(),
        }
    }
}

/// With what has been received and not yet read.
pub(super) type Buffered = BufReader<SmtpConnection>;
