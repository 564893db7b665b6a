//! Downloads for other kinds.

use std::io::Write;

use ureq::http::{HeaderMap, Method};

use crate::handlers::http::client::{HttpBody, HttpRequest, HttpSession, HttpTimeouts};
use crate::handlers::http::settings::HttpSettings;
use crate::handlers::http::status::StatusClass;
use crate::handlers::http::url::HttpUrl;
use crate::runner::context::Context;
use crate::runner::handler::Failure;

/// What is downloaded.
pub(crate) struct Download<'a> {
    pub(crate) url: &'a str,
    /// A longer response is refused.
    pub(crate) max_bytes: u64,
    pub(crate) timeouts: HttpTimeouts,
}

const REDIRECTS: u32 = 5;

/// Writes what a URL leads to, and returns its length.
///
/// # Errors
/// There is none, or the settings forbid it; or it cannot be written, which is tried again.
pub(crate) fn download(
    wanted: &Download<'_>,
    to: &mut dyn Write,
    (settings, ctx): (&HttpSettings, &Context),
) -> Result<u64, Failure> {
    let session = HttpSession::begin(settings, ctx, wanted.timeouts)?;
    let mut response = session.send(HttpRequest {
        method: Method::GET,
        url: HttpUrl::parse(wanted.url).map_err(Failure::permanent)?,
        headers: HeaderMap::new(),
        body: HttpBody::None,
        redirects: REDIRECTS,
    })?;
    let status = response.response.status();
    match StatusClass::of(status.as_u16()) {
        StatusClass::Success => {}
        StatusClass::Temporary => {
            return Err(Failure::retry(format_args!(
                "{}: {status}",
                response.target
            )));
        }
        StatusClass::Final => {
            return Err(Failure::permanent(format_args!(
                "{}: {status}",
                response.target
            )));
        }
    }
    let copied = session.copy(&mut response, wanted.max_bytes, &mut |piece| {
        to.write_all(piece).map_err(Failure::retry)
    })?;
    match copied.is_cut {
        false => Ok(copied.bytes),
        true => Err(Failure::permanent(format_args!(
            "{}: the response is longer than {} bytes",
            response.target, wanted.max_bytes
        ))),
    }
}
