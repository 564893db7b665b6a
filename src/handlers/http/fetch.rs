//! Downloads for other kinds.

use std::io::Write;

use ureq::http::{HeaderMap, Method};

use crate::handlers::http::agent::HttpTimeouts;
use crate::handlers::http::body::HttpBody;
use crate::handlers::http::client::{HttpRequest, HttpSession};
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
    let mut session = HttpSession::begin(settings, ctx, wanted.timeouts);
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::time::Duration;

    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::model::job::Job;
    use crate::queue::Queue;

    #[derive(Serialize, Deserialize)]
    struct Fetching {
        url: String,
    }

    impl Job for Fetching {
        const KIND: &'static str = "fetching";
        type Output = String;
    }

    const MAX_BYTES: u64 = 10;

    fn fetch(job: Fetching, ctx: &Context) -> Result<String, Failure> {
        let wanted = Download {
            url: &job.url,
            max_bytes: MAX_BYTES,
            timeouts: HttpTimeouts {
                whole: Duration::from_secs(10),
                connect: Duration::from_secs(10),
            },
        };
        let mut text = Vec::new();
        let bytes = download(&wanted, &mut text, (&HttpSettings::default(), ctx))?;
        assert_eq!(bytes, text.len() as u64);
        Ok(String::from_utf8(text)?)
    }

    /// What a job downloads from a server with these answers, or why it failed for good.
    fn downloaded(answers: &[&str]) -> Result<String, String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::open(folder.path().join("jobs.db")).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let job = queue.enqueue(Fetching { url }).unwrap();
        let runner = queue.runner().job(fetch).start().unwrap();
        for answer in answers {
            let mut reader = BufReader::new(listener.accept().unwrap().0);
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                reader.read_line(&mut line).unwrap();
            }
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
        }
        let ended = job.wait(Some(Duration::from_secs(30))).unwrap();
        runner.stop().unwrap();
        match ended.error {
            Some(error) => Err(error),
            None => Ok(job.output().unwrap().unwrap()),
        }
    }

    #[test]
    fn a_download_follows_redirects_and_has_a_limit() {
        let moved = "HTTP/1.1 301 Moved\r\nlocation: /there\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let ten = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789";
        assert_eq!(downloaded(&[moved, ten]).as_deref(), Ok("0123456789"));
        let eleven = "HTTP/1.0 200 OK\r\n\r\n0123456789a";
        let error = downloaded(&[eleven]).unwrap_err();
        assert!(error.ends_with("longer than 10 bytes"), "{error}");
        let error = downloaded(&["HTTP/1.1 404 Gone\r\ncontent-length: 0\r\n\r\n"]).unwrap_err();
        assert!(error.ends_with("404 Not Found"), "{error}");
    }
}
