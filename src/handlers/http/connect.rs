//! From a URL to a connection: names are looked up, addresses are judged, and a cancel ends the wait for both.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::time::Duration as Within;
use ureq::unversioned::transport::{
    ConnectProxyConnector, ConnectionDetails, Connector, Either, NextTimeout, RustlsConnector,
    TcpConnector, Transport,
};

use crate::handlers::http::addresses::{AddressRange, Addresses};
use crate::handlers::http::error::RefusedAddress;
use crate::handlers::http::url::{literal, port};
use crate::runner::cancellation::{Cancellation, lock};

/// What ends the calls of an agent, which outlives its attempts, and how many connections it has made.
#[derive(Clone, Default)]
pub(super) struct AgentState(Arc<(Mutex<Cancellation>, AtomicU64)>);

impl AgentState {
    /// From now on the agent is used by this attempt.
    pub(super) fn use_for(&self, cancellation: &Cancellation) {
        *lock(&self.0.0) = cancellation.clone();
    }

    /// How many connections were made so far.
    pub(super) fn connections(&self) -> u64 {
        self.0.1.load(Ordering::Relaxed)
    }

    /// Makes a call that only its end, the attempt's or the timeout's ends.
    fn wait_for<T: Send + 'static>(
        &self,
        timeout: NextTimeout,
        call: impl FnOnce() -> Result<T, ureq::Error> + Send + 'static,
    ) -> Result<T, ureq::Error> {
        let cancellation = lock(&self.0.0).clone();
        let longest = match timeout.after {
            Within::Exact(longest) => longest,
            Within::NotHappening => Duration::MAX,
        };
        let answer = cancellation.wait_for(longest, call)?;
        answer.unwrap_or(Err(ureq::Error::Timeout(timeout.reason)))
    }
}

impl fmt::Debug for AgentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentState({} connections)", self.connections())
    }
}

/// Through the proxy if there is one, and with TLS if the URL says so.
pub(super) fn connector(state: &AgentState) -> impl Connector {
    ().chain(ConnectProxyConnector::default())
        .chain(CancellableConnector(state.clone()))
        .chain(RustlsConnector::default())
}

/// Makes connections over TCP, and counts them.
#[derive(Debug)]
struct CancellableConnector(AgentState);

impl<In: Transport> Connector<In> for CancellableConnector {
    type Out = Either<In, Box<dyn Transport>>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        if let Some(tunnel) = chained {
            return Ok(Some(Either::A(tunnel)));
        }
        self.0.0.1.fetch_add(1, Ordering::Relaxed);
        let (uri, config) = (details.uri.clone(), details.config.clone());
        let (addrs, request_level) = (details.addrs.clone(), details.request_level);
        let (now, timeout) = (details.now, details.timeout);
        let current_time = Arc::clone(&details.current_time);
        let run_connector = Arc::clone(&details.run_connector);
        let register_shutdown = Arc::clone(&details.register_shutdown);
        let connected = self.0.wait_for(timeout, move || {
            let details = ConnectionDetails {
                uri: &uri,
                addrs,
                config: &config,
                request_level,
                resolver: &DefaultResolver::default(),
                now,
                timeout,
                current_time,
                run_connector,
                register_shutdown,
            };
            TcpConnector::default().connect(&details, None::<()>)
        })?;
        Ok(connected.map(|transport| Either::B(Box::new(transport) as Box<dyn Transport>)))
    }
}

/// Looks names up, and refuses those that lead to an address that must not be called. The addresses that it has
/// judged are those that are connected to, so a name cannot lead elsewhere a moment later.
#[derive(Debug)]
pub(super) struct CheckedResolver {
    pub(super) addresses: Addresses,
    pub(super) allowed: Vec<AddressRange>,
    pub(super) state: AgentState,
}

impl CheckedResolver {
    fn look_up(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let (uri, config) = (uri.clone(), config.clone());
        self.state.wait_for(timeout, move || {
            // It is waited for here already.
            let forever = NextTimeout {
                after: Within::NotHappening,
                ..timeout
            };
            DefaultResolver::default().resolve(&uri, &config, forever)
        })
    }
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
                one.push(SocketAddr::new(address, port(uri)));
                one
            }
            None => self.look_up(uri, config, timeout)?,
        };
        let is_proxy = config.proxy().is_some_and(|proxy| proxy.uri() == uri);
        let refusal = |address: &SocketAddr| self.addresses.refusal(address.ip(), &self.allowed);
        match found.iter().find_map(refusal).filter(|_| !is_proxy) {
            None => Ok(found),
            Some(why) => Err(ureq::Error::Other(Box::new(RefusedAddress(why)))),
        }
    }
}
