//! Agents of ureq, which keep their connection from one attempt to the next.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::TlsConfig;

use crate::handlers::http::connect::{AgentState, CheckedResolver, connector};
use crate::handlers::http::settings::HttpSettings;
use crate::handlers::http::url::HttpOrigin;
use crate::runner::cancellation::lock;
use crate::runner::handler::Failure;

const USER_AGENT: &str = concat!("jobq/", env!("CARGO_PKG_VERSION"));

/// Most servers keep an idle connection for five seconds or longer.
const MAX_IDLE: Duration = Duration::from_secs(1);

const MAX_IDLE_AGENTS: usize = 32;

/// How long an attempt's requests may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HttpTimeouts {
    /// From the lookup of the name to the end of the response, with all redirects.
    pub(crate) whole: Duration,
    pub(crate) connect: Duration,
}

/// An agent with at most one connection. One attempt at a time uses it, so that a cancel can shut it down.
pub(super) struct HttpAgent {
    pub(super) agent: Agent,
    pub(super) state: AgentState,
    origin: HttpOrigin,
    timeouts: HttpTimeouts,
}

impl HttpAgent {
    /// # Errors
    /// The settings name a file or a proxy that cannot be used.
    pub(super) fn new(
        settings: &HttpSettings,
        origin: HttpOrigin,
        timeouts: HttpTimeouts,
    ) -> Result<HttpAgent, Failure> {
        let tls = TlsConfig::builder().root_certs(settings.root_certs()?);
        // ureq makes a new TLS configuration for each request with a setting of its own.
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(USER_AGENT)
            .accept_encoding("gzip")
            .max_idle_connections(1)
            .max_idle_age(MAX_IDLE)
            .proxy(settings.proxy()?)
            .tls_config(tls.build())
            .timeout_global(Some(timeouts.whole))
            .timeout_resolve(Some(timeouts.connect))
            .timeout_connect(Some(timeouts.connect))
            .build();
        let state = AgentState::default();
        let resolver = CheckedResolver {
            addresses: settings.addresses,
            allowed: settings.allow_addresses.clone(),
            state: state.clone(),
        };
        Ok(HttpAgent {
            agent: Agent::with_parts(config, connector(&state), resolver),
            state,
            origin,
            timeouts,
        })
    }
}

/// The agents that no attempt uses. They belong to settings whose rules their connections have passed: a copy of
/// the settings begins without any.
#[derive(Default)]
pub(super) struct IdleAgents(Mutex<Vec<HttpAgent>>);

impl IdleAgents {
    /// The agent that was used last for this server with these timeouts.
    pub(super) fn take(&self, origin: &HttpOrigin, timeouts: HttpTimeouts) -> Option<HttpAgent> {
        let mut agents = lock(&self.0);
        let fits = |agent: &HttpAgent| agent.origin == *origin && agent.timeouts == timeouts;
        let index = agents.iter().rposition(fits)?;
        Some(agents.remove(index))
    }

    pub(super) fn give_back(&self, agent: HttpAgent) {
        let mut agents = lock(&self.0);
        agents.push(agent);
        if agents.len() > MAX_IDLE_AGENTS {
            let oldest = agents.remove(0);
            drop(agents);
            drop(oldest);
        }
    }
}

impl Clone for IdleAgents {
    fn clone(&self) -> IdleAgents {
        IdleAgents::default()
    }
}

impl fmt::Debug for IdleAgents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdleAgents({})", lock(&self.0).len())
    }
}
