//! Why there is no response, and whether another try may help.

use std::fmt;
use std::io;

use rustls::CertificateError;
use ureq::Timeout;

use crate::handlers::http::status::StatusClass;
use crate::handlers::tls::may_become_valid;
use crate::runner::handler::Failure;

/// An address that must not be called.
#[derive(Debug)]
pub(super) struct RefusedAddress(pub(super) String);

impl fmt::Display for RefusedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RefusedAddress {}

/// What an error of the network means for the attempt; `what` was asked for.
pub(crate) fn failure(what: &dyn fmt::Display, error: &ureq::Error) -> Failure {
    let message = format!("{what}: {}", explain(error));
    match is_final(error) {
        true => Failure::permanent(message),
        false => Failure::retry(message),
    }
}

/// Whether the same request can never have a response.
fn is_final(error: &ureq::Error) -> bool {
    if let Some(certificate) = certificate_error(error) {
        return !may_become_valid(certificate);
    }
    if let Some(status) = status_of_proxy(error) {
        return StatusClass::of(status) == StatusClass::Final;
    }
    matches!(
        error,
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::Other(_)
    )
}

/// What a proxy says to CONNECT; ureq writes it as `proxy server responded 407/407`.
fn status_of_proxy(error: &ureq::Error) -> Option<u16> {
    match error {
        ureq::Error::ConnectProxyFailed(why) => why.rsplit_once('/')?.1.parse().ok(),
        _ => None,
    }
}

fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

fn certificate_error(error: &ureq::Error) -> Option<&CertificateError> {
    match tls_error(error) {
        Some(rustls::Error::InvalidCertificate(certificate)) => Some(certificate),
        _ => None,
    }
}

fn explain(error: &ureq::Error) -> String {
    if let Some(status) = status_of_proxy(error) {
        return format!("the proxy refuses a connection to the server with status {status}");
    }
    match error {
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
            "there was no connection in time".to_owned()
        }
        ureq::Error::Timeout(_) => "there was no whole response in time".to_owned(),
        ureq::Error::HostNotFound => "the host is not known".to_owned(),
        ureq::Error::Other(error) => error.to_string(),
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the server closed the connection too early".to_owned()
        }
        ureq::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}
