//! Requests that keep to the settings, and that a cancel ends at once.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use flate2::bufread::MultiGzDecoder;
use ureq::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT, LOCATION, RETRY_AFTER};
use ureq::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use ureq::{Body, SendBody};

use crate::clock::{self, Clock, timestamp};
use crate::handlers::http::agent::{HttpAgent, HttpTimeouts};
use crate::handlers::http::body::HttpBody;
use crate::handlers::http::error::failure;
use crate::handlers::http::settings::HttpSettings;
use crate::handlers::http::status::retry_after;
use crate::handlers::http::url::HttpUrl;
use crate::runner::cancellation::CancelCallback;
use crate::runner::context::Context;
use crate::runner::handler::Failure;

/// A server may refuse a longer body before it is sent.
const ASK_FIRST_BYTES: u64 = 1024 * 1024;

/// So little of the time may be used up without a request that has a timeout of its own.
const NEGLIGIBLE: Duration = Duration::from_millis(20);

/// A request.
pub(crate) struct HttpRequest {
    pub(crate) method: Method,
    pub(crate) url: HttpUrl,
    pub(crate) headers: HeaderMap,
    pub(crate) body: HttpBody,
    /// How many redirects are followed.
    pub(crate) redirects: u32,
}

/// A response whose body is still to be read.
pub(crate) struct HttpResponse {
    /// What was asked for, after the redirects, for messages.
    pub(crate) target: String,
    /// Where it came from, after the redirects.
    pub(crate) url: HttpUrl,
    pub(crate) response: Response<Body>,
    has_body: bool,
}

/// How much of a response was read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Copied {
    pub(crate) bytes: u64,
    /// There was more.
    pub(crate) is_cut: bool,
}

/// The requests of one attempt.
pub(crate) struct HttpSession<'a> {
    settings: &'a HttpSettings,
    ctx: &'a Context,
    timeouts: HttpTimeouts,
    deadline: Instant,
    /// With what a cancel does to its connections.
    agent: Option<(HttpAgent, CancelCallback)>,
}

impl<'a> HttpSession<'a> {
    /// The time runs from now on.
    pub(crate) fn begin(
        settings: &'a HttpSettings,
        ctx: &'a Context,
        timeouts: HttpTimeouts,
    ) -> HttpSession<'a> {
        HttpSession {
            settings,
            ctx,
            timeouts,
            deadline: clock::after(clock::instant(), timeouts.whole),
            agent: None,
        }
    }

    /// Sends a request, and follows redirects; at another server without the headers of the request. From now on a
    /// cancel of the attempt closes its connections.
    ///
    /// # Errors
    /// There is no response, or the settings forbid the request or cannot be used.
    pub(crate) fn send(&mut self, request: HttpRequest) -> Result<HttpResponse, Failure> {
        let (origin, timeouts) = (request.url.origin(), self.timeouts);
        let idle = match request.may_be_sent_twice(self.ctx) {
            true => self.settings.idle.take(&origin, timeouts),
            false => None,
        };
        let agent = match idle {
            Some(agent) => agent,
            None => HttpAgent::new(self.settings, origin, timeouts)?,
        };
        let cancellation = self.ctx.cancellation();
        agent.state.use_for(cancellation);
        let cancelled = agent.agent.clone();
        let callback = cancellation.on_cancel_while(move || cancelled.shutdown());
        let sent = self.send_all(&agent, request);
        self.agent = Some((agent, callback));
        sent
    }

    fn send_all(
        &self,
        agent: &HttpAgent,
        mut request: HttpRequest,
    ) -> Result<HttpResponse, Failure> {
        loop {
            self.settings.check(&request.url)?;
            let response = self.ask(agent, &mut request)?;
            let Some(next) = redirect(&request, &response)? else {
                let is_bare = matches!(response.status().as_u16(), 204 | 304);
                let has_body = request.method != Method::HEAD && !is_bare;
                return Ok(HttpResponse {
                    target: request.target(),
                    url: request.url,
                    has_body,
                    response,
                });
            };
            if next.origin() != request.url.origin() {
                request.headers.clear();
            }
            request.redirects -= 1;
            request.url = next;
        }
    }

    /// Lets the server refuse a long body before it is sent. A server that refuses the question gets the body at once.
    /// So does every server in each second attempt: after some answers, as a 100 with headers, ureq never sends it.
    fn ask(&self, agent: &HttpAgent, request: &mut HttpRequest) -> Result<Response<Body>, Failure> {
        let asks_first = request.body.len() > ASK_FIRST_BYTES && self.ctx.attempt() % 2 == 1;
        if asks_first {
            let expect = HeaderValue::from_static("100-continue");
            request.headers.insert(EXPECT, expect);
        }
        let response = self.once(agent, request)?;
        match asks_first && response.status() == StatusCode::EXPECTATION_FAILED {
            true => {
                drop(response);
                request.headers.remove(EXPECT);
                self.once(agent, request)
            }
            false => Ok(response),
        }
    }

    /// A server may close an idle connection at the moment in which a request takes it. Then the request is sent
    /// again.
    fn once(
        &self,
        agent: &HttpAgent,
        request: &mut HttpRequest,
    ) -> Result<Response<Body>, Failure> {
        let connections = agent.state.connections();
        let mut sent = self.run(agent, request);
        if let Err(error) = &sent
            && is_lost(error)
            && agent.state.connections() == connections
            && request.may_be_sent_twice(self.ctx)
            && !self.ctx.is_cancelled()
        {
            sent = self.run(agent, request);
        }
        sent.map_err(|error| self.failure(&request.target(), &error))
    }

    fn run(
        &self,
        agent: &HttpAgent,
        request: &mut HttpRequest,
    ) -> Result<Response<Body>, ureq::Error> {
        let agent = &agent.agent;
        let mut head = Request::new(());
        *head.method_mut() = request.method.clone();
        *head.uri_mut() = request.url.uri().clone();
        *head.headers_mut() = request.headers.clone();
        let left = self.left();
        if left + NEGLIGIBLE < self.timeouts.whole {
            let own = agent.configure_request(head).timeout_global(Some(left));
            head = own.build();
        }
        match &mut request.body {
            HttpBody::None => agent.run(head),
            HttpBody::Bytes(bytes) => agent.run(head.map(|()| bytes.as_slice())),
            HttpBody::File(file) => {
                head.headers_mut().insert(CONTENT_LENGTH, file.len().into());
                let is_over = || self.is_over();
                let mut reader = file.reader(&is_over)?;
                agent.run(head.map(|()| SendBody::from_reader(&mut reader)))
            }
        }
    }

    /// Whose requests these are.
    pub(crate) fn ctx(&self) -> &'a Context {
        self.ctx
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(clock::instant())
    }

    /// Whether there is nothing more to be done.
    pub(crate) fn is_over(&self) -> bool {
        self.ctx.is_cancelled() || self.left().is_zero()
    }

    /// Gives the body of a response to `take`, piece by piece, up to so many bytes after decompression.
    ///
    /// # Errors
    /// It breaks off, or the attempt is cancelled, or `take` fails.
    pub(crate) fn copy(
        &self,
        from: &mut HttpResponse,
        max_bytes: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<Copied, Failure> {
        if !from.has_body {
            return Ok(Copied::default());
        }
        let target = from.target.as_str();
        let mut reader = reader(&mut from.response)
            .map_err(|error| self.failure(&target, &ureq::Error::from(error)))?;
        let mut buffer = vec![0; 16 * 1024];
        let mut bytes = 0;
        loop {
            let read = reader.read(&mut buffer);
            // A connection that a cancel has closed looks like the end of a response without a length.
            if self.ctx.is_cancelled() {
                return Err(Failure::cancelled());
            }
            let read = read.map_err(|error| self.failure(&target, &ureq::Error::from(error)))?;
            let room = usize::try_from(max_bytes - bytes).unwrap_or(usize::MAX);
            let taken = read.min(room);
            take(&buffer[..taken])?;
            bytes += taken as u64;
            if read == 0 || read > taken {
                let is_cut = read > taken;
                return Ok(Copied { bytes, is_cut });
            }
        }
    }

    fn failure(&self, what: &dyn fmt::Display, error: &ureq::Error) -> Failure {
        match self.ctx.is_cancelled() {
            true => Failure::cancelled(),
            false => failure(what, error),
        }
    }
}

impl HttpResponse {
    /// How long the server asks to wait.
    pub(crate) fn asked_delay(&self) -> Option<Duration> {
        let header = self.response.headers().get(RETRY_AFTER)?;
        retry_after(header.to_str().ok()?, timestamp(Clock::default().now_ms()))
    }
}

impl HttpRequest {
    /// What is asked for, for messages.
    pub(crate) fn target(&self) -> String {
        format!("{} {}", self.method, self.url)
    }

    /// Whether the server may get it twice: because that changes nothing, or it can tell, or another attempt of the
    /// job would send it again anyway.
    fn may_be_sent_twice(&self, ctx: &Context) -> bool {
        self.method.is_idempotent()
            || self.headers.contains_key("idempotency-key")
            || self.headers.contains_key("webhook-id")
            || ctx.retries_left() > 0
    }
}

/// Reads a body, and decompresses it.
fn reader(response: &mut Response<Body>) -> io::Result<Box<dyn Read + '_>> {
    let encoding = response.headers().get(CONTENT_ENCODING);
    let is_gzip = encoding.is_some_and(|encoding| encoding == "gzip" || encoding == "x-gzip");
    let mut raw = BufReader::new(response.body_mut().as_reader());
    // What is compressed is never empty, but some servers say so of nothing.
    Ok(match is_gzip && !raw.fill_buf()?.is_empty() {
        true => Box::new(GzipReader(MultiGzDecoder::new(raw))),
        false => Box::new(raw),
    })
}

struct GzipReader<R>(MultiGzDecoder<R>);

impl<R: BufRead> Read for GzipReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0
            .read(buffer)
            .map_err(|error| match ureq::Error::from(error) {
                ureq::Error::Io(error) => {
                    io::Error::other(format!("the response cannot be decompressed: {error}"))
                }
                other => other.into_io(),
            })
    }
}

/// Gives the agent to the next attempt. The body of the response was read or dropped before.
impl Drop for HttpSession<'_> {
    fn drop(&mut self) {
        let Some((agent, callback)) = self.agent.take() else {
            return;
        };
        drop(callback);
        // A cancel sets its reason and takes the callbacks under one lock. Without a reason it has not taken the one
        // that shuts the agent down.
        if !self.ctx.is_cancelled() {
            self.settings.idle.give_back(agent);
        }
    }
}

/// Whether a connection was closed before there was a response.
fn is_lost(error: &ureq::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};

    let ureq::Error::Io(error) = error else {
        return false;
    };
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

/// Where a response leads, if it is to be followed.
fn redirect(request: &HttpRequest, response: &Response<Body>) -> Result<Option<HttpUrl>, Failure> {
    let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION);
    let Some(location) = location.filter(|_| is_redirect && request.redirects > 0) else {
        return Ok(None);
    };
    let refused = |why: &dyn fmt::Display| {
        Failure::permanent(format_args!(
            "{}: its redirect is not followed: {why}",
            request.target()
        ))
    };
    let location = location.to_str().map_err(|error| refused(&error))?;
    let next = request
        .url
        .join(location)
        .map_err(|error| refused(&error))?;
    if request.url.is_https() && !next.is_https() {
        return Err(refused(&format_args!("{next} is not https")));
    }
    Ok(Some(next))
}
