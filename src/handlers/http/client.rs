//! Requests that keep to the settings, and that a cancel ends at once.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::header::{EXPECT, LOCATION};
use ureq::http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Proxy};

use crate::clock;
use crate::handlers::http::addresses::{AddressRange, Addresses};
use crate::handlers::http::error::{RefusedAddress, failure};
use crate::handlers::http::settings::HttpSettings;
use crate::handlers::http::url::HttpUrl;
use crate::runner::context::Context;
use crate::runner::handler::Failure;

const USER_AGENT: &str = concat!("jobq/", env!("CARGO_PKG_VERSION"));

/// A server may refuse a longer body before it is sent.
const ASK_FIRST_BYTES: u64 = 1024 * 1024;

/// How long an attempt's requests may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HttpTimeouts {
    /// From the lookup of the name to the end of the response, with all redirects.
    pub(crate) whole: Duration,
    pub(crate) connect: Duration,
}

/// A request.
pub(crate) struct HttpRequest {
    pub(crate) method: Method,
    pub(crate) url: HttpUrl,
    pub(crate) headers: HeaderMap,
    pub(crate) body: HttpBody,
    /// How many redirects are followed.
    pub(crate) redirects: u32,
}

/// What a request sends.
pub(crate) enum HttpBody {
    None,
    Bytes(Vec<u8>),
    File(File),
}

/// A response whose body is still to be read.
pub(crate) struct HttpResponse {
    /// What was asked for, after the redirects, for messages.
    pub(crate) target: String,
    /// Where it came from, after the redirects.
    pub(crate) url: HttpUrl,
    pub(crate) response: Response<Body>,
}

/// How much of a response was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copied {
    pub(crate) bytes: u64,
    /// There was more.
    pub(crate) is_cut: bool,
}

/// The requests of one attempt.
pub(crate) struct HttpSession<'a> {
    settings: &'a HttpSettings,
    ctx: &'a Context,
    agent: Agent,
    deadline: Instant,
}

impl<'a> HttpSession<'a> {
    /// From now on a cancel of the attempt closes its connections.
    ///
    /// # Errors
    /// The settings name a file or a proxy that cannot be used.
    pub(crate) fn begin(
        settings: &'a HttpSettings,
        ctx: &'a Context,
        timeouts: HttpTimeouts,
    ) -> Result<HttpSession<'a>, Failure> {
        let proxy = settings.proxy.as_deref().map(Proxy::new).transpose();
        let proxy = proxy.map_err(|error| {
            Failure::permanent(format_args!("the setting proxy cannot be used: {error}"))
        })?;
        let tls = TlsConfig::builder().root_certs(settings.root_certs()?);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(USER_AGENT)
            // A server may close a connection at the moment in which the next request takes it.
            .max_idle_connections(0)
            .proxy(proxy)
            .tls_config(tls.build())
            .timeout_global(Some(timeouts.whole))
            .timeout_resolve(Some(timeouts.connect))
            .timeout_connect(Some(timeouts.connect))
            .build();
        let resolver = CheckedResolver {
            addresses: settings.addresses,
            allowed: settings.allow_addresses.clone(),
            by_name: DefaultResolver::default(),
        };
        let agent = Agent::with_parts(config, DefaultConnector::default(), resolver);
        let cancelled = agent.clone();
        ctx.cancellation().on_cancel(move || cancelled.shutdown());
        Ok(HttpSession {
            settings,
            ctx,
            agent,
            deadline: clock::after(clock::instant(), timeouts.whole),
        })
    }

    /// Sends a request, and follows redirects; at another server without the headers of the request.
    ///
    /// # Errors
    /// There is no response, or the settings forbid the request.
    pub(crate) fn send(&self, mut request: HttpRequest) -> Result<HttpResponse, Failure> {
        loop {
            self.settings.check(&request.url)?;
            let response = self.once(&mut request)?;
            let Some(next) = redirect(&request, &response)? else {
                return Ok(HttpResponse {
                    target: request.target(),
                    url: request.url,
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

    fn once(&self, request: &mut HttpRequest) -> Result<Response<Body>, Failure> {
        let mut headers = request.headers.clone();
        let body = std::mem::replace(&mut request.body, HttpBody::None);
        if body.len().map_err(Failure::retry)? > ASK_FIRST_BYTES {
            headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
        }
        let left = self.deadline.saturating_duration_since(clock::instant());
        let mut head = Request::new(());
        *head.method_mut() = request.method.clone();
        *head.uri_mut() = request.url.uri().clone();
        *head.headers_mut() = headers;
        let head = self
            .agent
            .configure_request(head)
            .timeout_global(Some(left))
            .build();
        let sent = match body {
            HttpBody::None => self.agent.run(head),
            HttpBody::Bytes(bytes) => self.agent.run(head.map(|()| bytes)),
            HttpBody::File(file) => self.agent.run(head.map(|()| file)),
        };
        sent.map_err(|error| self.failure(&request.target(), &error))
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
        let target = from.target.as_str();
        let mut reader = from.response.body_mut().as_reader();
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

impl HttpRequest {
    /// What is asked for, for messages.
    pub(crate) fn target(&self) -> String {
        format!("{} {}", self.method, self.url)
    }
}

impl HttpBody {
    fn len(&self) -> io::Result<u64> {
        Ok(match self {
            HttpBody::None => 0,
            HttpBody::Bytes(bytes) => bytes.len() as u64,
            HttpBody::File(file) => file.metadata()?.len(),
        })
    }
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

/// Looks names up, and refuses those that lead to an address that must not be called. The addresses that it has
/// judged are those that are connected to, so a name cannot lead elsewhere a moment later.
#[derive(Debug)]
struct CheckedResolver {
    addresses: Addresses,
    allowed: Vec<AddressRange>,
    by_name: DefaultResolver,
}

impl Resolver for CheckedResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = match literal(uri) {
            Some(address) => {
                let mut one = self.empty();
                one.push(address);
                one
            }
            None => self.by_name.resolve(uri, config, timeout)?,
        };
        let is_proxy = config.proxy().is_some_and(|proxy| proxy.uri() == uri);
        let refusal = |address: &SocketAddr| self.addresses.refusal(address.ip(), &self.allowed);
        match found.iter().find_map(refusal).filter(|_| !is_proxy) {
            None => Ok(found),
            Some(why) => Err(ureq::Error::Other(Box::new(RefusedAddress(why)))),
        }
    }
}

/// The address that a URL has in place of a name.
fn literal(uri: &Uri) -> Option<SocketAddr> {
    let host = uri.host()?;
    let address: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
    let usual = if uri.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    Some(SocketAddr::new(address, uri.port_u16().unwrap_or(usual)))
}
