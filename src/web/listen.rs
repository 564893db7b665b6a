//! Where the server listens: an address of this machine, or a socket of the file system.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::web::stream::ClientStream;
use crate::{Error, Result};

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenAddress {
    /// An address and a port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A socket of the file system, for the user of the server alone.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Whether other machines can reach it.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self, ListenAddress::Tcp(address) if !address.ip().is_loopback())
    }
}

impl FromStr for ListenAddress {
    type Err = Error;

    /// `127.0.0.1:8787`, `[::1]:8787`, `localhost:8787` or `unix:PATH`.
    fn from_str(text: &str) -> Result<ListenAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.is_empty() {
                true => Err(Error::invalid("unix: needs the path of the socket")),
                false => Ok(ListenAddress::Unix(PathBuf::from(path))),
            };
        }
        let wrong = || {
            Error::invalid(format!("'{text}' is not an address to listen on"))
                .with_hint("addresses look like 127.0.0.1:8787, [::1]:8787 or unix:/run/jobq.sock")
        };
        let mut found = text.to_socket_addrs().map_err(|_| wrong())?;
        found.next().map(ListenAddress::Tcp).ok_or_else(wrong)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => address.fmt(f),
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A bound socket; it does not block. That of the file system is removed when the server ends.
#[derive(Debug)]
pub(crate) enum ServerSocket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl ServerSocket {
    pub(crate) fn bind(address: &ListenAddress) -> Result<ServerSocket> {
        let socket = match address {
            ListenAddress::Tcp(socket) => TcpListener::bind(socket).map(ServerSocket::Tcp),
            ListenAddress::Unix(path) => bind_unix(path),
        };
        let socket = socket.map_err(|error| cannot_listen(address, error))?;
        let is_set = match &socket {
            ServerSocket::Tcp(listener) => listener.set_nonblocking(true),
            ServerSocket::Unix(listener, _) => listener.set_nonblocking(true),
        };
        is_set.map_err(|error| cannot_listen(address, error))?;
        Ok(socket)
    }

    /// Where it listens: with the port that a port 0 has become.
    pub(crate) fn address(&self) -> io::Result<ListenAddress> {
        match self {
            ServerSocket::Tcp(listener) => listener.local_addr().map(ListenAddress::Tcp),
            ServerSocket::Unix(_, path) => Ok(ListenAddress::Unix(path.clone())),
        }
    }

    /// The next connection that waits; none if there is none.
    pub(crate) fn accept(&self) -> io::Result<Option<ClientStream>> {
        let accepted = match self {
            ServerSocket::Tcp(listener) => listener.accept().map(|(stream, _)| {
                // Answers are written whole; to wait for more would only delay them.
                let _ = stream.set_nodelay(true);
                ClientStream::Tcp(stream)
            }),
            ServerSocket::Unix(listener, _) => listener
                .accept()
                .map(|(stream, _)| ClientStream::Unix(stream)),
        };
        match accepted {
            Ok(stream) => {
                stream.set_nonblocking(true)?;
                Ok(Some(stream))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            // It has gone before it was accepted.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionAborted | ErrorKind::Interrupted
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl AsFd for ServerSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            ServerSocket::Tcp(listener) => listener.as_fd(),
            ServerSocket::Unix(listener, _) => listener.as_fd(),
        }
    }
}

impl Drop for ServerSocket {
    fn drop(&mut self) {
        if let ServerSocket::Unix(_, path) = self {
            let _ = fs::remove_file(path);
        }
    }
}

/// The mode is set before anybody can connect: until then the socket has another name in the same folder.
fn bind_unix(path: &Path) -> io::Result<ServerSocket> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        match UnixStream::connect(path) {
            Ok(_) => return Err(ErrorKind::AddrInUse.into()),
            // A server that was killed has left it.
            Err(_) => fs::remove_file(path)?,
        }
    }
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(format!(".{}", std::process::id()));
    let hidden = PathBuf::from(hidden);
    let listener = UnixListener::bind(&hidden)?;
    let named = fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600))
        // A link replaces nothing that is there.
        .and_then(|()| fs::hard_link(&hidden, path));
    let _ = fs::remove_file(&hidden);
    named.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => ErrorKind::AddrInUse.into(),
        _ => error,
    })?;
    Ok(ServerSocket::Unix(listener, path.to_owned()))
}

fn cannot_listen(address: &ListenAddress, error: io::Error) -> Error {
    let hint = match (error.kind(), address) {
        (ErrorKind::AddrInUse, ListenAddress::Tcp(_)) => {
            "another program has this port; --listen 127.0.0.1:0 takes a free one"
        }
        (ErrorKind::AddrInUse, ListenAddress::Unix(_)) => {
            "another server listens there, or the name is taken"
        }
        (ErrorKind::PermissionDenied, ListenAddress::Tcp(_)) => "ports below 1024 need more rights",
        _ => return Error::io(format_args!("cannot listen on {address}"), error),
    };
    Error::io(format_args!("cannot listen on {address}"), error).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_people_write_it() {
        let tcp = |text: &str| ListenAddress::Tcp(text.parse().unwrap());
        assert_eq!(
            "127.0.0.1:0".parse::<ListenAddress>().unwrap(),
            tcp("127.0.0.1:0")
        );
        assert_eq!(
            "[::1]:80".parse::<ListenAddress>().unwrap(),
            tcp("[::1]:80")
        );
        let unix = ListenAddress::Unix("/run/j.sock".into());
        assert_eq!("unix:/run/j.sock".parse::<ListenAddress>().unwrap(), unix);
        for wrong in ["", "8787", "127.0.0.1", "unix:", "127.0.0.1:99999"] {
            assert!(wrong.parse::<ListenAddress>().is_err(), "{wrong}");
        }
        assert!(tcp("0.0.0.0:80").is_remote() && tcp("[::]:80").is_remote());
        assert!(!tcp("127.0.0.1:80").is_remote() && !unix.is_remote());
    }

    #[test]
    fn a_socket_is_for_its_user_alone_and_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobq.sock");
        let address = ListenAddress::Unix(path.clone());
        let socket = ServerSocket::bind(&address).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(
            ServerSocket::bind(&address)
                .unwrap_err()
                .to_string()
                .contains("cannot listen")
        );
        drop(socket);
        assert!(!path.exists());
        // One that a killed server has left is replaced, and a file is not.
        drop(UnixListener::bind(&path).unwrap());
        drop(ServerSocket::bind(&address).unwrap());
        fs::write(&path, "a file").unwrap();
        assert!(ServerSocket::bind(&address).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"a file");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
