//! The connection to a server: every phase has a deadline, and a cancel ends it at once.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::clock;
use crate::handlers::email::error::SmtpError;
use crate::handlers::email::settings::EmailServer;
use crate::handlers::tls::{may_become_valid, trusted_roots};
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

    /// Calls `call` with the time that is left as its timeout, and once more where a signal has interrupted it.
    fn timed<T>(
        &self,
        set_timeout: fn(&TcpStream, Option<Duration>) -> io::Result<()>,
        mut call: impl FnMut(&TcpStream) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            set_timeout(&self.stream, self.left()?)?;
            match call(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Linux says so where the time is over.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                done => return done,
            }
        }
    }
}

impl Read for TimedStream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.timed(TcpStream::set_read_timeout, |mut stream| stream.read(bytes))
    }
}

impl Write for TimedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.timed(TcpStream::set_write_timeout, |mut stream| {
            stream.write(bytes)
        })
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
        let config = config(server)?;
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

    /// Ends TLS properly: servers log an error where it just breaks off.
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

/// Made once for all mails: it reads the trusted certificates.
fn config(server: &EmailServer) -> Result<Arc<ClientConfig>, SmtpError> {
    if let Some(config) = server.tls_config.get() {
        return Ok(Arc::clone(config));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted_roots(server.ca_file.as_deref())?);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SmtpError::Unfit(format!("TLS: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::clone(
        server.tls_config.get_or_init(|| Arc::new(config)),
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
        Some(rustls::Error::InvalidCertificate(refused)) if may_become_valid(refused) => {
            SmtpError::NotNow(why)
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

/// A connection with a buffer for what it has received.
pub(super) type Buffered = BufReader<SmtpConnection>;
