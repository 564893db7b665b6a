//! Downloads for other kinds.

use std::io::Write;

use ureq::http::{HeaderMap, Method};

use crate::handlers::http::body::HttpBody;
use crate::handlers::http::client::{HttpRequest, HttpResponse, HttpSession};
use crate::handlers::http::status::StatusClass;
use crate::handlers::http::url::HttpUrl;
use crate::runner::handler::Failure;

const REDIRECTS: u32 = 5;

/// How much of another response is shown.
const SHOWN_BYTES: u64 = 1024;

impl HttpSession<'_> {
    /// Writes what a URL leads to, and returns its length. A longer response than `max_bytes` is refused.
    ///
    /// # Errors
    /// There is none, or the settings forbid it; or it cannot be written, which is tried again.
    pub(crate) fn download(
        &mut self,
        url: &str,
        max_bytes: u64,
        to: &mut dyn Write,
    ) -> Result<u64, Failure> {
        let mut response = self.send(HttpRequest {
            method: Method::GET,
            url: HttpUrl::parse(url).map_err(Failure::permanent)?,
            headers: HeaderMap::new(),
            body: HttpBody::None,
            redirects: REDIRECTS,
        })?;
        let class = StatusClass::of(response.response.status().as_u16());
        if class != StatusClass::Success {
            return Err(self.unsuccessful(class, &mut response));
        }
        let copied = self.copy(&mut response, max_bytes, &mut |piece| {
            to.write_all(piece).map_err(Failure::retry)
        })?;
        match copied.is_cut {
            false => Ok(copied.bytes),
            true => Err(Failure::permanent(format_args!(
                "{}: the response is longer than {max_bytes} bytes",
                response.target
            ))),
        }
    }

    fn unsuccessful(&self, class: StatusClass, response: &mut HttpResponse) -> Failure {
        let mut body = Vec::new();
        // What is to be said is known already.
        let _cut = self.copy(response, SHOWN_BYTES, &mut |piece| {
            body.extend_from_slice(piece);
            Ok(())
        });
        let mut message = format!("{}: {}", response.target, response.response.status());
        let body = String::from_utf8_lossy(&body);
        if !body.trim().is_empty() {
            message = format!("{message}: {}", body.trim());
        }
        match (class, response.asked_delay()) {
            (StatusClass::Temporary, Some(asked)) => {
                Failure::retry_after(message, asked.max(self.ctx().retry_delay()))
            }
            (StatusClass::Temporary, None) => Failure::retry(message),
            _ => Failure::permanent(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::time::Duration;

    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::handlers::http::agent::HttpTimeouts;
    use crate::handlers::http::settings::HttpSettings;
    use crate::model::job::Job;
    use crate::queue::Queue;
    use crate::runner::context::Context;

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
        let timeouts = HttpTimeouts {
            whole: Duration::from_secs(10),
            connect: Duration::from_secs(10),
        };
        let settings = HttpSettings::default();
        let mut session = HttpSession::begin(&settings, ctx, timeouts);
        let mut text = Vec::new();
        let bytes = session.download(&job.url, MAX_BYTES, &mut text)?;
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
        let why = "HTTP/1.1 403 No\r\ncontent-length: 10\r\n\r\nthe reason";
        let error = downloaded(&[why]).unwrap_err();
        assert!(error.ends_with("403 Forbidden: the reason"), "{error}");
    }
}
